"""The spool's file: groups of changes in the order in which they came, and what must be known of their events to write them later.

A change is either there for good or was never taken. A file that makes no sense any more is set aside, and what can be read of it is
taken over into a new one. Everything here blocks, and is called on the spool's own thread.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import attrs

from zmtwist.changes import Change, OpenEvent
from zmtwist.durable import durable_write
from zmtwist.ingest.writer.change_queue import URGENT
from zmtwist.ingest.writer.preallocated_sqlite import RoomyFile, is_damage
from zmtwist.ingest.writer.spool_format import (
    COLUMNS,
    TABLES,
    UPGRADES,
    Known,
    Senseless,
    event_of,
    event_row,
    group_of,
    group_row,
    tried_of,
    tried_row,
    writable,
)
from zmtwist.ingest.writer.spool_repair import Damaged, Rescue
from zmtwist.ingest.writer.sqlite_salvage import is_whole

NAME = "spool.db"

ALL = 2**62
"""Above every id."""

AT_ONCE = 200
"""Groups that are taken over from a damaged file in one transaction."""


class SpoolTrouble(Exception):
    """The spool can't be written or read at the moment; nothing was changed. `broken`: the file makes no sense, and never will."""

    def __init__(self, text: str, *, broken: bool = False) -> None:
        super().__init__(text)
        self.broken = broken


@attrs.frozen
class Group:
    """What is read at once. `upto` is its last id; `doubtful` are openings that may be in the database already, because a run that
    ended since had begun to write them; `unreadable` changes make no sense, and are `aside` in files."""

    changes: tuple[Change, ...]
    upto: int
    doubtful: tuple[OpenEvent, ...] = ()
    unreadable: int = 0
    aside: tuple[str, ...] = ()


@attrs.frozen
class Damage:
    """A file that made no sense: `why`, where it is now, how many of its changes were taken over, and at how many places nothing could be
    read."""

    why: str
    aside: str
    changes: int = 0
    unread: int = 0


@attrs.frozen
class Left:
    """What is there: the last id, how many changes that are still to be read, and the events they speak of. `unreadable` events make no
    sense, and are `aside` in files."""

    last: int
    changes: int
    events: Mapping[str, Known]
    unreadable: int = 0
    aside: tuple[str, ...] = ()
    damage: Damage | None = None


class SpoolFile:
    """One spool in `directory`, which is made if it is missing. `most_pages` bounds the file, for tests.

    `used` is how many bytes of it were in use after the last call; `gave_way` counts the changes that were given up for lack of room.
    """

    def __init__(self, directory: str, *, most_pages: int | None = None) -> None:
        self._directory = Path(directory)
        self._path = self._directory / NAME
        self._damaged = Damaged(self._path)
        self._file = RoomyFile(self._path, TABLES, UPGRADES, most_pages=most_pages)
        self._whole = True
        self.used = 0
        self.gave_way = 0

    def open(self) -> Left:
        """Open, and tell what is left of an earlier run. A file that makes no sense is no trouble. Raises `SpoolTrouble`."""
        try:
            with self._trouble():
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._file.close()
                if self._damaged.there:
                    raise Senseless("what could be read of it was still being taken over")
                if not is_whole(self._path, Path(f"{self._path}-wal")):
                    raise Senseless("it is cut off, or its log is damaged")
                return self._left()
        except SpoolTrouble as trouble:
            if not trouble.broken:
                raise
            return self.renew(str(trouble))

    def close(self) -> None:
        """Close the file; what is in it stays."""
        self._file.close()

    def renew(self, why: str, after: int = 0) -> Left:
        """Set the file aside, which makes no sense, and begin a new one with what can be read of it. Raises `SpoolTrouble`.

        Gives what is there with ids above `after`. Whether it is in the database already is doubtful for all of it. Ended half-way by a
        kill, it is begun again by `open`.
        """
        with self._trouble():
            self._whole = False
            with contextlib.suppress(sqlite3.Error):
                self._file.close()
            self._damaged.move_away()
            with self._damaged.read(self._file.tables) as old:
                changes = self._take_over(old)
            damage = Damage(why, self._damaged.put_aside(), changes, old.unread)
            return attrs.evolve(self._left(after), damage=damage)

    def put(self, group_id: int, changes: Sequence[Change], events: Mapping[str, Known], *, tried: bool = False) -> int:
        """Keep a group, and what is known of its events. If there is no room, the oldest bulk gives way. `tried`: it may be in the
        database already. Gives how many changes were kept: not those with numbers that nothing can hold. Raises `SpoolTrouble`, and then
        it may be kept or not: the same id again takes its place."""
        changes = writable(changes)
        row = group_row(group_id, changes)

        def insert(db: sqlite3.Connection) -> None:
            _remember(db, events)
            db.execute("INSERT OR REPLACE INTO groups VALUES (?, ?, ?, ?, ?)", row)
            if tried:
                db.execute("UPDATE tried SET upto = ?, checksum = ?", tried_row(group_id))

        with self._trouble():
            self._see_whole()
            self._make_room(len(row[3]))
            self._file.write(insert)
            self.used = self._file.used
        return len(changes)

    def forget_after(self, last: int) -> None:
        """Forget groups with ids above `last`: of these it was not known whether they were kept. Raises `SpoolTrouble`."""
        with self._trouble():
            self._see_whole()
            self._file.write(lambda db: (db.execute("DELETE FROM groups WHERE id > ?", (last,)), _tidy(db)))

    def read(self, after: int, upto: int, most: int) -> Group | None:
        """The groups with ids above `after` up to `upto`, as many as hold `most` changes (one at least); None if there are none.

        They are marked as tried before this returns. Raises `SpoolTrouble`.
        """

        def take(db: sqlite3.Connection) -> Group | None:
            changes: list[Change] = []
            doubtful: list[OpenEvent] = []
            unreadable: list[tuple[int, int]] = []
            last = after
            tried = _tried(db)
            rows = db.execute(
                "SELECT id, changes, data, checksum FROM groups WHERE id > ? AND id <= ? ORDER BY id", (after, upto)
            )
            for group_id, count, data, checksum in rows:
                if changes and len(changes) + _count(count) > most:
                    break
                last = group_id
                try:
                    group = group_of(group_id, data, checksum)
                except Senseless:
                    unreadable.append((group_id, max(1, _count(count))))
                    continue
                changes += group
                if group_id <= tried:
                    doubtful += (change for change in group if isinstance(change, OpenEvent))
            rows.close()
            for group_id, _ in unreadable:
                db.execute("INSERT INTO unreadable SELECT id, data FROM groups WHERE id = ?", (group_id,))
                db.execute("DELETE FROM groups WHERE id = ?", (group_id,))
            if last > tried:
                db.execute("UPDATE tried SET upto = ?, checksum = ?", tried_row(last))
            if last == after:
                return None
            return Group(tuple(changes), last, tuple(doubtful), sum(count for _, count in unreadable))

        with self._trouble():
            self._see_whole()
            group = self._file.write(take)
            return attrs.evolve(group, aside=self._put_aside()) if group is not None and group.unreadable else group

    def done(self, upto: int | None, events: Mapping[str, Known | None]) -> None:
        """All groups up to this id are in the database: forget them. `events` are those whose place or save is new; None for one that
        is over. Raises `SpoolTrouble`."""

        def forget(db: sqlite3.Connection) -> bool:
            _remember(db, {handle: known for handle, known in events.items() if known is not None})
            over = [(handle,) for handle, known in events.items() if known is None]
            db.executemany("UPDATE events SET saved = NULL WHERE handle = ?", over)
            if upto is not None:
                db.execute("DELETE FROM groups WHERE id <= ?", (upto,))
            return _tidy(db)

        with self._trouble():
            self._see_whole()
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

    def _left(self, after: int = 0) -> Left:
        db = self._file.db
        for table, columns in COLUMNS.items():
            db.execute(f"SELECT {', '.join(columns)} FROM {table} LIMIT 0")  # noqa: S608 - of names in the code
        last, changes = db.execute(
            "SELECT COALESCE(MAX(id), 0), SUM(changes) FILTER (WHERE id > ?) FROM groups", (after,)
        ).fetchone()
        events: dict[str, Known] = {}
        senseless: list[int] = []
        selected = ", ".join(COLUMNS["events"])
        for rowid, *row in db.execute(f"SELECT rowid, {selected} FROM events"):  # noqa: S608 - of names in the code
            try:
                handle, known = event_of(*row)
            except Senseless:
                senseless.append(rowid)
            else:
                events[handle] = known

        def mend(db: sqlite3.Connection) -> None:
            for rowid in senseless:
                db.execute("INSERT INTO unreadable SELECT rowid, place FROM events WHERE rowid = ?", (rowid,))
                db.execute("DELETE FROM events WHERE rowid = ?", (rowid,))
            if (tried := _tried(db)) >= last > 0 or senseless:
                _set_tried(db, min(tried, last))

        self._file.write(mend)
        self._whole = True
        self.used = self._file.used
        return Left(last, _count(changes), events, len(senseless), self._put_aside())

    def _see_whole(self) -> None:
        if not self._whole:
            raise Senseless("what could be read of the damaged one is not taken over yet")

    def _take_over(self, old: Rescue) -> int:
        """All that can be read of the damaged file, into a new one; how many changes that were."""
        changes = last = 0
        while groups := list(islice(old.groups, AT_ONCE)):
            self._insert("groups", groups, sum(len(data) for *_, data, _ in groups))
            changes += sum(count for _, count, *_ in groups)
            last = max(last, *(group_id for group_id, *_ in groups))
        events = list(old.events)
        self._insert("events", events, sum(len(place) for _, place, *_ in events))
        self._file.write(lambda db: _set_tried(db, last))
        return changes

    def _insert(self, table: str, rows: Sequence[Sequence[object]], size: int) -> None:
        if rows:
            self._make_room(size)
            values = ", ".join("?" * len(rows[0]))
            self._file.write(lambda db: db.executemany(f"INSERT OR IGNORE INTO {table} VALUES ({values})", rows))  # noqa: S608

    def _put_aside(self) -> tuple[str, ...]:
        """What makes no sense, out of the spool into files of its own; their names. What there is no room for waits for another time."""
        paths: list[str] = []
        with contextlib.suppress(OSError, sqlite3.Error):
            for rowid, number, data in self._file.db.execute("SELECT rowid, id, data FROM unreadable").fetchall():
                path = self._directory / f"group-{number}.bad-{time.time_ns()}"
                durable_write(path, data if isinstance(data, bytes) else repr(data).encode())
                paths.append(str(path))
                self._file.db.execute("DELETE FROM unreadable WHERE rowid = ?", (rowid,))
        return tuple(paths)

    @contextlib.contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except SpoolTrouble:
            raise
        except (
            Exception
        ) as error:  # the disk may give back anything, and SQLite's module raises more than its own kinds
            broken = isinstance(error, Senseless) or is_damage(error)
            raise SpoolTrouble(f"the spool in {self._directory}: {error}", broken=broken) from error


def _count(number: object) -> int:
    return number if isinstance(number, int) and number > 0 else 0


def _tried(db: sqlite3.Connection) -> int:
    """The last group that may be in the database already: all of them, where that is not known."""
    try:
        return tried_of(db.execute("SELECT upto, checksum FROM tried").fetchone())
    except Senseless:
        return ALL


def _tidy(db: sqlite3.Connection) -> bool:
    """Once there are no groups any more, forget what is known of events whose clips are seen to; whether that is so."""
    if db.execute("SELECT 1 FROM groups").fetchone() is not None:
        return False
    db.execute("UPDATE tried SET upto = ?, checksum = ?", tried_row(0))
    db.execute("DELETE FROM events WHERE saved IS NULL")
    return True


def _set_tried(db: sqlite3.Connection, upto: int) -> None:
    db.execute("DELETE FROM tried")
    db.execute("INSERT INTO tried VALUES (?, ?)", tried_row(upto))


def _strip(db: sqlite3.Connection, wanted: int) -> int:
    """Take the oldest bulk out, for at least `wanted` bytes; how many changes that were. 0: there is none left.

    What has been tried stays: it is about to leave anyway.
    """
    freed = dropped = 0
    while freed < wanted:
        row = db.execute(
            "SELECT id, data, checksum FROM groups WHERE bulk > 0 AND id > ? ORDER BY id LIMIT 1", (_tried(db),)
        ).fetchone()
        if row is None:
            break
        group_id, data, checksum = row
        try:
            group = group_of(group_id, data, checksum)
        except Senseless:  # it is set aside when its turn comes
            db.execute("UPDATE groups SET bulk = 0 WHERE id = ?", (group_id,))
            continue
        kept = [change for change in group if isinstance(change, URGENT)]
        left = group_row(group_id, kept)
        if kept:
            db.execute("INSERT OR REPLACE INTO groups VALUES (?, ?, ?, ?, ?)", left)
        else:
            db.execute("DELETE FROM groups WHERE id = ?", (group_id,))
        freed += len(data) - len(left[3])
        dropped += len(group) - len(kept)
    return dropped


def _remember(db: sqlite3.Connection, events: Mapping[str, Known]) -> None:
    db.executemany(
        "INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?)",
        [event_row(handle, known) for handle, known in events.items()],
    )
