"""What sequence numbers tell: the capture rate between two media headers, and how many events were not received. Plain values."""

from __future__ import annotations

from attrs import frozen

_SEQUENCES = 1 << 32
_HALF = 1 << 31

MOST_FRAMES_PER_SECOND = 1_000.0
"""More than any camera gives. A sequence that rises faster has jumped."""


def steps(earlier: int, later: int) -> int | None:
    """How many numbers `later` is past `earlier`, both being u32 that wrap; None where it is not ahead at all, but behind."""
    ahead = (later - earlier) % _SEQUENCES
    return ahead if ahead < _HALF else None


class Implausible(Exception):
    """A worker's numbers say what can't be."""


@frozen
class MediaSample:
    """The header of one access unit, and when it was read (`at`, seconds of the link's clock)."""

    at: float
    sequence: int
    generation: int

    def frames_per_second(self, earlier: MediaSample | None) -> float | None:
        """Frames that the camera gave per second since `earlier`, seen or not; None where the two are not of one run of numbers.

        Raises `Implausible` for a number that no camera reaches.
        """
        if earlier is None or earlier.generation != self.generation or self.at <= earlier.at:
            return None
        frames = steps(earlier.sequence, self.sequence)
        if not frames:
            return None
        rate = frames / (self.at - earlier.at)
        if rate > MOST_FRAMES_PER_SECOND:
            raise Implausible(f"{frames} frames in {self.at - earlier.at:.3f} s")
        return rate


@frozen
class EventCount:
    """How far the event sequence was followed. A worker's first event has the number 0 (seen in the captures)."""

    expected: int = 0
    received: int = 0
    missed: int = 0

    def after(self, sequence: int, *, replay: bool = False) -> EventCount:
        """The count once the event of this number came.

        A number that lies behind means that a new worker counts, unless it is a `replay`: the last health event, which every new
        connection is given again.
        """
        missed = steps(self.expected, sequence)
        if missed is None:
            if replay:
                return self
            missed = sequence
        expected = (sequence + 1) % _SEQUENCES
        return EventCount(expected, self.received + 1, self.missed + missed)
