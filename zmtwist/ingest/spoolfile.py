"""The spool's file: groups of changes in the order in which they came, and what must be known of their events to write them later.

SQLite in WAL mode with synchronous FULL, so a change is either there for good or was never taken. Everything here blocks, and is called
on the spool's own thread.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import attrs
import msgspec

from zmtwist.changes import Change, ClipSaved, OpenEvent
from zmtwist.ingest.queue import URGENT
from zmtwist.zm.paths import EventPlace

NAME = "spool.db"
ROOM = 256 << 10
"""Bytes always kept free inside the file: marking and deleting need some, and a full disk has none to give."""

GROWTH = 1 << 20
ROOMY = 8 << 20
"""Bytes of a file that is not made small again once it is empty."""

VERSION = 1

_TABLES = (
    "CREATE TABLE groups (id INTEGER PRIMARY KEY, changes INTEGER NOT NULL, bulk INTEGER NOT NULL, data BLOB NOT NULL)",
    "CREATE INDEX strippable ON groups (id) WHERE bulk > 0",
    "CREATE TABLE events (handle TEXT PRIMARY KEY, place BLOB NOT NULL, saved BLOB)",
    "CREATE TABLE tried (upto INTEGER NOT NULL)",
    "INSERT INTO tried VALUES (0)",
    "CREATE TABLE unreadable (id INTEGER, data BLOB NOT NULL)",
    f"PRAGMA user_version = {VERSION}",
)

T = TypeVar("T")

_encode = msgspec.msgpack.Encoder().encode
_group = msgspec.msgpack.Decoder(list[Change]).decode
_place = msgspec.msgpack.Decoder(EventPlace).decode
_saved = msgspec.msgpack.Decoder(ClipSaved).decode


class SpoolTrouble(Exception):
    """The spool can't be written or read at the moment; nothing was changed. `full`: there is no room, and nothing gives way any more."""

    def __init__(self, text: str, *, full: bool = False) -> None:
        super().__init__(text)
        self.full = full


@attrs.frozen
class Known:
    """An event that has its row, and the save of its clip where that is still to be seen to."""

    place: EventPlace
    saved: ClipSaved | None = None


@attrs.frozen
class Group:
    """What is read at once. `upto` is its last id; `doubtful` are openings that may be in the database already, because a run that
    ended since had begun to write them; `unreadable` changes are set aside."""

    changes: tuple[Change, ...]
    upto: int
    doubtful: tuple[OpenEvent, ...] = ()
    unreadable: int = 0


@attrs.frozen
class Stored:
    """What a call that writes left behind. `gave_way` counts changes that were given up for lack of room."""

    bytes: int
    gave_way: int = 0


@attrs.frozen
class Left:
    """What an earlier run left: the last id, how many changes, the events they speak of, and the bytes they take."""

    last: int
    changes: int
    events: Mapping[str, Known]
    bytes: int
    set_aside: str | None = None


class SpoolFile:
    """One spool in `directory`, which is made if it is missing. `most_pages` bounds the file, for tests."""

    def __init__(self, directory: str, *, most_pages: int | None = None) -> None:
        self._directory = Path(directory)
        self._path = self._directory / NAME
        self._most_pages = most_pages
        self._connection: sqlite3.Connection | None = None
        # SQLite's own lock on the file would go with any descriptor of ours that is closed, so this one stays open as long.
        self._claiming: int | None = None

    def open(self) -> Left:
        """Open, and tell what is left of an earlier run. A file that is no spool is renamed, never deleted. Raises `SpoolTrouble`."""
        aside = None
        with self._trouble():
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                self._open()
                left = self._left()
            except (sqlite3.DatabaseError, msgspec.MsgspecError) as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                aside = self._set_aside()
                self._open()
                left = self._left()
        return attrs.evolve(left, set_aside=aside)

    def close(self) -> None:
        """Close the file; what is in it stays."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._claiming is not None:
            os.close(self._claiming)
            self._claiming = None

    def put(
        self, group_id: int, changes: Sequence[Change], events: Mapping[str, Known], *, tried: bool = False
    ) -> Stored:
        """Keep a group, and what is known of its events. If there is no room, the oldest bulk gives way. `tried`: it may be in the
        database already. Raises `SpoolTrouble`."""
        data = _encode(changes)
        bulk = sum(not isinstance(change, URGENT) for change in changes)

        def insert(db: sqlite3.Connection) -> None:
            _remember(db, events)
            db.execute("INSERT INTO groups VALUES (?, ?, ?, ?)", (group_id, len(changes), bulk, data))
            if tried:
                db.execute("UPDATE tried SET upto = ?", (group_id,))

        with self._trouble():
            gave_way = self._make_room(len(data))
            self._write(insert)
            return Stored(self.bytes, gave_way)

    def read(self, after: int, upto: int, most: int) -> Group | None:
        """The groups with ids above `after` up to `upto`, as many as hold `most` changes (one at least); None if there are none.

        They are marked as tried before this returns. Raises `SpoolTrouble`.
        """

        def take(db: sqlite3.Connection) -> Group | None:
            changes: list[Change] = []
            doubtful: list[OpenEvent] = []
            unreadable: list[tuple[int, int]] = []
            last = after
            (tried,) = db.execute("SELECT upto FROM tried").fetchone()
            rows = db.execute("SELECT id, changes, data FROM groups WHERE id > ? AND id <= ? ORDER BY id", (after, upto))
            for group_id, count, data in rows:
                if changes and len(changes) + count > most:
                    break
                last = group_id
                try:
                    group = _group(data)
                except msgspec.MsgspecError:
                    unreadable.append((group_id, count))
                    continue
                changes += group
                if group_id <= tried:
                    doubtful += (change for change in group if isinstance(change, OpenEvent))
            rows.close()
            for group_id, _ in unreadable:
                db.execute("INSERT INTO unreadable SELECT id, data FROM groups WHERE id = ?", (group_id,))
                db.execute("DELETE FROM groups WHERE id = ?", (group_id,))
            if last > tried:
                db.execute("UPDATE tried SET upto = ?", (last,))
            if last == after:
                return None
            return Group(tuple(changes), last, tuple(doubtful), sum(count for _, count in unreadable))

        with self._trouble():
            return self._write(take)

    def done(self, upto: int | None, events: Mapping[str, Known | None]) -> Stored:
        """All groups up to this id are in the database: forget them. `events` are those whose place or save is new; None for one that
        is over. Raises `SpoolTrouble`."""

        def forget(db: sqlite3.Connection) -> bool:
            _remember(db, {handle: known for handle, known in events.items() if known is not None})
            over = [(handle,) for handle, known in events.items() if known is None]
            db.executemany("UPDATE events SET saved = NULL WHERE handle = ?", over)
            if upto is not None:
                db.execute("DELETE FROM groups WHERE id <= ?", (upto,))
            if db.execute("SELECT 1 FROM groups").fetchone() is not None:
                return False
            db.execute("UPDATE tried SET upto = 0")
            db.execute("DELETE FROM events WHERE saved IS NULL")
            return True

        with self._trouble():
            if self._write(forget):
                self._make_small()
            return Stored(self.bytes)

    @property
    def bytes(self) -> int:
        """What is in use of the file."""
        return self._pages("page_count") - self._pages("freelist_count")

    def _open(self) -> None:
        self.close()
        self._claiming = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA wal_autocheckpoint = 256")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                connection.execute("BEGIN IMMEDIATE")
                for statement in _TABLES:
                    connection.execute(statement)
                connection.execute("COMMIT")
            elif version != VERSION:
                raise sqlite3.DatabaseError(f"a spool of version {version}")
            if self._most_pages is not None:
                connection.execute(f"PRAGMA max_page_count = {self._most_pages}")
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._grow(0)

    def _left(self) -> Left:
        last, changes = self._db.execute("SELECT COALESCE(MAX(id), 0), COALESCE(SUM(changes), 0) FROM groups").fetchone()
        events = {
            handle: Known(_place(place), None if saved is None else _saved(saved))
            for handle, place, saved in self._db.execute("SELECT handle, place, saved FROM events")
        }
        return Left(last, changes, events, self.bytes)

    def _set_aside(self) -> str:
        """Rename what can't be read, so that somebody can look at it."""
        self.close()
        aside = f"{self._path}.bad-{time.time_ns()}"
        for ending in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self._path}{ending}").rename(f"{aside}{ending}")
        return aside

    # Room: the file grows before it must, so that on a full disk every page that is still to be written has its place already

    def _make_room(self, wanted: int) -> int:
        """See that `wanted` bytes fit in; how many changes had to give way. Raises `SpoolTrouble`."""
        gave_way = 0
        while not self._grow(wanted):
            dropped = self._write(lambda db: _strip(db, wanted))
            if not dropped:
                raise SpoolTrouble(f"the spool in {self._directory} is full", full=True)
            gave_way += dropped
        return gave_way

    def _grow(self, wanted: int) -> bool:
        """Have `wanted` bytes and `ROOM` free inside the file, and as much in its log; whether that could be had."""
        wanted += wanted // 8 + ROOM
        if self._pages("freelist_count") >= wanted:
            return True
        extra = max(wanted, GROWTH)
        self._checkpoint()
        try:
            self._claim(extra + extra // 8)
            self._once(lambda db: db.execute("INSERT INTO unreadable VALUES (0, zeroblob(?))", (extra,)))
        except OSError:
            return False
        except sqlite3.OperationalError as error:
            if not _is_full(error):
                raise
            return False
        self._checkpoint()
        self._write(lambda db: db.execute("DELETE FROM unreadable WHERE id = 0"))
        return True

    def _claim(self, extra: int) -> None:
        """Take the room for `extra` bytes more from the file system before SQLite writes there. Raises `OSError`.

        The log has just been written back, so the file is as long as its pages say.
        """
        assert self._claiming is not None
        before = os.fstat(self._claiming).st_size
        log = os.open(f"{self._path}-wal", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(self._claiming, before, extra)
            if (size := os.fstat(log).st_size) < extra:
                os.posix_fallocate(log, size, extra - size)
        except OSError:
            os.ftruncate(self._claiming, before)
            raise
        finally:
            os.close(log)

    def _make_small(self) -> None:
        """After a long outage: give the disk its room back."""
        if self._pages("page_count") > ROOMY:
            with contextlib.suppress(sqlite3.OperationalError):  # no room to do so: then another time
                self._db.execute("VACUUM")
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._grow(0)

    def _pages(self, count: str) -> int:
        """`page_count` or `freelist_count`, in bytes."""
        (pages,) = self._db.execute(f"PRAGMA {count}").fetchone()
        (size,) = self._db.execute("PRAGMA page_size").fetchone()
        return int(pages) * int(size)

    # Transactions

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            self._open()
        assert self._connection is not None
        return self._connection

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """One transaction; if its log has no room, once more from the log's beginning."""
        try:
            return self._once(work)
        except sqlite3.OperationalError as error:
            if not _is_full(error):
                raise
            self._checkpoint()
            return self._once(work)

    def _once(self, work: Callable[[sqlite3.Connection], T]) -> T:
        db = self._db
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
        self._db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()

    @contextlib.contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            full = isinstance(error, sqlite3.OperationalError) and _is_full(error)
            raise SpoolTrouble(f"the spool in {self._directory}: {error}", full=full) from error


def _strip(db: sqlite3.Connection, wanted: int) -> int:
    """Take the oldest bulk out, for at least `wanted` bytes; how many changes that were. 0: there is none left.

    What has been tried stays: it is about to leave anyway.
    """
    freed = dropped = 0
    while freed < wanted:
        row = db.execute(
            "SELECT id, data FROM groups WHERE bulk > 0 AND id > (SELECT upto FROM tried) ORDER BY id LIMIT 1"
        ).fetchone()
        if row is None:
            break
        group_id, data = row
        group = _group(data)
        kept = [change for change in group if isinstance(change, URGENT)]
        left = _encode(kept)
        if kept:
            db.execute("UPDATE groups SET changes = ?, bulk = 0, data = ? WHERE id = ?", (len(kept), left, group_id))
        else:
            db.execute("DELETE FROM groups WHERE id = ?", (group_id,))
        freed += len(data) - len(left)
        dropped += len(group) - len(kept)
    return dropped


def _remember(db: sqlite3.Connection, events: Mapping[str, Known]) -> None:
    rows: Iterable[tuple[str, bytes, bytes | None]] = (
        (handle, _encode(known.place), None if known.saved is None else _encode(known.saved))
        for handle, known in events.items()
    )
    db.executemany(
        "INSERT INTO events VALUES (?, ?, ?) ON CONFLICT (handle) DO UPDATE SET place = excluded.place, saved = excluded.saved",
        rows,
    )


def _is_full(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode == sqlite3.SQLITE_FULL
