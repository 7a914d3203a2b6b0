"""Times of events as ZoneMinder's rows have them: local, without a zone, in whole seconds. No I/O."""

from __future__ import annotations

from datetime import datetime, tzinfo

MAX_LENGTH = 9_999_999_999


SECOND = 1_000_000


def local_time(at_us: int, zone: tzinfo | None) -> datetime:
    """Wall time as local time without a zone, whole seconds (cut, never rounded up into the next day). `zone` None is the host's."""
    return datetime.fromtimestamp(at_us // SECOND, zone).replace(tzinfo=None)


def end_of(start_us: int, length_us: int, zone: tzinfo | None) -> str:
    """EndDateTime of an event that began then and is so long."""
    length_us = min(max(0, length_us), MAX_LENGTH * 10_000)
    return local_time(start_us // SECOND * SECOND + length_us + SECOND // 2, zone).isoformat(" ")
