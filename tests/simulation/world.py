"""The world that outlives the service: time, chance, the wall clock, and a trace of all that happens. And a run's hold on it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IReactorProcess, IReactorTime
from twisted.internet.task import Clock
from zope.interface import implementer

if TYPE_CHECKING:
    from tests.simulation.workers import Clip, Link, Worker

SECOND = 1_000_000
START_US = 1_795_338_650 * SECOND


class World(Clock):
    """Simulated time, in which everything happens at its very moment. `violations` is what ought never to be so, and was."""

    def __init__(self, seed: int, directory: Path) -> None:
        super().__init__()
        self.rightNow = 1_000.0
        self.directory = directory
        self.storage = directory / "events"
        self.chance = random.Random(seed)
        self.stepped_us = 0
        self.calm = False
        self.trace: list[str] = []
        self.violations: list[str] = []
        self.workers: list[Worker] = []
        self.links: list[Link] = []
        self.clips: dict[int, Clip] = {}
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

    def living(self, monitor_id: int | None = None) -> list[Worker]:
        return [w for w in self.workers if w.alive and monitor_id in (None, w.monitor_id)]

    def kill_group(self, pid: int, number: int) -> None:
        worker = next((worker for worker in self.living() if worker.pid == pid), None)
        if worker is None:
            raise ProcessLookupError
        worker.take(number)


@implementer(IReactorTime, IReactorProcess)
class Host:
    """The reactor of one run of the service: when that is killed, nothing that it was about to do happens any more."""

    def __init__(self, world: World, spawn: Callable[..., Any]) -> None:
        self.world = world
        self.dead = False
        self.stopping = False
        self.at_death: list[Callable[[], None]] = []
        self._spawn = spawn

    def seconds(self) -> float:
        return self.world.seconds()

    def callLater(self, delay: float, function: Callable[..., object], *args: object, **kwargs: object) -> Any:
        return self.world.callLater(max(0.0, delay), self._call, function, args, kwargs)

    def _call(self, function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        if not self.dead:
            function(*args, **kwargs)

    def getDelayedCalls(self) -> list[Any]:
        return [call for call in self.world.getDelayedCalls() if call.func == self._call]

    def spawnProcess(self, protocol: Any, executable: str, args: list[str], **kwargs: Any) -> Any:
        return self._spawn(self, protocol, args, kwargs["childFDs"])

    def stop(self) -> None:
        self.stopping = True

    def die(self) -> None:
        self.dead = True
        for function in self.at_death:
            function()
