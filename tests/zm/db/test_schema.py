"""What the probe finds in each kind of database."""

from __future__ import annotations

import sqlite3

import attrs
import pytest
import pytest_twisted

from zmtwist.zm.db import embedded
from zmtwist.zm.db.dialect import MYSQL, SQLITE, Sql
from zmtwist.zm.db.errors import Unusable
from zmtwist.zm.db.schema import BUCKETS, Column, probe, version_of
from zmtwist.zm.write.row_values import _CODECS, fit


@pytest_twisted.ensureDeferred
async def test_each_database_is_seen_for_what_it_is(site):
    schema = await site.database.schema()
    old = site.flavour == "zm136"
    assert schema.version == ("1.36.33" if old else "1.38.4")
    assert schema.modern is not old
    assert schema.insert_trigger is old
    assert schema.storage_by_trigger is old
    assert schema.max_score_frame_id is not old
    assert schema.geo is not old
    assert schema.tags is not old
    assert schema.event_data is not old
    assert schema.status_updated_on is not old
    assert schema.use_zm_next is not old
    assert schema.stored_graphs is (site.flavour == "zm138")
    assert schema.buckets == ("Events_Hour", "Events_Day", "Events_Week", "Events_Month")
    cause = schema.column("Events", "Cause")
    assert (cause.nullable, cause.length) == (
        (False, 32) if old else (True, None if site.flavour == "sqlite" else 65535)
    )
    if site.server is not None:
        assert schema.column("Events", "Notes").charset == ("latin1" if old else "utf8mb4")
        assert schema.column("Events", "Notes").in_bytes


@pytest_twisted.ensureDeferred
async def test_triggers_whose_bodies_are_hidden_are_judged_by_the_version(mysite):
    """ZoneMinder's own user has no TRIGGER privilege: the same is found with it and without."""
    as_root = mysite.server.url(mysite.flavour).replace("zmuser:s3cret%2Fpass", "root")
    database = mysite.new_database(as_root)
    theirs, ours = await database.schema(), await mysite.database.schema()
    assert (theirs.insert_trigger, theirs.storage_by_trigger) == (ours.insert_trigger, ours.storage_by_trigger)
    await database.stopService()


def made(*drop: str) -> Sql:
    connection = embedded.connect(":memory:")
    connection.execute("PRAGMA foreign_keys = OFF")
    for statement in drop:
        connection.execute(statement)
    return Sql(connection.cursor(), SQLITE)


def test_a_database_that_lacks_something_is_refused_with_the_list():
    with pytest.raises(Unusable) as refused:
        probe(
            made("DROP TABLE Frames", "ALTER TABLE Events DROP COLUMN Scheme", "ALTER TABLE Zones DROP COLUMN Coords"),
            "here",
        )
    assert refused.value.missing == ("Zones.Coords", "Events.Scheme", "table Frames")
    assert "here" in str(refused.value)


def test_an_empty_database_is_refused():
    with pytest.raises(Unusable, match="table Events"):
        probe(Sql(sqlite3.connect(":memory:").cursor(), SQLITE), "here")


def test_no_triggers_in_sight_leaves_it_open_who_counts():
    triggers = ("event_update_trigger", "event_delete_trigger")
    schema = probe(made(*(f"DROP TRIGGER {name}" for name in triggers), "UPDATE Config SET Value = '1.37.70'"), "here")
    assert schema.insert_trigger is None
    assert schema.storage_by_trigger
    assert not probe(
        made(*(f"DROP TRIGGER {name}" for name in triggers), "UPDATE Config SET Value = '1.37.74'"), "x"
    ).storage_by_trigger


class SmallLetters:
    """A cursor of MySQL's, as far as the probe goes, of a server that has all names of tables in small letters."""

    def __init__(self, sql: Sql) -> None:
        self.columns = sql.rows(
            "SELECT lower(m.name), c.name, 'YES', 64, 64, 'varchar', 'cp1251' "
            "FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'"
        )
        self.found: list[tuple[object, ...]] = []

    def execute(self, statement: str, args: object = ()) -> None:
        self.found = self.columns if "information_schema.COLUMNS" in statement else []

    def fetchall(self) -> list[tuple[object, ...]]:
        return self.found


def test_a_servers_names_in_small_letters_are_taken_for_what_they_are():
    """lower_case_table_names = 1; statements go on using ZoneMinder's own spelling, which such a server takes."""
    schema = probe(Sql(SmallLetters(made()), MYSQL), "here")
    assert schema.buckets == BUCKETS
    assert schema.has("Events", "MaxScoreFrameId")
    assert schema.has("events", "maxscoreframeid")
    assert schema.column("Events", "Notes").charset == "cp1251"
    assert not schema.has("Events", "Nothing")
    with pytest.raises(Unusable) as refused:
        probe(Sql(SmallLetters(made("DROP TABLE Frames", "ALTER TABLE Zones DROP COLUMN Coords")), MYSQL), "here")
    assert refused.value.missing == ("Zones.Coords", "table Frames")


@pytest_twisted.ensureDeferred
async def test_text_for_a_column_of_any_character_set_is_taken_by_a_strict_server(mysite):
    text = "".join(map(chr, range(0x20, 0x2100, 3))) + "‘’€₯¥‾＼￣№犬дом🐕"
    cursor = mysite.another().cursor()
    cursor.execute("SET sql_mode = 'STRICT_ALL_TABLES'")
    for charset in (*_CODECS, "geostd8", "keybcs2"):
        if not mysite.query("SELECT 1 FROM information_schema.CHARACTER_SETS WHERE CHARACTER_SET_NAME = %s", charset):
            continue  # gb18030 is MySQL's only
        cursor.execute(f"CREATE TEMPORARY TABLE narrow (t TEXT CHARACTER SET {charset})")
        fitted = fit(text, Column(charset=charset))
        cursor.execute("INSERT INTO narrow VALUES (%s)", (fitted,))
        cursor.execute("SELECT t FROM narrow")
        assert cursor.fetchone() == (fitted,), charset
        cursor.execute("DROP TEMPORARY TABLE narrow")


def test_a_schema_is_a_value():
    schema = probe(made(), "here")
    assert schema == probe(made(), "there")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        schema.version = "x"


@pytest.mark.parametrize(("text", "numbers"), [("1.36.33", (1, 36, 33)), ("1.39.4~dev1", (1, 39, 4)), ("", ())])
def test_versions_compare_as_numbers(text, numbers):
    assert version_of(text) == numbers
