"""The host's wall clock, held against one that nobody sets: whether it was set, and by how much. No I/O of its own."""

from __future__ import annotations

from collections.abc import Callable

SECOND = 1_000_000
STEP_US = 2 * SECOND
"""Less than this between two looks is the clocks' own difference, or a clock that is slowed or hurried until it is right."""


class ClockSteps:
    """`seconds` is the clock that only runs, `wall` the one that is set, in microseconds."""

    def __init__(self, seconds: Callable[[], float], wall: Callable[[], int]) -> None:
        self._seconds = seconds
        self._wall = wall
        self._ahead_us = self._ahead()

    def look(self) -> int:
        """By how many microseconds the wall clock was set since the last look, if it was: above 0 for forward."""
        before, self._ahead_us = self._ahead_us, self._ahead()
        step = self._ahead_us - before
        return step if abs(step) >= STEP_US else 0

    def _ahead(self) -> int:
        return self._wall() - round(self._seconds() * SECOND)
