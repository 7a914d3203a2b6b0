"""Whether an event is in the database already: for openings that an earlier run of the service had begun to write when it was killed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import tzinfo
from typing import TYPE_CHECKING, Any

import attrs

from zmtwist.config.site import Site
from zmtwist.pipeline.monitor import Monitor
from zmtwist.zm.db.dialect import Sql
from zmtwist.zm.db.schema import Schema
from zmtwist.zm.event_paths import CODECS, EventPlace, final_name, place, video_name
from zmtwist.zm.event_times import end_of, local_time
from zmtwist.zm.read.catalog import events_storage, read_storages
from zmtwist.zm.read.columns import SCHEMES

if TYPE_CHECKING:
    from zmtwist.changes import CloseEvent, OpenEvent


@attrs.frozen
class Search:
    """What to look for. `taken` are the ids of events that are known to be others; `closes` those of the openings, by handle, that the same
    transaction closed; the rest is as `EventStore` has it."""

    openings: Sequence[OpenEvent]
    taken: Collection[int]
    monitors: Mapping[int, Monitor]
    zone: tzinfo | None = None
    event_name: str | None = None
    site: Site = attrs.field(factory=Site)
    closes: Mapping[str, CloseEvent] = attrs.field(factory=dict)


def find_opened(sql: Sql, schema: Schema, search: Search) -> dict[str, EventPlace]:
    """The places of those openings that have their row, by handle.

    A row is theirs if monitor and start are, it is open (or closed just as the same transaction would have closed it), and it bears the
    marks that we write (SaveJPEGs 0, ROTATE_0, no name but ours for its video). Several of one monitor in one second are told apart by
    their order, in which they were written. The rows are locked, so a transaction of the earlier run that the server has not ended yet is
    waited for.
    """
    sql.begin()
    found: dict[str, EventPlace] = {}
    used = set(search.taken)
    for change in sorted(search.openings, key=lambda change: change.monitor_id):
        monitor = search.monitors.get(change.monitor_id)
        if monitor is None:
            continue
        start = local_time(change.start_us, search.zone).isoformat(" ")
        rows = sql.rows(
            "SELECT Id, StorageId, Scheme, EndDateTime, DefaultVideo FROM Events "
            "WHERE MonitorId = %s AND StartDateTime = %s AND SaveJPEGs = 0 "
            "AND Orientation = 'ROTATE_0' AND (DefaultVideo = '' OR DefaultVideo LIKE '%%-video%%.mkv') "
            f"ORDER BY Id {sql.dialect.for_update}",
            change.monitor_id,
            start,
        )
        for row in rows:
            if int(row[0]) not in used and _as_left(row[3], row[4], change, search):
                used.add(int(row[0]))
                found[change.handle] = _place(sql, schema, search, change, monitor, row)
                break
    return found


def _as_left(end: Any, video: Any, change: OpenEvent, search: Search) -> bool:
    """Whether the row is as the transaction that opened the event would have left it."""
    close = search.closes.get(change.handle)
    if close is None or end is None:
        return end is None
    return str(end) == end_of(change.start_us, close.length_us, search.zone) and bool(video) == bool(close.video_name)


def _place(
    sql: Sql, schema: Schema, search: Search, change: OpenEvent, monitor: Monitor, row: Sequence[Any]
) -> EventPlace:
    """Where it was put when it was opened, whatever the monitor's storage is by now."""
    event_id, storage_id, scheme = int(row[0]), int(row[1] or 0), row[2]
    storage = monitor.storage
    if storage.id != storage_id:
        storage = read_storages(sql, schema, search.site)[0].get(storage_id) or events_storage(search.site)
    if scheme in SCHEMES:
        storage = attrs.evolve(storage, scheme=scheme)
    return place(
        event_id,
        attrs.evolve(monitor, storage=storage),
        change.start_us,
        search.zone,
        video_name=video_name(event_id, change.codec_id, modern=schema.modern),
        final_name=final_name(
            event_id, monitor, change.start_us, search.zone, modern=schema.modern, event_name=search.event_name
        ),
        codec_wanted=schema.modern and change.codec_id not in CODECS,
    )
