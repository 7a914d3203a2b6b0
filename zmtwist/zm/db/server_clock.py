"""The database server's clock beside ours: ZoneMinder's rows hold local times, which mean what the server's zone says."""

from __future__ import annotations

import time
from datetime import UTC, datetime, tzinfo

import attrs

from zmtwist.zm.db.dialect import Sql

WEEK = 7 * 86_400


@attrs.frozen
class Clocks:
    """Seconds east of UTC of both, and how many seconds the server's clock is ahead of ours.

    Zones may be the same in winter and not in summer: `at` (seconds since the epoch) is now where they differ now, or in the coming year
    never do, else the first week in which they do.
    """

    ours: int
    servers: int
    apart: float
    at: float = 0.0

    @property
    def when(self) -> str:
        """` from 2027-03-28 on` where it is not now that they differ."""
        return f" from {datetime.fromtimestamp(self.at, UTC):%Y-%m-%d} on" if self.at - time.time() > WEEK / 2 else ""

    @property
    def trouble(self) -> str | None:
        """How their zones differ, if they do."""
        if self.ours == self.servers:
            return None
        return f"ours is {hours(self.ours)}, the database server's {hours(self.servers)}{self.when}"


def compare(sql: Sql, zone: tzinfo | None) -> Clocks | None:
    """The server's clock and ours, which goes by `zone` or the host's; None for the embedded database, which has none of its own."""
    if sql.dialect.name == "sqlite":
        return None
    weeks = [int(time.time()) + number * WEEK for number in range(53)]
    local = ", ".join(f"TIMESTAMPDIFF(SECOND, '1970-01-01', FROM_UNIXTIME({at})) - {at}" for at in weeks)
    found = sql.one(f"SELECT UNIX_TIMESTAMP(NOW(6)), {local}")
    if found is None:
        return None
    apart = float(found[0]) - time.time()
    offsets = [(offset_at(at, zone), int(servers), apart, at) for at, servers in zip(weeks, found[1:], strict=True)]
    return Clocks(*next((one for one in offsets if one[0] != one[1]), offsets[0]))


def offset_at(now: float, zone: tzinfo | None) -> int:
    """Seconds east of UTC at `now`, in `zone` or the host's."""
    offset = datetime.fromtimestamp(now, UTC).astimezone(zone).utcoffset()
    return 0 if offset is None else round(offset.total_seconds())


def hours(offset: int) -> str:
    """An offset as people write it: `UTC+05:30`."""
    return f"UTC{'-' if offset < 0 else '+'}{abs(offset) // 3600:02d}:{abs(offset) % 3600 // 60:02d}"
