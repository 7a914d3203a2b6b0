"""ZoneMinder's configuration rows as values: monitors with their zones and storages, in the same four queries however many there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from posixpath import join
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from zmtwist.config.site import Site
from zmtwist.interfaces import ICatalog
from zmtwist.pipeline.monitor import Monitor, Storage, Zone
from zmtwist.untrusted.integers import whole
from zmtwist.zm.db.dialect import Sql
from zmtwist.zm.db.errors import UnknownServer
from zmtwist.zm.db.pool import Database
from zmtwist.zm.db.schema import Schema
from zmtwist.zm.read.columns import MONITOR, SCHEMES, STORAGE, ZONE, Columns, Unreadable, converted, text

log = Logger()

_CONFIG = ("ZM_DYN_DB_VERSION", "ZM_BULK_FRAME_INTERVAL", "ZM_EVENT_IMAGE_DIGITS", "ZM_TIMEZONE")


@attrs.frozen
class Values:
    """The rows of `Config` that matter here. `bulk_frame_interval` below 2 means that there are no Bulk frames."""

    version: str = ""
    bulk_frame_interval: int = 100
    image_digits: int = 5
    timezone: str = ""


@attrs.frozen
class Reading:
    """One read of it all. `unreadable` and `bad_storages`: ids of monitors and storages whose rows made no sense, with the reason each.

    `server_id`: whose monitors they are, None for everyone's.
    """

    monitors: tuple[Monitor, ...]
    storages: tuple[Storage, ...]
    unreadable: Mapping[int, str]
    bad_storages: Mapping[int, str]
    values: Values
    server_id: int | None = None


@implementer(ICatalog)
class Catalog:
    """Reads monitors anew each time they are asked for.

    `values`, `names`, `roots` (of all storages), `unreadable` and `server_id` are those of the last read.
    """

    def __init__(self, database: Database, site: Site) -> None:
        self._database = database
        self._site = site
        self.unreadable: Mapping[int, str] = {}
        self._bad_storages: Mapping[int, str] = {}
        self.names: Mapping[int, str] = {}
        self.roots: frozenset[str] = frozenset()
        self.values = Values()
        self.server_id = site.server_id

    def monitors(self) -> Deferred[Sequence[Monitor]]:
        """All monitors of this server, deleted ones (flagged) included. Fails with `zm.db.errors.Retryable`,
        `Unusable` or `UnknownServer`.
        """
        return Deferred.fromCoroutine(self._monitors())

    async def _monitors(self) -> Sequence[Monitor]:
        schema = await self._database.schema()
        reading = await self._database.interact(read, schema, self._site)
        self._database.saw_version(reading.values.version)
        for monitor_id, reason in reading.unreadable.items():
            if self.unreadable.get(monitor_id) != reason:
                log.warn("monitor {monitor_id} is left out: {reason}", monitor_id=monitor_id, reason=reason)
        for storage_id, reason in reading.bad_storages.items():
            if self._bad_storages.get(storage_id) != reason:
                log.warn("storage {storage_id} is left out: {reason}", storage_id=storage_id, reason=reason)
        self.unreadable, self._bad_storages, self.values = reading.unreadable, reading.bad_storages, reading.values
        self.names = {monitor.id: monitor.name for monitor in reading.monitors}
        self.roots = frozenset(storage.path for storage in reading.storages)
        self.server_id = reading.server_id
        return reading.monitors


def read(sql: Sql, schema: Schema, site: Site) -> Reading:
    """Read monitors, zones, storages and configuration values. Raises `UnknownServer`."""
    server_id = own_server(sql, schema, site)
    values = _values(sql)
    storages, bad_storages = read_storages(sql, schema, site)
    graphs = _graphs(sql, schema)
    zones, bad_zones = _zones(sql, schema)
    monitors: list[Monitor] = []
    unreadable: dict[int, str] = {}
    for row in _rows(sql, schema, "Monitors", MONITOR):
        if server_id is not None and row.get("ServerId") != server_id:
            continue
        number = row["Id"]
        try:
            if number in bad_zones:
                raise Unreadable(bad_zones[number])
            fields = converted(row, MONITOR)
        except Unreadable as error:
            unreadable[number] = str(error)
            continue
        storage = choose_storage(fields.pop("storage_id"), storages, site)
        monitors.append(
            Monitor(**fields, storage=storage, zones=tuple(zones.get(number, ())), graph_json=graphs.get(number))
        )
    everywhere = (*storages.values(), events_storage(site))
    return Reading(tuple(monitors), everywhere, unreadable, bad_storages, values, server_id)


def own_server(sql: Sql, schema: Schema, site: Site) -> int | None:
    """The id of the server that this host is, None for the only one there is. Raises `UnknownServer`: to take all monitors then would
    record each camera twice."""
    if site.server_id is not None or not site.server_name:
        return site.server_id
    known = schema.has("Servers", "Name")
    found = sql.one("SELECT MIN(Id) FROM Servers WHERE Name = %s", site.server_name) if known else None
    if found is None or found[0] is None:
        raise UnknownServer(site.server_name)
    return int(found[0])


def choose_storage(storage_id: int | None, storages: Mapping[int, Storage], site: Site) -> Storage:
    """The monitor's own storage, else the configured default, else ZM_DIR_EVENTS (id 0, Medium)."""
    for wanted in (storage_id, site.default_storage_id):
        if wanted and wanted in storages:
            return storages[wanted]
    return events_storage(site)


def events_storage(site: Site) -> Storage:
    """ZM_DIR_EVENTS: where events lie whose storage is 0, or has no row any more."""
    return Storage(id=0, path=_absolute(site.events_dir, site.web_dir), scheme="Medium", name="ZM_DIR_EVENTS")


def _absolute(path: str, web_dir: str) -> str:
    """ZoneMinder takes relative paths from ZM_PATH_WEB."""
    path = path.rstrip("/") or path
    return path if path.startswith("/") else join(web_dir, path)


def read_storages(sql: Sql, schema: Schema, site: Site) -> tuple[dict[int, Storage], dict[int, str]]:
    """Storages by id, and for each one that makes no sense the reason."""
    storages: dict[int, Storage] = {}
    bad: dict[int, str] = {}
    for row in _rows(sql, schema, "Storage", STORAGE):
        try:
            storages[row["Id"]] = _storage(row, site)
        except Unreadable as error:
            bad[row["Id"]] = str(error)
    return storages, bad


def _storage(row: Mapping[str, Any], site: Site) -> Storage:
    fields = converted(row, STORAGE)
    if fields["scheme"] not in SCHEMES:
        fields["scheme"] = "Shallow"  # what ZoneMinder takes any other word for
    if not fields["path"]:
        raise Unreadable("Path is empty")
    return Storage(**{**fields, "path": _absolute(fields["path"], site.web_dir)})


def _zones(sql: Sql, schema: Schema) -> tuple[dict[int, list[Zone]], dict[int, str]]:
    """Zones by monitor, and for each monitor with one that makes no sense the reason."""
    zones: dict[int, list[Zone]] = {}
    bad: dict[int, str] = {}
    for row in _rows(sql, schema, "Zones", ZONE):
        try:
            fields = converted(row, ZONE)
        except Unreadable as error:
            bad[row["MonitorId"]] = f"zone {text(row['Id'])}: {error}"
        else:
            zones.setdefault(fields.pop("monitor_id"), []).append(Zone(**fields))
    return zones, bad


def _graphs(sql: Sql, schema: Schema) -> dict[int, str]:
    """Stored pipeline graphs by monitor; a fifth query, where that table is there."""
    if not schema.stored_graphs:
        return {}
    found = sql.rows("SELECT monitor_id, graph_json FROM monitor_pipeline WHERE graph_json IS NOT NULL")
    return {int(monitor_id): text(graph) for monitor_id, graph in found}


def _values(sql: Sql) -> Values:
    names = ", ".join(f"'{name}'" for name in _CONFIG)
    found = {
        text(name): text(value) for name, value in sql.rows(f"SELECT Name, Value FROM Config WHERE Name IN ({names})")
    }

    def number(name: str, default: int) -> int:
        value = whole(found.get(name, "").strip())
        return default if value is None else value

    return Values(
        version=found.get("ZM_DYN_DB_VERSION", ""),
        bulk_frame_interval=number("ZM_BULK_FRAME_INTERVAL", Values().bulk_frame_interval),
        image_digits=number("ZM_EVENT_IMAGE_DIGITS", Values().image_digits),
        timezone=found.get("ZM_TIMEZONE", ""),
    )


def _rows(sql: Sql, schema: Schema, table: str, columns: Columns) -> list[dict[str, Any]]:
    """All rows of a table by id, with those of `columns` that this database has."""
    present = [column for column in columns if schema.has(table, column)]
    names = ", ".join(f"`{column}`" for column in present)
    return [dict(zip(present, row, strict=True)) for row in sql.rows(f"SELECT {names} FROM {table} ORDER BY Id")]
