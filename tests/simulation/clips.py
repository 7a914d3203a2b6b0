"""Clips: small files that name themselves, so that it can be told which is where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tests.simulation.world import SECOND, World
from zmtwist.ingest.measure import Measure

if TYPE_CHECKING:
    from tests.simulation.workers import Worker

RATE = 10
PRE_ROLL = 2


class Clip:
    """One recording. Its file says which it is; `frames` is what has got into the file: nothing in its first `buffered` seconds, as long
    as the muxer keeps it all to itself."""

    def __init__(self, number: int, worker: Worker, path: Path, trigger: str) -> None:
        world = worker.world
        self.number, self.worker, self.path, self.trigger = number, worker, path, trigger
        self.token = f"{worker.monitor_id}-{world.wall() // SECOND}-{number}"
        self.begun = world.seconds()
        self.begun_us = world.wall()
        self.ended_at: float | None = None
        self.saved = False
        self.buffered = world.chance.choice((0.0, 0.7, 1.5))
        self.frames = 0
        self.event_id = 0
        self.target: Path | None = None
        self.assigned_at: float | None = None
        self.deleted = False
        """ZoneMinder has removed its file."""
        self.torn = False
        """A power cut has emptied its file."""
        self.disturbed = worker.link is None or world.troubles.messages
        """Something that was said of it may rightly be lost."""
        self.said = 0
        """How often its worker told of something that moves."""

    @property
    def monitor_id(self) -> int:
        return self.worker.monitor_id

    @property
    def kept(self) -> bool:
        """Whether it has to be somewhere."""
        return self.frames > 0 and not self.deleted


def clip_in(path: Path) -> int | None:
    """Which clip this file is; None for an empty one."""
    words = path.read_text().split()
    return int(words[1]) if words else None


def clip_files(world: World) -> list[tuple[int, Path]]:
    """All files of clips in the storages that are not empty, those that were put aside included."""
    paths = (path for root in world.roots.values() for path in sorted(root.rglob("*.mkv*")))
    numbers = ((clip_in(path), path) for path in paths if path.suffix != ".json")
    return [(number, path) for number, path in numbers if number is not None]


def measurer(world: World) -> Callable[..., dict[str, Measure]]:
    """In place of `ingest.measure.measure_files`: what PyAV would find in clips such as these."""

    def measure(path: str) -> Measure:
        number = clip_in(Path(path))
        if number is None:
            return Measure(readable=False)
        frames = world.clips[number].frames
        return Measure(True, frames * SECOND // RATE, frames, "h264")

    return lambda paths, *_: {path: measure(path) for path in paths}
