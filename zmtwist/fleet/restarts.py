"""How often a process was started again within the last hour."""

from __future__ import annotations

from collections import deque

from zmtwist.fleet.policy import HOUR


class Restarts:
    """The starts of one post's process. Times are seconds of one clock."""

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
