"""One monitor's worker: its life (`process.lifecycle`) wired to its process (`process.instance`) and its socket (`wire.link`)."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from zmtwist.fleet.camera_loss import CameraLoss
from zmtwist.fleet.policy import UNRESPONSIVE_SECONDS
from zmtwist.fleet.process.adoption import Survivor
from zmtwist.fleet.process.child import KEPT_LINES, CannotSpawn
from zmtwist.fleet.process.cleanup import clear, clear_socket
from zmtwist.fleet.process.instance import Address, Run, Surroundings
from zmtwist.fleet.process.lifecycle import Core, Life, new_life
from zmtwist.fleet.process.output import Opening, Sign
from zmtwist.fleet.process.policy import Exit, Verdict, judge
from zmtwist.fleet.process.preflight import Fingerprint, worker_fingerprint, worker_slot
from zmtwist.fleet.process.slot import of_monitor
from zmtwist.fleet.process.spawn import adopt, begin
from zmtwist.fleet.process.state import IDLE, Change, State, Transition
from zmtwist.fleet.restart.gapless import Succession
from zmtwist.fleet.restart.graceful import Recycle
from zmtwist.fleet.status import WorkerStatus
from zmtwist.fleet.throttle import Restarts
from zmtwist.fleet.worker_health import Vitals
from zmtwist.pipeline.document import Document
from zmtwist.wire.guarded import guarded_trigger
from zmtwist.wire.link import NotLinked
from zmtwist.wire.messages import Response

UP = frozenset({State.STARTING, State.LINKED, State.LIVE, State.STALLED})
RECORDING = frozenset({State.LINKED, State.LIVE})

DOCUMENT_CHANGED = "its document changed"


class Worker:
    """Runs one worker for one monitor, never a second one before the first was reaped."""

    log = Logger()

    def __init__(self, monitor_id: int, around: Surroundings) -> None:
        self.monitor_id = monitor_id
        self._around = around
        self._clock = IReactorTime(around.reactor)
        self._document: Document | None = None
        self._refusal = "it has no document yet"
        self._waits_for = ""
        self._tried: tuple[str, Fingerprint | None] | None = None
        self._run: Run | None = None
        self._launching: object = None
        self._last_exit: Exit | None = None
        self._lines: tuple[str, ...] = ()
        self._unlogged = 0
        self._restarts = Restarts()
        self._idle_waiters: list[Deferred[None]] = []
        config = around.settings.zmnext.worker
        self._core = Core(
            owner=of_monitor(monitor_id),
            clock=self._clock,
            wall=around.wall,
            turn=lambda: 0.0 if self._succession.waits else around.turn(),
            jitter=around.jitter,
            announce=self._announced,
            min_backoff_seconds=config.min_backoff_seconds,
            max_backoff_seconds=config.max_backoff_seconds,
            stable_seconds=config.stable_seconds,
            hindered=lambda: self._camera_loss.waits,
        )
        self._succession = Succession(monitor_id, around, self.restart)
        self._recycle = Recycle(
            self._clock, around.restart_turn, lambda: around.sink.clip_end(monitor_id), self._succeed
        )
        self._core.body = self
        self._life: Life = new_life(self._core)
        self._vitals = Vitals(monitor_id, around, self._core)
        self._camera_loss = CameraLoss(self._core, self._life, around.connect, self._camera)

    # What the fleet asks for.

    @property
    def state(self) -> State:
        """Its state now."""
        return self._core.state

    @property
    def documents(self) -> tuple[Document | None, Document | None]:
        """The document it is meant to run with, and the one that its process was started with."""
        return self._document, self._run.document if self._run else None

    def adopt(self, survivor: Survivor) -> bool:
        """Take on a worker that lives already; for one that was not started yet. False where that one has ended meanwhile."""
        try:
            self._run = adopt(self._around, self.monitor_id, survivor, reports=self, life=self._life)
        except (OSError, CannotSpawn) as error:
            self.log.info(
                "monitor {monitor_id}: process {pid}, its worker of an earlier run, is gone: {error}",
                monitor_id=self.monitor_id,
                pid=survivor.pid,
                error=repr(error),
            )
            return False
        self._restarts.started(self._clock.seconds())
        self._life.adopted(self._run.how)
        return True

    def leave(self) -> None:
        """Have no more to do with it. Its process, if it has one, runs on."""
        run, self._run = self._run, None
        self._launching = None
        self._recycle.cancel()
        self._succession.end()
        self._camera_loss.end()
        self._life.leave("left running")
        if run is not None:
            run.leave()

    def weigh(self) -> None:
        """Have it started anew, at the end of a clip, if its memory has grown beyond what is allowed."""
        if self._run is not None and self.state in UP and (reason := self._vitals.weight(self._run)) is not None:
            self.restart_soon(reason)

    @property
    def refused(self) -> bool:
        """Whether there is no document for it."""
        return self._document is None

    def want(self, document: Document, waits_for: str = "") -> None:
        """Run with this document: started if it does not run, restarted if it runs with another; BACKOFF, HELD and a stop are respected.

        A restart waits for the end of the clip that records, within bounds. `waits_for`: what has to come before a start (see `proceed`).
        """
        self._document, self._waits_for = document, waits_for
        self._around.guards.of(self.monitor_id).learn(document.secrets, document.store_root)
        if waits_for and self._run is None:
            self._life.stop(waits_for)
        elif self._run is not None and self.state in UP:
            self._compare(self._run, document)
        elif self.state is State.FATAL:
            if self._tried != (document.digest, worker_fingerprint(self._around.settings)):
                self._life.start("its document or binary changed")
        elif self.state in (State.STOPPED, State.STOPPING):
            self._life.start("wanted")

    def proceed(self) -> None:
        """What a start had to wait for has come."""
        if self._waits_for and self._document is not None:
            self.want(self._document)

    def refuse(self, reason: str) -> None:
        """Run no more: there is no document for it, for `reason`."""
        self._document, self._refusal = None, reason
        self._life.stop(reason)

    def start(self, reason: str) -> None:
        """Do not wait any longer: release it and try at once."""
        self._life.release(reason)
        self._life.start(reason)

    def stop(self, reason: str) -> None:
        """Stop it; `want` starts it again."""
        self._life.stop(reason)

    def restart(self, reason: str) -> None:
        """Stop it and start it again."""
        self._life.restart(reason)

    def restart_soon(self, reason: str) -> None:
        """Stop it and start it again, at the end of a clip if it may be recording one."""
        if self._records:
            self._recycle.ask(reason)
        else:
            self._life.restart(reason)

    def hold(self, reason: str) -> None:
        """Stop it until `release`."""
        self._life.hold(reason)

    def release(self, reason: str) -> None:
        """Let it be started again."""
        self._life.release(reason)

    def replace(self) -> None:
        """Stop a stalled one; it is started again after a delay."""
        self._life.replace(self._core.reason)

    def look(self) -> None:
        """Mark it STALLED if its signs of life are too old, or it records nothing."""
        if self._run is not None and (reason := self._vitals.stall(self._run)) is not None:
            self._life.stalled(reason)

    def idle(self) -> Deferred[None]:
        """Fires when it is STOPPED or HELD: its process, if it had one, was reaped."""
        if self.state in IDLE:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._idle_waiters.append(waiter)
        return waiter

    def command(self, name: str, **fields: Any) -> Deferred[Response]:
        """Send a COMMAND; fails with NotLinked while nothing runs, else as the link's does."""
        if self._run is None:
            return fail(NotLinked(f"monitor {self.monitor_id} has no worker now: it is {self.state}"))
        return self._run.command(name, **fields)

    def status(self) -> WorkerStatus:
        """Everything there is to tell of it."""
        run, core, now = self._run, self._core, self._clock.seconds()
        digest = run.digest if run else self._document.digest if self._document else None
        start_us = None if core.start_at is None else self._around.wall() + round((core.start_at - now) * 1e6)
        link = run.link.status if run else None
        return WorkerStatus(
            monitor_id=self.monitor_id,
            state=core.state,
            since_us=core.since_us,
            reason=core.reason,
            pid=run.child.pid if run else None,
            last_exit=self._last_exit,
            restarts_last_hour=self._restarts.within_hour(now),
            next_start_us=start_us,
            digest=digest,
            frames_per_second=run.frames_per_second if run and core.state is State.LIVE else None,
            media_age_seconds=run.media_age() if run else None,
            worker_events=link.events if link else 0,
            missed_events=link.event_gaps if link else 0,
            lines=self._all_lines(),
            unlogged_lines=self._unlogged + (run.child.unlogged if run else 0),
            adopted=run.adopted if run else False,
            restart_due=self._recycle.reason or self._succession.reason,
            not_recording=self._vitals.not_recording(self._document),
        )

    # What its life asks for.

    def launch(self) -> None:
        """See `lifecycle.Body`. First its storage is looked at, which may take a while; not where a successor waits."""
        if (successor := self._succession.take(self)) is not None:
            self._began(successor)
            self._succession.speak(self._life)
            return
        self._launching = this = object()
        root = self._store_root()

        def looked(found: Failure | None) -> None:
            if self._launching is not this:
                return  # it was stopped, held or left meanwhile
            if self._store_root() != root:
                self.launch()
            else:
                self._launching = None
                self._launch(found.value if isinstance(found, Failure) else None)

        self._around.storages.look(root).addBoth(looked)

    def _succeed(self, reason: str) -> None:
        """Restart it, without a gap if that can be."""
        if self._records and self._run is not None and self._document is not None:
            self._succession.begin(self._document, self._run.socket, reason)
        else:
            self.restart(reason)

    def _launch(self, storage: BaseException | None) -> None:
        try:
            run = self._new_run(storage)
        except CannotSpawn as error:
            self._give_up(Verdict(error.fatal, error.reason))
        except Exception:
            self.log.failure("monitor {monitor_id}: starting its worker failed", monitor_id=self.monitor_id)
            self._give_up(Verdict(False, "an internal error at the start; see the log"))
        else:
            self._began(run)

    def terminate(self, *, answers: bool) -> None:
        """See `lifecycle.Body`. One that waits to follow it can't wait for ever: the camera goes on sending."""
        self._recycle.cancel()
        if not self._succession.waits:
            self._succession.end(lost=not answers)
        if self._run is not None:
            self._run.stop(float("inf") if answers and not self._succession.waits else UNRESPONSIVE_SECONDS)

    # What its process says.

    def opening_logged(self, told: Opening) -> None:
        """See `child.Reports`."""
        guard = self._around.guards.of(self.monitor_id)
        token, cause = guard.name(told.token), guarded_trigger(guard, told.cause)
        if self._run is not None and token:
            self._around.sink.logged_opening(self.monitor_id, token, cause, self._around.wall())

    def sign_logged(self, sign: Sign) -> None:
        """See `child.Reports`."""
        if sign == "refused":
            self._around.sink.frame_refused(self.monitor_id)
        else:
            self._life.disconnected("its worker can't connect to the camera")

    def child_exited(self, ended: Exit) -> None:
        """See `child.Reports`."""
        self._last_exit = ended
        if self._run is None:
            return
        Deferred.fromCoroutine(self._finish(self._run, ended)).addErrback(
            lambda failure: self.log.failure(
                "monitor {monitor_id}: clearing up failed", failure, monitor_id=self.monitor_id
            )
        )

    # Inside.

    @property
    def _records(self) -> bool:
        """Whether a clip may be open that is worth waiting for."""
        return self.state in RECORDING or (self.state is State.STARTING and self._run is not None and self._run.adopted)

    def _camera(self) -> Address | None:
        return self._document.camera if self._document is not None else None

    def _store_root(self) -> str | None:
        return self._document.store_root if self._document is not None else None

    def _new_run(self, storage: BaseException | None) -> Run:
        if self._document is None:
            raise CannotSpawn(self._refusal, fatal=True)
        if waits := self._waits_for or self._camera_loss.waits:
            raise CannotSpawn(waits)
        self._tried = (self._document.digest, worker_fingerprint(self._around.settings))
        return begin(self._around, self.monitor_id, self._document, self, self._life, storage)

    def _compare(self, run: Run, document: Document) -> None:
        if run.digest != document.digest:
            self.restart_soon(DOCUMENT_CHANGED)
        else:
            run.document = document
            self._recycle.withdraw(DOCUMENT_CHANGED)
            self._succession.withdraw(DOCUMENT_CHANGED)

    def _began(self, run: Run) -> None:
        self._run = run
        self._restarts.started(run.spawned_at)
        told = {"monitor_id": self.monitor_id, "how": run.how, "pid": run.child.pid, "digest": run.digest}
        self.log.info("monitor {monitor_id}: worker {how}", **told)
        self._life.spawned(run.how)

    async def _finish(self, run: Run, ended: Exit) -> None:
        """The process is reaped: read the socket to its end, clear up, and only then let the next one come."""
        self._recycle.cancel()
        await run.close()
        told_to = self.state is State.STOPPING
        verdict = Verdict(False, str(ended)) if told_to else judge(ended, run.child.errors(ended))
        self._lines = self._all_lines()
        self._unlogged += run.child.unlogged
        self._run = None
        try:
            clear_socket(worker_slot(self._around.settings, self.monitor_id))
            clear(self._around.settings, self.monitor_id, self._around.processes)
            self._around.sink.gone(self.monitor_id)
        finally:
            self._give_up(verdict)

    def _give_up(self, verdict: Verdict) -> None:
        (self._life.doomed if verdict.fatal else self._life.failed)(verdict.reason)

    def _all_lines(self) -> tuple[str, ...]:
        return (self._lines + (self._run.child.lines() if self._run else ()))[-KEPT_LINES:]

    def _announced(self, change: Change) -> None:
        self._launching = None
        self._succession.entered(change.to_state)
        self._camera_loss.entered(change.to_state)
        if change.to_state in IDLE:
            waiters, self._idle_waiters = self._idle_waiters, []
            for waiter in waiters:
                waiter.callback(None)
        before, after = change.from_state, change.to_state
        self._around.announce(Transition(self.monitor_id, before, after, change.reason, change.at_us))
