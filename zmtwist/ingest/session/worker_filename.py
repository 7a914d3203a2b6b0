"""The name that a worker gives a clip before it is assigned one: `{root}/{YYYY-MM-DD}/event-Monitor-{monitor}-{stream}-{HH-MM-SS}.mkv`.

Its time is the local time of the opening, in whole seconds (doc/reference/worker.md, Names of clips).
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, tzinfo

import attrs

_DATE = r"(?:19[7-9]\d|20\d\d)-\d\d-\d\d"
"""No clock of a worker's host is wrong by more, and no database has other dates for certain."""

_NAME = re.compile(
    rf"(?:^|/)({_DATE})/event-Monitor-(?P<monitor>\d{{1,10}})-(?P<stream>\d{{1,5}})-(\d\d-\d\d-\d\d)(?:-(?P<number>\d{{1,9}}))?\.mkv$",
    re.ASCII,
)
_DAY = re.compile(_DATE, re.ASCII)


MOST_IN_PATH = 4095
MOST_IN_NAME = 255
"""Bytes: what Linux takes for a path, and for each name in it."""


def is_path(text: str) -> bool:
    """Whether the system takes it for a path at all, be there a file or not."""
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        return False
    names = encoded.split(b"/")
    return bool(text) and b"\0" not in encoded and len(encoded) <= MOST_IN_PATH and max(map(len, names)) <= MOST_IN_NAME


@attrs.frozen
class OwnName:
    """What the name tells. `opened_us` is in microseconds since the epoch; `number` tells clips of the same second apart, from 1."""

    monitor_id: int
    opened_us: int
    number: int = 1


def own_name(path: str, zone: tzinfo | None, until_us: int | None = None) -> OwnName | None:
    """What a clip's own name tells; None for any other name, and for one of a time that can't be.

    `zone` is the worker's time zone, None for the host's. In the hour that autumn repeats, the second is meant if it had come by
    `until_us`, else the first.
    """
    found = _NAME.search(path)
    if found is None:
        return None
    try:
        local = datetime.strptime(f"{found[1]} {found[4]}", "%Y-%m-%d %H-%M-%S").replace(tzinfo=zone)
        first, second = (round(local.replace(fold=fold).timestamp()) * 1_000_000 for fold in (0, 1))
        opened_us = second if until_us is not None and first < second <= until_us else first
        return OwnName(int(found["monitor"]), opened_us, int(found["number"] or 1))
    except (ValueError, OverflowError):
        return None


def is_day(name: str) -> bool:
    """Whether this is the name of a directory in which workers open clips."""
    return _DAY.fullmatch(name) is not None


def days_of(from_us: int, until_us: int, zone: tzinfo | None) -> list[str]:
    """The names of the directories in which clips were opened between two wall times (both included)."""
    day = datetime.fromtimestamp(from_us / 1e6, zone).date()
    last = datetime.fromtimestamp(until_us / 1e6, zone).date()
    days = []
    while day <= last:
        days.append(f"{day:%Y-%m-%d}")
        day += timedelta(days=1)
    return days
