"""A spool that a disk has damaged: one flipped bit anywhere, a file that was cut off or emptied. What can be read is written, what can't is
kept and said, and nothing stops."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from itertools import count
from pathlib import Path

import attrs
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.ingest.places import place_in
from tests.ingest.writer.test_spool_file import ALL, frames, opened, opening, saved
from zmtwist.changes import Change, OpenEvent
from zmtwist.ingest.writer.preallocated_sqlite import RoomyFile, is_damage
from zmtwist.ingest.writer.spool_file import NAME, Left, SpoolFile, SpoolTrouble
from zmtwist.ingest.writer.spool_format import Known, group_row
from zmtwist.ingest.writer.sqlite_wal import FRAME, HEADER, PAGE, read_log

GROUPS = 120
DONE = 20
LOG = f"{NAME}-wal"


def group(n: int) -> list[Change]:
    return [opening(n), *frames(n, 12), saved(n)]


@attrs.frozen
class Spooled:
    """A spool as a killed service leaves it (`logged`), or as one that was stopped does."""

    directory: Path
    logged: bool

    def copy(self, to: Path) -> Path:
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir()
        for name in (NAME, LOG) if self.logged else (NAME,):
            shutil.copy(self.directory / name, to)
        return to


@pytest.fixture(scope="module")
def spools(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Spooled]:
    made = {}
    for logged in (False, True):
        directory = tmp_path_factory.mktemp("spool")
        file = opened(directory / "live")
        for n in range(1, GROUPS + 1):
            file.put(n, group(n), {f"1.r.{n}": Known(place_in(Path("/e"), n), saved(n))} if n % 10 == 0 else {})
            if n == 100:  # some of it is in the file proper, some in the log only
                file._file.db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        file.read(0, ALL, 14 * DONE)
        file.done(DONE, {})
        if not logged:
            file.close()
        (directory / "kept").mkdir()
        for path in (directory / "live").iterdir():
            shutil.copy(path, directory / "kept")
        file.close()
        made[logged] = Spooled(directory / "kept", logged)
    return made


@attrs.frozen
class Read:
    """What a start finds: groups by number, in their order, and how often something was said to be lost."""

    groups: list[int]
    doubtful: set[int]
    said: int
    left: Left


def read_all(directory: Path) -> Read:
    """Start, read everything, and see that it is usable: nothing raises, nothing that is read is not what was put."""
    file = SpoolFile(str(directory))
    left = file.open()
    changes: list[Change] = []
    doubtful: set[int] = set()
    last = said = 0
    while (found := file.read(last, ALL, 100)) is not None:
        changes += found.changes
        doubtful |= {int(c.handle[4:]) for c in found.doubtful}
        last = found.upto
        said += found.unreadable
        assert (found.unreadable > 0) == bool(found.aside)
        assert all(Path(path).stat().st_size for path in found.aside)
    numbers = [int(c.handle[4:]) for c in changes if isinstance(c, OpenEvent)]
    assert changes == [change for n in numbers for change in group(n)], "groups are there whole or not at all"
    file.put(last + 1, group(1000), {})
    assert file.read(last, ALL, 100).changes == tuple(group(1000))
    file.done(last + 1, {})
    file.close()
    again = SpoolFile(str(directory)).open()
    assert (again.changes, again.damage, again.unreadable) == (0, None, 0)
    if left.damage is not None:
        said += 1 + left.damage.unread
        assert Path(left.damage.aside).exists()
    return Read(numbers, doubtful, said + left.unreadable, left)


def flipped(path: Path, offset: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


MOST_LOST = 2 * PAGE // 300
"""Groups on two pages."""


def see(spool: Spooled, directory: Path, name: str, offset: int, bit: int) -> Read:
    """Flip a bit, and start on what is left of the spool."""
    flipped(spool.copy(directory) / name, offset, bit)
    found = read_all(directory)
    assert len(set(found.groups)) == len(found.groups)
    missing = set(range(DONE + 1, GROUPS + 1)) - set(found.groups)
    assert len(missing) <= MOST_LOST
    assert found.said or not missing, f"{sorted(missing)} were lost without a word"
    # Where the note that they are done was lost, each opening is looked up before it is written once more.
    assert {n for n in found.groups if n <= DONE} <= found.doubtful
    return found


@settings(max_examples=settings.default.max_examples // 3, deadline=None)
@given(
    where=st.sampled_from([(NAME, False), (NAME, True), (LOG, True)]),
    place=st.integers(0, 45 * PAGE - 1) | st.integers(0, 200),
    bit=st.integers(0, 7),
)
@example(where=(NAME, False), place=18, bit=2)  # a format that this SQLite would not write
@example(where=(NAME, True), place=31, bit=4)  # the number of pages
@example(where=(NAME, False), place=100, bit=3)  # the kind of the page with the tables' definitions
@example(where=(LOG, True), place=HEADER + 3, bit=1)  # whose page a frame of the log is
@example(where=(LOG, True), place=HEADER + 9, bit=1)  # of which use of the log it is
@example(where=(LOG, True), place=10, bit=1)
@example(where=(LOG, True), place=HEADER + FRAME + PAGE // 2, bit=0)
def test_one_flipped_bit_anywhere_costs_a_few_groups_at_most_and_is_said(spools, tmp_path_factory, where, place, bit):
    name, logged = where
    see(spools[logged], tmp_path_factory.getbasetemp() / "flipped", name, place, bit)


@pytest.mark.parametrize("tenths", range(1, 10))
def test_a_file_that_is_cut_off_is_read_as_far_as_it_goes(spools, tmp_path, tenths):
    directory = spools[False].copy(tmp_path / "cut")
    with (directory / NAME).open("r+b") as file:
        whole = file.read()
        cut = len(whole) * tenths // 10 + 100
        file.truncate(cut)
    found = read_all(directory)
    assert found.said
    assert found.left.damage is not None
    there = {n for n in range(DONE + 1, GROUPS + 1) if group_row(n, group(n))[3] in whole[: cut // PAGE * PAGE]}
    assert set(found.groups) >= there
    assert there or tenths < 9


@pytest.mark.parametrize("size", [0, 1, 100, PAGE - 1, PAGE])
@pytest.mark.parametrize("there", [True, False])
def test_a_log_beside_a_file_that_was_emptied_is_not_dropped(spools, tmp_path, size, there):
    directory = spools[True].copy(tmp_path / "cut")
    with (directory / NAME).open("r+b") as file:
        file.truncate(size)
    if not there:
        (directory / NAME).unlink()
    found = read_all(directory)
    assert found.said
    assert set(range(101, GROUPS + 1)) <= set(found.groups), "what was put since the log was last written back"
    assert (directory / f"{Path(found.left.damage.aside).name}-log").read_bytes() == (
        spools[True].directory / LOG
    ).read_bytes()


@pytest.mark.parametrize("place", range(0, 1200, 7))
def test_tables_whose_definitions_are_damaged_are_known_by_what_they_should_be(spools, tmp_path, place):
    """SQLite's own words about it hold bytes that are no text."""
    directory = spools[False].copy(tmp_path / "damaged")
    whole = (directory / NAME).read_bytes()
    (directory / NAME).write_bytes(whole[: PAGE - place - 4] + b"\xe1\x8d\xeb\xff" + whole[PAGE - place :])
    found = read_all(directory)
    assert found.groups == list(range(DONE + 1, GROUPS + 1))


def test_an_emptied_file_without_a_log_is_said(tmp_path):
    (tmp_path / NAME).touch()
    assert read_all(tmp_path).left.damage.changes == 0


def test_a_log_that_was_cut_off_in_its_last_transaction_is_as_after_a_kill(spools, tmp_path):
    directory = spools[True].copy(tmp_path / "cut")
    end = read_log((directory / LOG).read_bytes()).frames[-1].offset
    with (directory / LOG).open("r+b") as file:
        file.truncate(end + 100)
    found = read_all(directory)
    assert found.said == 0
    assert found.groups == list(range(1, GROUPS + 1)), "it had noted that some were done"


@pytest.mark.parametrize("after", range(6))
def test_a_kill_while_the_rest_is_taken_over_loses_nothing(spools, tmp_path, monkeypatch, after):
    """At each of its transactions; and again in the run after that."""
    directory = spools[True].copy(tmp_path / "cut")
    flipped(directory / LOG, HEADER + FRAME + 5 * (FRAME + PAGE) + 300, 0)
    monkeypatch.setattr("zmtwist.ingest.writer.spool_file.AT_ONCE", 30)

    class Killed(BaseException):
        pass

    for calls in (after, after // 2):
        left = [calls]
        insert = SpoolFile._insert

        def until_killed(*args: object, left: list[int] = left, insert: Callable[..., None] = insert) -> None:
            if not left[0]:
                raise Killed
            left[0] -= 1
            insert(*args)

        file = SpoolFile(str(directory))
        with monkeypatch.context() as patched, suppress(Killed):
            patched.setattr(SpoolFile, "_insert", until_killed)
            file.open()
        file.close()
    found = read_all(directory)
    assert len(found.groups) >= GROUPS - DONE - MOST_LOST


@pytest.mark.parametrize("step", range(1, 9))
def test_a_kill_while_it_is_set_aside_loses_nothing(spools, tmp_path, monkeypatch, step):
    directory = spools[True].copy(tmp_path / "cut")
    flipped(directory / LOG, HEADER + FRAME + 5 * (FRAME + PAGE) + 300, 0)
    steps = count(1)

    class Killed(BaseException):
        pass

    def dying(method: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            if next(steps) == step:
                raise Killed
            return method(*args, **kwargs)

        return call

    file = SpoolFile(str(directory))
    with monkeypatch.context() as patched, suppress(Killed):
        for name in ("rename", "unlink"):
            patched.setattr(Path, name, dying(getattr(Path, name)))
        file.open()
    file.close()
    found = read_all(directory)
    assert len(found.groups) >= GROUPS - DONE - MOST_LOST


def test_whether_what_was_taken_over_is_in_the_database_is_doubtful(spools, tmp_path):
    """What was noted of that may be among what is lost."""
    directory = spools[True].copy(tmp_path / "cut")
    flipped(directory / LOG, HEADER + FRAME + 5 * (FRAME + PAGE) + 300, 0)
    found = read_all(directory)
    assert found.doubtful == set(found.groups)


def test_what_finds_no_room_in_the_new_file_waits_for_some(spools, tmp_path, monkeypatch):
    directory = spools[True].copy(tmp_path / "cut")
    flipped(directory / LOG, HEADER + FRAME + 5 * (FRAME + PAGE) + 300, 0)
    grow = RoomyFile.grow
    with monkeypatch.context() as full:
        full.setattr(RoomyFile, "grow", lambda self, wanted: not wanted and grow(self, 0))
        file = SpoolFile(str(directory))
        for _ in range(2):
            with pytest.raises(SpoolTrouble, match="is full") as trouble:
                file.open()
            assert not trouble.value.broken
    with pytest.raises(SpoolTrouble, match="not taken over yet") as trouble:
        file.put(1, group(1), {})
    assert trouble.value.broken
    file.close()
    assert len(read_all(directory).groups) >= GROUPS - DONE - MOST_LOST


@pytest.mark.parametrize(
    "spoilt",
    [
        "UPDATE groups SET data = 'text' WHERE id = 50",
        "UPDATE groups SET data = 7, checksum = NULL WHERE id = 50",
        "UPDATE groups SET data = x'91ff', checksum = NULL WHERE id = 50",
        "UPDATE groups SET data = x'9182a474797065a9', checksum = NULL WHERE id = 50",
        "UPDATE groups SET data = x'9182a474797065a64164645461a6a168a1ffa16ea1ff', checksum = NULL WHERE id = 50",
        "UPDATE groups SET checksum = checksum + 1 WHERE id = 50",
        "UPDATE groups SET (data, checksum) = (SELECT data, checksum FROM groups WHERE id = 51) WHERE id = 50",
        "UPDATE groups SET data = (SELECT data FROM groups WHERE id = 51) WHERE id = 50",
    ],
)
def test_a_group_that_makes_no_sense_is_one_groups_trouble(spools, tmp_path, spoilt):
    directory = spools[False].copy(tmp_path / "spoilt")
    with closing(sqlite3.connect(directory / NAME)) as connection, connection:
        connection.execute(spoilt)
    found = read_all(directory)
    assert found.said > 0
    assert found.groups == [n for n in range(DONE + 1, GROUPS + 1) if n != 50]
    assert list(directory.glob("group-50.bad-*"))


@pytest.mark.parametrize(
    "spoilt",
    [
        "UPDATE events SET handle = CAST(x'ff' AS TEXT) WHERE handle = '1.r.50'",
        "UPDATE events SET place = x'ff', checksum = NULL WHERE handle = '1.r.50'",
        "UPDATE events SET saved = x'a1ff', checksum = NULL WHERE handle = '1.r.50'",
        "UPDATE events SET checksum = 1 WHERE handle = '1.r.50'",
        "UPDATE events SET place = 'text', checksum = NULL WHERE handle = '1.r.50'",
    ],
)
def test_an_event_that_makes_no_sense_is_one_events_trouble(spools, tmp_path, spoilt):
    directory = spools[False].copy(tmp_path / "spoilt")
    with closing(sqlite3.connect(directory / NAME)) as connection, connection:
        connection.execute(spoilt)
    left = SpoolFile(str(directory)).open()
    assert sorted(left.events) == sorted(f"1.r.{n}" for n in range(10, GROUPS + 1, 10) if n != 50)
    assert (left.unreadable, len(left.aside)) == (1, 1)
    assert SpoolFile(str(directory)).open().unreadable == 0


@pytest.mark.parametrize(
    "spoilt",
    ["UPDATE tried SET upto = 1", "UPDATE tried SET upto = 'x'", "DELETE FROM tried"],
)
def test_where_it_is_not_known_what_was_tried_all_of_it_may_be_in_the_database(spools, tmp_path, spoilt):
    directory = spools[False].copy(tmp_path / "spoilt")
    with closing(sqlite3.connect(directory / NAME)) as connection, connection:
        connection.execute(spoilt)
    assert read_all(directory).doubtful == set(range(DONE + 1, GROUPS + 1))


@pytest.mark.parametrize(
    "spoilt",
    [
        "DROP TABLE tried",
        "DROP TABLE events",
        "DROP TABLE ballast",
        "ALTER TABLE groups RENAME COLUMN data TO date",
        "PRAGMA user_version = 99",
        "PRAGMA user_version = -1",
    ],
)
def test_a_database_of_other_tables_is_no_spool(spools, tmp_path, spoilt):
    directory = spools[False].copy(tmp_path / "spoilt")
    with closing(sqlite3.connect(directory / NAME)) as connection, connection:
        connection.execute(spoilt)
    found = read_all(directory)
    assert found.said > 0
    assert len(found.groups) == (0 if "date" in spoilt else GROUPS - DONE)


def test_a_spool_of_the_first_version_is_read_on(tmp_path):
    with closing(sqlite3.connect(tmp_path / NAME)) as connection, connection:
        for statement in (
            "CREATE TABLE groups (id INTEGER PRIMARY KEY, changes INTEGER NOT NULL, bulk INTEGER NOT NULL, data BLOB NOT NULL)",
            "CREATE INDEX strippable ON groups (id) WHERE bulk > 0",
            "CREATE TABLE events (handle TEXT PRIMARY KEY, place BLOB NOT NULL, saved BLOB)",
            "CREATE TABLE tried (upto INTEGER NOT NULL)",
            "INSERT INTO tried VALUES (2)",
            "CREATE TABLE unreadable (id INTEGER, data BLOB NOT NULL)",
            "CREATE TABLE ballast (data BLOB NOT NULL)",
            "PRAGMA user_version = 1",
        ):
            connection.execute(statement)
        for n in range(1, 6):
            data = msgspec.msgpack.encode(group(n))
            connection.execute("INSERT INTO groups VALUES (?, 14, 12, ?)", (n, data))
        place, save = place_in(Path("/e"), 3), saved(3)
        row = ("1.r.3", msgspec.msgpack.encode(place), msgspec.msgpack.encode(save))
        connection.execute("INSERT INTO events VALUES (?, ?, ?)", row)
    found = read_all(tmp_path)
    assert (found.groups, found.doubtful, found.said) == ([1, 2, 3, 4, 5], {1, 2}, 0)
    assert found.left.events == {"1.r.3": Known(place, save)}


def test_errors_that_pass_are_not_damage(spools, tmp_path):
    """Each of SQLite's result codes: what says that the file can't be had now, and what says that it makes no sense."""

    def is_damage_with(code: int) -> bool:
        error = sqlite3.OperationalError("as SQLite says it")
        error.sqlite_errorcode = code
        return is_damage(error)

    passing = ("BUSY", "LOCKED", "IOERR", "FULL", "READONLY", "CANTOPEN", "NOMEM", "PROTOCOL", "INTERRUPT", "PERM")
    extended = (
        "BUSY_SNAPSHOT",
        "BUSY_RECOVERY",
        "IOERR_READ",
        "IOERR_FSYNC",
        "IOERR_WRITE",
        "CANTOPEN_ISDIR",
        "IOERR_NOMEM",
    )
    for name in (*passing, *extended):
        assert not is_damage_with(getattr(sqlite3, f"SQLITE_{name}")), name
    for name in ("CORRUPT", "NOTADB", "CORRUPT_VTAB", "CORRUPT_INDEX", "ERROR", "CONSTRAINT_UNIQUE", "IOERR_CORRUPTFS"):
        assert is_damage_with(getattr(sqlite3, f"SQLITE_{name}")), name
    assert not is_damage(OSError(5, "Input/output error"))
