"""The database server's clock beside ours: ZoneMinder's rows hold local times, which mean what the server's zone says."""

from __future__ import annotations

import time
from datetime import UTC, datetime, tzinfo

import attrs

from zmtwist.zm.dialect import Sql


@attrs.frozen
class Clocks:
    """Seconds east of UTC of both, now, and how many seconds the server's clock is ahead of ours."""

    ours: int
    servers: int
    apart: float


def compare(sql: Sql, zone: tzinfo | None) -> Clocks | None:
    """The server's clock and ours, which goes by `zone` or the host's; None for the embedded database, which has none of its own."""
    if sql.dialect.name == "sqlite":
        return None
    found = sql.one("SELECT TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), NOW()), UNIX_TIMESTAMP(NOW(6))")
    now = time.time()
    servers, servers_now = (int(found[0]), float(found[1])) if found else (0, now)
    return Clocks(offset_at(now, zone), servers, servers_now - now)


def offset_at(now: float, zone: tzinfo | None) -> int:
    """Seconds east of UTC at `now`, in `zone` or the host's."""
    offset = datetime.fromtimestamp(now, UTC).astimezone(zone).utcoffset()
    return 0 if offset is None else round(offset.total_seconds())


def hours(offset: int) -> str:
    """An offset as people write it: `UTC+05:30`."""
    return f"UTC{'-' if offset < 0 else '+'}{abs(offset) // 3600:02d}:{abs(offset) % 3600 // 60:02d}"
