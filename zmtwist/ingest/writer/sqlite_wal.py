"""SQLite's write-ahead log, as far as is needed to read on behind a damaged place. No I/O.

SQLite itself takes a frame whose checksum is wrong for the log's end: rightly so after a crash, where the last transaction is cut off;
but a single bad bit hides everything behind it, and nobody is told. Each frame's checksum goes on from that of the frame before, so
what lies behind a damaged frame can be checked on its own. https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from typing import NamedTuple

import attrs

PAGE = 4096
HEADER = 32
FRAME = 24
_WORD = 0xFFFFFFFF
_MAGIC = (0x377F0682, 0x377F0683)


class Frame(NamedTuple):
    """One page as it was written: its number, where its content is in the log, and whether it is as it was written."""

    page: int
    offset: int
    whole: bool


@attrs.frozen
class Log:
    """The frames of all transactions that were committed, in order. `damaged`: not all of them are whole, so SQLite will miss some."""

    frames: tuple[Frame, ...] = ()
    damaged: bool = False


class _Head(NamedTuple):
    page: int
    commit: int
    salts: tuple[int, int]
    checksum: tuple[int, int]


def read_log(data: bytes) -> Log:
    """What is in a log file of pages of `PAGE` bytes."""
    if len(data) < HEADER + FRAME + PAGE:
        return Log()
    magic, _, _, _, *words = struct.unpack_from(">8I", data)
    salts, before = (words[0], words[1]), (words[2], words[3])
    sound = magic in _MAGIC and _checksum(data[:24], (0, 0)) == before
    if not sound:
        salts = _head(data, HEADER).salts
        if salts == (0, 0):  # room that was taken from the file system, and never written to
            return Log()
    frames: list[Frame] = []
    committed = 0
    for offset in range(HEADER, len(data) - FRAME - PAGE + 1, FRAME + PAGE):
        head = _head(data, offset)
        if salts[0] != head.salts[0] and salts[1] != head.salts[1]:
            break  # of an earlier use of the file
        content = data[offset + FRAME : offset + FRAME + PAGE]
        whole = salts == head.salts and _checksum(data[offset : offset + 8] + content, before) == head.checksum
        if not whole:
            head = _corrected(head, content, before)
        before = head.checksum
        frames.append(Frame(head.page, offset + FRAME, whole))
        if whole and head.commit:
            committed = len(frames)
    frames = frames[:committed]
    return Log(tuple(frames), bool(frames) and not (sound and all(frame.whole for frame in frames)))


def _head(data: bytes, offset: int) -> _Head:
    page, commit, salt, salt2, checksum, checksum2 = struct.unpack_from(">6I", data, offset)
    return _Head(page, commit, (salt, salt2), (checksum, checksum2))


def _corrected(head: _Head, content: bytes, before: tuple[int, int]) -> _Head:
    """The head with the one bit set right that makes the frame whole; as it is if there is none: it is the content, then."""
    for page, commit in _flipped(head.page, head.commit):
        if _checksum(struct.pack(">2I", page, commit) + content, before) == head.checksum:
            return head._replace(page=page, commit=commit)
    return head


def _flipped(page: int, commit: int) -> Iterator[tuple[int, int]]:
    for bit in range(32):
        yield page ^ 1 << bit, commit
    for bit in range(32):
        yield page, commit ^ 1 << bit


def _checksum(data: bytes, before: tuple[int, int]) -> tuple[int, int]:
    """SQLite's own, in this machine's byte order as it is written here."""
    first, second = before
    words = iter(array("I", data))
    for one, other in zip(words, words, strict=True):
        first = first + one + second & _WORD
        second = second + other + first & _WORD
    return first, second
