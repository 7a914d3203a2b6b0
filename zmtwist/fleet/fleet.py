"""Which workers run: what the database asks for is compared with what is there, again and again, and made so."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock, DeferredSemaphore, fail, gatherResults
from twisted.internet.interfaces import IReactorProcess, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from zmtwist.fleet.camera_loss import connect_by
from zmtwist.fleet.holds import Holds, threads_of
from zmtwist.fleet.host_limits import SharedMemory
from zmtwist.fleet.policy import Choice, choose
from zmtwist.fleet.process.adoption import CannotLeave, Survivor
from zmtwist.fleet.process.cleanup import sweep
from zmtwist.fleet.process.instance import Connect, MakeLink, Surroundings
from zmtwist.fleet.process.preflight import FleetSettings, OnDisk, StorageChecks
from zmtwist.fleet.process.procfs import Linux, Processes
from zmtwist.fleet.process.state import IDLE, State, Transition
from zmtwist.fleet.reconcile_inputs import DocumentComposer, MonitorReader
from zmtwist.fleet.registry import Roster
from zmtwist.fleet.shared_inference import Inference
from zmtwist.fleet.status import InferenceStatus, WorkerStatus
from zmtwist.fleet.throttle import Pace
from zmtwist.fleet.watchdog import Watchdog
from zmtwist.fleet.worker import Worker
from zmtwist.fleet.zmc.handover import LeaveAlone, Legacy
from zmtwist.interfaces import ICatalog, ICommander, IEventSink
from zmtwist.pipeline.document import Document, Refusal
from zmtwist.pipeline.monitor import Monitor
from zmtwist.reactor.periodic import Loops
from zmtwist.untrusted.budget import Budgets
from zmtwist.untrusted.guard import Guards
from zmtwist.wire.link import NotLinked
from zmtwist.wire.messages import Response


@attrs.frozen
class NotInFleet(Exception):
    """An operator named a monitor that does not run on zm-next; `reason` says why it does not."""

    monitor_id: int
    reason: str

    def __str__(self) -> str:
        return f"monitor {self.monitor_id} does not run on zm-next: {self.reason}"


WEIGH_SECONDS = 10.0
"""Between two looks at the memory of all workers, where that is bounded."""

HEIRS = 4
"""So many workers are got ready at once to follow others."""

AGAIN_SECONDS = 5.0
"""How soon the monitors are read again where they could not be."""


def _wall() -> int:
    return time.time_ns() // 1000


@implementer(ICommander)
class Fleet(Service):
    """All workers of this host. Started, it reconciles and watches; stopped, it has reaped every worker, unless it left them running.

    `compose` turns a monitor into its document or a refusal; `announce` hears of each transition. What an operator holds is
    respected whatever the database says. `on_disk` runs what may hang with a storage, on threads that are of no use to anyone else.
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
        on_disk: OnDisk,
        wall: Callable[[], int] = _wall,
        jitter: Callable[[], float] = random.random,
        kill_group: Callable[[int, int], None] = os.killpg,
        processes: Processes | None = None,
        legacy: Legacy | None = None,
        in_thread: Callable[[Callable[[], None]], Deferred[None]] | None = None,
        connect: Connect | None = None,
        guards: Guards | None = None,
        budgets: Budgets | None = None,
    ) -> None:
        self._clock = IReactorTime(reactor)
        self._settings = settings
        self.opted = settings.zmnext
        """Decides, at each reconcile, which monitors run on zm-next; a reload replaces it."""
        self._catalog = catalog
        self._reading = MonitorReader(self._clock, catalog)
        self._composing = DocumentComposer(compose)
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
            storages=StorageChecks(self._clock, on_disk),
            connect=connect or connect_by(reactor),
            heirs=DeferredSemaphore(HEIRS),
            kill_group=kill_group,
            guards=guards or Guards(),
            budgets=budgets or Budgets(self._clock.seconds),
        )
        self._choice = Choice()
        self._reconciled = False
        self._held = Holds(settings.state, in_thread or threads_of(reactor))
        self._workers = Roster(self._around, self._held)
        self._survivors: dict[int, Survivor] = {}
        self._shared_memory = SharedMemory(settings.rings)
        self._one_at_a_time = DeferredLock()
        self._loops = Loops(self._clock)
        self._watchdog = Watchdog(
            self._clock,
            settings.zmnext.worker.watchdog_seconds,
            self._workers.values,
            lambda: self.catalog_error is not None,
        )
        self._inference = Inference(self._around, self._inference_awaited)

    # Service.

    def startService(self) -> None:
        """Reconcile now and then, watch the workers."""
        Service.startService(self)
        self._held.load()
        self._legacy.start(self._handed_over, self.reconcile)
        # They are taken on when it is known which are wanted.
        self._survivors = sweep(self._settings, self._around.processes, kill_group=self._around.kill_group)
        self._inference.find()
        if self._settings.zmnext.worker.max_rss_mb:
            self._loops.every(WEIGH_SECONDS, self._workers.weigh)
        self._watchdog.begin()
        self._loops.every(self._watchdog.interval, self._watchdog.look)
        self._loops.every(self._settings.zmnext.reconcile_seconds, self.reconcile, now=True)
        self._loops.every(AGAIN_SECONDS, self._reconcile_again)

    def stopService(self) -> Deferred[None]:
        """Stop all workers at once, and then what they share; fires when each was reaped."""
        self._adopt()
        self._end_loops()
        waits = [*self._workers.stop("the service stops"), self._held.saved()]
        return gatherResults(waits).addCallback(lambda _: self._inference.stop())

    def leave(self) -> Deferred[None]:
        """Stop, but leave the workers recording: the next start adopts them. Fails with CannotLeave where they would not outlive us."""
        if not self._settings.zmnext.worker.survive_restart:
            return fail(
                CannotLeave("the workers would end with this service: [zmnext.worker] survive_restart is false")
            )
        self._end_loops()
        self._survivors = {}
        self._workers.leave()
        self._inference.leave()
        return self._held.saved()

    def _end_loops(self) -> None:
        Service.stopService(self)
        self._legacy.stop()
        self._loops.stop()
        self._reading.stop()

    # What the operator asks for. Each raises NotInFleet for a monitor that is not here.

    def status(self) -> tuple[WorkerStatus, ...]:
        """Every worker, the refused and the held ones included, by monitor id."""
        return tuple(
            attrs.evolve(worker.status(), legacy=self._legacy.told(monitor_id))
            for monitor_id, worker in self._workers.items()
        )

    @property
    def catalog_error(self) -> str | None:
        """Why the monitors could not be read the last time; None where they could."""
        return self._reading.error

    @property
    def inference(self) -> InferenceStatus | None:
        """The shared inference; None where it neither runs nor is to be shared."""
        told = self._inference.status()
        return told if self._settings.zmnext.share_inference.enabled or told.state is not State.STOPPED else None

    @property
    def unwanted(self) -> Mapping[int, str]:
        """The monitors of this server that do not run on zm-next, each with the reason, as of the last reconcile."""
        return self._choice.unwanted

    @property
    def settled(self) -> bool:
        """Whether there is nothing left to end: no process of ours, and no camera that is ZoneMinder's and not given back."""
        nothing_runs = not self._workers and self._inference.status().state is State.STOPPED
        return self._reconciled and nothing_runs and not self._legacy.owes()

    def documents(self, monitor_id: int) -> tuple[Document | None, Document | None]:
        """The document that this monitor is meant to run with, and the one that its process was started with."""
        return self._worker(monitor_id).documents

    def start(self, monitor_id: int) -> None:
        """Start it now, held or waiting as it may be."""
        worker = self._wanted(monitor_id)
        self._held.discard(monitor_id)
        worker.start("an operator started it")

    def stop(self, monitor_id: int) -> None:
        """Stop it. It stays stopped until an operator starts or releases it, or this service is started anew."""
        self._hold(monitor_id, "an operator stopped it", kept=False)

    def restart(self, monitor_id: int) -> None:
        """Stop it and start it again, now. One that is held stays so."""
        self._wanted(monitor_id).restart("an operator restarted it")

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
        worker = self._wanted(monitor_id)
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

    def _reconcile_again(self) -> Deferred[None] | None:
        """Where the monitors could not be read: at a start, no camera records before they are."""
        return self.reconcile() if self._reading.error is not None else None

    async def _reconcile(self) -> None:
        monitors = await self._reading.monitors()
        if monitors is not None and self.running:
            self._apply(monitors)

    def _apply(self, monitors: Sequence[Monitor]) -> None:
        self._reconciled = True
        adopted = self._adopt()
        monitors = self._legacy.see(monitors)
        self._choice = choice = choose(monitors, dict(self._catalog.unreadable), self._workers.keys(), self.opted)
        for monitor_id in sorted(self._workers.keys() - choice.wanted):
            self._workers[monitor_id].stop(choice.unwanted.get(monitor_id, "no monitor of this server any more"))
            self._forget_if_done(monitor_id)
        self._shared_memory.look(len(choice.wanted))
        for monitor in monitors:
            if monitor.id in choice.wanted:
                self._ask_for(monitor)
            elif monitor.id in adopted:
                # It is being stopped; what it still says is heard by those who know of it from its composing.
                self._composing.of(monitor)
        self._inference.need(any(map(_shares_inference, self._workers.values())))
        self._return_unused()

    def _ask_for(self, monitor: Monitor) -> None:
        worker = self._workers.of(monitor.id)
        composed = self._composing.of(monitor)
        self._composing.warn(composed)
        if isinstance(composed, Refusal):
            worker.refuse(f"refused: {composed.reason}")
        else:
            worker.want(composed, waits_for=self._waits_for(composed))

    def _waits_for(self, document: Document) -> str:
        """What has to come before its start. First what it needs: till then ZoneMinder's own capture goes on, where there is one."""
        return (document.shares_inference and self._inference.waits) or self._legacy.take(document.monitor_id)

    def _inference_awaited(self) -> None:
        """Those that waited for the shared inference need not any more."""
        for monitor_id in sorted(self._workers.keys() & self._choice.wanted):
            worker = self._workers[monitor_id]
            document = worker.documents[0]
            if self.running and document is not None and document.shares_inference:
                worker.want(document, waits_for=self._waits_for(document))

    def _handed_over(self, monitor_id: int) -> None:
        """ZoneMinder does not capture it any more."""
        if self.running and monitor_id in self._workers:
            self._workers[monitor_id].proceed()

    def _return_unused(self) -> None:
        """Give back to ZoneMinder what has no worker and will have none. What an operator holds is not given back."""
        needed = {
            monitor_id
            for monitor_id, worker in self._workers.items()
            if worker.state not in IDLE or (monitor_id in self._choice.wanted and not worker.refused)
        }
        self._legacy.keep(needed | self._catalog.unreadable.keys())

    def _announced(self, transition: Transition) -> None:
        self._forget_if_done(transition.monitor_id)
        if transition.to_state in IDLE and self.running:
            self._return_unused()
        self._announce(transition)

    def _forget_if_done(self, monitor_id: int) -> None:
        if self._workers.forget_if_done(monitor_id, self._choice.wanted):
            self._composing.forget(monitor_id)

    def _adopt(self) -> frozenset[int]:
        """Take on what outlived our last run, before it is looked at which are wanted; their monitors."""
        survivors, self._survivors = self._survivors, {}
        self._workers.adopt(survivors)
        return frozenset(survivors)

    # Small parts.

    def _worker(self, monitor_id: int) -> Worker:
        worker = self._workers.get(monitor_id)
        if worker is None or not self.running:
            raise self._absent(monitor_id)
        return worker

    def _wanted(self, monitor_id: int) -> Worker:
        """One that may run: not one that is only here because it is still ending."""
        worker = self._worker(monitor_id)
        if monitor_id not in self._choice.wanted:
            raise self._absent(monitor_id)
        return worker

    def _absent(self, monitor_id: int) -> NotInFleet:
        if not self.running:
            return NotInFleet(monitor_id, "the service is not running")
        return NotInFleet(monitor_id, self._choice.unwanted.get(monitor_id, "there is no such monitor on this server"))

    def _hold(self, monitor_id: int, reason: str, *, kept: bool) -> None:
        self._worker(monitor_id).hold(reason)
        self._held.add(monitor_id, kept=kept)


def _shares_inference(worker: Worker) -> bool:
    """Whether it is meant to run with, or still runs with, a document that needs the shared inference."""
    return any(document is not None and document.shares_inference for document in worker.documents)
