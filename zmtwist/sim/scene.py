"""What the synthetic camera sees: one object that comes, crosses the picture, and goes. Pure: the same time gives the same scene."""

from __future__ import annotations

from math import sin, tau

import msgspec

LABELS = (("person", 0), ("car", 2), ("dog", 16))
"""Labels that the objects take in turn, with their COCO class ids."""


class Thing(msgspec.Struct, frozen=True):
    """An object in the picture; `box` is left, top, width and height in pixels."""

    label: str
    class_id: int
    track_id: int
    confidence: float
    box: tuple[int, int, int, int]


class Scene(msgspec.Struct, frozen=True):
    """The object's time-table: it first appears after `first` seconds, stays for `present`, and comes again every `period`."""

    width: int
    height: int
    first: float
    present: float
    period: float

    def at(self, seconds: float) -> Thing | None:
        """The object that is there `seconds` after the start, or None."""
        since = seconds - self.first
        if since < 0:
            return None
        visit = int(since // self.period)
        phase = since - visit * self.period
        if phase >= self.present:
            return None
        share = phase / min(self.present, self.period)
        label, class_id = LABELS[visit % len(LABELS)]
        width, height = max(self.width // 8, 8), max(self.height // 4, 8)
        left = int(share * (self.width - width))
        top = int((self.height - height) * (0.5 + 0.2 * sin(tau * share)))
        return Thing(label, class_id, visit + 1, round(0.91 - 0.2 * share, 4), (left, top, width, height))

    def changed(self, seconds: float) -> int:
        """How many cells a motion gate would count while the object is there: around 100, never the same for long."""
        return 60 + int(seconds * 1000) * 37 % 90
