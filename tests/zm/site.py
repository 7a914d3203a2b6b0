"""One ZoneMinder database to test on: SQLite, or one of the MariaDB server's, with the service, and a way in past it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tests.mariadb import Server
from tests.waiting import until
from zmtwist.changes import AddFrame, Change, CloseEvent, OpenEvent, Tally
from zmtwist.config.database_url import parse_url
from zmtwist.config.site import Site
from zmtwist.pipeline.monitor import Monitor
from zmtwist.zm.db.pool import Database
from zmtwist.zm.read.catalog import Catalog
from zmtwist.zm.write.store import EventStore

SYDNEY = ZoneInfo("Australia/Sydney")
SECOND = 1_000_000
FLAVOURS = ("sqlite", "zm136", "zm138")
TABLES = """
    Frames Stats Events_Tags Tags Event_Data Events Events_Hour Events_Day Events_Week Events_Month Events_Archived
    Event_Summaries Zones Monitors Storage Monitor_Status States monitor_pipeline
"""


class TestSite:
    """`query` and `run` go past the service, each on its own; `store`, `catalog` and `database` are what is tested."""

    __test__ = False

    def __init__(self, reactor: Any, flavour: str, server: Server | None, directory: Path, **options: Any) -> None:
        self.flavour = flavour
        self.reactor = reactor
        self.url = f"sqlite:///{directory / 'zm.db'}" if server is None else server.url(flavour)
        self.server = server
        self._directory = directory
        self.database = self.new_database(**options)
        self.zone = SYDNEY
        self.store = EventStore(self.database, zone=SYDNEY)
        self.catalog = Catalog(self.database, Site())
        self.monitors: dict[int, Monitor] = {}
        self._raw: Any = None
        self._others: list[Any] = []

    def new_database(self, url: str | None = None, **options: Any) -> Database:
        """A database service of its own, started."""
        database = Database(self.reactor, parse_url(url or self.url), **options)
        database.startService()
        return database

    async def begin(self) -> None:
        """Clear all, and add one storage and two monitors."""
        await self.database.schema()
        self._raw = (
            sqlite3.connect(self._directory / "zm.db", isolation_level=None, timeout=5)
            if self.server is None
            else self.server.connect(self.flavour)
        )
        schema = await self.database.schema()
        if self.server is not None:
            self.run("SET FOREIGN_KEY_CHECKS = 0")
        self.run("BEGIN")
        for table in TABLES.split():
            if schema.has(table):
                self.run(f"DELETE FROM {table}")
        self.run("INSERT INTO States (Id, Name, Definition, IsActive) VALUES (7, 'default', '', 1)")
        self.run("INSERT INTO Storage (Id, Path, Name, Scheme) VALUES (3, '/srv/zm', 'main', 'Medium')")
        for number, name in ((1, "Front"), (2, "Back")):
            self.run(
                "INSERT INTO Monitors (Id, Name, Type, Path, Width, Height, StorageId, SaveJPEGs) VALUES (%s, %s, %s, %s, 640, 360, 3, 3)",
                number,
                name,
                "Ffmpeg",
                "rtsp://cam/1",
            )
        self.run("COMMIT")
        await self.read_monitors()

    async def read_monitors(self) -> None:
        """Take the monitors as they are now."""
        self.monitors = {monitor.id: monitor for monitor in await self.catalog.monitors()}

    async def end(self) -> None:
        """Stop the service."""
        for connection in (self._raw, *self._others):
            with contextlib.suppress(Exception):
                connection.close()
        await self.database.stopService()

    # Past the service

    def another(self) -> Any:
        """One more connection as root, whose locks end with the test."""
        connection = self.server.connect(self.flavour)
        self._others.append(connection)
        return connection

    def run(self, statement: str, *args: Any) -> None:
        self.query(statement, *args)

    def query(self, statement: str, *args: Any) -> list[tuple[Any, ...]]:
        if self.server is None:
            return self._raw.execute(statement.replace("%s", "?"), args).fetchall()
        with self._raw.cursor() as cursor:
            cursor.execute(statement, args)
            return list(cursor.fetchall())

    def rows(self, table: str, where: str = "1 = 1", *args: Any) -> list[dict[str, Any]]:
        """Rows as dictionaries, in order of insertion; times as text, decimals as floats."""
        key = {"Frames": "Id", "Events": "Id", "Event_Summaries": "MonitorId", "Monitor_Status": "MonitorId"}.get(table)
        if self.server is None:
            cursor = self._raw.execute(
                f"SELECT * FROM {table} WHERE {where}" + (f" ORDER BY {key}" if key else ""), args
            )
        else:
            cursor = self._raw.cursor()
            cursor.execute(f"SELECT * FROM {table} WHERE {where}" + (f" ORDER BY {key}" if key else ""), args)
        names = [column[0] for column in cursor.description]
        return [{name: _plain(value) for name, value in zip(names, row, strict=True)} for row in cursor.fetchall()]

    def event(self, event_id: int) -> dict[str, Any]:
        (event,) = self.rows("Events", f"Id = {event_id}")
        return event

    def frames(self, event_id: int) -> list[dict[str, Any]]:
        return self.rows("Frames", f"EventId = {event_id}")

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that comes about after a commit."""
        await until(condition)

    # Short cuts

    async def write(self, *changes: Change, places: Any = None) -> Any:
        """Commit and give all places known after it."""
        before = dict(places or {})
        return {**before, **await self.store.commit(changes, before, self.monitors)}

    async def opened(self, **fields: Any) -> Any:
        """One event opened; its place."""
        return (await self.write(opening(**fields)))[fields.get("handle", "a")]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(" ")
    return float(value) if type(value).__name__ == "Decimal" else value


def at(text: str, zone: ZoneInfo = SYDNEY, fold: int = 0) -> int:
    """Microseconds since the epoch of a local time, `2026-03-01 12:00:00`."""
    return round(datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp() * SECOND)


def opening(**fields: Any) -> OpenEvent:
    """An OpenEvent of monitor 1 with a clip, unless told otherwise."""
    given = {
        "handle": "a",
        "monitor_id": 1,
        "start_us": at("2026-03-01 12:00:00"),
        "trigger": "continuous",
        "cause": "Continuous",
        "token": "1-1-1",
        "codec_id": 27,
        **fields,
    }
    return OpenEvent(**given)


def closing(handle: str = "a", **fields: Any) -> CloseEvent:
    """A CloseEvent of 10 s at 10 frames per second, unless told otherwise."""
    given = {
        "length_us": 10 * SECOND,
        "frames": 100,
        "tally": Tally(),
        "video_name": "v.mkv",
        "disk_bytes": 1000,
        **fields,
    }
    return CloseEvent(handle=handle, **given)


def alarms(handle: str, numbers: Sequence[int], score: int = 50) -> list[AddFrame]:
    """Alarm frames at 10 frames per second."""
    return [AddFrame(handle, n, (n - 1) * SECOND // 10, score) for n in numbers]
