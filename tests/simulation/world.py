"""The world that outlives each run of the service: time, chance, the wall clock, what goes wrong, a trace of all that happens."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from twisted.internet.task import Clock

from tests.simulation.storage import Storage

if TYPE_CHECKING:
    from tests.simulation.clips import Clip
    from tests.simulation.links import Link
    from tests.simulation.workers import Orphan, Worker

SECOND = 1_000_000
TRUE_TIME = re.compile(r"\.bad-\d+")
"""A damaged spool is put aside under a name with the true time in it."""

TWO_MACHINES = 0.15

SEASONS = {
    "none": (0.8, "UTC", datetime(2026, 11, 22, 9, 10, 50, tzinfo=UTC)),
    "autumn": (0.1, "Europe/Berlin", datetime(2026, 10, 25, 0, 59, 30, tzinfo=UTC)),
    "spring": (0.1, "Europe/Berlin", datetime(2027, 3, 28, 0, 59, 30, tzinfo=UTC)),
}
"""How often, the zone of hosts and database, and when it is at first: in some, daylight saving begins or ends within a minute."""

MONITORS = {1: "Record", 2: "Modect", 3: "Record"}
"""Those that record without a break, and one that records when something moves."""

SERVERS = ((1, 2), (3,))
"""The monitors of each machine, where there are two; else there are those of the first."""

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
    """The spool's disk fails: before a thing is done, or after; or it is full."""

    storage: bool = False
    """The storages give errors: before a thing is done, or after."""

    slow_storage: bool = False

    database: str = ""
    """What is wrong with a database that answers: slow, deadlocks, refuses."""


class World(Clock):
    """Simulated time, in which everything happens at its very moment. `violations` is what ought never to be so, and was."""

    def __init__(self, seed: int, directory: Path, season: str | None = None) -> None:
        super().__init__()
        self.rightNow = 1_000.0
        self.directory = directory
        self.storages = {storage_id: Storage(directory / name) for storage_id, name in STORAGES.items()}
        self.chance = random.Random(seed)
        season = season or self.chance.choices(list(SEASONS), [often for often, _, _ in SEASONS.values()])[0]
        _, self.zone, start = SEASONS[season]
        self.zone_changes = season != "none"
        self.start_us = round(start.timestamp()) * SECOND
        self.failed_over = False
        self.excused = 0
        """Events without a clip that there may be: of clips that were recorded elsewhere, or at another time, than their rows say."""
        self.rolled_back: set[int] = set()
        """Events of which a replica that took over had the row, but not all frames."""
        self.stepped_us = 0
        self.set_back = False
        self.calm = False
        self.troubles = Troubles()
        self.trace: list[str] = []
        self.violations: list[str] = []
        self.workers: list[Worker] = []
        self.orphans: list[Orphan] = []
        self.pids: list[int] = []
        """All that were ever given."""
        self.links: list[Link] = []
        self.clips: dict[int, Clip] = {}
        self._torn: set[tuple[str, ...]] = set()
        self.deleted: set[int] = set()
        """Events that ZoneMinder has deleted."""
        self.committed: Callable[[int], bool] = lambda event_id: False

    def wall(self) -> int:
        return self.start_us + round((self.rightNow - 1_000.0) * SECOND) + self.stepped_us

    def tell(self, text: str) -> None:
        text = TRUE_TIME.sub(".bad", text.replace(str(self.directory), ""))
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

    def tear(self, path: Path) -> None:
        """A power cut has emptied the file of a clip."""
        path.write_text("")
        self._torn.add(path.relative_to(self.directory).parts[1:])

    def mount(self, storage: Storage) -> None:
        """A storage is back; what was written beneath is not to be seen any more."""
        if not storage.mounted:
            self._torn |= {path.relative_to(self.directory).parts[1:] for path in storage.root.rglob("*.mkv")}
            self.tell(f"{storage.root} is mounted again")
            storage.mount()

    def was_torn(self, path: Path) -> bool:
        """Whether a file of a clip is empty, or gone, for no fault of ours; be its storage mounted or not."""
        return path.relative_to(self.directory).parts[1:] in self._torn

    def living(self, monitor_id: int | None = None) -> list[Worker]:
        return [w for w in self.workers if w.alive and monitor_id in (None, w.monitor_id)]

    def kill_group(self, pid: int, number: int) -> None:
        group = [one for one in (*self.living(), *self.orphans) if one.group == pid]
        if not group:
            raise ProcessLookupError
        for one in group:
            one.take(number)
