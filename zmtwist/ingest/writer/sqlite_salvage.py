"""What can still be read of a damaged SQLite file, row by row. Blocks.

The file is worked on in place, so it must have been set aside before, with its log under another name: what the log holds is written
back first, a frame that is damaged included (one bad bit of 4096 bytes costs a row, not the page).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from zmtwist.ingest.writer.sqlite_wal import PAGE, read_log

MOST_PAGES = 1 << 22
"""16 GiB: a page number above this is not one."""

MOST_PROBES = 20_000
"""Rows behind a damaged place that are asked for one by one."""

_MAGIC = b"SQLite format 3\0"
_PAGE_COUNT = 28
"""Where the file's header says of how many pages it is."""


def is_whole(path: Path, log: Path) -> bool:
    """Whether SQLite would see all that was ever written to the file, as far as can be told without it. Raises OSError."""
    found = read_log(_content(log))
    try:
        with path.open("rb") as file:
            head, size = file.read(len(_MAGIC) + 4), os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return not found.frames
    page_size, formats = struct.unpack(">HH", head[-4:].rjust(4, b"\0"))
    sound = head.startswith(_MAGIC) and page_size == PAGE and formats in (0x0101, 0x0202)  # others can't be written
    return sound and size >= PAGE and not found.damaged


class Salvage:
    """The rows of the file at `path`, whose log is at `log`. `tables` are the statements that made its tables.

    `unread` counts the places at which reading failed.
    """

    def __init__(self, path: Path, log: Path, tables: Sequence[str]) -> None:
        self.unread = 0
        self._failed = False
        try:
            content = _content(log)
        except OSError:
            self.unread, content = 1, b""
        _write_back(path, content)
        self._db = _readable(path, tables)
        self._db.text_factory = bytes

    def close(self) -> None:
        """Read no more."""
        self._db.close()

    def rows(self, table: str, columns: Sequence[str]) -> Iterator[Sequence[Any]]:
        """Every row that can be read: its rowid, and those of the `columns` that are there, NULL for others. Texts are bytes.

        In the order of rowids, but what lies behind a damaged place comes backwards, and what lies between two of them last. Where
        pages are mixed up a row may come twice.
        """
        try:
            there = {str(name, errors="replace") for _, name, *_ in self._db.execute(f"PRAGMA table_info({table})")}
        except (sqlite3.Error, ValueError):
            self.unread += 1
            return
        wanted = ", ".join(name if name in there else "NULL" for name in columns)
        select = f"SELECT rowid, {wanted} FROM {table} NOT INDEXED"  # noqa: S608 - of names in the code
        first = last = None
        for row in self._until_it_fails(f"{select} ORDER BY rowid"):
            first = row[0]
            yield row
        if not self._failed:
            return
        self.unread += 1
        for row in self._until_it_fails(f"{select} WHERE rowid > ? ORDER BY rowid DESC", first or 0):
            last = row[0]
            yield row
        end = (first or 0) + MOST_PROBES
        found = False
        for rowid in range((first or 0) + 1, end if last is None else min(last, end)):
            for row in self._until_it_fails(f"{select} WHERE rowid = ?", rowid):
                found = True
                yield row
            self.unread += found and self._failed  # this is another place, then
            found = found and not self._failed

    def _until_it_fails(self, statement: str, *values: int) -> Iterator[Sequence[Any]]:
        self._failed = False
        try:
            yield from self._db.execute(statement, values)
        except (sqlite3.Error, ValueError, OverflowError, MemoryError):
            self._failed = True


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _write_back(path: Path, data: bytes) -> None:
    with contextlib.closing(_Pages(path)) as pages:
        for frame in read_log(data).frames:
            if 0 < frame.page <= MOST_PAGES:
                pages.write(frame.page, data[frame.offset : frame.offset + PAGE])
        pages.round_up()


class _Pages:
    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)

    def close(self) -> None:
        os.close(self._file)

    def write(self, number: int, content: bytes) -> None:
        os.pwrite(self._file, content, (number - 1) * PAGE)

    def round_up(self) -> None:
        os.ftruncate(self._file, -(-os.fstat(self._file).st_size // PAGE) * PAGE)


def _readable(path: Path, tables: Sequence[str]) -> sqlite3.Connection:
    """A connection that reads the file, with a first page of our own where its own is damaged."""
    with path.open("r+b") as file:
        own = file.read(PAGE).ljust(PAGE, b"\0")
        count = struct.pack(">I", max(1, os.fstat(file.fileno()).st_size // PAGE))
        for first in (_without_log(own), *_first_pages(tables)):
            # Whatever it says itself, it is as long as it is.
            file.seek(0)
            file.write(first[:_PAGE_COUNT] + count + first[_PAGE_COUNT + 4 :])
            file.flush()
            db = sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True, check_same_thread=False)
            if _makes_sense(db, tables):
                return db
            db.close()
        file.seek(0)
        file.write(own)
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True, check_same_thread=False)


def _makes_sense(db: sqlite3.Connection, tables: Sequence[str]) -> bool:
    """Whether each table begins where the first page says."""
    names = [words[2] for words in (statement.split() for statement in tables) if words[:2] == ["CREATE", "TABLE"]]
    try:
        for name in names:
            db.execute(f"SELECT rowid FROM {name} NOT INDEXED LIMIT 1").fetchone()  # noqa: S608 - of names in the code
    except (sqlite3.Error, ValueError, OverflowError, MemoryError):
        return False
    return True


def _first_pages(tables: Sequence[str]) -> Iterator[bytes]:
    """The first page of a new file, and of one that was made small again, which puts its tables into another order."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        for statement in tables:
            db.execute(statement)
        yield _without_log(db.serialize()[:PAGE])
        db.execute("VACUUM")
        yield _without_log(db.serialize()[:PAGE])


def _without_log(page: bytes) -> bytes:
    """As of a file that keeps no write-ahead log: that has been written back."""
    return page[:18] + b"\1\1" + page[20:]
