"""Which part of a file a request wants (RFC 9110, 14). Pure."""

from __future__ import annotations

import re

import attrs

_ONE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", re.ASCII | re.IGNORECASE)


class Unsatisfiable(Exception):
    """No byte of what is asked for is there."""


@attrs.frozen
class Part:
    """`length` bytes from `first`."""

    first: int
    length: int

    def told(self, size: int) -> str:
        """The value of Content-Range."""
        return f"bytes {self.first}-{self.first + self.length - 1}/{size}"


def part_of(size: int, asked: str | None) -> Part | None:
    """What `asked`, the value of Range, names of a file of `size` bytes; None for all of it, as for several parts or another unit.

    Raises Unsatisfiable.
    """
    found = _ONE.fullmatch(asked) if asked is not None else None
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        length = min(int(found[2]), size)
        if not length:
            raise Unsatisfiable
        return Part(size - length, length)
    first = int(found[1])
    last = min(int(found[2]), size - 1) if found[2] else size - 1
    if found[2] and int(found[2]) < first:
        return None
    if first >= size:
        raise Unsatisfiable
    return Part(first, last - first + 1)
