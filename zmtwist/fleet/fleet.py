"""Which workers run: what the database asks for is compared with what is there, again and again, and made so."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock, fail, gatherResults, maybeDeferred
from twisted.internet.interfaces import IReactorProcess, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from zmtwist.fleet.launch import FleetSettings
from zmtwist.fleet.policy import Guard, Host, guard, next_turn, unwanted_reason, watch_interval
from zmtwist.fleet.run import MakeLink, Surroundings
from zmtwist.fleet.status import State, Transition, WorkerStatus
from zmtwist.fleet.worker import IDLE, Worker
from zmtwist.interfaces import ICatalog, ICommander, IEventSink
from zmtwist.pipeline.document import Document, Refusal
from zmtwist.pipeline.monitor import Monitor
from zmtwist.wire.link import NotLinked
from zmtwist.wire.messages import Response

CATALOG_SECONDS = 60.0
"""How long a read of the monitors may take before it counts as failed."""


@attrs.frozen
class NotInFleet(Exception):
    """An operator named a monitor that does not run on zm-next; `reason` says why it does not."""

    monitor_id: int
    reason: str

    def __str__(self) -> str:
        return f"monitor {self.monitor_id} does not run on zm-next: {self.reason}"


def _wall() -> int:
    return time.time_ns() // 1000


@implementer(ICommander)
class Fleet(Service):
    """All workers of this host. Started, it reconciles and watches; stopped, it has reaped every worker.

    `compose` turns a monitor into its document or a refusal; `announce` hears of each transition. What an operator holds is
    respected whatever the database says.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorProcess,
        settings: FleetSettings,
        sink: IEventSink,
        catalog: ICatalog,
        compose: Callable[[Monitor], Document | Refusal],
        announce: Callable[[Transition], None],
        make_link: MakeLink,
        *,
        wall: Callable[[], int] = _wall,
        jitter: Callable[[], float] = random.random,
        kill_group: Callable[[int, int], None] = os.killpg,
    ) -> None:
        self._clock = IReactorTime(reactor)
        self._settings = settings
        self._catalog = catalog
        self._compose = compose
        self._announce = announce
        self._around = Surroundings(
            reactor=reactor,
            settings=settings,
            sink=sink,
            make_link=make_link,
            announce=self._announced,
            turn=self._turn,
            wall=wall,
            jitter=jitter,
            kill_group=kill_group,
        )
        self._workers: dict[int, Worker] = {}
        self._wanted: frozenset[int] = frozenset()
        self._unwanted: dict[int, str] = {}
        self._held: set[int] = set()
        self._warned: dict[int, str] = {}
        self._turn_at = 0.0
        self._guard = Guard()
        self._looked_at = 0.0
        self._one_at_a_time = DeferredLock()
        self._reconciling = self._loop(self.reconcile)
        self._watching = self._loop(self._watch)
        self.catalog_error: str | None = None

    # Service.

    def startService(self) -> None:
        """Reconcile now and then, watch the workers."""
        super().startService()  # type: ignore[no-untyped-call]
        interval = watch_interval(self._settings.zmnext.worker.watchdog_seconds)
        self._looked_at = self._clock.seconds()
        self._run(self._watching, interval, now=False)
        self._run(self._reconciling, self._settings.zmnext.reconcile_seconds, now=True)

    def stopService(self) -> Deferred[None]:
        """Stop all workers at once; fires when each was reaped."""
        super().stopService()  # type: ignore[no-untyped-call]
        for loop in (self._reconciling, self._watching):
            if loop.running:
                loop.stop()
        workers = list(self._workers.values())
        for worker in workers:
            worker.stop("the service stops")
        return gatherResults([worker.idle() for worker in workers]).addCallback(lambda _: None)

    # What the operator asks for. Each raises NotInFleet for a monitor that is not here.

    def status(self) -> tuple[WorkerStatus, ...]:
        """Every worker, the refused and the held ones included, by monitor id."""
        return tuple(worker.status() for _, worker in sorted(self._workers.items()))

    def why(self, monitor_id: int) -> str:
        """Why this monitor is as it is, in a sentence."""
        worker = self._workers.get(monitor_id)
        if worker is None:
            return str(self._absent(monitor_id))
        told = worker.status()
        return f"monitor {monitor_id} is {told.state}: {told.reason}"

    def start(self, monitor_id: int) -> None:
        """Start it now, held or waiting as it may be."""
        worker = self._worker(monitor_id)
        self._held.discard(monitor_id)
        worker.start("an operator started it")

    def stop(self, monitor_id: int) -> None:
        """Stop it. It stays stopped until an operator starts or releases it, or this service is started anew."""
        self._hold(monitor_id, "an operator stopped it")

    def restart(self, monitor_id: int) -> None:
        """Stop it and start it again, now. One that is held stays so."""
        self._worker(monitor_id).restart("an operator restarted it")

    def reload(self, monitor_id: int) -> Deferred[None]:
        """Read the database anew and run it with what that says now. Fails with NotInFleet where that says that it does not run."""

        def check(_: object) -> None:
            if self.catalog_error is None:
                self._worker(monitor_id)

        return self.reconcile().addCallback(check)

    def hold(self, monitor_id: int) -> None:
        """Stop it until `release`, whatever the database says."""
        self._hold(monitor_id, "an operator holds it")

    def release(self, monitor_id: int) -> None:
        """End a hold: it runs again if the database still asks for it."""
        worker = self._worker(monitor_id)
        if monitor_id in self._held:
            self._held.discard(monitor_id)
            worker.start("an operator released it")

    def command(self, monitor_id: int, name: str, **fields: Any) -> Deferred[Response]:
        """See `ICommander`."""
        worker = self._workers.get(monitor_id)
        if worker is None:
            return fail(NotLinked(str(self._absent(monitor_id))))
        return worker.command(name, **fields)

    # Reconciling.

    def reconcile(self) -> Deferred[None]:
        """Make the workers what the database asks for; one such at a time. Fires when all was set going.

        Where the database can't be read, the fleet goes on as it is, and `catalog_error` says why.
        """
        return self._one_at_a_time.run(lambda: Deferred.fromCoroutine(self._reconcile()))

    async def _reconcile(self) -> None:
        try:
            monitors = await self._catalog.monitors().addTimeout(CATALOG_SECONDS, self._clock)
        except Exception as error:
            if self.catalog_error is None:
                self.log.warn("the monitors can't be read, the fleet goes on as it is: {error}", error=str(error))
            self.catalog_error = str(error) or type(error).__name__
            return
        if self.catalog_error is not None:
            self.log.info("the monitors can be read again")
        self.catalog_error = None
        if self.running:
            self._apply(monitors)

    def _apply(self, monitors: Sequence[Monitor]) -> None:
        reasons = {monitor.id: unwanted_reason(monitor, self._settings.zmnext) for monitor in monitors}
        unreadable = dict(self._catalog.unreadable)
        # A monitor whose row made no sense keeps what it has: a slip of the editor must not stop a recording.
        keep = {monitor_id for monitor_id in unreadable if monitor_id in self._workers}
        self._wanted = frozenset(monitor_id for monitor_id, reason in reasons.items() if reason is None) | keep
        self._unwanted = {monitor_id: f"its row makes no sense: {reason}" for monitor_id, reason in unreadable.items()}
        self._unwanted |= {monitor_id: reason for monitor_id, reason in reasons.items() if reason is not None}
        for monitor_id in sorted(self._workers.keys() - self._wanted):
            self._workers[monitor_id].stop(self._unwanted.get(monitor_id, "no monitor of this server any more"))
            self._forget_if_done(monitor_id)
        for monitor in monitors:
            if monitor.id in self._wanted:
                self._ask_for(monitor)

    def _ask_for(self, monitor: Monitor) -> None:
        worker = self._workers.get(monitor.id)
        if worker is None:
            worker = self._workers[monitor.id] = Worker(monitor.id, self._around)
            if monitor.id in self._held:
                worker.hold("an operator holds it")
        try:
            composed = self._compose(monitor)
        except Exception:
            self.log.failure("monitor {monitor_id}: composing its document failed", monitor_id=monitor.id)
            composed = Refusal(monitor.id, "an internal error while composing its document; see the log")
        if isinstance(composed, Refusal):
            self._warn(monitor.id, composed.reason, [f"refused: {composed.reason}"])
            worker.refuse(f"refused: {composed.reason}")
        else:
            self._warn(monitor.id, composed.digest, composed.warnings)
            worker.want(composed)

    def _warn(self, monitor_id: int, occasion: str, warnings: Sequence[str]) -> None:
        """Log warnings once for each new document or refusal, not at each reconcile."""
        if self._warned.get(monitor_id) == occasion:
            return
        self._warned[monitor_id] = occasion
        for warning in warnings:
            self.log.warn("monitor {monitor_id}: {warning}", monitor_id=monitor_id, warning=warning)

    def _announced(self, transition: Transition) -> None:
        self._forget_if_done(transition.monitor_id)
        self._announce(transition)

    def _forget_if_done(self, monitor_id: int) -> None:
        """A worker that nobody wants any more goes when it is reaped; a hold is remembered without it."""
        worker = self._workers.get(monitor_id)
        if monitor_id not in self._wanted and worker is not None and worker.state in IDLE:
            del self._workers[monitor_id]
            self._warned.pop(monitor_id, None)

    # Watching.

    def _watch(self) -> None:
        """Mark the stalled and replace them, unless the host is to blame."""
        now, window = self._clock.seconds(), self._settings.zmnext.worker.watchdog_seconds
        interval = watch_interval(window)
        late, self._looked_at = now - self._looked_at - interval, now
        late = late if late > interval else 0.0
        workers = tuple(self._workers.values())
        if not late:
            for worker in workers:
                worker.look()
        stalled = [worker for worker in workers if worker.state is State.STALLED]
        meant_to_run = sum(worker.state not in IDLE for worker in workers)
        before = self._guard
        host = Host(meant_to_run, len(stalled), late, self.catalog_error is not None)
        self._guard, wait = guard(before, host, now, window)
        if wait is None:
            for worker in stalled:
                worker.replace()
        elif self._guard.until != before.until:
            self.log.warn(
                "no worker is replaced for {seconds} s, the host looks ill: {reason}",
                seconds=window,
                reason=wait,
                workers=meant_to_run,
                stalled=len(stalled),
            )

    # Small parts.

    def _turn(self) -> float:
        now = self._clock.seconds()
        at, self._turn_at = next_turn(
            now, self._turn_at, self._settings.zmnext.worker.starts_per_second, len(self._workers)
        )
        return at - now

    def _worker(self, monitor_id: int) -> Worker:
        worker = self._workers.get(monitor_id)
        if worker is None or not self.running:
            raise self._absent(monitor_id)
        return worker

    def _absent(self, monitor_id: int) -> NotInFleet:
        if not self.running:
            return NotInFleet(monitor_id, "the service is not running")
        return NotInFleet(monitor_id, self._unwanted.get(monitor_id, "there is no such monitor on this server"))

    def _hold(self, monitor_id: int, reason: str) -> None:
        self._worker(monitor_id).hold(reason)
        self._held.add(monitor_id)

    def _loop(self, what: Callable[[], object]) -> LoopingCall:
        """A loop which an error does not end: one bad round must not be the last."""

        def round_() -> Deferred[object]:
            return maybeDeferred(what).addErrback(
                lambda failure: self.log.failure("a round of the fleet has failed", failure)
            )

        loop = LoopingCall(round_)
        loop.clock = self._clock
        return loop

    def _run(self, loop: LoopingCall, interval: float, *, now: bool) -> None:
        ended = loop.start(interval, now=now)
        ended.addErrback(lambda failure: self.log.failure("a loop of the fleet has ended by an error", failure))
