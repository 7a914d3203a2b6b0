"""Whether what a camera sends is recorded: judged by the clip, which must be there and grow, and not by frames that merely come.

A worker whose frames move may record nothing all the same: after its camera's connection came back, its recorder refuses every frame for as
long as the old one had lasted; frames with B-frames are refused one by one; a keyframe of more than 1 MiB never reaches the recorder, and
a clip begins with a keyframe. Only the file tells.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from twisted.logger import Logger

from zmtwist.ingest.session.session import Session
from zmtwist.ingest.session.worker_filename import days_of, own_name
from zmtwist.notifications import RecordingFailed, RecordingWell
from zmtwist.reactor.thread_pool import Disk
from zmtwist.zm.event_paths import EventPlace

LOOK_SECONDS = 3.0
"""Between two looks at the clips."""

MOVING_SECONDS = 8.0
"""Frames move while the last sample of them is no older than this; what is wrong where they do not is told by the worker's state."""

OPENS_SECONDS = 15.0
"""How long frames may come before a clip is open: it begins with a keyframe, and cameras may be set to one every ten seconds."""

FLUSH_BYTES = 256 * 1024
"""So much of a clip stays in the worker's memory before it is written: FFmpeg's buffer for files."""

SHORTEST_SECONDS, LONGEST_SECONDS = 8.0, 900.0
"""Bounds for how long a clip may go without growing, whatever the camera's bit rate."""

TRIGGER_SECONDS = 6.0
"""How soon a trigger must have led to a clip."""

REFUSED_SECONDS = 12.0
REFUSED_SHARE = 0.1
REFUSED_LEAST = 5
"""Frames that the recorder refused count when they are so many, of the frames that came within so long."""


@attrs.frozen
class Failing:
    """What is not recorded, in words for people, since when (seconds of the reactor's clock). `nothing`: no picture at all is recorded."""

    reason: str
    since: float
    nothing: bool


@attrs.frozen
class Wanted:
    """What one monitor's worker is meant to record. `continuous`: all the time; else when something triggers it."""

    root: str
    continuous: bool


@attrs.frozen
class ClipFile:
    """A clip's file as it was seen, and when it was first seen so."""

    path: str
    size: int
    written_ns: int
    since: float = 0.0

    def same(self, other: ClipFile | None) -> bool:
        """Whether nothing was written between the two looks."""
        return other is not None and (self.size, self.written_ns) == (other.size, other.written_ns)


@attrs.define(eq=False)
class _Camera:
    """What is known of one monitor. Times are seconds of the reactor's clock, `refused` those of frames that could not be written."""

    moving_at: float = float("-inf")
    moving_since: float = 0.0
    frames_per_second: float = 0.0
    bytes_per_second: float = 0.0
    file: ClipFile | None = None
    seen_at: float = float("-inf")
    """When there was a file the last time: between two clips, and while one is renamed, there is none for a moment."""
    refused: deque[float] = attrs.field(factory=lambda: deque(maxlen=1000))
    failing: Failing | None = None


def patience(bytes_per_second: float) -> float:
    """How long a clip may stay as it is: three times as long as it takes to fill what the worker holds back."""
    needed = 3 * FLUSH_BYTES / bytes_per_second if bytes_per_second > 0 else LONGEST_SECONDS
    return min(max(needed, SHORTEST_SECONDS), LONGEST_SECONDS)


def judge(camera: _Camera, wanted: Wanted, session: Session, now: float, wall_us: int) -> tuple[str, bool] | None:
    """What is wrong with a recording, and whether nothing at all is recorded; None where all is well or can't be told."""
    if now - camera.moving_at > MOVING_SECONDS:
        return None
    recording = any(clip.token is not None for clip in session.clips)
    refused = sum(now - at <= REFUSED_SECONDS for at in camera.refused)
    span = min(REFUSED_SECONDS, now - camera.moving_since)
    came = max(1, round(camera.frames_per_second * span))
    refuses = span >= REFUSED_SECONDS / 2 and refused >= REFUSED_LEAST and refused >= REFUSED_SHARE * came
    why = ": its recorder refuses frames" if refuses else ""
    file = camera.file
    if wanted.continuous or recording:
        if file is None:
            waited = now - max(camera.moving_since, camera.seen_at)
            if not wanted.continuous or waited <= OPENS_SECONDS:
                return None
            hint = why or "; are its keyframes larger than 1 MiB?"
            return f"frames come, but no clip is begun{hint}", True
        still = now - max(file.since, camera.moving_since)
        if still > patience(camera.bytes_per_second):
            return f"frames come, but its clip does not grow{why}", True
    if refuses:
        return f"only a part is recorded{why} (does the camera send B-frames?)", False
    late = [a for a in session.pending if TRIGGER_SECONDS * 1e6 < wall_us - a.at_us < 10 * TRIGGER_SECONDS * 1e6]
    if not recording and late:
        return f"what triggers a clip ({late[-1].trigger}) has led to none", False
    return None


def look(places: Mapping[int, str | None], root: str, days: Sequence[str]) -> dict[int, ClipFile]:
    """The file that each monitor's worker writes now: the one at its event's place, else the latest under the worker's own name.

    Blocks: call it on a thread. Raises OSError where the storage is away.
    """
    found: dict[int, ClipFile] = {}
    for monitor_id, path in places.items():
        if path is not None and (file := _file(path)) is not None:
            found[monitor_id] = file
    missing = places.keys() - found.keys()
    for path in _own_named(root, days) if missing else ():
        named = own_name(path, None)
        if named is not None and named.monitor_id in missing and (file := _file(path)) is not None:
            before = found.get(named.monitor_id)
            if before is None or file.written_ns >= before.written_ns:
                found[named.monitor_id] = file
    return found


def _own_named(root: str, days: Iterable[str]) -> list[str]:
    paths: list[str] = []
    for day in days:
        try:
            with os.scandir(Path(root, day)) as entries:
                paths += [entry.path for entry in entries]
        except FileNotFoundError:
            continue
    return paths


def _file(path: str) -> ClipFile | None:
    try:
        there = Path(path).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return ClipFile(path, there.st_size, there.st_mtime_ns)


class RecordingWatch:
    """Looks at what every worker records. `sessions` and `places` tell which clips are open and where their events' files belong."""

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        disk: Disk,
        wall: Callable[[], int],
        sessions: Callable[[int], Session],
        places: Callable[[], Mapping[str, EventPlace]],
        announce: Callable[[object], None],
    ) -> None:
        self._reactor = reactor
        self._disk = disk
        self._wall = wall
        self._session = sessions
        self._places = places
        self._announce = announce
        self._wanted: dict[int, Wanted] = {}
        self._cameras: dict[int, _Camera] = {}
        self._looking: set[str] = set()
        self._due = 0.0

    def want(self, monitor_id: int, wanted: Wanted | None) -> None:
        """What the monitor's worker is meant to record, None for nothing."""
        if wanted is None:
            self._wanted.pop(monitor_id, None)
        else:
            self._wanted[monitor_id] = wanted

    def moved(self, monitor_id: int, frames_per_second: float, bytes_per_second: float) -> None:
        """Frames of this camera move, at this rate."""
        camera, now = self._camera(monitor_id), self._reactor.seconds()
        if now - camera.moving_at > MOVING_SECONDS:
            camera.moving_since = now
        camera.moving_at = now
        camera.frames_per_second, camera.bytes_per_second = frames_per_second, bytes_per_second

    def refused(self, monitor_id: int) -> None:
        """The recorder could not write a frame."""
        self._camera(monitor_id).refused.append(self._reactor.seconds())

    def gone(self, monitor_id: int) -> None:
        """The worker has ended: the next one is judged by what it does itself."""
        camera = self._cameras.pop(monitor_id, None)
        if camera is not None and camera.failing is not None:
            self._announce(RecordingWell(monitor_id, self._wall()))

    def failing(self, monitor_id: int) -> Failing | None:
        """What is not recorded, if anything is not."""
        camera = self._cameras.get(monitor_id)
        return None if camera is None else camera.failing

    def tick(self) -> None:
        """Look, where it is time to. A storage that has not answered yet is not asked again."""
        now = self._reactor.seconds()
        if 0 < self._due - now <= LOOK_SECONDS:
            return
        self._due = now + LOOK_SECONDS
        by_root: dict[str, dict[int, str | None]] = {}
        places = self._places()
        for monitor_id, wanted in self._wanted.items():
            camera = self._cameras.get(monitor_id)
            if camera is not None and now - camera.moving_at <= MOVING_SECONDS:
                by_root.setdefault(wanted.root, {})[monitor_id] = self._path(monitor_id, places)
        wall = self._wall()
        days = days_of(wall - 86_400_000_000, wall, None)
        for root in by_root.keys() - self._looking:
            self._looking.add(root)
            looking = self._disk.run(look, by_root[root], root, days)
            looking.addCallback(self._saw, tuple(by_root[root]))
            # That a storage can't be looked at is told by `storage_monitor`.
            looking.addErrback(lambda failure: failure.trap(OSError) and None)
            looking.addErrback(lambda failure: self.log.failure("looking at what is recorded has failed", failure))
            looking.addBoth(self._looked, root)

    def _looked(self, _: object, root: str) -> None:
        self._looking.discard(root)

    def _path(self, monitor_id: int, places: Mapping[str, EventPlace]) -> str | None:
        """Where the clip that is open belongs, as far as its event has a row."""
        for clip in reversed(self._session(monitor_id).clips):
            if clip.token is not None and (place := places.get(clip.handle)) is not None:
                return place.video_path
        return None

    def _saw(self, files: Mapping[int, ClipFile], asked: Sequence[int]) -> None:
        now, wall_us = self._reactor.seconds(), self._wall()
        for monitor_id in asked:
            camera, wanted = self._cameras.get(monitor_id), self._wanted.get(monitor_id)
            if camera is None or wanted is None:
                continue
            file = files.get(monitor_id)
            if file is not None:
                camera.seen_at = now
            if file is None or not file.same(camera.file):
                camera.file = None if file is None else attrs.evolve(file, since=now)
            self._tell(monitor_id, camera, judge(camera, wanted, self._session(monitor_id), now, wall_us), now)

    def _tell(self, monitor_id: int, camera: _Camera, found: tuple[str, bool] | None, now: float) -> None:
        before = camera.failing
        if found is None:
            camera.failing = None
            if before is not None:
                self.log.info("monitor {monitor_id}: it is recorded again", monitor_id=monitor_id)
                self._announce(RecordingWell(monitor_id, self._wall()))
            return
        reason, nothing = found
        if before is None or before.nothing != nothing:
            # What is told stays as it is, with figures of when it began: it is shown, compared and published.
            camera.failing = Failing(reason, now if before is None else before.since, nothing)
            self.log.error("monitor {monitor_id}: NOT RECORDING: {reason}", monitor_id=monitor_id, reason=reason)
            self._announce(RecordingFailed(monitor_id, reason, self._wall()))

    def _camera(self, monitor_id: int) -> _Camera:
        return self._cameras.setdefault(monitor_id, _Camera())
