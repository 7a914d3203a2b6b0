"""Clips: small files that name themselves, so that it can be told which is where."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tests.simulation.world import SECOND, World
from zmtwist.ingest.clips.probe import Measure
from zmtwist.zm.event_paths import CODECS

if TYPE_CHECKING:
    from tests.simulation.storage import Storage
    from tests.simulation.workers import Worker

RATE = 10
PRE_ROLL = 2
WINDOW = 2
"""What the recorder keeps besides the pre-roll, in seconds; and then it goes back to the keyframe before that."""


class Clip:
    """One recording. Its file says which it is; `frames` is what has got into the file: nothing in its first `buffered` seconds, as long
    as the muxer keeps it all to itself."""

    def __init__(self, number: int, worker: Worker, path: Path, trigger: str, storage: Storage) -> None:
        world = worker.world
        self.number, self.worker, self.path, self.trigger, self.storage = number, worker, path, trigger, storage
        self.token = f"{worker.monitor_id}-{world.wall() // SECOND}-{number}"
        self.codec = CODECS[worker.codec]
        self.begun = self.counted_at = world.seconds()
        self.begun_us = world.wall()
        self.ended_at: float | None = None
        self.saved = False
        self.buffered = world.chance.choice((0.0, 0.7, 1.5))
        self.frames = 0
        self.before = 0.0 if trigger == "continuous" else PRE_ROLL + WINDOW + number % 10 / 10
        """So many seconds of it are from before its opening."""
        self.seconds = 0.0
        """For so long frames have come that were taken."""
        self.refused = 0
        """Frames that could not be written."""
        self.event_id = 0
        self.target: Path | None = None
        self.assigned_at: float | None = None
        self.deleted = False
        """ZoneMinder has removed its file."""
        self.torn = False
        """A power cut has emptied its file."""
        self.lost = False
        """Its storage went while it was recorded: its file can't be written any more, whether the storage comes back or not."""
        self.beneath = not storage.mounted
        """It was begun where the storage was to be, and is gone once that is back."""
        self.disturbed = worker.link is None or world.troubles.messages or world.troubles.spool == "full"
        """Something that was said of it may rightly be lost."""
        self.unrowed = False
        """Its row may rightly be missing."""
        self.said = 0
        """How often its worker told of something that moves."""

    @property
    def monitor_id(self) -> int:
        return self.worker.monitor_id

    @property
    def kept(self) -> bool:
        """Whether it has to be somewhere."""
        return self.frames > 0 and not self.deleted and not self.beneath

    @property
    def within_reach(self) -> bool:
        """Whether its worker can do anything to its file."""
        return not self.deleted and not self.lost and (self.storage.mounted is not self.beneath)

    @property
    def came(self) -> int:
        """How many frames have come that were taken, what was in the worker's buffer included."""
        return round((self.before + self.seconds) * RATE)

    def write(self, wall_us: int) -> None:
        """Put it into its file, a byte for each frame."""
        head = f"clip {self.number}\n".encode()
        with self.path.open("wb") as file:
            file.write(head)
            file.truncate(len(head) + self.frames)
        os.utime(self.path, ns=(wall_us * 1000, wall_us * 1000))


def clip_in(path: Path) -> int | None:
    """Which clip this file is; None for one that is none."""
    words = path.read_bytes().split(maxsplit=2)
    return int(words[1]) if len(words) > 1 and words[0] == b"clip" else None


def clip_files(world: World) -> list[tuple[int, Path]]:
    """All files of clips on the storages' disks, those that were put aside included, where they are while their storage is mounted."""
    found = []
    for storage in world.storages.values():
        for path in sorted(storage.disk.rglob("*.mkv*")):
            number = None if path.suffix == ".json" else clip_in(path)
            if number is not None:
                found.append((number, storage.root / path.relative_to(storage.disk)))
    return found


def measurer(world: World) -> Callable[..., dict[str, Measure]]:
    """In place of `ingest.clips.probe.measure_files`: what PyAV would find in clips such as these."""

    def measure(path: str) -> Measure:
        try:
            number = clip_in(Path(path))
        except OSError:
            return Measure()
        if number is None:
            return Measure(readable=False)
        clip = world.clips[number]
        return Measure(True, clip.frames * SECOND // RATE, clip.frames, clip.codec)

    return lambda paths, *_: {path: measure(path) for path in paths}
