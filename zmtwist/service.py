"""The composition root: settings in, one service out. Nothing else wires parts together.

Started, it waits for the database, looks at what kind it is, and then starts the parts in the order in which they need each other.
Stopped, it ends them in the opposite order, each only when the one before it has: workers first, so that their last clips are still
heard; then what they said is written; the database last.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, fail, gatherResults, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from zope.interface import implementer

from zmtwist.composer import composer, digest_key
from zmtwist.config.reload import taken
from zmtwist.config.settings import Settings
from zmtwist.config.site import site_of
from zmtwist.fleet.fleet import Fleet
from zmtwist.fleet.host_limits import prepare_process
from zmtwist.fleet.liveness import OpenFiles, left_running, living
from zmtwist.fleet.policy import opted_in
from zmtwist.fleet.process.adoption import CannotLeave
from zmtwist.fleet.process.cleanup import end_survivors
from zmtwist.fleet.process.lockfile import LockFile, say_that_it_ends, take_service_lock
from zmtwist.fleet.process.preflight import FleetSettings
from zmtwist.fleet.process.procfs import Linux
from zmtwist.fleet.zmc.handover import Handover, LeaveAlone, Legacy
from zmtwist.fleet.zmc.ledger import Ledger
from zmtwist.fleet.zmc.zmdc import Zmdc
from zmtwist.ingest.clips.highest_event_id import highest_given
from zmtwist.ingest.service import Ingest
from zmtwist.ingest.session.options import options_of
from zmtwist.ingest.thumbnails.queue import possible
from zmtwist.ingest.writer.spool import Spool
from zmtwist.interfaces import ICommander
from zmtwist.ops.monitor_status import Console
from zmtwist.pipeline.document import Document, Refusal
from zmtwist.pipeline.monitor import Monitor
from zmtwist.pipeline.store_node import triggered_lead
from zmtwist.reactor.tuning import tune
from zmtwist.recovery.service import RecoveryService
from zmtwist.runtime import Outside
from zmtwist.untrusted.budget import Budgets
from zmtwist.untrusted.guard import Guards
from zmtwist.wire.link import NotLinked
from zmtwist.wire.messages import Response
from zmtwist.zm.db.errors import DatabaseError
from zmtwist.zm.db.server_clock import compare
from zmtwist.zm.read.catalog import Catalog
from zmtwist.zm.read.own_events import Own
from zmtwist.zm.write.capture_setting import CaptureSwitch
from zmtwist.zm.write.monitor_status import StatusWriter
from zmtwist.zm.write.store import EventStore

HANDOFF_SECONDS = 0.2
"""From the hand-over to the end: time to tell whoever asked for it."""

T = TypeVar("T")

REAL = Outside()
"""The world as it is."""

FIRST_PROBE_DELAY, LAST_PROBE_DELAY = 1.0, 30.0


def wall_us() -> int:
    """The wall clock, in microseconds since the epoch."""
    return time.time_ns() // 1000


@implementer(ICommander)
class ZmNext(Service):
    """The whole of zmtwist, as twistd runs it.

    `announce` hears what happens (`notifications`, and the fleet's transitions) after the fact; `ended` is called when all is written and
    stopped; `outside` is replaced by the simulation only.
    """

    name = "zmnext"
    log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        *,
        announce: Callable[[object], None] = lambda _happening: None,
        ended: Callable[[], None] | None = None,
        wall: Callable[[], int] = wall_us,
        outside: Outside = REAL,
    ) -> None:
        self._reactor = reactor
        self._outside = outside
        self._settings = settings
        self._announce = announce
        self._ended = ended
        self._wall = wall
        self._starting: Deferred[None] | None = None
        self._lock: LockFile | None = None
        self._guards, self._key = Guards(), b""
        self._compose = composer(settings, self._guards)
        self.budgets = Budgets(reactor.seconds)
        self.database = outside.database(reactor, settings.database)
        self.disk = outside.disk(reactor, 8)
        self._spool_thread = outside.disk(reactor, 1)
        self._looks = outside.disk(reactor, 16)  # one thread for each storage that hangs
        self.ingest: Ingest | None = None
        self.fleet: Fleet | None = None
        self.waiting_for: str | None = None
        self.console: Console | None = None
        self.recovery: RecoveryService | None = None
        self._site = site_of(settings)
        self.catalog = Catalog(self.database, self._site)
        self.api = outside.api(reactor, settings, self, wall=wall)

    def startService(self) -> None:
        """Start; what can't be done yet (a database that is away) is tried again until it can.

        Raises `fleet.process.lockfile.AlreadyRunning` where another service works in the same `[paths] run`; then nothing was touched.
        """
        self._lock = take_service_lock(self._settings.run)
        prepare_process(core_files=self._settings.config.zmnext.worker.core_files)
        tune()
        Service.startService(self)
        self._starting = Deferred.fromCoroutine(self._start())
        self._starting.addErrback(self._start_failed)

    def stopService(self) -> Deferred[None]:
        """Fires when every worker was reaped and what it said is written."""
        Service.stopService(self)
        say_that_it_ends(self._lock)
        return Deferred.fromCoroutine(self._stop())

    def handoff(self) -> Deferred[None]:
        """Leave the workers recording and end this service: the next one to start adopts them. Fires when they were left.

        Fails with `fleet.process.adoption.CannotLeave` where they would not outlive it; then all goes on as before.
        """
        if self.fleet is None:
            return fail(CannotLeave("the service has not started any worker yet"))

        def end(_: object) -> None:
            self.log.info("zmnext: the workers are left running; this service ends")
            say_that_it_ends(self._lock)
            self._reactor.callLater(HANDOFF_SECONDS, self._reactor.stop)

        return self.fleet.leave().addCallback(end)

    def reload(self, settings: Settings | None) -> Deferred[None]:
        """Take what of `settings`, if any, can be taken while workers run (`config.reload`), and look at the database at once. Never fails
        for a database that is away."""
        if settings is not None:
            self._settings, waiting = taken(self._settings, settings)
            self._compose = composer(self._settings, self._guards, self._key)
            if waiting:
                self.log.warn("zmnext: what changed here waits for the next start: {keys}", keys=", ".join(waiting))
        if self.fleet is None:
            return succeed(None)
        self.fleet.opted = self._settings.config.zmnext
        return self.fleet.reconcile()

    @property
    def stop_timeout_seconds(self) -> float:
        """How long workers may take to end when they are asked to, and after them what they share."""
        config = self._settings.config.zmnext
        return config.worker.stop_timeout_seconds * (2 if config.share_inference.enabled else 1)

    @property
    def names(self) -> Mapping[int, str]:
        """The monitors' names, as last read."""
        return self.catalog.names

    def preview(self, monitor_id: int) -> Deferred[Document | Refusal | None]:
        """What the database asks for now, whether or not it is put into effect; None for no such monitor. Fails as the catalog does."""
        return Deferred.fromCoroutine(self._preview(monitor_id))

    def command(self, monitor_id: int, name: str, **fields: Any) -> Deferred[Response]:
        """See `ICommander`: ingest speaks to workers through the fleet, which in turn speaks to ingest."""
        if self.fleet is None:
            return fail(NotLinked(f"monitor {monitor_id}: the fleet has not been started"))
        return self.fleet.command(monitor_id, name, **fields)

    async def _start(self) -> None:
        settings = self._settings
        config = settings.config.zmnext
        for directory in (settings.socks, settings.run, settings.state):
            Path(directory).mkdir(mode=0o755, parents=True, exist_ok=True)
        self._key = digest_key(settings.state)
        self._compose = composer(settings, self._guards, self._key)
        for service in (self.database, self.disk, self._spool_thread, self._looks, self.api):
            service.startService()
        await self._from_database(self.database.schema)
        zone = None if config.ingest.timezone is None else ZoneInfo(config.ingest.timezone)
        clocks = await self._from_database(lambda: self.database.interact(compare, zone))
        if clocks is not None and clocks.trouble is not None:
            self.log.critical(
                "zmnext: events are stored at wrong times: {trouble}; "
                "give both the same, or set [zmnext.ingest] timezone to the server's",
                trouble=clocks.trouble,
            )
        store = EventStore(self.database, zone=zone, event_name=config.ingest.event_name, site=self._site)
        self.ingest = Ingest(
            self._reactor,
            store,
            self,
            self.disk,
            Spool(self._spool_thread, settings.spool_dir),
            run=f"{self._wall() // 1_000_000:x}{self._outside.mark()}",
            wall=self._wall,
            announce=self._tell,
            max_batch=config.ingest.max_batch,
            queue_max=config.ingest.queue_max,
            options=options_of(config.ingest),
            thumbnails=possible(config.ingest.thumbnails),
            budgets=self.budgets,
            guards=self._guards,
        )
        self.ingest.settler.roots = lambda: self.catalog.roots
        self.ingest.startService()
        monitors = await self._from_database(self.catalog.monitors)
        given = await highest_given(self._reactor, self._looks, monitors)
        await self._from_database(lambda: store.go_on_above(given.highest, sure=given.sure))
        await self.ingest.resume(monitors, self._triggered_us)
        self.recovery = RecoveryService(
            self._reactor,
            self.database,
            self._site,
            self.disk,
            self.ingest,
            self._own,
            self._living,
            wall=self._wall,
            zone=zone,
            event_name=config.ingest.event_name,
        )
        await self.recovery.at_start()
        self.fleet = Fleet(
            self._reactor,
            self._fleet_settings(),
            self.ingest,
            self.catalog,
            self._composed,
            self._tell,
            self._outside.links(self._reactor),
            on_disk=self._looks.run,
            wall=self._wall,
            jitter=self._outside.jitter,
            kill_group=self._outside.kill_group,
            processes=self._outside.processes(self._reactor),
            legacy=self._legacy(),
            guards=self._guards,
            budgets=self.budgets,
        )
        self.console = Console(self._reactor, StatusWriter(self.database), self.fleet.status, self._rates)
        self.console.startService()
        self.fleet.startService()
        self.recovery.startService()

    async def _own(self) -> Mapping[int, Own]:
        """The monitors whose events are ours to look after."""
        own = {}
        for monitor in await self.catalog.monitors():
            if opted_in(monitor, self._settings.config.zmnext):
                composed = self._compose(monitor)
                lead = composed.lead_sec if isinstance(composed, Document) else 0.0
                own[monitor.id] = Own(monitor, round(lead * 1e6), self._triggered_us(monitor))
        return own

    def _triggered_us(self, monitor: Monitor) -> int:
        return round(triggered_lead(monitor, self._settings.config.zmnext.pipeline) * 1e6)

    async def _living(self) -> OpenFiles:
        """What each living worker has open."""
        run, processes = self._settings.run, self._outside.processes(self._reactor)
        if self.fleet is None:
            return await self.disk.run(left_running, run, processes)
        here = {told.monitor_id: told.pid for told in self.fleet.status() if told.pid is not None}
        return await self.disk.run(living, run, processes, here)

    def _legacy(self) -> Legacy:
        """Whoever deals with ZoneMinder's own capture of the cameras."""
        settings, config = self._settings, self._settings.config.legacy
        if config.control == "none":
            return LeaveAlone()
        switch = CaptureSwitch(self.database)
        return Handover(
            self._reactor,
            Zmdc(self._reactor, settings.zmdc_socket(self.catalog.server_id)),
            Ledger(self._reactor, switch, settings.state, deferToThread, set_none=config.set_none),
            Linux(self._reactor).everyone,
            deferToThread,
        )

    def _fleet_settings(self) -> FleetSettings:
        settings = self._settings
        return FleetSettings(settings.config.zmnext, settings.socks, settings.run, settings.state, dict(os.environ))

    async def _from_database(self, ask: Callable[[], Deferred[T]]) -> T:
        """What the database answers, once it does and is one of ZoneMinder's."""
        delay = FIRST_PROBE_DELAY
        while True:
            try:
                answer = await ask()
            except DatabaseError as error:
                self.waiting_for = str(error)
                self.log.error("zmnext: waiting for the database: {error}", error=str(error))
            else:
                self.waiting_for = None
                return answer
            await deferLater(self._reactor, delay)
            delay = min(LAST_PROBE_DELAY, 2 * delay)

    async def _preview(self, monitor_id: int) -> Document | Refusal | None:
        monitors = await self.catalog.monitors()
        return next((self._compose(monitor) for monitor in monitors if monitor.id == monitor_id), None)

    def _composed(self, monitor: Monitor) -> Document | Refusal:
        """Compose, and let ingest know what the worker will be doing before it can say anything."""
        composed = self._compose(monitor)
        if isinstance(composed, Document) and self.ingest is not None:
            self.ingest.know(monitor, composed, bulk_interval=self.catalog.values.bulk_frame_interval)
        return composed

    def _rates(self) -> Mapping[int, tuple[float, float]]:
        return self.ingest.rates if self.ingest is not None else {}

    def _tell(self, happening: object) -> None:
        if self.console is not None:
            self.console.announce(happening)
        try:
            self.api.announce(happening)
            self._announce(happening)
        except Exception:
            self.log.failure("zmnext: telling of {happening} failed", happening=happening)

    def _start_failed(self, failure: Any) -> None:
        if failure.check(CancelledError):
            return
        if failure.check(OSError):
            error = failure.value
            self.log.critical(
                "zmnext: can't start: {filename}: {error}", filename=error.filename, error=error.strerror or str(error)
            )
        else:
            self.log.failure("zmnext: can't start", failure)
        self._reactor.stop()

    async def _stop(self) -> None:
        try:
            await self._stop_all()
        finally:
            if self._lock is not None:
                self._lock.close()

    async def _stop_all(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
        if self.recovery is not None:
            self.recovery.stopService()
        if self.fleet is not None:
            await self.fleet.stopService()
        elif self._lock is not None:
            outside = self._outside
            end_survivors(self._fleet_settings(), outside.processes(self._reactor), outside.kill_group)
        if self.ingest is not None:
            await self.ingest.finish()
        await self.api.stopService()
        if self.console is not None:
            await self.console.stopService()
        await gatherResults([disk.stopService() for disk in (self._spool_thread, self.disk, self._looks)])
        await self.database.stopService()
        if self._ended is not None:
            self._ended()
