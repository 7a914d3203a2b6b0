"""The rows of events that have begun: Events, the counts beside it, and the first of Frames.

A worker waits for its event's id with its clip open, so with MySQL all of this is sent in one go: the statements that need an id that
another one has just been given name a variable of the session.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import tzinfo
from typing import TYPE_CHECKING, Any

import attrs

from zmtwist.pipeline.monitor import Monitor, Storage
from zmtwist.zm.db.dialect import Dialect, Sql, Statement
from zmtwist.zm.db.schema import Schema
from zmtwist.zm.event_paths import CODECS, EventPlace, final_name, place, video_name
from zmtwist.zm.event_times import local_time
from zmtwist.zm.write.row_values import (
    NEW_EVENT,
    SMALLINT,
    Frame,
    add_notes,
    clamp,
    fit,
    frame_values,
    frames_statement,
)

if TYPE_CHECKING:
    from zmtwist.changes import OpenEvent

_STATE = "(SELECT CASE WHEN COUNT(*) = 1 THEN MAX(Id) ELSE 0 END FROM States WHERE IsActive = 1)"


def open_events(
    sql: Sql,
    schema: Schema,
    opened: Sequence[tuple[OpenEvent, Frame]],
    monitors: Mapping[int, Monitor],
    zone: tzinfo | None,
    event_name: str | None,
    *,
    above: int | None = None,
) -> dict[str, EventPlace]:
    """Write the rows of these events, with the first frame of each; where each of them is, by handle.

    With `above`, the first of them gets an id over that, and so do all that come after it: the server goes on from there.
    """
    if not opened:
        return {}
    changes = [change for change, _ in opened]
    inserts = [_event(change, _monitor(change, monitors), schema, zone) for change in changes]
    if above is not None:
        first_id = 1 + max(above, highest_id(sql))
        inserts[0] = _event(changes[0], _monitor(changes[0], monitors), schema, zone, event_id=first_id)
    if above is not None or sql.dialect.name == "sqlite" or schema.insert_trigger is None:
        event_ids = sql.run_all(inserts)
        counted = schema.insert_trigger or (
            # There may be a trigger that is hidden from us.
            schema.insert_trigger is None
            and sql.one("SELECT 1 FROM Events_Hour WHERE EventId = %s", event_ids[0]) is not None
        )
        names: list[int | str] = [*event_ids]
        sql.run_all(_beside(opened, names, schema, sql.dialect, zone, counted=bool(counted)))
    else:
        names = [f"@zmnext_{number}" for number in range(len(opened))]
        kept = [(f"SET {name} = LAST_INSERT_ID()", ()) for name in names]
        pairs = [statement for pair in zip(inserts, kept, strict=True) for statement in pair]
        beside = _beside(opened, names, schema, sql.dialect, zone, counted=schema.insert_trigger)
        event_ids = sql.run_all([*pairs, *beside])[: len(pairs) : 2]
    if not all(event_ids):
        raise ValueError("the database gave no id for a new event")
    return {
        change.handle: _place(event_id, change, _monitor(change, monitors), schema, zone, event_name)
        for event_id, change in zip(event_ids, changes, strict=True)
    }


def _monitor(change: OpenEvent, monitors: Mapping[int, Monitor]) -> Monitor:
    """Its monitor, as if that recorded to where the event's clip is."""
    monitor, there = monitors[change.monitor_id], change.storage
    if there is None:
        return monitor
    scheme: Any = there.scheme
    return attrs.evolve(monitor, storage=Storage(id=there.id, path=there.path, scheme=scheme))


def highest_id(sql: Sql) -> int:
    """The highest id of any event that is there, 0 without any."""
    found = sql.one("SELECT COALESCE(MAX(Id), 0) FROM Events")
    return int(found[0]) if found else 0


def first_notes(change: OpenEvent, schema: Schema) -> str:
    """The notes with which an event begins."""
    return add_notes("", [change.notes], schema.column("Events", "Notes"))


def _place(
    event_id: int, change: OpenEvent, monitor: Monitor, schema: Schema, zone: tzinfo | None, event_name: str | None
) -> EventPlace:
    return place(
        event_id,
        monitor,
        change.start_us,
        zone,
        video_name=video_name(event_id, change.codec_id, modern=schema.modern),
        final_name=final_name(event_id, monitor, change.start_us, zone, modern=schema.modern, event_name=event_name),
        codec_wanted=schema.modern and change.codec_id not in CODECS,
    )


def _event(
    change: OpenEvent, monitor: Monitor, schema: Schema, zone: tzinfo | None, *, event_id: int | None = None
) -> Statement:
    """The row of an event that has begun; the server chooses its id, if it is not given. Its size comes by a later UPDATE, since 1.36's
    triggers count sizes in those only; so does its video's name, which has the id in it.

    SaveJPEGs is 0 and Orientation ROTATE_0 whatever the monitor's, since the clip holds all pictures, and holds them upright.
    """
    width, height = monitor.display_size
    row: dict[str, object] = {
        "MonitorId": monitor.id,
        "StorageId": monitor.storage.id,
        "Name": NEW_EVENT,
        "Cause": fit(change.cause, schema.column("Events", "Cause")),
        "StartDateTime": local_time(change.start_us, zone).isoformat(" "),
        "Width": clamp(width, SMALLINT),
        "Height": clamp(height, SMALLINT),
        "Length": 0,
        "Frames": 1,
        "AlarmFrames": 0,
        "TotScore": 0,
        "AvgScore": 0,
        "MaxScore": 0,
        "DefaultVideo": "",
        "SaveJPEGs": 0,
        "Videoed": 1 if change.token is not None else 0,
        "Notes": first_notes(change, schema),
        "Orientation": "ROTATE_0",
        "Scheme": monitor.storage.scheme,
    }
    if event_id is not None:
        row["Id"] = event_id
    if schema.max_score_frame_id:
        row["MaxScoreFrameId"] = 1
    if schema.geo:
        row |= {"Latitude": monitor.latitude, "Longitude": monitor.longitude}
    marks = ", ".join(["%s"] * len(row))
    return f"INSERT INTO Events ({', '.join(row)}, StateId) VALUES ({marks}, {_STATE})", tuple(row.values())


def _beside(
    opened: Sequence[tuple[OpenEvent, Frame]],
    names: Sequence[int | str],
    schema: Schema,
    dialect: Dialect,
    zone: tzinfo | None,
    *,
    counted: bool,
) -> Iterator[Statement]:
    """The counts, on the versions that leave them to the writer, and the first frames. `names`: ids, or variables that hold them."""
    if not counted:
        yield from _counts([change for change, _ in opened], names, schema, dialect, zone)
    frames = [
        value
        for (change, first), name in zip(opened, names, strict=True)
        for value in frame_values(name, [first], change.start_us, zone)
    ]
    yield frames_statement(frames)


def _counts(
    opened: Collection[OpenEvent], names: Sequence[int | str], schema: Schema, dialect: Dialect, zone: tzinfo | None
) -> Iterator[Statement]:
    """Bucket and summary rows for new events (doc/reference/zoneminder.md, Counts and sizes)."""
    values = ", ".join(
        f"({name}, {change.monitor_id}, '{local_time(change.start_us, zone).isoformat(' ')}', NULL)"
        for change, name in zip(opened, names, strict=True)
    )
    # A row that an event left behind which had this id before (the server's count of ids began anew) gives way.
    own = ", ".join(f"{column} = new({column})" for column in ("MonitorId", "StartDateTime", "DiskSpace"))
    for table in schema.buckets:
        tail = dialect.on_duplicate("EventId", own)
        yield f"INSERT INTO {table} (EventId, MonitorId, StartDateTime, DiskSpace) VALUES {values} {tail}", ()
    if schema.has("Event_Summaries"):
        columns = ("HourEvents", "DayEvents", "WeekEvents", "MonthEvents", "TotalEvents")
        each = Counter(change.monitor_id for change in opened)
        counts = ", ".join(f"({monitor_id}{f', {n}' * len(columns)})" for monitor_id, n in sorted(each.items()))
        more = ", ".join(f"{column} = COALESCE(Event_Summaries.{column}, 0) + new({column})" for column in columns)
        tail = dialect.on_duplicate("MonitorId", more)
        yield f"INSERT INTO Event_Summaries (MonitorId, {', '.join(columns)}) VALUES {counts} {tail}", ()
