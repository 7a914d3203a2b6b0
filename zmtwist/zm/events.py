"""One batch of changes as one transaction: which rows are locked, read and written, in which order (zoneminder.md, 1d).

Locks are taken in ZoneMinder's documented order: Events by id; then, where triggers or statements of ours will touch more than one
event's counts, the bucket rows table by table, and Event_Summaries by monitor. Only then anything is written, so that it no longer matters
what the triggers touch when. Storage stays out, but on versions whose triggers update it: there it comes right after Events.
Tags are written last, by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import tzinfo
from typing import TYPE_CHECKING

import attrs

from zmtwist.pipeline.monitor import Monitor
from zmtwist.zm.beside import data_frames, data_statements, renumbering, stored_data, tag_statements
from zmtwist.zm.dialect import Sql, Statement, ids
from zmtwist.zm.errors import Refused
from zmtwist.zm.fold import Touch, fold
from zmtwist.zm.paths import CODECS, EventPlace, final_name, place, video_name
from zmtwist.zm.rows import NEW_EVENT, SMALLINT, add_notes, clamp, fit, frame_values
from zmtwist.zm.schema import Schema
from zmtwist.zm.update import EventRow, Update, needs_stored_frames, statements_for, update_for
from zmtwist.zm.written import Written, grown, witness_of

if TYPE_CHECKING:
    from zmtwist.changes import Change, OpenEvent

CHUNK = 1_000
"""Rows per statement: beyond this a statement gets no cheaper per row, only larger."""

_STATE = "(SELECT CASE WHEN COUNT(*) = 1 THEN MAX(Id) ELSE 0 END FROM States WHERE IsActive = 1)"


@attrs.frozen
class Batch:
    """What is to be written; see `IEventStore.commit`. `zone` None is the host's time zone."""

    changes: Sequence[Change]
    places: Mapping[str, EventPlace]
    monitors: Mapping[int, Monitor]
    zone: tzinfo | None = None
    event_name: str | None = None


def write(sql: Sql, schema: Schema, batch: Batch) -> Written:
    """Write the batch. Raises `Refused` for a handle or monitor that nobody knows, and whatever the driver raises."""
    touches = fold(batch.changes)
    known = {}
    for handle, touch in touches.items():
        if touch.opened is not None:
            if touch.opened.monitor_id not in batch.monitors:
                raise Refused(f"event {handle} is of monitor {touch.opened.monitor_id}, which is not known")
        elif handle in batch.places:
            known[handle] = batch.places[handle]
        else:
            raise Refused(f"event {handle} was never opened")
    sql.begin()
    rows = _lock_events(sql, schema, known, touches)
    opened = sorted(
        (touch.opened for touch in touches.values() if touch.opened is not None), key=lambda change: change.monitor_id
    )
    _lock_counts(sql, schema, known, touches, rows, opened)
    places = _open_events(sql, schema, opened, batch)
    stored = stored_data(sql, schema, known, touches)
    vanished = tuple(handle for handle, place in known.items() if place.event_id not in rows)
    updates: list[Update] = []
    for handle, touch in touches.items():
        if touch.opened is not None:
            row = EventRow(notes=_first_notes(touch.opened, schema), last_frame=0)
            updates.append(update_for(touch, places[handle], row, schema, batch.zone))
        elif handle not in vanished:
            here = known[handle]
            row = rows[here.event_id]
            if needs_stored_frames(touch, row):
                frames = _read_frames(sql, here.event_id)
                row = attrs.evolve(row, frames=frames, data_frames=data_frames(sql, schema, here.event_id))
            updates.append(update_for(touch, here, row, schema, batch.zone))
    updates.sort(key=lambda update: update.place.event_id)
    counts = list(_counts(sql, schema, places.values()))
    present = [
        (places.get(handle) or known[handle], touch) for handle, touch in touches.items() if handle not in vanished
    ]
    sql.run_all(
        [
            *counts,
            *statements_for(updates, sql.dialect),
            *_frames(updates, batch.zone),
            *data_statements(((here, touch.data) for here, touch in present), stored, schema, batch.zone),
            *_renumbered(updates, schema),
            *data_statements(((here, touch.late) for here, touch in present), stored, schema, batch.zone),
            *tag_statements(((here, touch.tags) for here, touch in present), schema, sql.dialect),
        ]
    )
    return Written(
        places=places,
        live=tuple(places[change.handle] for change in opened if change.token and not touches[change.handle].closed),
        vanished=vanished,
        stored={} if schema.storage_by_trigger else grown(updates),
        witness=witness_of(updates, places),
    )


# Locking and reading


def _lock_events(
    sql: Sql, schema: Schema, known: Mapping[str, EventPlace], touches: Mapping[str, Touch]
) -> dict[int, EventRow]:
    """Lock the rows of events that exist already, and read what the changes need to know of them. Deleted ones are missing."""
    if not known:
        return {}
    notes = "e.Notes" if any(touch.notes for touch in touches.values()) else "NULL"
    wanted = ids(place.event_id for place in known.values())
    found = sql.rows(
        f"SELECT e.Id, e.EndDateTime IS NOT NULL, COALESCE(e.DiskSpace, 0), {notes}, "
        "(SELECT f.FrameId FROM Frames f WHERE f.EventId = e.Id ORDER BY f.Id DESC LIMIT 1) "
        f"FROM Events e {sql.dialect.by_key} WHERE e.Id IN ({wanted}) ORDER BY e.Id {sql.dialect.for_update}"
    )
    return {
        int(event_id): EventRow(ended=bool(ended), disk_bytes=int(disk), notes=text or "", last_frame=int(last or 0))
        for event_id, ended, disk, text, last in found
    }


def _lock_counts(
    sql: Sql,
    schema: Schema,
    known: Mapping[str, EventPlace],
    touches: Mapping[str, Touch],
    rows: Mapping[int, EventRow],
    opened: Sequence[OpenEvent],
) -> None:
    """Lock what the triggers will touch when sizes change, in order; not where there is one event only, whose order is theirs."""
    resized = [
        place
        for handle, place in known.items()
        if (closed := touches[handle].closed) is not None
        and place.event_id in rows
        and closed.disk_bytes != rows[place.event_id].disk_bytes
    ]
    lock = sql.dialect.for_update
    if not resized or len(resized) + len(opened) == 1 or not lock:
        return
    if schema.storage_by_trigger:
        sql.rows(f"SELECT Id FROM Storage WHERE Id IN ({ids(p.storage_id for p in resized)}) ORDER BY Id {lock}")
    events = ids(place.event_id for place in resized)
    for table in schema.buckets:
        sql.rows(f"SELECT EventId FROM {table} WHERE EventId IN ({events}) ORDER BY EventId {lock}")
    if schema.has("Event_Summaries"):
        monitors = ids([*(p.monitor_id for p in resized), *(change.monitor_id for change in opened)])
        sql.rows(f"SELECT MonitorId FROM Event_Summaries WHERE MonitorId IN ({monitors}) ORDER BY MonitorId {lock}")


def _read_frames(sql: Sql, event_id: int) -> tuple[tuple[int, str, str, int], ...]:
    found = sql.rows("SELECT FrameId, Type, Delta, Score FROM Frames WHERE EventId = %s ORDER BY Id", event_id)
    return tuple((int(frame_id), str(kind), str(delta), int(score)) for frame_id, kind, delta, score in found)


# Writing


def _open_events(sql: Sql, schema: Schema, opened: Sequence[OpenEvent], batch: Batch) -> dict[str, EventPlace]:
    places = {}
    for change in opened:
        monitor = batch.monitors[change.monitor_id]
        event_id = _insert_event(sql, schema, change, monitor, batch)
        places[change.handle] = place(
            event_id,
            monitor,
            change.start_us,
            batch.zone,
            video_name=video_name(event_id, change.codec_id, modern=schema.modern),
            final_name=final_name(
                event_id, monitor, change.start_us, batch.zone, modern=schema.modern, event_name=batch.event_name
            ),
            codec_wanted=schema.modern and change.codec_id not in CODECS,
        )
    return places


def _insert_event(sql: Sql, schema: Schema, change: OpenEvent, monitor: Monitor, batch: Batch) -> int:
    """The row of an event that has begun. Its size comes by a later UPDATE, since 1.36's triggers count sizes in those only.

    SaveJPEGs is 0 and Orientation ROTATE_0 whatever the monitor's, since the clip holds all pictures, and holds them upright.
    """
    start = place(0, monitor, change.start_us, batch.zone, video_name="", final_name="").start
    width, height = monitor.display_size
    row: dict[str, object] = {
        "MonitorId": monitor.id,
        "StorageId": monitor.storage.id,
        "Name": NEW_EVENT,
        "Cause": fit(change.cause, schema.column("Events", "Cause")),
        "StartDateTime": start.isoformat(" "),
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
        "Notes": _first_notes(change, schema),
        "Orientation": "ROTATE_0",
        "Scheme": monitor.storage.scheme,
    }
    if schema.max_score_frame_id:
        row["MaxScoreFrameId"] = 1
    if schema.geo:
        row |= {"Latitude": monitor.latitude, "Longitude": monitor.longitude}
    marks = ", ".join(["%s"] * len(row))
    return sql.insert(f"INSERT INTO Events ({', '.join(row)}, StateId) VALUES ({marks}, {_STATE})", *row.values())


def _first_notes(change: OpenEvent, schema: Schema) -> str:
    return add_notes("", [change.notes], schema.column("Events", "Notes"))


def _counts(sql: Sql, schema: Schema, opened: Iterable[EventPlace]) -> Iterator[Statement]:
    """Bucket and summary rows for new events, on the versions that leave them to the writer (zoneminder.md, 1c)."""
    new = sorted(opened, key=lambda place: place.event_id)
    if not new or schema.insert_trigger:
        return
    if schema.insert_trigger is None and sql.one("SELECT 1 FROM Events_Hour WHERE EventId = %s", new[0].event_id):
        return  # there is a trigger, though it is hidden from us
    values = ", ".join(f"({p.event_id}, {p.monitor_id}, '{p.start.isoformat(' ')}', NULL)" for p in new)
    for table in schema.buckets:
        yield f"INSERT INTO {table} (EventId, MonitorId, StartDateTime, DiskSpace) VALUES {values}", ()
    if schema.has("Event_Summaries"):
        columns = ("HourEvents", "DayEvents", "WeekEvents", "MonthEvents", "TotalEvents")
        each = Counter(place.monitor_id for place in new)
        counts = ", ".join(f"({monitor_id}{f', {n}' * len(columns)})" for monitor_id, n in sorted(each.items()))
        more = ", ".join(f"{column} = COALESCE(Event_Summaries.{column}, 0) + new({column})" for column in columns)
        tail = sql.dialect.on_duplicate("MonitorId", more)
        yield f"INSERT INTO Event_Summaries (MonitorId, {', '.join(columns)}) VALUES {counts} {tail}", ()


def _renumbered(updates: Iterable[Update], schema: Schema) -> Iterator[Statement]:
    for update in updates:
        if schema.event_data:
            yield from renumbering(update.place.event_id, update.renumbered)


def _frames(updates: Iterable[Update], zone: tzinfo | None) -> Iterator[Statement]:
    """After Events.Frames was raised, so that no reader ever sees a FrameId above it; in the order of time within each event."""
    values: list[str] = []
    for update in updates:
        values += frame_values(update.place.event_id, update.frames, update.place.start_us, zone)
    for first in range(0, len(values), CHUNK):
        chunk = ",".join(values[first : first + CHUNK])
        yield f"INSERT INTO Frames (EventId, FrameId, Type, TimeStamp, Delta, Score) VALUES {chunk}", ()
