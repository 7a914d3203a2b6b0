"""Which workers run: what the database asks for is compared with what is there, again and again, and made so."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock, fail, gatherResults
from twisted.internet.interfaces import IReactorProcess, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from zmtwist.fleet.adopt import CannotLeave, Survivor
from zmtwist.fleet.debris import sweep
from zmtwist.fleet.holds import Holds, threads_of
from zmtwist.fleet.hygiene import SharedMemory
from zmtwist.fleet.launch import FleetSettings
from zmtwist.fleet.legacy import LeaveAlone, Legacy
from zmtwist.fleet.loops import Loops
from zmtwist.fleet.pace import Pace
from zmtwist.fleet.policy import unwanted_reason
from zmtwist.fleet.procfs import Linux, Processes
from zmtwist.fleet.run import MakeLink, Surroundings
from zmtwist.fleet.status import Transition, WorkerStatus
from zmtwist.fleet.watching import Watchdog
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


WEIGH_SECONDS = 10.0
"""Between two looks at the memory of all workers, where that is bounded."""


def _wall() -> int:
    return time.time_ns() // 1000


@implementer(ICommander)
class Fleet(Service):
    """All workers of this host. Started, it reconciles and watches; stopped, it has reaped every worker, unless it left them running.

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
        processes: Processes | None = None,
        legacy: Legacy | None = None,
        in_thread: Callable[[Callable[[], None]], Deferred[None]] | None = None,
    ) -> None:
        self._clock = IReactorTime(reactor)
        self._settings = settings
        self._catalog = catalog
        self._compose = compose
        self._announce = announce
        self._legacy = legacy or LeaveAlone()
        per_second = settings.zmnext.worker.starts_per_second
        self._around = Surroundings(
            reactor=reactor,
            settings=settings,
            sink=sink,
            make_link=make_link,
            announce=self._announced,
            turn=Pace(self._clock, per_second, lambda: len(self._workers)).turn,
            restart_turn=Pace(self._clock, per_second, lambda: len(self._workers)).turn,
            wall=wall,
            jitter=jitter,
            processes=processes or Linux(reactor),
            kill_group=kill_group,
        )
        self._workers: dict[int, Worker] = {}
        self._wanted: frozenset[int] = frozenset()
        self._unwanted: dict[int, str] = {}
        self._held = Holds(settings.state, in_thread or threads_of(reactor))
        self._survivors: tuple[Survivor, ...] = ()
        self._shared_memory = SharedMemory(settings.rings)
        self._warned: dict[int, str] = {}
        self._one_at_a_time = DeferredLock()
        self._loops = Loops(self._clock)
        self._watchdog = Watchdog(
            self._clock,
            settings.zmnext.worker.watchdog_seconds,
            self._workers_here,
            lambda: self.catalog_error is not None,
        )
        self.catalog_error: str | None = None

    # Service.

    def startService(self) -> None:
        """Reconcile now and then, watch the workers."""
        super().startService()  # type: ignore[no-untyped-call]
        self._held.load()
        self._legacy.start(self._handed_over, self.reconcile)
        # They are taken on when it is known which are wanted.
        self._survivors = sweep(self._settings, self._around.processes)
        if self._settings.zmnext.worker.max_rss_mb:
            self._loops.every(WEIGH_SECONDS, self._weigh)
        self._watchdog.begin()
        self._loops.every(self._watchdog.interval, self._watchdog.look)
        self._loops.every(self._settings.zmnext.reconcile_seconds, self.reconcile, now=True)

    def stopService(self) -> Deferred[None]:
        """Stop all workers at once; fires when each was reaped."""
        self._adopt()
        self._end_loops()
        workers = list(self._workers.values())
        for worker in workers:
            worker.stop("the service stops")
        waits = [*(worker.idle() for worker in workers), self._held.saved()]
        return gatherResults(waits).addCallback(lambda _: None)

    def leave(self) -> Deferred[None]:
        """Stop, but leave the workers recording: the next start adopts them. Fails with CannotLeave where they would not outlive us."""
        if not self._settings.zmnext.worker.survive_restart:
            return fail(
                CannotLeave("the workers would end with this service: [zmnext.worker] survive_restart is false")
            )
        self._end_loops()
        workers, self._workers, self._survivors = list(self._workers.values()), {}, ()
        for worker in workers:
            worker.leave()
        return self._held.saved()

    def _end_loops(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]
        self._legacy.stop()
        self._loops.stop()

    # What the operator asks for. Each raises NotInFleet for a monitor that is not here.

    def status(self) -> tuple[WorkerStatus, ...]:
        """Every worker, the refused and the held ones included, by monitor id."""
        return tuple(
            attrs.evolve(worker.status(), legacy=self._legacy.told(monitor_id))
            for monitor_id, worker in sorted(self._workers.items())
        )

    @property
    def unwanted(self) -> Mapping[int, str]:
        """The monitors of this server that do not run on zm-next, each with the reason, as of the last reconcile."""
        return self._unwanted

    def documents(self, monitor_id: int) -> tuple[Document | None, Document | None]:
        """The document that this monitor is meant to run with, and the one that its process was started with."""
        return self._worker(monitor_id).documents

    def why(self, monitor_id: int) -> str:
        """Why this monitor is as it is, in a sentence."""
        worker = self._workers.get(monitor_id)
        if worker is None:
            return str(self._absent(monitor_id))
        told = worker.status()
        legacy = self._legacy.told(monitor_id)
        return f"monitor {monitor_id} is {told.state}: {told.reason}" + (f". {legacy}" if legacy else "")

    def start(self, monitor_id: int) -> None:
        """Start it now, held or waiting as it may be."""
        worker = self._worker(monitor_id)
        self._held.discard(monitor_id)
        worker.start("an operator started it")

    def stop(self, monitor_id: int) -> None:
        """Stop it. It stays stopped until an operator starts or releases it, or this service is started anew."""
        self._hold(monitor_id, "an operator stopped it", kept=False)

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
        """Stop it until `release`, whatever the database says and however often this service is started anew."""
        self._hold(monitor_id, "an operator holds it", kept=True)

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
        adopted = self._adopt()
        monitors = self._legacy.see(monitors)
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
        self._shared_memory.look(len(self._wanted))
        for monitor in monitors:
            if monitor.id in self._wanted:
                self._ask_for(monitor)
            elif monitor.id in adopted:
                # It is being stopped; what it still says is heard by those who know of it from its composing.
                self._composed(monitor)
        self._return_unused()

    def _ask_for(self, monitor: Monitor) -> None:
        worker = self._workers.get(monitor.id)
        if worker is None:
            worker = self._workers[monitor.id] = Worker(monitor.id, self._around)
            if monitor.id in self._held:
                worker.hold("an operator holds it")
        composed = self._composed(monitor)
        if isinstance(composed, Refusal):
            self._warn(monitor.id, composed.reason, [f"refused: {composed.reason}"])
            worker.refuse(f"refused: {composed.reason}")
        else:
            self._warn(monitor.id, composed.digest, composed.warnings)
            worker.want(composed, waits_for=self._legacy.take(monitor.id))

    def _composed(self, monitor: Monitor) -> Document | Refusal:
        try:
            return self._compose(monitor)
        except Exception:
            self.log.failure("monitor {monitor_id}: composing its document failed", monitor_id=monitor.id)
            return Refusal(monitor.id, "an internal error while composing its document; see the log")

    def _warn(self, monitor_id: int, occasion: str, warnings: Sequence[str]) -> None:
        """Log warnings once for each new document or refusal, not at each reconcile."""
        if self._warned.get(monitor_id) == occasion:
            return
        self._warned[monitor_id] = occasion
        for warning in warnings:
            self.log.warn("monitor {monitor_id}: {warning}", monitor_id=monitor_id, warning=warning)

    def _handed_over(self, monitor_id: int) -> None:
        """ZoneMinder does not capture it any more."""
        if self.running and monitor_id in self._workers:
            self._workers[monitor_id].proceed()

    def _return_unused(self) -> None:
        """Give back to ZoneMinder what has no worker and will have none. What an operator holds is not given back."""
        needed = {
            monitor_id
            for monitor_id, worker in self._workers.items()
            if worker.state not in IDLE or (monitor_id in self._wanted and not worker.refused)
        }
        self._legacy.keep(needed | self._catalog.unreadable.keys())

    def _announced(self, transition: Transition) -> None:
        self._forget_if_done(transition.monitor_id)
        if transition.to_state in IDLE and self.running:
            self._return_unused()
        self._announce(transition)

    def _forget_if_done(self, monitor_id: int) -> None:
        """A worker that nobody wants any more goes when it is reaped; a hold is remembered without it."""
        worker = self._workers.get(monitor_id)
        if monitor_id not in self._wanted and worker is not None and worker.state in IDLE:
            del self._workers[monitor_id]
            self._warned.pop(monitor_id, None)

    # What an earlier run left.

    def _adopt(self) -> frozenset[int]:
        """Take on every worker that outlived our last run, before it is looked at which are wanted; their monitors."""
        survivors, self._survivors = self._survivors, ()
        for survivor in survivors:
            worker = Worker(survivor.monitor_id, self._around)
            if not worker.adopt(survivor):
                continue
            self._workers[survivor.monitor_id] = worker
            if survivor.monitor_id in self._held:
                worker.hold("an operator holds it")
            elif not self._settings.zmnext.worker.survive_restart:
                worker.restart_soon("survive_restart is false: it must be one that ends with this service")
        return frozenset(survivor.monitor_id for survivor in survivors)

    def _weigh(self) -> None:
        for worker in self._workers_here():
            worker.weigh()

    def _workers_here(self) -> tuple[Worker, ...]:
        return tuple(self._workers.values())

    # Small parts.

    def _worker(self, monitor_id: int) -> Worker:
        worker = self._workers.get(monitor_id)
        if worker is None or not self.running:
            raise self._absent(monitor_id)
        return worker

    def _absent(self, monitor_id: int) -> NotInFleet:
        if not self.running:
            return NotInFleet(monitor_id, "the service is not running")
        return NotInFleet(monitor_id, self._unwanted.get(monitor_id, "there is no such monitor on this server"))

    def _hold(self, monitor_id: int, reason: str, *, kept: bool) -> None:
        self._worker(monitor_id).hold(reason)
        self._held.add(monitor_id, kept=kept)
