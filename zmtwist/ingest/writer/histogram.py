"""Counts of durations in fixed classes: what a latency histogram is made of, at the cost of one bisection per duration."""

from __future__ import annotations

from bisect import bisect_left

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the classes, in seconds; longer ones make up one more class."""


class Latencies:
    """Durations counted by class, with their sum."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one. A clock that was set back gives zero."""
        seconds = max(0.0, seconds)
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    @property
    def count(self) -> int:
        """How many were counted."""
        return sum(self._counts)

    def cumulative(self) -> list[tuple[float, int]]:
        """For each bound, infinity last, how many durations were at most that long."""
        counted, result = 0, []
        for bound, count in zip((*BOUNDS, float("inf")), self._counts, strict=True):
            counted += count
            result.append((bound, counted))
        return result
