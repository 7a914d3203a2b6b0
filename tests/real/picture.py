"""The time in an RTSP camera's picture, and what else a decoded frame shows (rtsp_camera.py draws it)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import av

TIME_BITS, CHECK_BITS = 42, 6


@attrs.frozen
class Shown:
    """One frame of a clip: seconds from the clip's beginning, the wall time in the picture, the square's middle (0 to 1) if it is seen."""

    at: float
    wall: float | None
    keyframe: bool
    luma: bytes
    width: int
    height: int

    def mean(self, left: float, top: float, right: float, bottom: float) -> float:
        """The mean brightness of a part of the picture, given in shares of its size."""
        rows = range(int(top * self.height), int(bottom * self.height))
        columns = slice(int(left * self.width), int(right * self.width))
        strips = [self.luma[y * self.width : (y + 1) * self.width][columns] for y in rows]
        return sum(map(sum, strips)) / sum(map(len, strips))


def read_time(luma: bytes, width: int) -> float | None:
    """Seconds since the epoch, of the cells at the top of a picture; None where there is none that can be read."""
    return _read(luma, width, width // 160) or _read(luma, width, width // 80)


def _read(luma: bytes, width: int, cell: int) -> float | None:
    rows = range(cell // 4, max(cell - cell // 4, cell // 4 + 1))
    word = 0
    for left in range(cell // 4, (TIME_BITS + CHECK_BITS) * cell, cell):
        inner = [luma[row * width + left + at] for row in rows for at in range(len(rows))]
        word = word << 1 | (sum(inner) > 125 * len(inner))
    low, check = word >> CHECK_BITS, word % (1 << CHECK_BITS)
    # A checksum of 6 bits lets one in 64 wrong readings pass; the century has to be ours.
    if low.bit_count() % (1 << CHECK_BITS) != check or low >> 40 != 1:
        return None
    return low / 1000


def shown(path: Path) -> Iterator[Shown]:
    """Every frame of a clip that can be decoded."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            grey = frame.reformat(format="gray")
            plane = grey.planes[0]
            data = bytes(plane)
            luma = b"".join(data[y * plane.line_size : y * plane.line_size + grey.width] for y in range(grey.height))
            yield Shown(
                float(frame.time or 0), read_time(luma, grey.width), frame.key_frame, luma, grey.width, grey.height
            )
