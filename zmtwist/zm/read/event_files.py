"""Where one event's files lie, whoever wrote its row: for showing them to an operator."""

from __future__ import annotations

from datetime import datetime
from posixpath import join
from typing import Any

import attrs

from zmtwist.config.site import Site
from zmtwist.zm.db.dialect import Sql
from zmtwist.zm.db.schema import Schema
from zmtwist.zm.event_paths import directory_of
from zmtwist.zm.read.catalog import events_storage, read_storages
from zmtwist.zm.read.columns import SCHEMES


@attrs.frozen
class EventFiles:
    """An event's directory, absolute, under its storage's `root`; `video` is the clip's file name there, '' where there is none."""

    event_id: int
    monitor_id: int
    root: str
    directory: str
    video: str
    ended: bool

    @property
    def clip(self) -> str | None:
        """The clip's path; None where there is none. A name that leads elsewhere counts as none."""
        named = self.video and not self.video.startswith(".") and "/" not in self.video and "\0" not in self.video
        return join(self.directory, self.video) if named else None

    def picture(self, name: str) -> str:
        """The path of one of its pictures; `name` is the code's own."""
        return join(self.directory, name)


def event_files(sql: Sql, schema: Schema, site: Site, event_id: int) -> EventFiles | None:
    """The files of an event, by its own Scheme, whatever its storage's is by now; None for no such event."""
    row = sql.one(
        "SELECT MonitorId, StorageId, Scheme, StartDateTime, DefaultVideo, EndDateTime FROM Events WHERE Id = %s",
        event_id,
    )
    if row is None or row[3] is None:
        return None
    known, _ = read_storages(sql, schema, site)
    storage = known.get(int(row[1] or 0)) or events_storage(site)
    scheme: Any = str(row[2]) if str(row[2]) in SCHEMES else "Shallow"  # what ZoneMinder takes any other word for
    start = row[3] if isinstance(row[3], datetime) else datetime.fromisoformat(str(row[3]))
    monitor_id = int(row[0] or 0)
    directory, _, _ = directory_of(attrs.evolve(storage, scheme=scheme), monitor_id, event_id, start)
    return EventFiles(event_id, monitor_id, storage.path, directory, str(row[4] or ""), row[5] is not None)
