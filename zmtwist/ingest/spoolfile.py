"""The spool's file: groups of changes in the order in which they came, and what must be known of their events to write them later.

A change is either there for good or was never taken. Everything here blocks, and is called on the spool's own thread.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import attrs
import msgspec

from zmtwist.changes import Change, ClipSaved, OpenEvent
from zmtwist.ingest.queue import URGENT
from zmtwist.ingest.roomyfile import RoomyFile
from zmtwist.zm.paths import EventPlace

NAME = "spool.db"
VERSION = 1

_TABLES = (
    "CREATE TABLE groups (id INTEGER PRIMARY KEY, changes INTEGER NOT NULL, bulk INTEGER NOT NULL, data BLOB NOT NULL)",
    "CREATE INDEX strippable ON groups (id) WHERE bulk > 0",
    "CREATE TABLE events (handle TEXT PRIMARY KEY, place BLOB NOT NULL, saved BLOB)",
    "CREATE TABLE tried (upto INTEGER NOT NULL)",
    "INSERT INTO tried VALUES (0)",
    "CREATE TABLE unreadable (id INTEGER, data BLOB NOT NULL)",
)

_encode = msgspec.msgpack.Encoder().encode
_group = msgspec.msgpack.Decoder(list[Change]).decode
_place = msgspec.msgpack.Decoder(EventPlace).decode
_saved = msgspec.msgpack.Decoder(ClipSaved).decode


class SpoolTrouble(Exception):
    """The spool can't be written or read at the moment; nothing was changed. `broken`: the file makes no sense, and never will."""

    def __init__(self, text: str, *, broken: bool = False) -> None:
        super().__init__(text)
        self.broken = broken


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
class Left:
    """What an earlier run left: the last id, how many changes, and the events they speak of."""

    last: int
    changes: int
    events: Mapping[str, Known]


class SpoolFile:
    """One spool in `directory`, which is made if it is missing. `most_pages` bounds the file, for tests.

    `used` is how many bytes of it were in use after the last call; `gave_way` counts the changes that were given up for lack of room.
    """

    def __init__(self, directory: str, *, most_pages: int | None = None) -> None:
        self._directory = Path(directory)
        self._file = RoomyFile(self._directory / NAME, _TABLES, VERSION, most_pages=most_pages)
        self.used = 0
        self.gave_way = 0

    def open(self) -> Left:
        """Open, and tell what is left of an earlier run. Raises `SpoolTrouble`."""
        with self._trouble():
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            db = self._file.db
            last, changes = db.execute("SELECT COALESCE(MAX(id), 0), COALESCE(SUM(changes), 0) FROM groups").fetchone()
            rows = db.execute("SELECT handle, place, saved FROM events").fetchall()
            events = {
                handle: Known(_place(place), None if saved is None else _saved(saved)) for handle, place, saved in rows
            }
            self.used = self._file.used
            return Left(last, changes, events)

    def close(self) -> None:
        """Close the file; what is in it stays."""
        self._file.close()

    def set_aside(self) -> str:
        """Rename a file that makes no sense, so that somebody can look at it; its new name. The next use begins a new one."""
        with self._trouble():
            self._file.close()
            path = self._directory / NAME
            aside = f"{path}.bad-{time.time_ns()}"
            for ending in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{path}{ending}").rename(f"{aside}{ending}")
            return aside

    def put(self, group_id: int, changes: Sequence[Change], events: Mapping[str, Known], *, tried: bool = False) -> int:
        """Keep a group, and what is known of its events. If there is no room, the oldest bulk gives way. `tried`: it may be in the
        database already. Gives how many changes were kept: not those with numbers that nothing can hold. Raises `SpoolTrouble`."""
        changes = [change for change in changes if _kept(change) is not None] if _kept(changes) is None else changes
        data = _encode(changes)
        bulk = sum(not isinstance(change, URGENT) for change in changes)

        def insert(db: sqlite3.Connection) -> None:
            _remember(db, events)
            db.execute("INSERT INTO groups VALUES (?, ?, ?, ?)", (group_id, len(changes), bulk, data))
            if tried:
                db.execute("UPDATE tried SET upto = ?", (group_id,))

        with self._trouble():
            self._make_room(len(data))
            self._file.write(insert)
            self.used = self._file.used
        return len(changes)

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
            rows = db.execute(
                "SELECT id, changes, data FROM groups WHERE id > ? AND id <= ? ORDER BY id", (after, upto)
            )
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
            return self._file.write(take)

    def done(self, upto: int | None, events: Mapping[str, Known | None]) -> None:
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
            if self._file.write(forget):
                self._file.shrink()
            self.used = self._file.used

    def _make_room(self, wanted: int) -> None:
        """See that `wanted` bytes fit in, if need be in place of the oldest bulk. Raises `SpoolTrouble`."""
        while not self._file.grow(wanted):
            dropped = self._file.write(lambda db: _strip(db, wanted))
            if not dropped:
                raise SpoolTrouble(f"the spool in {self._directory} is full")
            self.gave_way += dropped

    @contextlib.contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error, msgspec.MsgspecError) as error:
            broken = isinstance(error, msgspec.MsgspecError) or type(error) is sqlite3.DatabaseError
            raise SpoolTrouble(f"the spool in {self._directory}: {error}", broken=broken) from error


def _kept(value: object) -> bytes | None:
    """The value's form on disk; None if it has none (a worker may say that a clip is of 10**300 frames)."""
    try:
        return _encode(value)
    except (OverflowError, ValueError):
        return None


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
        try:
            group = _group(data)
        except msgspec.MsgspecError:  # it is set aside when its turn comes
            db.execute("UPDATE groups SET bulk = 0 WHERE id = ?", (group_id,))
            continue
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
        (handle, _encode(known.place), None if known.saved is None else _kept(known.saved))
        for handle, known in events.items()
    )
    db.executemany(
        "INSERT INTO events VALUES (?, ?, ?) ON CONFLICT (handle) DO UPDATE SET place = excluded.place, saved = excluded.saved",
        rows,
    )
