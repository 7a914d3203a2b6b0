"""Waiting for what a test expects to come about, with a deadline that a busy machine pushes back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from twisted.internet import reactor
from twisted.internet.task import deferLater

T = TypeVar("T")

SECONDS = 30.0
"""How long is waited by default. A test that passes ends long before; one that fails can take its time."""

PAUSE = 0.02
MOST_CROWDED = 10.0


def crowd(cores: int | None = os.cpu_count(), file: Path = Path("/proc/loadavg")) -> float:
    """How many want each core or the disk, now or on the average of the last minute; from 1, where nobody waits, to `MOST_CROWDED`."""
    load, _, _, running, _ = file.read_text().split()
    return min(max(1.0, max(float(load), int(running.partition("/")[0])) / (cores or 1)), MOST_CROWDED)


class Deadline:
    """So many seconds of a machine that has a core for whoever wants one. The more have to share, the more slowly they pass."""

    def __init__(
        self, seconds: float, now: Callable[[], float] = time.monotonic, crowd: Callable[[], float] = crowd
    ) -> None:
        self._left = seconds
        self._now, self._crowd = now, crowd
        self._at = now()

    @property
    def over(self) -> bool:
        """Whether they have passed. To be asked again and again meanwhile."""
        before, self._at = self._at, self._now()
        self._left -= (self._at - before) / self._crowd()
        return self._left < 0


def wait_for(condition: Callable[[], T], what: str, seconds: float = SECONDS, pause: float = PAUSE) -> T:
    """Wait until `condition` is true; its value. Fails after `seconds`, which see `Deadline`."""
    deadline = Deadline(seconds)
    while not (value := condition()):
        assert not deadline.over, f"not within {seconds} s: {what}"
        time.sleep(pause)
    return value


async def until(condition: Callable[[], T], seconds: float = SECONDS, pause: float = PAUSE) -> T:
    """Let the reactor run until `condition` is true; its value. Fails after `seconds`, which see `Deadline`."""
    deadline = Deadline(seconds)
    while not (value := condition()):
        assert not deadline.over, f"not so within {seconds} s: {condition}"
        await deferLater(reactor, pause)
    return value
