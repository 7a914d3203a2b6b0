"""Events' pictures, made of their clips once they are closed: what ZoneMinder's console shows where it has no FFmpeg of its own.

A picture is never worth a gap in a recording. So one child process at the lowest priority makes them in turn; nothing is begun while the
host or the database is behind, what has waited too long is left out, and what hangs or crashes costs that picture and nothing else.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import attrs
import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.logger import Logger
from twisted.python.failure import Failure

from zmtwist.changes import Change, CloseEvent, UpdateEvent
from zmtwist.extras import VIDEO, major_version
from zmtwist.ingest.clips.placement import directory_bytes
from zmtwist.ingest.thumbnails.generator import ALARM, SNAPSHOT, Done, Job, aside
from zmtwist.media.child import ChildEnded, MediaChild, command, spawn
from zmtwist.reactor.deferreds import ended, given_up
from zmtwist.reactor.thread_pool import Disk
from zmtwist.untrusted.guard import MESSAGE, Guard
from zmtwist.zm.event_paths import EventPlace

MOST_WAITING = 256
"""Fewer than the writer remembers closed events: what is made of one must still reach its row."""

MOST_LOAD = 2.0
"""Load average per core above which nothing is begun. It counts what waits for disks too, and the child takes only what nobody else wants:
so a host that is merely at work still has pictures made."""

CLIP_SECONDS = 20.0
PATIENCE_SECONDS = 300.0
LOOK_SECONDS = 2.0
LINGER_SECONDS = 30.0
"""A child that has nothing to do is kept this long: to start one costs as much as some pictures."""

FINISH_SECONDS = 5.0
REAP_SECONDS = 1.0

Reason = Literal["load", "queue", "backlog", "gone"]
REASONS: tuple[Reason, ...] = ("load", "queue", "backlog", "gone")

_encode = msgspec.msgpack.Encoder().encode
_done = msgspec.msgpack.Decoder(Done).decode


@attrs.define
class ThumbnailFigures:
    """Pictures made; clips that failed; and clips left out, by reason: the host's load, a long queue for the database, too many others
    that wait, or the event is gone."""

    made: int = 0
    failed: int = 0
    skipped: Counter[Reason] = attrs.field(factory=Counter)


@attrs.frozen
class Wanted:
    """Pictures of an event that `since` then (the reactor's time) wait to be made. `disk_bytes` is what its row says of its size."""

    handle: str
    place: EventPlace
    job: Job
    disk_bytes: int
    since: float


def possible(setting: bool | None) -> bool:
    """Whether pictures are to be made: where PyAV is installed, unless the operator's `setting` is not to. A wish in vain is told of."""
    here = major_version(VIDEO.distribution) is not None
    if setting and not here:
        Thumbnails.log.error(
            "thumbnails: [zmnext.ingest] thumbnails is true, but PyAV is not installed: pip install 'zmtwist[video]', or set that to false"
        )
    return here and setting is not False


def overloaded() -> bool:
    """Whether the host has far more to do than it has cores for."""
    return os.getloadavg()[0] > MOST_LOAD * (os.cpu_count() or 1)


def job_of(close: CloseEvent, directory: str) -> Job | None:
    """What to make of a closed event; None for one without a clip. Pure."""
    if close.video_name is None:
        return None
    tally = close.tally
    alarm_us: int | None = None
    if tally.max_score:
        alarm_us = tally.max_score_us
        if (
            not alarm_us and close.frames > 1
        ):  # an earlier run heard it: its number among the frames tells it well enough
            alarm_us = close.length_us * (min(tally.max_score_frame, close.frames) - 1) // (close.frames - 1)
    return Job(directory, close.video_name, alarm_us)


class Thumbnails:
    """Makes pictures in turn. `submit` takes a monitor's changes, `queued` says how many wait for the database, of which `long_queue` are
    too many for pictures to be made."""

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        disk: Disk,
        submit: Callable[[int, Sequence[Change]], None],
        queued: Callable[[], int],
        *,
        long_queue: int,
        argv: Sequence[str] | None = None,
        overloaded: Callable[[], bool] = overloaded,
    ) -> None:
        self._reactor = reactor
        self._disk = disk
        self._submit = submit
        self._queued = queued
        self._long_queue = long_queue
        self._argv = command("zmtwist.ingest.thumbnails.generator", idle=True) if argv is None else argv
        self._overloaded = overloaded
        self._patience = PATIENCE_SECONDS
        self._linger = LINGER_SECONDS
        self._waiting: deque[Wanted] = deque()
        self._making: Deferred[None] | None = None
        self._news: Deferred[None] | None = None
        self._child: MediaChild | None = None
        self.figures = ThumbnailFigures()

    def closed(self, close: CloseEvent, place: EventPlace) -> None:
        """This event is closed, and its clip in its place: its pictures are made in the background."""
        job = job_of(close, place.directory)
        if job is None:
            return
        self._waiting.append(Wanted(close.handle, place, job, close.disk_bytes, self._reactor.seconds()))
        if len(self._waiting) > MOST_WAITING:
            self._waiting.popleft()
            self.figures.skipped["backlog"] += 1
        self._wake()
        if self._making is None:
            self._making = Deferred.fromCoroutine(self._make_all())
            self._making.addErrback(self._failed)

    async def finish(self) -> None:
        """Make what still waits, within some seconds and only if the host has them to spare; then end the child."""
        self._patience = self._linger = 0.0
        self._wake()
        if self._making is not None:
            over = ended(self._making).addTimeout(FINISH_SECONDS, self._reactor)
            try:
                await over
            except TookTooLong:
                await given_up(self._making)

    def _wake(self) -> None:
        if self._news is not None and not self._news.called:
            self._news.callback(None)

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self.log.failure("thumbnails: it has failed; it goes on with the next event", failure)

    # One after the other

    async def _make_all(self) -> None:
        """Until there has been nothing to do for a while."""
        try:
            while (wanted := await self._next()) is not None:
                await self._make(wanted)
            if self._child is not None:
                self._child.dismiss()
                await self._reaped(self._child)
        finally:
            self._making = None
            if self._child is not None:
                self._child.kill()

    async def _next(self) -> Wanted | None:
        """What comes next, once it may be begun; None when nothing has for a while."""
        while True:
            if not self._waiting:
                if not (self._linger and await self._told(self._linger)):
                    return None
            elif (reason := self._hindrance()) is None:
                return self._waiting.popleft()
            else:
                oldest = self._reactor.seconds() - self._patience
                while self._waiting and self._waiting[0].since <= oldest:
                    self._waiting.popleft()
                    self.figures.skipped[reason] += 1
                if self._waiting:
                    await self._told(LOOK_SECONDS)

    def _hindrance(self) -> Reason | None:
        """What is more important now."""
        if self._queued() > self._long_queue:
            return "queue"
        return "load" if self._overloaded() else None

    async def _told(self, seconds: float) -> bool:
        """Wait for news; whether there were any within `seconds`."""
        self._news = Deferred()
        self._news.addTimeout(seconds, self._reactor)
        try:
            await self._news
        except TookTooLong:
            return False
        finally:
            self._news = None
        return True

    async def _make(self, wanted: Wanted) -> None:
        """The pictures of one event."""
        done = await self._answered(wanted.job)
        self.figures.made += done.made
        if done.gone:
            self.figures.skipped["gone"] += 1
            return
        if done.problem:
            self.figures.failed += 1
            self.log.warn(
                "monitor {monitor_id}: a picture of event {event_id} was not made: {problem}",
                monitor_id=wanted.place.monitor_id,
                event_id=wanted.place.event_id,
                problem=Guard().text(done.problem, MESSAGE),
            )
        with suppress(OSError):  # the event was deleted meanwhile
            disk_bytes = await self._disk.run(tidied, wanted.job.directory)
            if disk_bytes != wanted.disk_bytes:
                resized = UpdateEvent(handle=wanted.handle, disk_bytes=disk_bytes)
                self._submit(wanted.place.monitor_id, [resized])

    async def _answered(self, job: Job) -> Done:
        """What the child says of a job, or what became of the child."""
        try:
            if self._child is None or not self._child.lives:
                self._child = spawn(self._reactor, self._argv)
            return _done(await self._child.ask(_encode(job), CLIP_SECONDS))
        except (ChildEnded, msgspec.MsgspecError, ValueError) as error:
            problem = str(error)
        if self._child is not None and self._child.lives:
            self._child.kill()
            # Where even that takes for ever (a storage that hangs), so be it: there is only ever one.
            await ended(self._child.gone)
        return Done(problem=problem)

    async def _reaped(self, child: MediaChild) -> None:
        if child.lives:
            with suppress(TookTooLong):
                await ended(child.gone).addTimeout(REAP_SECONDS, self._reactor)


def tidied(directory: str) -> int:
    """The size of an event's directory once it is rid of what a child that was killed left behind. Blocks; raises OSError."""
    for name in (SNAPSHOT, ALARM):
        aside(directory, name).unlink(missing_ok=True)
    return directory_bytes(Path(directory))
