"""One batch of changes as one transaction: the rows that are locked, read and written, in order (doc/reference/zoneminder.md, Lock order).

Locks are taken in ZoneMinder's documented order: Events by id; then, where triggers or statements of ours will touch more than one
event's counts, the bucket rows table by table, and Event_Summaries by monitor. Only then anything is written, so that it no longer matters
what the triggers touch when. Storage stays out, but on versions whose triggers update it: there it comes right after Events.
Tags are written last, by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import tzinfo
from typing import TYPE_CHECKING

import attrs

from zmtwist.pipeline.monitor import Monitor
from zmtwist.zm.db.dialect import Sql, Statement, ids
from zmtwist.zm.db.errors import Refused
from zmtwist.zm.db.schema import Schema
from zmtwist.zm.event_paths import EventPlace
from zmtwist.zm.write.batch_result import Written
from zmtwist.zm.write.commit_check import grown, witness_of
from zmtwist.zm.write.event_data_tags import data_frames, data_statements, renumbering, stored_data, tag_statements
from zmtwist.zm.write.fold import Touch, fold
from zmtwist.zm.write.insert_event import first_notes, open_events
from zmtwist.zm.write.row_values import Frame, first_frame, frame_values, frames_statement
from zmtwist.zm.write.update_event import EventRow, Update, needs_stored_frames, statements_for, update_for

if TYPE_CHECKING:
    from zmtwist.changes import Change, OpenEvent

CHUNK = 1_000
"""Rows per statement: beyond this a statement gets no cheaper per row, only larger."""


@attrs.frozen
class Batch:
    """What is to be written; see `IEventStore.commit`. `zone` None is the host's time zone."""

    changes: Sequence[Change]
    places: Mapping[str, EventPlace]
    monitors: Mapping[int, Monitor]
    zone: tzinfo | None = None
    event_name: str | None = None
    highest: int = 0
    """The highest id that any event is known to have, or to have had."""
    raised: bool = False
    """Ids are to go on above `highest`, whatever the server thinks."""


class GivenAgain(Exception):
    """The server has given an id that an event has, or had: it has lost the last commits, as a replica may that has taken over."""


def write(sql: Sql, schema: Schema, batch: Batch) -> Written:
    """Write the batch. Raises `Refused` for a handle or monitor that nobody knows, `GivenAgain`, and whatever the driver raises."""
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
    first = {change.handle: first_frame(touches[change.handle].first) for change in opened}
    pairs = [(change, first[change.handle]) for change in opened]
    above = batch.highest if batch.raised else None
    places = open_events(sql, schema, pairs, batch.monitors, batch.zone, batch.event_name, above=above)
    if (
        lowest := min((place.event_id for place in places.values()), default=None)
    ) is not None and lowest <= batch.highest:
        raise GivenAgain(f"event id {lowest} was given, which is not above {batch.highest}")
    if not known and not any(touch.goes_on for touch in touches.values()):
        # As a rule nothing but openings is written with openings, and a worker waits for each.
        return Written(places=places, witness=witness_of((), places))
    stored = stored_data(sql, schema, known, touches)
    vanished = tuple(handle for handle, place in known.items() if place.event_id not in rows)
    settling = [
        h.event_id
        for handle, h in known.items()
        if h.event_id in rows and needs_stored_frames(touches[handle], rows[h.event_id])
    ]
    rows |= _with_frames(sql, schema, {event_id: rows[event_id] for event_id in settling})
    updates: list[Update] = []
    for handle, touch in touches.items():
        if touch.opened is not None:
            row = EventRow(
                notes=first_notes(touch.opened, schema),
                last_frame=1,
                frames=(first[handle],),
                unnamed=touch.opened.token is not None,
            )
            updates.append(update_for(touch, places[handle], row, schema, batch.zone))
        elif handle not in vanished:
            here = known[handle]
            updates.append(update_for(touch, here, rows[here.event_id], schema, batch.zone))
    updates.sort(key=lambda update: update.place.event_id)
    present = [
        (places.get(handle) or known[handle], touch) for handle, touch in touches.items() if handle not in vanished
    ]
    sql.run_all(
        [
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
        vanished=vanished,
        stored={} if schema.storage_by_trigger else grown(updates),
        witness=witness_of(updates, places),
    )


# Locking and reading


def _lock_events(
    sql: Sql, schema: Schema, known: Mapping[str, EventPlace], touches: Mapping[str, Touch]
) -> dict[int, EventRow]:
    """Lock the rows of events that exist already, and read what the changes need to know of them. Deleted ones are missing, and so are
    those whose id somebody else's event has by now (see `GivenAgain`)."""
    if not known:
        return {}
    notes = "e.Notes" if any(touch.notes for touch in touches.values()) else "NULL"
    wanted = ids(place.event_id for place in known.values())
    found = sql.rows(
        f"SELECT e.Id, e.EndDateTime IS NOT NULL, COALESCE(e.DiskSpace, 0), {notes}, "
        "(SELECT f.FrameId FROM Frames f WHERE f.EventId = e.Id ORDER BY f.Id DESC LIMIT 1), e.Videoed AND e.DefaultVideo = '', "
        "e.MonitorId "
        f"FROM Events e {sql.dialect.by_key} WHERE e.Id IN ({wanted}) ORDER BY e.Id {sql.dialect.for_update}"
    )
    monitors = {place.event_id: place.monitor_id for place in known.values()}
    return {
        int(event_id): EventRow(
            ended=bool(ended),
            disk_bytes=int(disk),
            notes=text or "",
            last_frame=int(last or 0),
            unnamed=bool(unnamed),
        )
        for event_id, ended, disk, text, last, unnamed, monitor_id in found
        if monitor_id == monitors[int(event_id)]
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
        if (size := touches[handle].disk_bytes) is not None
        and place.event_id in rows
        and size != rows[place.event_id].disk_bytes
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


def _with_frames(sql: Sql, schema: Schema, rows: Mapping[int, EventRow]) -> dict[int, EventRow]:
    """These events with their stored frames, all read at once."""
    if not rows:
        return {}
    found = sql.rows(
        "SELECT EventId, FrameId, Type, CAST(ROUND(100 * Delta) AS SIGNED), Score FROM Frames "
        f"WHERE EventId IN ({ids(rows)}) ORDER BY EventId, Id"
    )
    frames: dict[int, list[Frame]] = {event_id: [] for event_id in rows}
    for event_id, frame_id, kind, centis, score in found:
        frames[event_id].append(Frame(frame_id, kind, max(0, int(centis)), score))
    named = data_frames(sql, schema, rows)
    return {
        event_id: attrs.evolve(row, frames=frames[event_id], data_frames=named.get(event_id, frozenset()))
        for event_id, row in rows.items()
    }


# Writing


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
        yield frames_statement(values[first : first + CHUNK])
