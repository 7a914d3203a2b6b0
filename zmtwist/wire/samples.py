"""What sequence numbers tell: the capture rate between two media headers, and how many events were not received. Plain values."""

from __future__ import annotations

from attrs import frozen

_SEQUENCES = 1 << 32
_HALF = 1 << 31


def steps(earlier: int, later: int) -> int | None:
    """How many numbers `later` is past `earlier`, both being u32 that wrap; None where it is not ahead at all, but behind."""
    ahead = (later - earlier) % _SEQUENCES
    return ahead if ahead < _HALF else None


@frozen
class MediaSample:
    """The header of one access unit, and when it was read (`at`, seconds of the link's clock)."""

    at: float
    sequence: int
    generation: int

    def frames_per_second(self, earlier: MediaSample | None) -> float | None:
        """Frames that the camera gave per second since `earlier`, seen or not; None where the two are not of one run of numbers."""
        if earlier is None or earlier.generation != self.generation or self.at <= earlier.at:
            return None
        frames = steps(earlier.sequence, self.sequence)
        return frames / (self.at - earlier.at) if frames else None


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
