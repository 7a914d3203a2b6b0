"""What this database has: looked at once, then a frozen value that reads and writes branch on (doc/reference/zoneminder.md, Versions)."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from zmtwist.zm.db.dialect import Dialect, Sql
from zmtwist.zm.db.errors import Unusable

BUCKETS = ("Events_Hour", "Events_Day", "Events_Week", "Events_Month")
"""Per-event rows that the console's counts are kept by, in the order in which they are locked (doc/reference/zoneminder.md, Lock order)."""

INSERT_TRIGGER = "event_insert_trigger"
UPDATE_TRIGGER = "event_update_trigger"

STORAGE_LEFT_TRIGGERS = (1, 37, 74)
"""From this version on the triggers leave Storage.DiskSpace alone."""

_NEEDED: Mapping[str, str] = {
    "Config": "Name Value",
    "Monitors": "Id Name Type Path Width Height Orientation EventPrefix StorageId",
    "Zones": "Id MonitorId Name Type Coords",
    "Storage": "Id Path Scheme",
    "States": "Id IsActive",
    "Events": (
        "Id MonitorId StorageId Name Cause StartDateTime EndDateTime Width Height Length Frames AlarmFrames DefaultVideo SaveJPEGs "
        "TotScore AvgScore MaxScore Videoed Notes StateId Orientation DiskSpace Scheme"
    ),
    "Frames": "Id EventId FrameId Type TimeStamp Delta Score",
    "Monitor_Status": "MonitorId Status CaptureFPS CaptureBandwidth",
}

Tables = Mapping[str, Mapping[str, "Column"]]


def _folded(tables: Tables) -> Tables:
    """Names are looked up whatever their case: a server with `lower_case_table_names` (Windows, or moved from there) tells them in small
    letters, and takes ZoneMinder's own spelling."""
    return {
        table.casefold(): {name.casefold(): column for name, column in columns.items()}
        for table, columns in tables.items()
    }


@attrs.frozen
class Column:
    """One column. `length` is the most characters (or, for TEXT, bytes) it takes, None where that is not known or no limit that matters.

    `charset` is MySQL's name for its character set.
    """

    nullable: bool = True
    length: int | None = None
    in_bytes: bool = False
    charset: str = "utf8mb4"


@attrs.frozen
class Schema:
    """One look at a database.

    `insert_trigger`: the database itself fills buckets and summaries when an event is inserted; None where triggers are hidden from
    us, and each insert must be looked at. `storage_by_trigger`: the database changes Storage.DiskSpace when an event's changes.
    """

    dialect: Dialect
    version: str
    tables: Tables = attrs.field(converter=_folded)
    insert_trigger: bool | None
    storage_by_trigger: bool

    def has(self, table: str, column: str | None = None) -> bool:
        """Whether there is such a table or column."""
        columns = self.tables.get(table.casefold())
        return columns is not None and (column is None or column.casefold() in columns)

    def column(self, table: str, column: str) -> Column:
        """How wide a column is; the widest where it is not there."""
        return self.tables.get(table.casefold(), {}).get(column.casefold(), Column())

    @property
    def modern(self) -> bool:
        """Newer than 1.36: video names carry the codec."""
        return self.has("Monitors", "Capturing")

    @property
    def buckets(self) -> tuple[str, ...]:
        """The bucket tables that there are, in the order in which they are locked."""
        return tuple(table for table in BUCKETS if self.has(table))

    @property
    def max_score_frame_id(self) -> bool:
        """Events.MaxScoreFrameId is there."""
        return self.has("Events", "MaxScoreFrameId")

    @property
    def geo(self) -> bool:
        """Events.Latitude and Longitude are there."""
        return self.has("Events", "Latitude") and self.has("Events", "Longitude")

    @property
    def status_updated_on(self) -> bool:
        """Monitor_Status.UpdatedOn is there, and rows that are not refreshed are deleted."""
        return self.has("Monitor_Status", "UpdatedOn")

    @property
    def tags(self) -> bool:
        """Tags and Events_Tags are there."""
        return self.has("Tags") and self.has("Events_Tags")

    @property
    def event_data(self) -> bool:
        """Event_Data is there."""
        return self.has("Event_Data")

    @property
    def use_zm_next(self) -> bool:
        """Monitors.UseZmNext is there."""
        return self.has("Monitors", "UseZmNext")

    @property
    def stored_graphs(self) -> bool:
        """The table of stored pipeline graphs is there."""
        return self.has("monitor_pipeline", "graph_json")


def probe(sql: Sql, name: str) -> Schema:
    """Look at the database that is called `name` in errors. Raises `Unusable` with all that is missing."""
    tables = _folded(_mysql_tables(sql) if sql.dialect.name == "mysql" else _sqlite_tables(sql))
    missing = [
        f"{table}.{column}" if table.casefold() in tables else f"table {table}"
        for table, columns in _NEEDED.items()
        for column in columns.split()
        if column.casefold() not in tables.get(table.casefold(), {})
    ]
    if missing:
        raise Unusable(f"{name} is not a ZoneMinder database that can be used", tuple(dict.fromkeys(missing)))
    found = sql.one("SELECT Value FROM Config WHERE Name = 'ZM_DYN_DB_VERSION'")
    version = str(found[0]) if found and found[0] else ""
    triggers = _triggers(sql)
    return Schema(
        dialect=sql.dialect,
        version=version,
        tables=tables,
        insert_trigger=INSERT_TRIGGER in triggers if triggers else None,
        storage_by_trigger=_updates_storage(triggers, version),
    )


def version_of(text: str) -> tuple[int, ...]:
    """`1.36.33` as numbers that compare; empty if there are none."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def _updates_storage(triggers: Mapping[str, str], version: str) -> bool:
    """By the trigger's body where it may be read (without the TRIGGER privilege it is empty, or the trigger not even listed)."""
    if body := triggers.get(UPDATE_TRIGGER):
        return re.search(r"UPDATE\s+`?Storage`?\b", body, re.IGNORECASE) is not None
    return bool(version) and version_of(version) < STORAGE_LEFT_TRIGGERS


def _mysql_tables(sql: Sql) -> dict[str, dict[str, Column]]:
    tables: dict[str, dict[str, Column]] = {}
    for table, column, nullable, length, octets, kind, charset in sql.rows(
        "SELECT TABLE_NAME, COLUMN_NAME, IS_NULLABLE, CHARACTER_MAXIMUM_LENGTH, CHARACTER_OCTET_LENGTH, DATA_TYPE, CHARACTER_SET_NAME "
        "FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE()"
    ):
        in_bytes = str(kind).lower().endswith("text")
        tables.setdefault(str(table), {})[str(column)] = Column(
            nullable=str(nullable).upper() == "YES",
            length=octets if in_bytes else length,
            in_bytes=in_bytes,
            charset=str(charset).lower() if charset else "utf8mb4",
        )
    return tables


def _sqlite_tables(sql: Sql) -> dict[str, dict[str, Column]]:
    tables: dict[str, dict[str, Column]] = {}
    for table, column, kind, not_null in sql.rows(
        "SELECT m.name, c.name, c.type, c.\"notnull\" FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'"
    ):
        width = re.search(r"\((\d+)\)", str(kind))
        is_text = "CHAR" in str(kind).upper()
        tables.setdefault(str(table), {})[str(column)] = Column(
            nullable=not not_null, length=int(width[1]) if width and is_text else None
        )
    return tables


def _triggers(sql: Sql) -> dict[str, str]:
    """Names of the triggers on Events, each with its body, empty where it is hidden."""
    if sql.dialect.name == "mysql":
        found = sql.rows(
            "SELECT TRIGGER_NAME, ACTION_STATEMENT FROM information_schema.TRIGGERS "
            "WHERE EVENT_OBJECT_SCHEMA = DATABASE() AND EVENT_OBJECT_TABLE = 'Events'"
        )
    else:
        found = sql.rows("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'Events'")
    return {str(name): str(body or "") for name, body in found}
