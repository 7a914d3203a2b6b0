"""Reading back events that this service wrote, each with the place of its files as it was when the event was opened.

How a row is known to be ours, and not the legacy capture daemon's: it is of a monitor that is opted in, SaveJPEGs is 0 and Orientation
ROTATE_0 (we always write them so), and DefaultVideo is `{id}-video.mkv` or `{id}-video.{codec}.mkv`; or DefaultVideo is empty, which the
daemon leaves so for an instant only, and the event has a Frames row, which the daemon writes later. `incomplete.*`, `.mp4` and rows with
JPEGs are never touched. What remains alike is a Matroska recording of ZoneMinder 1.36 without JPEGs, of an unrotated camera: one that was
left open is closed from its file, as zmaudit would.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any

import attrs

from zmtwist.changes import Tally
from zmtwist.config.site import Site
from zmtwist.pipeline.monitor import Monitor, Storage
from zmtwist.zm.db.dialect import Sql, ids
from zmtwist.zm.db.schema import Schema
from zmtwist.zm.event_paths import EventPlace, directory_of, final_name, video_name
from zmtwist.zm.event_times import SECOND
from zmtwist.zm.read.catalog import events_storage, read_storages
from zmtwist.zm.read.columns import SCHEMES

CHUNK = 500
"""Rows per statement."""

LATEST = 500
"""Among so many events, the last by their ids, those are looked at whose clips were not found when they ended."""

MOST_OPEN = 10_000
"""Open rows looked at in one go: more than that are not left by a crash of ours."""

_VIDEO = re.compile(r"(\d+)-video(?:\.([a-z0-9]+))?\.mkv", re.ASCII)


@attrs.frozen
class Own:
    """What it takes to read a monitor's events back. `pre_roll_us`: by how much its clips begin before they are opened, as it records now;
    `triggered_us`: the same of triggered ones, be it that it records none now."""

    monitor: Monitor
    pre_roll_us: int = 0
    triggered_us: int = 0


@attrs.frozen
class LeftRow:
    """One of our `Events` rows. `video` is DefaultVideo; `has_clip`: the row says that there is, or was to be, a clip.

    `last_frame` is the highest FrameId stored, 0 without any; `tally` is what the stored frames add up to.
    """

    place: EventPlace
    ended: bool
    has_clip: bool
    video: str
    cause: str
    length_us: int
    frames: int
    disk_bytes: int | None = None
    last_frame: int = 0
    tally: Tally = attrs.field(factory=Tally)

    def like(self, later: LeftRow | None) -> bool:
        """Whether the row is, by a later look, what it was, but for what changes while a clip is recorded."""
        return later is not None and (self.place, self.ended, self.video) == (later.place, later.ended, later.video)

    @property
    def event_id(self) -> int:
        """Events.Id."""
        return self.place.event_id

    @property
    def monitor_id(self) -> int:
        """Events.MonitorId."""
        return self.place.monitor_id

    @property
    def start_us(self) -> int:
        """StartDateTime in microseconds since the epoch (a whole second)."""
        return self.place.start_us


@attrs.frozen
class Reader:
    """Everything that reading rows depends on. `zone` None is the host's; `event_name` as `EventStore` has it."""

    schema: Schema
    site: Site
    own: Mapping[int, Own]
    zone: tzinfo | None = None
    event_name: str | None = None
    now_us: int | None = None
    """In the hour that autumn repeats, an open event began in the second, if that had come by then; else the first is meant."""

    def storages(self, sql: Sql) -> list[Storage]:
        """All places where our events may lie: what a monitor recorded to before is not lost with its setting."""
        known, _ = read_storages(sql, self.schema, self.site)
        return [*known.values(), events_storage(self.site)]

    def open_ids(self, sql: Sql) -> list[int]:
        """Open events of our monitors, the oldest first."""
        if not self.own:
            return []
        return _column(
            sql,
            f"SELECT Id FROM Events WHERE EndDateTime IS NULL AND MonitorId IN ({ids(self.own)}) ORDER BY Id LIMIT {MOST_OPEN}",
        )

    def closed_ids(self, sql: Sql, since_us: int) -> list[int]:
        """Closed events of our monitors that began at or after `since_us`, and those of the last `LATEST` that have no clip: the clock may
        have been set since. The oldest first."""
        if not self.own:
            return []
        since = datetime.fromtimestamp(since_us // SECOND, self.zone).replace(tzinfo=None)
        earlier = sql.rows(f"SELECT Id FROM Events ORDER BY Id DESC LIMIT 1 OFFSET {LATEST}")
        ours = f"SELECT Id FROM Events WHERE MonitorId IN ({ids(self.own)}) AND EndDateTime IS NOT NULL"
        return _column(
            sql,
            f"{ours} AND StartDateTime >= %s UNION {ours} AND DefaultVideo = '' AND Id > %s ORDER BY Id",
            since.isoformat(" "),
            int(earlier[0][0]) if earlier else 0,
        )

    def ids_after(self, sql: Sql, event_id: int) -> list[int]:
        """The next `CHUNK` events of our monitors after `event_id`."""
        if not self.own:
            return []
        return _column(
            sql,
            f"SELECT Id FROM Events WHERE Id > %s AND MonitorId IN ({ids(self.own)}) ORDER BY Id LIMIT {CHUNK}",
            event_id,
        )

    def rows(self, sql: Sql, event_ids: Sequence[int]) -> list[LeftRow]:
        """Those of the events (at most `CHUNK`) that are ours, by id."""
        if not event_ids:
            return []
        wanted = ids(event_ids)
        found = sql.rows(
            "SELECT Id, MonitorId, StorageId, Scheme, StartDateTime, EndDateTime, Length, Frames, DefaultVideo, Videoed, Cause, DiskSpace "
            f"FROM Events WHERE Id IN ({wanted}) AND SaveJPEGs = 0 AND Orientation = 'ROTATE_0' AND StartDateTime IS NOT NULL ORDER BY Id"
        )
        known, _ = read_storages(sql, self.schema, self.site)
        tallies = _tallies(sql, [int(row[0]) for row in found])
        rows = (self._readable(row, known, tallies) for row in found)
        return [row for row in rows if row is not None]

    def _readable(
        self, row: Sequence[Any], known: Mapping[int, Storage], tallies: Mapping[int, tuple[int, Tally]]
    ) -> LeftRow | None:
        """The row, unless it has figures or times such as we never write (the year 0, say): one such row must not hide the others."""
        try:
            return self._row(row, known, tallies)
        except (ValueError, OverflowError, ArithmeticError):
            return None

    def _row(
        self, row: Sequence[Any], known: Mapping[int, Storage], tallies: Mapping[int, tuple[int, Tally]]
    ) -> LeftRow | None:
        event_id, monitor_id = int(row[0]), int(row[1])
        video, cause = str(row[8] or ""), str(row[10] or "")
        if monitor_id not in self.own or not (is_our_name(event_id, video) or (not video and event_id in tallies)):
            return None
        last_frame, tally = tallies.get(event_id, (0, Tally()))
        return LeftRow(
            place=self._place(event_id, monitor_id, row, known, video),
            ended=row[5] is not None,
            has_clip=bool(video) or bool(row[9]),
            video=video,
            cause=cause,
            length_us=round(float(row[6] or 0) * SECOND),
            frames=int(row[7] or 0),
            disk_bytes=None if row[11] is None else int(row[11]),
            last_frame=last_frame,
            tally=tally,
        )

    def _place(
        self, event_id: int, monitor_id: int, row: Sequence[Any], known: Mapping[int, Storage], video: str
    ) -> EventPlace:
        """Where the event's files belong: by its own Scheme, not its storage's (doc/reference/zoneminder.md, Directories)."""
        storage = known.get(int(row[2] or 0)) or events_storage(self.site)
        scheme: Any = str(row[3]) if str(row[3]) in SCHEMES else "Shallow"  # what ZoneMinder takes any other word for
        start = row[4] if isinstance(row[4], datetime) else datetime.fromisoformat(str(row[4]))
        start = start.replace(microsecond=0)
        first, second = (round(start.replace(tzinfo=self.zone, fold=fold).timestamp()) * SECOND for fold in (0, 1))
        is_second = row[5] is None and self.now_us is not None and first < second <= self.now_us
        start_us = second if is_second else first
        directory, link, marker = directory_of(attrs.evolve(storage, scheme=scheme), monitor_id, event_id, start)
        modern, monitor = self.schema.modern, self.own[monitor_id].monitor
        return EventPlace(
            event_id=event_id,
            monitor_id=monitor_id,
            start_us=start_us,
            start=start,
            storage_id=storage.id,
            root=storage.path,
            scheme=scheme,
            directory=directory,
            video_name=video or video_name(event_id, 0, modern=modern),
            final_name=final_name(event_id, monitor, start_us, self.zone, modern=modern, event_name=self.event_name),
            link=link,
            marker=marker,
            codec_wanted=modern and (not video or video == video_name(event_id, 0, modern=False)),
        )


def is_our_name(event_id: int, name: str) -> bool:
    """Whether a file name is that of this event's clip, with or without a codec in it."""
    found = _VIDEO.fullmatch(name)
    return found is not None and int(found[1]) == event_id


def clip_event(name: str) -> int | None:
    """The event whose clip a file of this name is."""
    found = _VIDEO.fullmatch(name)
    return int(found[1]) if found is not None else None


def known_ids(sql: Sql, event_ids: Iterable[int]) -> dict[int, int]:
    """Those of the events that have a row, whoever's, with their monitors."""
    wanted = sorted(set(event_ids))
    found: dict[int, int] = {}
    for first in range(0, len(wanted), CHUNK):
        chunk = ids(wanted[first : first + CHUNK])
        found |= {int(a): int(b) for a, b in sql.rows(f"SELECT Id, MonitorId FROM Events WHERE Id IN ({chunk})")}
    return found


def _column(sql: Sql, statement: str, *args: Any) -> list[int]:
    return [int(row[0]) for row in sql.rows(statement, *args)]


def _tallies(sql: Sql, event_ids: Sequence[int]) -> dict[int, tuple[int, Tally]]:
    """For each event that has frames: its highest FrameId, and what its frames' scores add up to."""
    if not event_ids:
        return {}
    wanted = ids(event_ids)
    found = sql.rows(
        "SELECT EventId, MAX(FrameId), SUM(CASE WHEN Score > 0 THEN 1 ELSE 0 END), SUM(Score), MAX(Score) "
        f"FROM Frames WHERE EventId IN ({wanted}) GROUP BY EventId"
    )
    best = sql.rows(
        "SELECT f.EventId, MIN(f.FrameId) FROM Frames f JOIN "
        f"(SELECT EventId, MAX(Score) AS Best FROM Frames WHERE EventId IN ({wanted}) GROUP BY EventId) m "
        "ON f.EventId = m.EventId AND f.Score = m.Best WHERE m.Best > 0 GROUP BY f.EventId"
    )
    first = {int(event_id): int(frame_id) for event_id, frame_id in best}
    return {
        int(event_id): (int(last), Tally(int(alarms), int(total), int(most), first.get(int(event_id), 1)))
        for event_id, last, alarms, total, most in found
    }
