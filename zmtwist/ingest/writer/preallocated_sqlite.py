"""A SQLite file for what must not be lost: durable transactions that still work when the disk is full.

A full disk fails SQLite everywhere: even to delete, it writes to its log first, and what is in the log can't go back into a file that
can't grow. So the file grows before it must, both it and its log by room that was taken from the file system in advance: what needs no
more than `ROOM` always finds it. Everything here blocks.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from zmtwist.ingest.writer.sqlite_wal import PAGE

T = TypeVar("T")

ROOM = 256 << 10
"""Bytes that are always free inside the file."""

GROWTH = 1 << 20
ROOMY = 8 << 20
"""Bytes of a file that is not made small again."""

_OURS = "CREATE TABLE ballast (data BLOB NOT NULL)"


class RoomyFile:
    """A database at `path` with `tables` (statements), for one thread at a time. `most_pages` bounds it, for tests.

    Its version is one more than there are `upgrades`, each of which makes the next version out of one. Errors are SQLite's, and `OSError`.
    """

    def __init__(
        self, path: Path, tables: Sequence[str], upgrades: Sequence[Sequence[str]], *, most_pages: int | None = None
    ) -> None:
        self.path = path
        self.tables = (*tables, _OURS)
        self._upgrades = upgrades
        self._version = 1 + len(upgrades)
        self._most_pages = most_pages
        self._connection: sqlite3.Connection | None = None
        # SQLite's own locks on a file end with any descriptor of ours for it that is closed, so this one stays open as long.
        self._claiming = -1

    @property
    def db(self) -> sqlite3.Connection:
        """The connection, opened where it is not. WAL with synchronous FULL: what is committed outlives a power cut.

        Raises `sqlite3.DatabaseError` that `is_damage` for a file that is no such database, makes no sense or is of a later version.
        """
        if self._connection is None:
            self._connection = self._opened()
            self.grow(0)
        return self._connection

    def close(self) -> None:
        """Close; what is in the file stays."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._claiming >= 0:
            os.close(self._claiming)
            self._claiming = -1

    @property
    def used(self) -> int:
        """Bytes of the file that are in use."""
        return self._bytes("page_count") - self._bytes("freelist_count")

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """`work` as one transaction; if its log has no room, once more from the log's beginning."""
        try:
            return self._once(work)
        except sqlite3.OperationalError as error:
            if not is_full(error):
                raise
            self._checkpoint()
            return self._once(work)

    def grow(self, wanted: int) -> bool:
        """Have room for `wanted` bytes more, and `ROOM`; whether that could be had."""
        wanted += wanted // 8 + ROOM
        if self._bytes("freelist_count") >= wanted:
            return True
        extra = max(wanted, GROWTH)
        self._checkpoint()
        try:
            self._claim(extra + extra // 8)
            self._once(lambda db: db.execute("INSERT INTO ballast VALUES (zeroblob(?))", (extra,)))
        except OSError:
            return False
        except sqlite3.OperationalError as error:
            if not is_full(error):
                raise
            return False
        self._checkpoint()
        self.write(lambda db: db.execute("DELETE FROM ballast"))
        return True

    def shrink(self) -> None:
        """Give the disk its room back, where there is much of it."""
        if self._bytes("page_count") > ROOMY:
            with contextlib.suppress(sqlite3.OperationalError):  # no room to do so: then another time
                self.db.execute("VACUUM")
                self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self.grow(0)

    def _opened(self) -> sqlite3.Connection:
        self.close()
        self._claiming = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        connection.text_factory = bytes  # what a disk gives back as a text need not be one
        try:
            connection.execute(f"PRAGMA page_size = {PAGE}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA wal_autocheckpoint = 256")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if not 0 <= version <= self._version:
                raise sqlite3.DatabaseError(f"{self.path} is of version {version}, not {self._version}")
            if version != 0:
                (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
                if found != b"ok":
                    raise sqlite3.DatabaseError(f"{self.path} is damaged: {found!r}")
            if version != self._version:
                upgrades = [statement for upgrade in self._upgrades[version - 1 :] for statement in upgrade]
                connection.execute("BEGIN IMMEDIATE")
                for statement in upgrades if version else self.tables:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {self._version}")
                connection.execute("COMMIT")
            connection.execute("DELETE FROM ballast")
            if self._most_pages is not None:
                connection.execute(f"PRAGMA max_page_count = {self._most_pages}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _claim(self, extra: int) -> None:
        """Take the room for `extra` bytes more from the file system, before SQLite writes there. Raises `OSError`.

        The log has just been written back, so the file is as long as its pages say.
        """
        before = os.fstat(self._claiming).st_size
        log = os.open(f"{self.path}-wal", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(self._claiming, before, extra)
            if (size := os.fstat(log).st_size) < extra:
                os.posix_fallocate(log, size, extra - size)
        except OSError:
            os.ftruncate(self._claiming, before)
            raise
        finally:
            os.close(log)

    def _once(self, work: Callable[[sqlite3.Connection], T]) -> T:
        db = self.db
        db.execute("BEGIN IMMEDIATE")
        try:
            result = work(db)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return result

    def _checkpoint(self) -> None:
        self.db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()

    def _bytes(self, count: str) -> int:
        """`page_count` or `freelist_count`, in bytes."""
        (pages,) = self.db.execute(f"PRAGMA {count}").fetchone()
        (size,) = self.db.execute("PRAGMA page_size").fetchone()
        return int(pages) * int(size)


_PASSING = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_ABORT,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOLFS,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_MISUSE,
    }
)
"""What says nothing of the file's content: another time it may work."""


def is_damage(error: Exception) -> bool:
    """Whether the file makes no sense, and never will: not where it can't be read or written at the moment."""
    if isinstance(error, UnicodeDecodeError):  # what SQLite says of it quotes it
        return True
    if not isinstance(error, sqlite3.DatabaseError) or isinstance(error, sqlite3.ProgrammingError):
        return False
    code = getattr(error, "sqlite_errorcode", None)  # none: Python's own, of a text that is none, or ours
    return code is None or code == sqlite3.SQLITE_IOERR_CORRUPTFS or code & 0xFF not in _PASSING


def is_full(error: Exception) -> bool:
    """Whether SQLite found no room."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
