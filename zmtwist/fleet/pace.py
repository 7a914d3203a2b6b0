"""Turns, one after the other: what many want at once is spread over time."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from zmtwist.fleet.policy import next_turn


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
