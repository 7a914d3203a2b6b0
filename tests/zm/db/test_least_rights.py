"""etc/sql/grants.sql: enough for all that the service reads and writes, on both of ZoneMinder's schemas, and nothing more."""

from __future__ import annotations

import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
import pytest_twisted

from tests.zm.site import SECOND, alarms, at, closing, opening
from zmtwist.changes import AddData, AddTag, Tally, UpdateEvent
from zmtwist.config.settings import parse, settle
from zmtwist.config.site import Site
from zmtwist.ops.cli.doctor_database import look_at_database
from zmtwist.zm.db import grants
from zmtwist.zm.db.dialect import MYSQL
from zmtwist.zm.db.schema import Schema
from zmtwist.zm.read.catalog import Catalog
from zmtwist.zm.read.committed_openings import Search, find_opened
from zmtwist.zm.read.event_list import Wish, recent_events
from zmtwist.zm.read.own_events import Own, Reader
from zmtwist.zm.write.capture_setting import CaptureChange, CaptureSwitch
from zmtwist.zm.write.monitor_status import CameraStatus, StatusWriter
from zmtwist.zm.write.store import EventStore

FILE = Path(__file__).parents[3] / "etc" / "sql" / "grants.sql"
USER = "zmnext@localhost"
PASSWORD = "of-our-choice"


def given() -> dict[str, set[str]]:
    """The file's rights by table, columns left out; what is only for set_none is left out too."""
    found: dict[str, set[str]] = {}
    for rights, table, user in re.findall(r"^GRANT (.+) ON (\w+) TO (\S+);$", FILE.read_text(), re.MULTILINE):
        assert user == USER
        assert table not in found
        found[table] = set(re.sub(r" \(\w+\)", "", rights).split(", "))
    return found


def test_the_file_says_what_doctor_asks_for() -> None:
    every = Schema(MYSQL, "", {table: {} for table in grants._NEEDED}, insert_trigger=None, storage_by_trigger=False)
    assert given() == {table: set(rights) for table, rights in grants.needed(every).items()}


def by_hand(site: Any, text: str, *, force: bool) -> None:
    """As an administrator would."""
    command = ["mariadb", "--no-defaults", f"--socket={site.server.socket}", "--user=root", site.flavour]
    done = subprocess.run([*command, *(["--force"] if force else [])], input=text, capture_output=True, text=True)
    assert done.returncode == 0 or force, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    assert all(re.search(r"doesn't exist|Unknown column", line) for line in errors), errors


@pytest_twisted.async_yield_fixture
async def poor(mysite: Any) -> AsyncIterator[Any]:
    """The site with a store for a user that has these rights only."""
    site = mysite
    by_hand(site, f"CREATE USER {USER} IDENTIFIED BY '{PASSWORD}';", force=False)
    by_hand(site, re.sub(r"^-- (?=GRANT )", "", FILE.read_text(), flags=re.MULTILINE), force=True)
    site.poor_url = f"mysql://zmnext:{PASSWORD}@localhost/{site.flavour}?unix_socket={site.server.socket}"
    site.poor = site.new_database(site.poor_url)
    site.store = EventStore(site.poor, zone=site.zone)
    yield site
    await site.poor.stopService()
    by_hand(site, f"DROP USER {USER};", force=False)


@pytest_twisted.ensureDeferred
async def test_it_is_enough(poor: Any) -> None:
    site, database = poor, poor.poor
    schema = await database.schema()
    site.catalog = Catalog(database, Site())
    await site.read_monitors()
    assert set(site.monitors) == {1, 2}

    # Two events at once, so that their counts are locked beforehand.
    begun = opening()
    places = await site.write(begun, opening(handle="b", monitor_id=2))
    search = Search([begun], [], site.monitors, site.zone, None)
    assert await database.interact(find_opened, schema, search) == {"a": places["a"]}
    await site.write(
        *alarms("a", [5, 6]),
        UpdateEvent(handle="a", length_us=SECOND, frames=20, note="a person"),
        AddTag("a", "person"),
        AddData("a", 5, at("2026-03-01 12:00:01"), "{}"),
        places=places,
    )
    await site.write(
        closing(frames=50, settle=True, tally=Tally(2, 100, 50, 5), video_name=places["a"].video_name),
        closing("b", disk_bytes=7, video_name=places["b"].video_name),
        places=places,
    )
    a = site.event(places["a"].event_id)
    assert (a["EndDateTime"] is not None, a["AlarmFrames"], a["DiskSpace"]) == (True, 2, 1000)
    await site.until(lambda: site.rows("Storage", "Id = 3")[0]["DiskSpace"] == 1007)
    assert schema.tags == bool(schema.has("Tags") and site.rows("Tags"))
    assert schema.event_data == bool(schema.has("Event_Data") and site.rows("Event_Data"))

    # What a start after a crash reads, and what operators and the console are shown.
    reader = Reader(schema, Site(), {n: Own(monitor) for n, monitor in site.monitors.items()}, site.zone)
    ids = await database.interact(reader.ids_after, 0)
    assert len(await database.interact(reader.rows, ids)) == 2
    assert await database.interact(reader.open_ids) == []
    assert await database.interact(reader.closed_ids, 0) == ids
    assert len(await database.interact(recent_events, Wish())) == 2
    await StatusWriter(database).write([CameraStatus(1, True, 10.0, 5000.0)])
    await StatusWriter(database).write([CameraStatus(1, False)])
    column = "Capturing" if site.flavour == "zm138" else "Function"
    before = site.query(f"SELECT {column} FROM Monitors WHERE Id = 1")[0][0]
    await CaptureSwitch(database).write([CaptureChange(1, column, before, "None")])
    assert site.query(f"SELECT {column} FROM Monitors WHERE Id = 1")[0][0] == "None"

    findings: list[Any] = []
    look_at_database(settle(parse(f'database.url = "{site.poor_url}"\nlegacy.set_none = true'), {}), findings)
    assert [(one.verdict, one.found) for one in findings if one.what == "rights"] == [("ok", "all that is needed")]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM Users",
        "UPDATE Monitors SET Path = ''",
        "UPDATE Config SET Value = ''",
        "UPDATE Storage SET Path = '/'",
        "DELETE FROM Events",
        "DROP TABLE Frames",
    ],
)
@pytest_twisted.ensureDeferred
async def test_it_is_no_more(poor: Any, statement: str) -> None:
    with (
        pymysql.connect(
            unix_socket=str(poor.server.socket), user="zmnext", password=PASSWORD, database=poor.flavour
        ) as connection,
        connection.cursor() as cursor,
        pytest.raises(pymysql.err.OperationalError, match="denied"),
    ):
        cursor.execute(statement)
