"""What is still to be done after a batch's commit, and how to tell whether it landed if the commit's answer was lost.

Everything but an INSERT of an event may be written twice without harm: figures are absolute, frames are taken only above the highest
that is stored, notes only if they are new. So it is enough to know about one event that was opened, or about one that was closed or
whose size has changed (what it grows by is added to its storage once).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from zmtwist.zm.db.dialect import Sql
from zmtwist.zm.event_paths import EventPlace
from zmtwist.zm.write.batch_result import Witness
from zmtwist.zm.write.update_event import Update


def grown(updates: Iterable[Update]) -> dict[int, int]:
    """By how many bytes each storage grows; ZM_DIR_EVENTS has no row."""
    stored: dict[int, int] = {}
    for update in updates:
        if update.grown and update.place.storage_id:
            stored[update.place.storage_id] = stored.get(update.place.storage_id, 0) + update.grown
    return stored


def witness_of(updates: Sequence[Update], places: Mapping[str, EventPlace]) -> Witness | None:
    """The best there is: an event that the batch opened, else one that it closed, else a frame, else a size. None: write it again without
    harm."""
    if places:
        last = max(places.values(), key=lambda place: place.event_id)
        return Witness("opened", last.event_id, last.monitor_id, last.start)
    for kind in ("closed", "frame", "resized"):
        for update in updates:
            here = update.place
            if kind == "closed" and update.ends:
                return Witness("closed", here.event_id, here.monitor_id, here.start)
            if kind == "frame" and update.frames and not update.rewritten:
                return Witness("frame", here.event_id, here.monitor_id, here.start, update.frames[-1].frame_id)
            if kind == "resized" and update.grown:
                return Witness("resized", here.event_id, here.monitor_id, here.start, disk_bytes=update.disk_bytes)
    return None


def landed(sql: Sql, witness: Witness) -> bool:
    """Whether the batch is in the database.

    Its event is locked first: if its transaction still lives on in the server, that waits for its end (or fails as `Retryable`). An id
    that was given out and undone is not given out again, but by a server that restarted before it kept count of them on disk: hence
    the look at monitor and start as well.
    """
    sql.begin()
    lock = sql.dialect.for_update
    found = sql.one(
        f"SELECT MonitorId, EndDateTime, StartDateTime, DiskSpace FROM Events WHERE Id = %s {lock}", witness.event_id
    )
    if found is None or found[0] != witness.monitor_id or str(found[2]) != str(witness.start):
        return False
    if witness.kind == "closed":
        return found[1] is not None
    if witness.kind == "resized":
        return found[3] is not None and int(found[3]) == witness.disk_bytes
    if witness.kind == "frame":
        last = sql.one("SELECT FrameId FROM Frames WHERE EventId = %s ORDER BY Id DESC LIMIT 1", witness.event_id)
        return last is not None and int(last[0]) >= witness.frame_id
    return True


def add_to_storage(sql: Sql, stored: Mapping[int, int]) -> None:
    """Add to Storage.DiskSpace, which is NULL on a fresh install, and never goes below zero."""
    greatest = sql.dialect.greatest
    for storage_id, size in sorted(stored.items()):
        sql.run(
            f"UPDATE Storage SET DiskSpace = {greatest}(COALESCE(DiskSpace, 0) + %s, 0) WHERE Id = %s", size, storage_id
        )
