"""Rates of starting: turns that spread the starts of many over time, and how often one was restarted within the last hour."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from zmtwist.fleet.policy import HOUR, next_turn


class Pace:
    """Gives turns, `per_second` of them; `many` says how many there are that may queue, which bounds every wait."""

    def __init__(self, clock: IReactorTime, per_second: float, many: Callable[[], int]) -> None:
        self._clock = clock
        self._per_second = per_second
        self._many = many
        self._free_at = 0.0

    def turn(self) -> float:
        """Reserve the next turn; in how many seconds it is."""
        now = self._clock.seconds()
        at, self._free_at = next_turn(now, self._free_at, self._per_second, self._many())
        return at - now


class Restarts:
    """The starts of one slot's process. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._before = False
        self._at: deque[float] = deque()

    def started(self, now: float) -> None:
        """It was started, or taken on; the first time is no restart."""
        if self._before:
            self._at.append(now)
        self._before = True
        self._forget(now)

    def within_hour(self, now: float) -> int:
        """How many there were within the hour before `now`."""
        self._forget(now)
        return len(self._at)

    def _forget(self, now: float) -> None:
        while self._at and now - self._at[0] > HOUR:
            self._at.popleft()
