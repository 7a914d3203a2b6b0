"""The highest event id that a storage shows to have been given, whatever the database says: a replica that took over may have lost it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredList

from zmtwist.ingest.clips.placement import see_root
from zmtwist.ingest.session.worker_filename import is_day
from zmtwist.pipeline.monitor import Monitor
from zmtwist.reactor.thread_pool import Disk

DAYS = 2
"""So many of a monitor's latest days are looked at: ids are given in the order of time."""

LOOK_SECONDS = 5.0


@attrs.frozen
class Given:
    """The highest id that was seen. Not `sure`: there are storages that are away, or empty, of which nothing is known."""

    highest: int
    sure: bool


def highest_given(reactor: Any, disk: Disk, monitors: Iterable[Monitor]) -> Deferred[Given]:
    """The highest id among the directories of these monitors' latest events. Fails only where it is given up."""
    looks = [
        disk.run(highest_of, one.storage.path, one.storage.scheme, one.id).addTimeout(LOOK_SECONDS, reactor)
        for one in monitors
    ]
    return DeferredList(looks, consumeErrors=True).addCallback(_highest)


def _highest(answers: Sequence[tuple[bool, Any]]) -> Given:
    for well, answer in answers:
        if not well and answer.check(CancelledError):  # and not for the time that it took
            answer.raiseException()
    seen = [answer for well, answer in answers if well]
    return Given(max(seen, default=0), sure=len(seen) == len(answers))


def highest_of(root: str, scheme: str, monitor_id: int) -> int:
    """The same of one monitor, whose events lie there in this way; 0 where there are none. Raises OSError, also of an empty storage, which
    may not be mounted. Blocks."""
    see_root(root)
    top = Path(root, str(monitor_id))
    if scheme == "Shallow":
        days: Iterable[Path] = [top]
    elif scheme == "Medium":
        days = [path for path in _latest(top) if is_day(path.name)][:DAYS]
    else:
        days = islice((day for year in _latest(top) for month in _latest(year) for day in _latest(month)), DAYS)
    names = (name.removeprefix(".") for day in days for name in _names(day))
    return max((int(name) for name in names if name.isdecimal() and name.isascii() and len(name) < 11), default=0)


def _latest(directory: Path) -> Iterator[Path]:
    return (directory / name for name in sorted(_names(directory), reverse=True) if not name.startswith("."))


def _names(directory: Path) -> list[str]:
    with suppress(FileNotFoundError, NotADirectoryError):
        return os.listdir(directory)  # noqa: PTH208 - names are all it takes
    return []
