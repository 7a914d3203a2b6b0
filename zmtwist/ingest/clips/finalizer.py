"""What becomes of a clip that was saved: it is seen in its place, or brought there, and only then is its event closed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.task import deferLater
from twisted.logger import Logger

from zmtwist.changes import Change, ClipSaved, CloseEvent
from zmtwist.ingest.clips.locate import as_measured, begun_as_heard, find_unheard
from zmtwist.ingest.clips.placement import ClipForeign, ClipMissing, SettledClip, settle_clip
from zmtwist.ingest.clips.storage_monitor import StorageMonitor
from zmtwist.ingest.session.clip_match import bears_name_of, may_hold, pre_roll_of
from zmtwist.ingest.session.session import Session
from zmtwist.reactor.thread_pool import Disk
from zmtwist.zm.event_paths import EventPlace, with_codec

SETTLE_FIRST_DELAY = 0.5
SETTLE_LAST_DELAY = 30.0
MEASURED_AT_ONCE = 2
SETTLED_AT_ONCE = 2
"""In one storage: one that hangs must not take the threads on which the others' clips are seen to."""


def _only_ended(saved: ClipSaved, path: str = "") -> ClipSaved:
    """Of a save that names another clip than its event's, no more than that one has ended: the event's own, at `path` if that is
    known, tells how long it is."""
    return replace(begun_as_heard(saved), path=path, doubtful=True)


class Settling:
    """Storage that is away, full, read-only or not the right one is waited for, not given up. `submit` takes the closes;
    `roots` gives those of all storages; `after_lost` hears of monitors one of whose clips was not found where it should be."""

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        disk: Disk,
        storages: StorageMonitor,
        session: Callable[[int], Session],
        submit: Callable[[int, Sequence[Change]], None],
    ) -> None:
        self._reactor = reactor
        self._disk = disk
        self._storages = storages
        self._session = session
        self._submit = submit
        self.roots: Callable[[], Collection[str]] = tuple
        self.after_lost: Callable[[int], None] = lambda _monitor_id: None
        self._measuring = DeferredSemaphore(MEASURED_AT_ONCE)
        self._settled_at: dict[str, DeferredSemaphore] = defaultdict(lambda: DeferredSemaphore(SETTLED_AT_ONCE))
        self._found_at: dict[str, DeferredSemaphore] = defaultdict(lambda: DeferredSemaphore(MEASURED_AT_ONCE - 1))

    async def settle(self, saved: ClipSaved, place: EventPlace) -> None:
        """See the clip in its place, then close its event."""
        # The first clip of a run opens before the worker has told its codec.
        session = self._session(place.monitor_id)
        place = with_codec(place, session.codec_id)
        if saved.path and not may_hold(
            saved.path, place, self.roots(), session.options.pre_roll_us, session.options.zone
        ):
            self.log.warn(
                "monitor {monitor_id}: {path} can't be the clip of event {event_id}, which is looked for",
                monitor_id=place.monitor_id,
                event_id=place.event_id,
                path=saved.path,
            )
            saved = _only_ended(saved)
        delay = SETTLE_FIRST_DELAY
        while True:
            try:
                if not saved.path:
                    saved = await self._found_at[place.root].run(self._measuring.run, self._find, saved, place)
                clip = await self._settled(saved, place)
                if clip.other:
                    # Two clips were taken for one: the row is of that in its place, and recovery finds the other an event.
                    self.log.warn(
                        "monitor {monitor_id}: {path} is not the clip of event {event_id}, which is in its place",
                        monitor_id=place.monitor_id,
                        event_id=place.event_id,
                        path=saved.path,
                    )
                    self.after_lost(place.monitor_id)
                    saved = _only_ended(saved, clip.path)
                if saved.doubtful or self._session(place.monitor_id).refused_of(saved.handle):
                    saved = await self._found_at[place.root].run(
                        self._measuring.run, self._measure, saved, clip, place.root
                    )
            except (ClipMissing, ClipForeign) as error:
                self.log.error(
                    "monitor {monitor_id}: event {event_id} is closed without its clip: {error}",
                    monitor_id=place.monitor_id,
                    event_id=place.event_id,
                    error=str(error),
                )
                self._close(saved, place, None, str(error))
                self.after_lost(place.monitor_id)
                return
            except OSError as error:
                self.log.warn(
                    "monitor {monitor_id}: the clip of event {event_id} can't be looked at yet: {error}",
                    monitor_id=place.monitor_id,
                    event_id=place.event_id,
                    error=str(error),
                )
                await deferLater(self._reactor, delay)
                delay = min(SETTLE_LAST_DELAY, 2 * delay)
                saved = replace(saved, doubtful=True)  # its last frames may have been refused for the same reason
            else:
                self._storages.holds(place.root, clip.path)
                self._close(saved, place, clip, None)
                return

    async def _settled(self, saved: ClipSaved, place: EventPlace) -> SettledClip:
        """Raises ClipMissing only for a clip that is missing on the storage which it was recorded to, else OSError."""
        session = self._session(place.monitor_id)
        again = bears_name_of(session.clips, saved.path, session.options.zone)
        try:
            return await self._settled_at[place.root].run(
                self._disk.run, settle_clip, place, saved.path, self.roots(), again
            )
        except ClipMissing as error:
            if await self._storages.doubted(place.root):
                raise OSError(f"{error}: another disk is mounted at {place.root}") from None
            raise

    def _find(self, saved: ClipSaved, place: EventPlace) -> Deferred[ClipSaved]:
        options = self._session(place.monitor_id).options
        pre_roll_us = pre_roll_of(saved.cause, options.pre_roll_us)
        return self._disk.run(find_unheard, saved, place, pre_roll_us, options.zone, self.roots())

    def _measure(self, saved: ClipSaved, clip: SettledClip, root: str) -> Deferred[ClipSaved]:
        return self._disk.run(as_measured, saved, clip.path, root)

    def _close(self, saved: ClipSaved, place: EventPlace, clip: SettledClip | None, note: str | None) -> None:
        closed = CloseEvent(
            handle=saved.handle,
            length_us=saved.duration_us,
            frames=saved.frames,
            tally=saved.tally,
            settle=saved.settle,
            video_name=place.video_name if clip is not None else None,
            disk_bytes=clip.disk_bytes if clip is not None else 0,
            cause=saved.cause,
            note=note,
            earlier_us=saved.earlier_us,
        )
        self._submit(place.monitor_id, [closed])
