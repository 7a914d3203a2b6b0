"""Event_Data rows and tags, on the versions that have them (doc/reference/zoneminder.md, Event_Data and tags).

Both may be written again without harm: a row of data is known by how it begins (its kind and its time in the clip), a tag by its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import tzinfo

from zmtwist.changes import AddData
from zmtwist.zm.db.dialect import Dialect, Sql, Statement, ids, marks
from zmtwist.zm.db.schema import Schema
from zmtwist.zm.event_paths import EventPlace
from zmtwist.zm.event_times import SECOND, local_time
from zmtwist.zm.write.fold import Touch
from zmtwist.zm.write.row_values import INT, clamp, fit

HEAD = 100
"""Characters by which a row of data is known."""

LOOKED_AT = 32
"""Rows of data that an event may have got since those that are written again."""

CHUNK = 100


def stored_data(
    sql: Sql, schema: Schema, known: Mapping[str, EventPlace], touches: Mapping[str, Touch]
) -> dict[int, set[str]]:
    """How the last rows of data begin that these events have already, as far as they may be the same as those to be written."""
    if not schema.event_data:
        return {}
    looks = [
        f"SELECT * FROM (SELECT EventId, SUBSTR(Data, 1, {HEAD}) FROM Event_Data WHERE EventId = {place.event_id} "
        f"ORDER BY Id DESC LIMIT {LOOKED_AT + len(touches[handle].all_data)}) AS e{place.event_id}"
        for handle, place in known.items()
        if touches[handle].all_data
    ]
    stored: dict[int, set[str]] = {}
    for first in range(0, len(looks), CHUNK):
        for event_id, head in sql.rows(" UNION ALL ".join(looks[first : first + CHUNK])):
            stored.setdefault(int(event_id), set()).add(head)
    return stored


def data_frames(sql: Sql, schema: Schema, event_ids: Iterable[int]) -> dict[int, frozenset[int]]:
    """The FrameIds that these events' rows of data name."""
    if not schema.event_data:
        return {}
    named: dict[int, set[int]] = {}
    for event_id, frame_id in sql.rows(
        f"SELECT DISTINCT EventId, FrameId FROM Event_Data WHERE EventId IN ({ids(event_ids)}) AND FrameId IS NOT NULL"
    ):
        named.setdefault(int(event_id), set()).add(int(frame_id))
    return {event_id: frozenset(numbers) for event_id, numbers in named.items()}


def data_statements(
    rows: Iterable[tuple[EventPlace, Sequence[AddData]]],
    stored: Mapping[int, set[str]],
    schema: Schema,
    zone: tzinfo | None,
) -> Iterator[Statement]:
    """Insert the rows of data that are not stored yet."""
    if not schema.event_data:
        return
    values: list[object] = []
    for place, added in rows:
        known = stored.get(place.event_id, set())
        for change in added:
            if change.json[:HEAD] not in known:
                second = local_time(change.at_us, zone).isoformat(" ")
                stamp = f"{second}.{change.at_us % SECOND // 1000:03}"
                values += [place.event_id, place.monitor_id, clamp(change.frame_id, INT), stamp, change.json]
    for first in range(0, len(values), 5 * CHUNK):
        chunk = values[first : first + 5 * CHUNK]
        more = ", ".join(["(%s, %s, %s, %s, %s)"] * (len(chunk) // 5))
        yield f"INSERT INTO Event_Data (EventId, MonitorId, FrameId, Timestamp, Data) VALUES {more}", chunk


def renumbering(event_id: int, numbers: Mapping[int, int]) -> Iterator[Statement]:
    """Let rows of data follow the frames that they name to their new ordinals."""
    moved = sorted((old, new) for old, new in numbers.items() if old != new)
    if moved:
        cases = " ".join(f"WHEN {old} THEN {new}" for old, new in moved)
        olds = ",".join(str(old) for old, _ in moved)
        yield (
            f"UPDATE Event_Data SET FrameId = CASE FrameId {cases} END, Timestamp = Timestamp "
            f"WHERE EventId = %s AND FrameId IN ({olds})",
            (event_id,),
        )


def tag_statements(
    labels: Iterable[tuple[EventPlace, Iterable[str]]], schema: Schema, dialect: Dialect
) -> Iterator[Statement]:
    """Give events their tags. Ids of tags are not kept in mind, since ZoneMinder's page deletes a tag with its last use: each is made
    if it is not there, and held until the commit. Written last in a transaction and in order of names, since others wait for these rows.
    """
    if not schema.tags:
        return
    column = schema.column("Tags", "Name")
    by_event = {place.event_id: _distinct(fit(label, column).rstrip() for label in given) for place, given in labels}
    names = sorted({name for found in by_event.values() for name in found})
    if not names:
        return
    dated = [name for name in ("LastAssignedDate", "CreateDate") if schema.has("Tags", name)]
    value = f"({', '.join(['%s', *[dialect.now] * len(dated)])})"
    again = f"{dated[0]} = new({dated[0]})" if dated else "Name = new(Name)"
    tail = dialect.on_duplicate("Name", again)
    yield f"INSERT INTO Tags ({', '.join(['Name', *dated])}) VALUES {', '.join([value] * len(names))} {tail}", names
    for event_id, found in sorted(by_event.items()):
        if found:
            yield (
                f"INSERT INTO Events_Tags (TagId, EventId, AssignedDate) SELECT t.Id, {event_id}, {dialect.now} FROM Tags t "
                f"WHERE t.Name IN ({marks(len(found))}) "
                f"AND NOT EXISTS (SELECT 1 FROM Events_Tags e WHERE e.TagId = t.Id AND e.EventId = {event_id})",
                found,
            )


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for name in names if name))
