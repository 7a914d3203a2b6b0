"""Ingest's shell: worker events in, sessions in the middle, the writer and its effects behind. One per service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from msgspec.structs import replace
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from zmtwist.changes import Change, ClipSaved, CloseEvent, OpenEvent
from zmtwist.ingest.admission import heard, opens, paid
from zmtwist.ingest.assigner import Assigner
from zmtwist.ingest.clip_end_waiters import ClipEnds
from zmtwist.ingest.clips.finalizer import Settling
from zmtwist.ingest.clips.review_assets import Synopses
from zmtwist.ingest.clips.storage_monitor import StorageMonitor
from zmtwist.ingest.clock_steps import ClockSteps
from zmtwist.ingest.in_flight import Hands, InHand
from zmtwist.ingest.recording_watch import Failing, RecordingWatch, Wanted
from zmtwist.ingest.session.camera_health import Health
from zmtwist.ingest.session.options import SECOND, Options
from zmtwist.ingest.session.restore import restored
from zmtwist.ingest.session.scoring import MOTION_GATE_DOWNSCALE
from zmtwist.ingest.session.session import Session
from zmtwist.ingest.session.snapshot import UnderWay, closed, under_way
from zmtwist.ingest.session.zone_filter import zoning_of
from zmtwist.ingest.thumbnails.queue import Thumbnails
from zmtwist.ingest.writer.spool import Spool
from zmtwist.ingest.writer.writer import Writer
from zmtwist.interfaces import ICommander, IEventSink, IEventStore
from zmtwist.notifications import EventOpened
from zmtwist.pipeline.document import Document
from zmtwist.pipeline.monitor import Monitor
from zmtwist.reactor.deferreds import ended
from zmtwist.reactor.thread_pool import Disk
from zmtwist.untrusted.budget import UNLIMITED, Budgets
from zmtwist.untrusted.guard import Guards
from zmtwist.wire.event_details import EVENT_REVIEW_ASSETS, RecordingSaved
from zmtwist.wire.messages import Event, Hello, Stream, kind_of
from zmtwist.zm.event_paths import EventPlace
from zmtwist.zm.read.own_events import LeftRow

TICK_SECONDS = 1.0
FINISH_SECONDS = 20.0


@implementer(IEventSink)
class Ingest(Service):
    """Keeps one session per monitor, hands its changes to the writer, and does what follows a commit.

    `run` tells this run's handles from those of any other. `announce` gets `notifications` after the fact. `options` are those of any
    monitor, before `know` says what is its own. With `thumbnails` events get pictures once they are closed, which takes PyAV; without
    `budgets` all that is said is taken.
    """

    name = "ingest"
    log = Logger()

    def __init__(
        self,
        reactor: Any,
        store: IEventStore,
        commander: ICommander,
        disk: Disk,
        spool: Spool | None = None,
        *,
        run: str,
        wall: Callable[[], int],
        announce: Callable[[object], None],
        max_batch: int = 2000,
        queue_max: int = 100_000,
        options: Options | None = None,
        thumbnails: bool = False,
        guards: Guards | None = None,
        budgets: Budgets | None = None,
    ) -> None:
        self._reactor = reactor
        self._run = run
        self._wall = wall
        self._clock_steps = ClockSteps(reactor.seconds, wall)
        self.budgets = budgets or Budgets(reactor.seconds, UNLIMITED)
        self._announce = announce
        self._options = options or Options()
        self._clip_ends = ClipEnds(reactor)
        self._monitors: dict[int, Monitor] = {}
        self._roots: dict[int, str] = {}
        self.storages = StorageMonitor(reactor, disk, lambda: self._roots)
        self._sessions: dict[int, Session] = {}
        self._settling: set[Deferred[None]] = set()
        self._hands = Hands(run)
        self._left: dict[int, LeftRow] = {}
        self._made = count(1)
        self.after_gone: Callable[[int], None] = lambda _monitor_id: None
        self.after_held_back: Callable[[int], None] = lambda _monitor_id: None
        self.after_met: Callable[[int], None] = lambda _monitor_id: None
        self._ticker = LoopingCall(self._tick)
        self._ticker.clock = reactor
        self.kinds: Counter[str] = Counter()
        self.rates: dict[int, tuple[float, float]] = {}
        self._assigner = Assigner(reactor, commander)
        self.assign_seconds = self._assigner.seconds
        self._unread_zones: dict[int, tuple[str, ...]] = {}
        self.guards = guards or Guards()
        """What is read of files passes them; what workers say has passed them when it comes here."""
        self.synopses = Synopses(disk, self._submit, self._watched, self.guards)
        self.writer = Writer(
            reactor, store, lambda: self._monitors, self._effect, max_batch=max_batch, queue_max=queue_max, spool=spool
        )
        self.recording = RecordingWatch(reactor, disk, wall, self._session, lambda: self.writer.open_places, announce)
        self.settler = Settling(reactor, disk, self.storages, self._session, self.writer.submit)
        self.thumbnails: Thumbnails | None = None
        if thumbnails:
            self.thumbnails = Thumbnails(reactor, disk, self._submit, lambda: self.writer.queued, long_queue=max_batch)

    # Life

    def startService(self) -> None:
        """Begin to refresh open events."""
        Service.startService(self)
        self._ticker.start(TICK_SECONDS, now=False).addErrback(
            lambda failure: self.log.failure("ingest: the ticker stopped", failure)
        )
        self.storages.startService()

    async def finish(self) -> None:
        """Wait until every event said so far is in the database and every saved clip in its place, but not for ever (a database that
        is away, a storage that hangs). Call once the workers are gone."""
        Service.stopService(self)
        if self._ticker.running:
            self._ticker.stop()
        self.storages.stopService()
        done = Deferred.fromCoroutine(self._all_done())
        done.addTimeout(FINISH_SECONDS, self._reactor)
        try:
            await done
        except TookTooLong:
            self.log.error(
                "ingest: stopped with {queued} changes not written and {clips} clips not seen to (the spool keeps them): {error}",
                queued=self.writer.queued,
                clips=len(self._settling),
                error=self.writer.figures.last_error,
            )
            for settling in list(self._settling):
                settling.cancel()
        await self.writer.stopService()

    async def _all_done(self) -> None:
        await self._written()
        if self.thumbnails is not None:
            await self.thumbnails.finish()
            await self._written()

    async def _written(self) -> None:
        while not self.writer.idle or self._settling:
            await self.writer.drained()
            for settling in list(self._settling):
                await ended(settling)

    def know(self, monitor: Monitor, document: Document, *, bulk_interval: int) -> None:
        """What the monitor's worker has been, or will be, told to do. Call before it is started."""
        if monitor.id not in self._monitors:
            self.after_met(monitor.id)
        self._monitors[monitor.id] = monitor
        recorder = document.mode != "none"
        root = monitor.storage.path
        if recorder:
            self._roots[monitor.id] = root
        else:
            self._roots.pop(monitor.id, None)
        self.recording.want(monitor.id, Wanted(root, continuous=document.mode != "event") if recorder else None)
        zoning, unread = zoning_of(monitor, document.detect_size)
        if unread != self._unread_zones.get(monitor.id, ()):
            self._unread_zones[monitor.id] = unread
            for problem in unread:
                self.log.warn("monitor {monitor_id}: {problem}", monitor_id=monitor.id, problem=problem)
        width, height = monitor.display_size
        # Where all is recorded nothing triggers, but a worker that goes on with its document of before may still.
        known_us = self._session(monitor.id).options.pre_roll_us
        options = replace(
            self._options,
            recorder=recorder,
            pre_roll_us=known_us if document.mode == "continuous" else round(document.lead_sec * SECOND),
            motion_area=document.motion_cells * MOTION_GATE_DOWNSCALE**2 or max(0, width) * max(0, height),
            bulk_interval=bulk_interval,
            zoning=zoning,
        )
        self._sessions[monitor.id] = replace(self._session(monitor.id), options=options)

    # What workers say (IEventSink)

    def hello(self, monitor_id: int, hello: Hello) -> None:
        """Remember the video's codec: it becomes part of clip names."""
        if hello.stream == Stream.VIDEO:
            session = self._session(monitor_id)
            since = session.capturing_since_us or self._wall()
            self._sessions[monitor_id] = replace(session, codec_id=hello.codec_id, capturing_since_us=since)

    def event(self, monitor_id: int, event: Event, at_us: int) -> None:
        """One event of a worker."""
        self.kinds[kind_of(event.detail)] += 1
        self._look_at_clock()
        if not heard(self.budgets.of(monitor_id), event, self._reactor.seconds()):
            return
        if event.code == EVENT_REVIEW_ASSETS:
            self.synopses.heard(self._session(monitor_id), event.detail, at_us)
            return
        outcome = self._session(monitor_id).handle(event, at_us)
        self._step(monitor_id, outcome)
        if isinstance(event.detail, RecordingSaved) and not any(isinstance(change, ClipSaved) for change in outcome[1]):
            self.settler.after_lost(monitor_id)

    def rate(self, monitor_id: int, frames_per_second: float, bytes_per_second: float) -> None:
        """A sample of the camera's rate."""
        self.rates[monitor_id] = (frames_per_second, bytes_per_second)
        self.recording.moved(monitor_id, frames_per_second, bytes_per_second)
        self._sessions[monitor_id] = self._session(monitor_id).sampled(frames_per_second)

    def gap(self, monitor_id: int, missed: int) -> None:
        """Events were missed."""
        self._sessions[monitor_id] = self._session(monitor_id).gap()

    def logged_opening(self, monitor_id: int, token: str, cause: str, at_us: int) -> None:
        """An opening read off the worker's log, in case the socket missed it."""
        self._look_at_clock()
        self._step(monitor_id, self._session(monitor_id).opening(token, cause, at_us))

    def frame_refused(self, monitor_id: int) -> None:
        """The recorder could not write a frame."""
        self.recording.refused(monitor_id)
        self._sessions[monitor_id] = self._session(monitor_id).refused()

    def failing(self, monitor_id: int) -> Failing | None:
        """See `IEventSink`."""
        return self.recording.failing(monitor_id)

    def adopted(self, monitor_id: int) -> None:
        """The worker was heard by an earlier run of this service until now."""
        self._clip_ends.adopted(monitor_id)
        session, row = self._session(monitor_id).adopted(), self._left.pop(monitor_id, None)
        if row is not None:
            session = restored(session, row, self.take_up(row.place))
        self._sessions[monitor_id] = session

    def clip_end(self, monitor_id: int) -> Deferred[None]:
        """See `IEventSink`."""
        recording = any(clip.token is not None for clip in self._session(monitor_id).clips)
        return self._clip_ends.wait(monitor_id, recording)

    def gone(self, monitor_id: int) -> None:
        """The worker's process has ended."""
        self._look_at_clock()
        self._step(monitor_id, self._session(monitor_id).gone(self._wall()))
        self._clip_ends.ended(monitor_id)
        self.recording.gone(monitor_id)
        self.after_gone(monitor_id)

    # What an earlier run left

    async def resume(self, monitors: Sequence[Monitor], pre_roll_us: Callable[[Monitor], int] = lambda _: 0) -> None:
        """Begin to write what an earlier run left in the spool, of whichever of these monitors. `pre_roll_us` says how long before their
        openings the triggered clips of one begin: by that those whose saves are written are found, until `know` says what is true now."""
        for monitor in monitors:
            self._monitors.setdefault(monitor.id, monitor)
            options = replace(self._options, pre_roll_us=pre_roll_us(monitor))
            self._sessions[monitor.id] = replace(self._session(monitor.id), options=options)
        await self.writer.resume()

    def in_hand(self) -> InHand:
        """The events and clips that are being dealt with here and now."""
        return self._hands.now(self.writer.open_places, openings_wait=self.writer.openings_wait)

    def leave_open(self, row: LeftRow) -> None:
        """A worker that is about to be adopted still records this event's clip."""
        self._left[row.monitor_id] = row

    def take_up(self, place: EventPlace) -> str:
        """Go on with an event whose row an earlier run wrote; its handle from now on."""
        known = (handle for handle, one in self.writer.open_places.items() if one.event_id == place.event_id)
        handle = next(known, f"{place.monitor_id}.{self._run}.e{place.event_id}")
        self.writer.adopt(handle, place)
        self._hands.take_up(handle)
        return handle

    def new_handle(self, monitor_id: int) -> str:
        """A handle for an event that is made of a clip which nobody has spoken of."""
        return f"{monitor_id}.{self._run}.s{next(self._made)}"

    def recover(self, monitor: Monitor, changes: Sequence[Change]) -> Deferred[None]:
        """Write what is found out about one event of an earlier run, all under one handle; fires when that is closed."""
        self._monitors.setdefault(monitor.id, monitor)
        over = self._hands.closed(changes[0].handle)
        self._submit(monitor.id, changes)
        return over

    # What is known of the monitors

    @property
    def health(self) -> Mapping[int, Health]:
        """What each worker says of its camera's health, by monitor."""
        return {monitor_id: session.health for monitor_id, session in self._sessions.items()}

    @property
    def under_way(self) -> Sequence[UnderWay]:
        """The events that are not over, of all monitors."""
        return tuple(under_way(self._sessions.values(), self.writer.open_places))

    def folded(self, monitor_id: int) -> tuple[int, int]:
        """How many alarm frames and Event_Data rows of a monitor were left out by `max_frames_per_second` and `max_data_per_minute`."""
        session = self._session(monitor_id)
        return session.folded_frames, session.room.folded

    def _session(self, monitor_id: int) -> Session:
        if monitor_id not in self._sessions:
            self._sessions[monitor_id] = Session(monitor_id, self._run, self._options)
        return self._sessions[monitor_id]

    def _step(self, monitor_id: int, outcome: tuple[Session, Sequence[Change]]) -> None:
        if outcome[1]:
            budget, now = self.budgets.of(monitor_id), self._reactor.seconds()
            if not opens(budget, outcome[1], now):
                self.after_held_back(monitor_id)
                return  # as if it had not been said
            outcome = outcome[0], paid(budget, outcome[1], now)
        self._sessions[monitor_id], changes = outcome
        self._assigner.heard(changes)
        self._submit(monitor_id, changes)
        if any(isinstance(change, ClipSaved) for change in changes):
            self._clip_ends.ended(monitor_id)

    def _submit(self, monitor_id: int, changes: Sequence[Change]) -> None:
        self._hands.take(changes)
        self.writer.submit(monitor_id, changes)

    def _look_at_clock(self) -> None:
        """What is open is as long as it is, whatever the host's clock is set to meanwhile."""
        if by_us := self._clock_steps.look():
            self.log.warn("ingest: the host's clock was set by {seconds} s", seconds=by_us / SECOND)
            self._sessions = {monitor_id: session.stepped(by_us) for monitor_id, session in self._sessions.items()}

    def _tick(self) -> None:
        self._look_at_clock()
        now = self._wall()
        for monitor_id, session in list(self._sessions.items()):
            if session.clips:
                self._step(monitor_id, session.tick(now))
        self.recording.tick()

    # What follows a commit

    def _effect(self, change: OpenEvent | ClipSaved | CloseEvent, place: EventPlace) -> None:
        if isinstance(change, OpenEvent):
            self._announce(EventOpened(change.monitor_id, place.event_id, change.start_us, change.cause))
            if change.token is not None:
                session = self._session(place.monitor_id)
                self._sessions[place.monitor_id] = session.assigned(change.handle, place.event_id)
                self._watched(self._assigner.assign(change.handle, change.token, place))
        elif isinstance(change, ClipSaved):
            self._hands.take([change])  # one that the spool brings was not heard by this run
            if f".{self._run}." not in change.handle:  # and what has become of its file since, nobody knows
                change = replace(change, doubtful=True)
            self._watched(self.settler.settle(change, place))
        else:
            self.synopses.closed(change.handle, place)
            if self.thumbnails is not None:
                self.thumbnails.closed(change, place)
            self._announce(closed(change, place, self._session(place.monitor_id).labels_of(change.handle)))
            self._hands.let_go(change.handle)

    def _watched(self, work: Any) -> None:
        """Run a coroutine that nobody awaits, but that a stop waits for."""
        running = Deferred.fromCoroutine(work)
        running.addErrback(self._failed)
        self._settling.add(running)
        running.addBoth(lambda _: self._settling.discard(running))

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self.log.failure("ingest: what follows a commit failed", failure)
