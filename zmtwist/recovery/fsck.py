"""`zmnextctl fsck`: holds rows and files against each other, without the service and without changing anything.

The rule: a closed event names a clip exactly if that clip's file is there. While cameras record, what their workers have open is left out.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import attrs

from zmtwist.config import zm_conf as zmconf
from zmtwist.config.settings import Settings, settle
from zmtwist.config.site import site_of
from zmtwist.config.toml import load
from zmtwist.fleet.liveness import living
from zmtwist.fleet.policy import opted_in
from zmtwist.fleet.process.procfs import Linux
from zmtwist.ingest.clips.placement import root_state
from zmtwist.ingest.clips.scan import ASIDE, Found, clips_in, days, strays_of
from zmtwist.ingest.session.clip_match import tail
from zmtwist.untrusted.redact import mask
from zmtwist.zm.db.connector import Connection, connector_for
from zmtwist.zm.db.dialect import MYSQL, SQLITE, Sql
from zmtwist.zm.db.embedded import readable
from zmtwist.zm.db.errors import DatabaseError, translate
from zmtwist.zm.db.schema import probe
from zmtwist.zm.event_times import SECOND
from zmtwist.zm.read.catalog import read
from zmtwist.zm.read.own_events import LeftRow, Own, Reader, clip_event, known_ids

MOVING_US = 60 * SECOND
"""A clip that was finished no longer ago than this may be on its way into its place."""

MOST_FRAMES_PER_SECOND = 1000


class CannotCheck(Exception):
    """The database, or a file that is needed, can't be read; the text says why, `code` which of them."""

    def __init__(self, text: str, code: str = "database_away") -> None:
        super().__init__(text)
        self.code = code


@attrs.frozen
class Wrong:
    """One thing that does not fit; monitor 0 stands for none in particular."""

    monitor_id: int
    event_id: int | None
    text: str

    def __str__(self) -> str:
        if not self.monitor_id:
            return self.text
        event = "" if self.event_id is None else f"event {self.event_id}: "
        return f"monitor {self.monitor_id}: {event}{self.text}"


@attrs.define
class Checked:
    """What was looked at, and what was found wrong."""

    events: int = 0
    clips: int = 0
    wrong: list[Wrong] = attrs.field(factory=list)


def check(config: str, zm_conf: str) -> Checked:
    """Check everything. Raises ConfigError, or CannotCheck."""
    with looking(config, zm_conf) as (settings, sql):
        return _Check(sql, settings).run()


@contextmanager
def looking(config: str, zm_conf: str) -> Iterator[tuple[Settings, Sql]]:
    """The settings, and their database, into which nothing can be written. Raises ConfigError, or CannotCheck, also for errors within."""
    try:
        settings = settle(load(config), zmconf.read(zm_conf))
    except OSError as error:
        raise _unreadable(error) from None
    url = settings.database
    try:
        with closing(_connect(settings)) as connection:
            yield settings, Sql(connection.cursor(), SQLITE if url.scheme == "sqlite" else MYSQL)
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:  # a file, not the way to the database
            raise _unreadable(error) from None
        told = translate(error, url)
        if not isinstance(told, DatabaseError):
            raise
        raise CannotCheck(mask(str(told))) from None


def _unreadable(error: OSError) -> CannotCheck:
    return CannotCheck(f"{error.filename or 'a file'}: {error.strerror or type(error).__name__}", "unreadable")


def _connect(settings: Settings) -> Connection:
    """A connection that can't write."""
    url = settings.database
    if url.scheme == "sqlite":
        opened: Any = sqlite3.connect(f"file:{quote(url.path)}?mode=ro", uri=True, isolation_level=None)
        opened.text_factory = readable
        return opened  # type: ignore[no-any-return]
    connection = connector_for(url).open()
    connection.cursor().execute("SET SESSION TRANSACTION READ ONLY")
    connection.commit()
    return connection


class _Check:
    """One check, from row to row and from file to file."""

    def __init__(self, sql: Sql, settings: Settings) -> None:
        self._sql = sql
        config = settings.config.zmnext
        schema = probe(sql, str(settings.database))
        site = site_of(settings)
        monitors = read(sql, schema, site).monitors
        self._own = {monitor.id: Own(monitor) for monitor in monitors if opted_in(monitor, config)}
        zone = None if config.ingest.timezone is None else ZoneInfo(config.ingest.timezone)
        self._reader = Reader(schema, site, self._own, zone)
        self._recording = living(settings.run, Linux(None))
        self._now_us = time.time_ns() // 1000
        self._places: dict[int, str] = {}
        self._roots = {one.monitor.storage.path for one in self._own.values()}
        self._checked = Checked()

    def run(self) -> Checked:
        """Everything there is."""
        last, newest = 0, self._newest_open()
        while page := self._reader.ids_after(self._sql, last):
            last = page[-1]
            rows = self._reader.rows(self._sql, page)
            clips = clips_in({row.event_id: row.place.directory for row in rows})
            for row in rows:
                self._places[row.event_id] = row.place.directory
                self._roots.add(row.place.root)
                self._checked.events += 1
                unread = clips.unread.get(row.event_id)
                told = self._row(row, clips.found[row.event_id], newest) if unread is None else [unread]
                self._checked.wrong += (Wrong(row.monitor_id, row.event_id, text) for text in told)
        self._roots |= {storage.path for storage in self._reader.storages(self._sql)}
        for root in sorted(self._roots):
            try:
                if root_state(root) == "there":
                    self._checked.wrong += self._strays(root)
                    self._checked.wrong += self._directories(root)
            except OSError as error:
                text = f"storage {root} can't be looked at: {error.filename or root}: {error.strerror or error}"
                self._checked.wrong.append(Wrong(0, None, text))
        return self._checked

    def _newest_open(self) -> frozenset[int]:
        """The last open event of each monitor."""
        newest: dict[int, int] = {}
        ids = self._reader.open_ids(self._sql)
        for event_id, monitor_id in known_ids(self._sql, ids).items():
            newest[monitor_id] = max(event_id, newest.get(monitor_id, 0))
        return frozenset(newest.values())

    def _row(self, row: LeftRow, clips: tuple[Found, ...], newest: frozenset[int]) -> Iterator[str]:
        whole = [clip for clip in clips if clip.size]
        self._checked.clips += len(whole)
        if not row.last_frame:
            yield "it has no frames: ZoneMinder's audit will delete it"
        if not row.ended:
            if row.monitor_id not in self._recording:
                yield "it is open, and nothing records it"
            elif row.event_id not in newest and row.start_us < self._now_us - MOVING_US:
                yield "it is open, and its worker has gone on to another"
            elif any(clip.finished and clip.mtime_us < self._now_us - MOVING_US for clip in whole):
                yield "it is open, but its clip was finished a while ago"
            return
        if row.video:
            yield from self._closed(row, whole)
        elif whole:
            yield f"it is closed without a clip, but there is {whole[0].path}"
        if row.last_frame > row.frames:
            yield f"it has a frame {row.last_frame}, but Frames is {row.frames}"

    def _closed(self, row: LeftRow, whole: list[Found]) -> Iterator[str]:
        if not any(clip.path == row.place.video_path for clip in whole):
            yield f"its clip {row.place.video_path} is missing or empty"
        elif len(whole) > 1:
            yield f"it has {len(whole)} clips in {row.place.directory}"
        if not row.disk_bytes:
            yield "its DiskSpace is not set"
        least_us = (row.frames - 1) * SECOND / MOST_FRAMES_PER_SECOND
        if row.frames < 1 or row.length_us < least_us:
            yield f"Length {row.length_us / SECOND:g} and Frames {row.frames} make no sense"

    def _strays(self, root: str) -> Iterator[Wrong]:
        """Clips under the names that workers gave them, but for those that they write or have only just finished."""
        for day in days(root):
            for stray in strays_of(root, day, self._own, None):
                files = self._recording.get(stray.monitor_id, frozenset())
                just_written = stray.monitor_id in self._recording and stray.mtime_us > self._now_us - MOVING_US
                if files is None or just_written or tail(stray.path) in map(tail, files):
                    continue
                self._checked.clips += 1
                yield Wrong(stray.monitor_id, None, f"{stray.path} ({stray.size} bytes) belongs to no event")

    def _directories(self, root: str) -> Iterator[Wrong]:
        """Clips in event directories whose event is gone, or is looked for elsewhere."""
        for monitor_id in sorted(self._own):
            found = list(_event_clips(Path(root, str(monitor_id))))
            rows = known_ids(self._sql, (event_id for event_id, _ in found))
            for event_id, path in found:
                if event_id not in rows:
                    yield Wrong(monitor_id, event_id, f"there is no such event, but its clip {path}")
                elif str(path.parent) != self._places.get(event_id, str(path.parent)):
                    yield Wrong(monitor_id, event_id, f"{path} is not where its event is: {self._places[event_id]}")


def _event_clips(directory: Path) -> Iterator[tuple[int, Path]]:
    for folder, folders, files in os.walk(directory):
        folders[:] = [name for name in folders if not name.startswith(".") and name != ASIDE]
        for name in files:
            event_id = clip_event(name)
            if event_id is not None:
                yield event_id, Path(folder, name)
