"""The name that a worker gives a clip before it is assigned one: `{root}/{YYYY-MM-DD}/event-Monitor-{monitor}-{stream}-{HH-MM-SS}.mkv`.

Its time is the local time of the opening, in whole seconds (worker.md, 4).
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, tzinfo

import attrs

_NAME = re.compile(
    r"(?:^|/)(\d{4}-\d\d-\d\d)/event-Monitor-(?P<monitor>\d+)-(?P<stream>\d+)-(\d\d-\d\d-\d\d)(?:-(?P<number>\d+))?\.mkv$",
    re.ASCII,
)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


MOST_IN_PATH = 4095
MOST_IN_NAME = 255
"""Bytes: what Linux takes for a path, and for each name in it."""


def is_path(text: str) -> bool:
    """Whether the system takes it for a path at all, be there a file or not."""
    encoded = text.encode("utf-8", "surrogatepass")
    names = encoded.split(b"/")
    return bool(text) and b"\0" not in encoded and len(encoded) <= MOST_IN_PATH and max(map(len, names)) <= MOST_IN_NAME


@attrs.frozen
class OwnName:
    """What the name tells. `opened_us` is in microseconds since the epoch; `number` tells clips of the same second apart, from 1."""

    monitor_id: int
    opened_us: int
    number: int = 1


def own_name(path: str, zone: tzinfo | None) -> OwnName | None:
    """What a clip's own name tells; None for any other name.

    `zone` is the worker's time zone, None for the host's. In the hour that autumn repeats, the first is meant.
    """
    found = _NAME.search(path)
    if found is None:
        return None
    try:
        local = datetime.strptime(f"{found[1]} {found[4]}", "%Y-%m-%d %H-%M-%S")
    except ValueError:
        return None
    opened_us = round(local.replace(tzinfo=zone).timestamp()) * 1_000_000
    return OwnName(int(found["monitor"]), opened_us, int(found["number"] or 1))


def opened_us(path: str, zone: tzinfo | None) -> int | None:
    """When a clip under its own name was opened; None for any other name."""
    named = own_name(path, zone)
    return None if named is None else named.opened_us


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
