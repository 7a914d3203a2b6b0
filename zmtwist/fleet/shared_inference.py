"""The shared inference: one `zm-infer` that the detectors of all workers send their pictures to, kept running as workers are.

Little is assumed of it: it takes `--gpu` and `--socket`, listens at that socket once it is ready, and ends at SIGTERM. A worker without it
records and detects nothing, so nothing that happens to it may keep a worker from recording.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from zmtwist.executables import INFER, Program, environment_for, find_infer
from zmtwist.fleet.process.adoption import Survivor
from zmtwist.fleet.process.child import KEPT_LINES, CannotSpawn, Command
from zmtwist.fleet.process.cleanup import clear_slot, infer_survivor
from zmtwist.fleet.process.instance import Process, Surroundings
from zmtwist.fleet.process.lifecycle import Core, Life, new_life
from zmtwist.fleet.process.lockfile import LockFile
from zmtwist.fleet.process.output import Opening, Sign
from zmtwist.fleet.process.policy import LAUNCHER_EXITS, Exit, Verdict, judge
from zmtwist.fleet.process.preflight import (
    Fingerprint,
    answers,
    check_directory,
    fingerprint,
    infer_slot,
    remove_dead_socket,
)
from zmtwist.fleet.process.spawn import adopt_process, fill, spawn_child, write_down
from zmtwist.fleet.process.state import Change, State
from zmtwist.fleet.status import InferenceStatus
from zmtwist.fleet.throttle import Restarts
from zmtwist.untrusted.budget import Budget
from zmtwist.untrusted.guard import Guard

PROBE_SECONDS = 0.25
"""Between two looks whether its socket answers, while that has not."""

PATIENCE_SECONDS = 15.0
"""How long it may hold up the start of workers, counted from the first that needs it."""

WAITS = "it is started when the shared inference answers, or has not for some seconds"


class Inference:
    """Runs `zm-infer` while a worker needs it. `opened` is called, once, when workers need not wait for it any more."""

    log = Logger()

    def __init__(self, around: Surroundings, opened: Callable[[], None]) -> None:
        self._around = around
        self._opened = opened
        self._clock = IReactorTime(around.reactor)
        self._slot = infer_slot(around.settings)
        self._process: Process | None = None
        self._budget = Budget()
        self._digest = ""
        self._adopted = False
        self._tried: Fingerprint | None = None
        self._last_exit: Exit | None = None
        self._lines: tuple[str, ...] = ()
        self._restarts = Restarts()
        self._probe_timer: IDelayedCall | None = None
        self._patience: IDelayedCall | None = None
        self._open = False
        self._idle_waiters: list[Deferred[None]] = []
        config = around.settings.zmnext.worker
        self._core = Core(
            owner=self._slot.owner,
            clock=self._clock,
            wall=around.wall,
            turn=lambda: 0.0,
            jitter=around.jitter,
            announce=self._changed,
            min_backoff_seconds=config.min_backoff_seconds,
            max_backoff_seconds=config.max_backoff_seconds,
            stable_seconds=config.stable_seconds,
        )
        self._core.body = self
        self._life: Life = new_life(self._core)

    # What the fleet asks for.

    def find(self) -> None:
        """Take on the one that outlived our last run, or clear up after one that has not."""
        survivor = infer_survivor(self._around.settings, self._around.processes)
        if survivor is None:
            return
        try:
            self._adopt(survivor)
        except OSError as error:
            self.log.info(
                "zm-infer: process {pid} of an earlier run is gone: {error}", pid=survivor.pid, error=repr(error)
            )
        else:
            self._restarts.started(self._clock.seconds())
            self._life.adopted(f"adopted as process {survivor.pid}")
            self._probe()

    def need(self, needed: bool) -> None:
        """Whether any worker needs it. One that runs with other settings than are wanted now is started anew."""
        if not needed:
            self._life.stop("no worker needs it")
            return
        if self._patience is None:
            self._patience = self._clock.callLater(PATIENCE_SECONDS, self._out_of_patience)
        if self._process is not None and self._unlike_wanted():
            self._life.restart("its settings changed")
        elif self._core.state in (State.STOPPED, State.STOPPING) or (
            self._core.state is State.FATAL and fingerprint(self._program()) != self._tried
        ):
            self._life.start("workers need it")

    @property
    def waits(self) -> str:
        """Why a worker that needs it has to wait before its start; '' where it does not."""
        return "" if self._open else WAITS

    def stop(self) -> Deferred[None]:
        """Stop it, and start it no more; fires when it was reaped."""
        self._cancel_patience()
        self._life.stop("the service stops")
        if self._process is None:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._idle_waiters.append(waiter)
        return waiter

    def leave(self) -> None:
        """Have no more to do with it; it runs on."""
        self._cancel_patience()
        self._cancel_probe()
        process, self._process = self._process, None
        self._life.leave("left running")
        if process is not None:
            process.leave()

    def status(self) -> InferenceStatus:
        """Everything there is to tell of it."""
        core, process, now = self._core, self._process, self._clock.seconds()
        start_us = None if core.start_at is None else self._around.wall() + round((core.start_at - now) * 1e6)
        return InferenceStatus(
            state=core.state,
            since_us=core.since_us,
            reason=core.reason,
            socket=self._slot.socket,
            pid=process.pid if process else None,
            last_exit=self._last_exit,
            restarts_last_hour=self._restarts.within_hour(now),
            next_start_us=start_us,
            lines=self._all_lines(),
            adopted=self._adopted and process is not None,
        )

    # What its life asks for.

    def launch(self) -> None:
        """See `lifecycle.Body`."""
        self._tried = fingerprint(self._program())
        try:
            fill(self._slot, self._around, self._spawn, self._adopt)
        except CannotSpawn as error:
            self._give_up(Verdict(error.fatal, error.reason))
        except Exception:
            self.log.failure("zm-infer: starting it failed")
            self._give_up(Verdict(False, "an internal error at the start; see the log"))
        else:
            self._restarts.started(self._clock.seconds())
            self._life.spawned(f"{'adopted' if self._adopted else 'spawned'} as process {self._pid}")
            self._probe()

    def terminate(self, *, answers: bool) -> None:
        """See `lifecycle.Body`."""
        self._cancel_probe()
        if self._process is not None:
            self._process.stop()

    # What its process says.

    def opening_logged(self, told: Opening) -> None:
        """See `child.Reports`: it opens no clips."""

    def sign_logged(self, sign: Sign) -> None:
        """See `child.Reports`: it has no camera and records nothing."""

    def child_exited(self, ended: Exit) -> None:
        """See `child.Reports`."""
        self._cancel_probe()
        process, self._process = self._process, None
        if process is None:
            return
        self._last_exit = ended
        self._lines = (self._lines + process.lines())[-KEPT_LINES:]
        clear_slot(self._slot)
        told_to = self._core.state is State.STOPPING
        self._give_up(Verdict(False, str(ended)) if told_to else judge(ended, process.errors(ended), LAUNCHER_EXITS))

    # Inside.

    def _spawn(self, lock: LockFile) -> None:
        settings = self._around.settings
        remove_dead_socket(self._slot.socket)
        program = self._program()
        if program is None:
            name = settings.zmnext.share_inference.binary or INFER
            where = "" if settings.zmnext.share_inference.binary else ", neither beside the worker's nor in its PATH"
            raise CannotSpawn(
                f"[zmnext.share_inference] binary {name!r}: no such program, or it can't be executed{where}", fatal=True
            )
        check_directory(program)
        command = Command(
            program=program.path,
            arguments=self._arguments(),
            environment=environment_for(settings.zmnext.worker, settings.environment),
            directory=program.directory,
            ends_with_us=not settings.zmnext.worker.survive_restart,
        )
        self._process = process = spawn_child(self._around, self._slot, command, lock, self, Guard(), self._budget)
        self._digest, self._adopted = _digest(command.program, command.arguments), False
        write_down(self._around, self._slot, process.pid, command, self._digest)

    def _adopt(self, survivor: Survivor) -> None:
        self._process = adopt_process(self._around, survivor, self)
        self._digest, self._adopted = survivor.digest, True

    def _unlike_wanted(self) -> bool:
        """Whether what runs is not what would be started now. What can't be started now is no reason to end what runs."""
        program = self._program()
        survives = self._around.settings.zmnext.worker.survive_restart
        return (self._adopted and not survives) or (
            program is not None and _digest(program.path, self._arguments()) != self._digest
        )

    def _program(self) -> Program | None:
        settings = self._around.settings
        return find_infer(settings.zmnext.share_inference, settings.zmnext.worker, settings.environment)

    def _arguments(self) -> tuple[str, ...]:
        gpu = self._around.settings.zmnext.share_inference.gpu_id
        return ("--gpu", str(gpu), "--socket", self._slot.socket)

    @property
    def _pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def _probe(self) -> None:
        """Look whether it listens, until it does."""
        self._cancel_probe()
        if answers(self._slot.socket):
            self._life.live("its socket answers")
        else:
            self._probe_timer = self._clock.callLater(PROBE_SECONDS, self._probe)

    def _changed(self, change: Change) -> None:
        match change.to_state:
            case State.LIVE:
                self._let_go()
            case State.FATAL:
                self._out_of_patience()
            case State.STOPPED:
                waiters, self._idle_waiters = self._idle_waiters, []
                for waiter in waiters:
                    waiter.callback(None)

    def _out_of_patience(self) -> None:
        """Workers wait no longer, whatever becomes of it."""
        if not self._open:
            self.log.warn(
                "zm-infer does not answer: workers are started without it, record, and detect nothing until it does: {reason}",
                reason=self._core.reason,
            )
            self._let_go()

    def _let_go(self) -> None:
        if not self._open:
            self._open = True
            self._cancel_patience()
            self._opened()

    def _give_up(self, verdict: Verdict) -> None:
        (self._life.doomed if verdict.fatal else self._life.failed)(verdict.reason)

    def _all_lines(self) -> tuple[str, ...]:
        return (self._lines + (self._process.lines() if self._process else ()))[-KEPT_LINES:]

    def _cancel_probe(self) -> None:
        if self._probe_timer is not None and self._probe_timer.active():
            self._probe_timer.cancel()

    def _cancel_patience(self) -> None:
        if self._patience is not None and self._patience.active():
            self._patience.cancel()


def _digest(program: str, arguments: tuple[str, ...]) -> str:
    return hashlib.sha256("\0".join((program, *arguments)).encode("utf-8", "surrogateescape")).hexdigest()
