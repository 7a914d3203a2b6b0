"""How large, deep and numerous what a worker says may be, and its numbers: what is beyond is of no plugin, and is not reckoned with."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta

Whole = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""A whole number as a plugin written in C holds it. What is no such number is of no use, and would be a trap to reckon with."""

Number = Annotated[float, Meta(ge=-1e15, le=1e15)]
"""A number that can be rounded, multiplied and written out."""

MOST_PTS = 2**53
"""Microseconds: more than a worker's clock of presentation times ever comes to (285 years). An unset one of FFmpeg's lies far outside."""


SMALL = 1024
"""Bytes of JSON that can't be too much of anything."""

LONGEST = 0xFFFF
"""Bytes: as many as a TLV has."""

MOST_PARTS = 8_192
"""Lists and objects: of a detail that is as long as can be, one every 8 bytes."""

DEEPEST = 32

UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""What msgspec raises for bytes that are no JSON, no UTF-8, hold a number that Python refuses to make, or are nested too deeply."""

_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
"""A text, or one that is cut: whichever it is, what it holds is gone through once."""

_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def known_pts(pts_us: int | None) -> int | None:
    """A presentation time that is one, or None."""
    return pts_us if pts_us is not None and 0 <= pts_us < MOST_PTS else None


def too_much(data: bytes) -> bool:
    """Whether some JSON would make a structure so large or deep that nobody should have to go through it. Costs little, before anything is
    decoded.
    """
    opened = data.count(b"[") + data.count(b"{")
    if len(data) > LONGEST or opened > MOST_PARTS:
        return True
    if opened <= DEEPEST:
        return False
    return _deep(data) and _deep(_TEXT.sub(b"", data))  # only where brackets in texts do not explain it


def _deep(data: bytes) -> bool:
    """Whether brackets are left over when those that close one another are taken away, level by level."""
    left = data.translate(None, _BUT_BRACKETS)
    for _ in range(DEEPEST):
        before, left = left, left.replace(b"[]", b"").replace(b"{}", b"")
        if left == before:
            break
    return len(left) > DEEPEST
