"""Reading events back, newest first, for the operator's API and command."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import attrs

from zmtwist.zm.db.dialect import Sql

USUAL, MOST = 50, 500


@attrs.frozen
class RecentEvent:
    """A row of Events. Times are ZoneMinder's: local, whole seconds, as text; `end` is None while it is open. Lengths in seconds."""

    id: int
    monitor_id: int
    name: str
    cause: str
    start: str | None
    end: str | None
    length: float
    frames: int
    alarm_frames: int
    max_score: int
    disk_bytes: int | None
    video: str


@attrs.frozen
class Wish:
    """Which events: of one monitor or of all, with ids above `after_id`, begun at or after `since` (local), at most `limit`."""

    monitor_id: int | None = None
    after_id: int | None = None
    since: datetime | None = None
    limit: int = USUAL


def recent_events(sql: Sql, wish: Wish) -> Sequence[RecentEvent]:
    """The events that `wish` names, newest first."""
    conditions: list[str] = []
    values: list[Any] = []
    if wish.monitor_id is not None:
        conditions.append("MonitorId = %s")
        values.append(wish.monitor_id)
    if wish.after_id is not None:
        conditions.append("Id > %s")
        values.append(wish.after_id)
    if wish.since is not None:
        conditions.append("StartDateTime >= %s")
        values.append(f"{wish.since:%Y-%m-%d %H:%M:%S}")
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = sql.rows(
        "SELECT Id, MonitorId, Name, Cause, StartDateTime, EndDateTime, Length, Frames, AlarmFrames, MaxScore, DiskSpace, DefaultVideo "
        f"FROM Events {where} ORDER BY Id DESC LIMIT {min(MOST, max(1, wish.limit))}",
        *values,
    )
    return [_event(row) for row in rows]


def _event(row: tuple[Any, ...]) -> RecentEvent:
    number, monitor, name, cause, start, end, length, frames, alarms, score, disk, video = row
    return RecentEvent(
        id=int(number),
        monitor_id=int(monitor or 0),
        name=name or "",
        cause=cause or "",
        start=_time(start),
        end=_time(end),
        length=float(length or 0),
        frames=int(frames or 0),
        alarm_frames=int(alarms or 0),
        max_score=int(score or 0),
        disk_bytes=None if disk is None else int(disk),
        video=video or "",
    )


def _time(value: Any) -> str | None:
    if value is None:
        return None
    return value.isoformat(sep=" ", timespec="seconds") if isinstance(value, datetime) else str(value)
