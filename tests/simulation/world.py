"""The world that outlives each run of the service: time, chance, the wall clock, what goes wrong, a trace of all that happens."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from twisted.internet.task import Clock

if TYPE_CHECKING:
    from tests.simulation.clips import Clip
    from tests.simulation.links import Link
    from tests.simulation.workers import Worker

SECOND = 1_000_000
START_US = 1_795_338_650 * SECOND

MONITORS = {1: "Record", 2: "Modect"}
"""One that records without a break, one that records when something moves."""

STORAGES = {1: "events", 2: "events2"}
"""Where recordings go, by the storage's id: below the world's directory."""


@attrs.define
class Troubles:
    """What goes wrong for now, wherever it is met."""

    messages: bool = False
    """What workers say is lost, or said twice."""

    misnamed: bool = False
    """Workers name other events than their own in what they say of a clip that was saved."""

    assignments: bool = False
    """Assignments are refused, or their answers lost."""

    forks: bool = False

    spool: str = ""
    """The spool's disk fails: before a thing is done, or after."""

    storage: bool = False
    """The storages give errors: before a thing is done, or after."""

    slow_storage: bool = False

    database: str = ""
    """What is wrong with a database that answers: slow, deadlocks, refuses."""


class World(Clock):
    """Simulated time, in which everything happens at its very moment. `violations` is what ought never to be so, and was."""

    def __init__(self, seed: int, directory: Path) -> None:
        super().__init__()
        self.rightNow = 1_000.0
        self.directory = directory
        self.roots = {storage_id: directory / name for storage_id, name in STORAGES.items()}
        self.chance = random.Random(seed)
        self.stepped_us = 0
        self.calm = False
        self.troubles = Troubles()
        self.trace: list[str] = []
        self.violations: list[str] = []
        self.workers: list[Worker] = []
        self.links: list[Link] = []
        self.clips: dict[int, Clip] = {}
        self.torn: set[Path] = set()
        """Files of clips that a power cut has emptied."""
        self.deleted: set[int] = set()
        """Events that ZoneMinder has deleted."""
        self.committed: Callable[[int], bool] = lambda event_id: False

    def wall(self) -> int:
        return START_US + round((self.rightNow - 1_000.0) * SECOND) + self.stepped_us

    def tell(self, text: str) -> None:
        text = text.replace(str(self.directory), "")
        self.trace.append(f"{self.rightNow - 1_000.0:9.4f} {text}")

    def never(self, text: str) -> None:
        """Something that must never be is so."""
        self.tell(f"WRONG: {text}")
        self.violations.append(f"at {self.rightNow - 1_000.0:.4f} s: {text}")

    def pass_time(self, seconds: float) -> None:
        """Unlike `advance`, with the clock at each call's own time."""
        end = self.rightNow + seconds
        while self.calls and self.calls[0].getTime() <= end:
            self.rightNow = max(self.rightNow, self.calls[0].getTime())
            self.advance(0)
        self.rightNow = end

    def for_a_while(self, name: str, value: object) -> None:
        """One of the `troubles` begins, and is over after some seconds."""
        troubles, before = self.troubles, getattr(Troubles(), name)
        setattr(troubles, name, value)
        seconds = self.chance.choice([0.5, 2.0, 6.0]) * self.chance.uniform(0.5, 1.5)
        self.callLater(seconds, setattr, troubles, name, before)

    def living(self, monitor_id: int | None = None) -> list[Worker]:
        return [w for w in self.workers if w.alive and monitor_id in (None, w.monitor_id)]

    def kill_group(self, pid: int, number: int) -> None:
        worker = next((worker for worker in self.living() if worker.pid == pid), None)
        if worker is None:
            raise ProcessLookupError
        worker.take(number)
