"""What an operator may look at: events' files and live pictures, as the database has it at this moment."""

from __future__ import annotations

from typing import Protocol

import attrs

from zmtwist.config.site import Site
from zmtwist.ops.http.errors import ApiError, no_such_monitor
from zmtwist.pipeline.privacy import is_private
from zmtwist.zm.db.pool import Database
from zmtwist.zm.read.catalog import read
from zmtwist.zm.read.event_files import EventFiles, event_files

KINDS = {".mkv": "video/x-matroska", ".mp4": "video/mp4"}
"""Content types of clips, by the end of their names."""

PICTURES = ("snapshot.jpg", "alarm.jpg")
"""An event's pictures: at its beginning, and at its best frame."""


class HasDatabase(Protocol):
    """The service, as far as this is concerned."""

    @property
    def database(self) -> Database:
        """ZoneMinder's."""


LAST_ID = 2**63 - 1
"""No database has a greater number; one that is asked for it fails in its own way."""


@attrs.frozen
class Library:
    """Asks the database each time: what has become private must not be shown a moment longer. Fails as the database does."""

    running: HasDatabase
    site: Site

    async def files(self, event_id: int) -> EventFiles:
        """Where the event's files lie. Raises ApiError for no such event."""
        database = self.running.database
        found = None
        if event_id <= LAST_ID:
            found = await database.interact(event_files, await database.schema(), self.site, event_id)
        if found is None:
            raise ApiError(404, "no_such_event", f"there is no event {event_id}")
        return found

    async def see_that_it_may_be_watched(self, monitor_id: int) -> None:
        """Raises ApiError for a monitor whose picture must not be shown as the camera sends it, or of which that is not known."""
        database = self.running.database
        reading = await database.interact(read, await database.schema(), self.site)
        if (reason := reading.unreadable.get(monitor_id)) is not None:
            raise ApiError(
                409,
                "private",
                f"no live view of monitor {monitor_id}: whether it has privacy zones is not known: {reason}",
            )
        monitor = next((monitor for monitor in reading.monitors if monitor.id == monitor_id), None)
        if monitor is None:
            raise no_such_monitor(monitor_id)
        if is_private(monitor):
            raise ApiError(
                409,
                "private",
                f"no live view of monitor {monitor_id}: it has a Privacy zone, and live pictures come as the camera sends them; "
                "its recordings are masked",
            )


def kind_of(clip: str) -> str | None:
    """The content type of a clip by its path; None for what is no video."""
    return next((kind for end, kind in KINDS.items() if clip.endswith(end)), None)
