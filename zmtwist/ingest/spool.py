"""The spool: changes on disk while the database is away, in order, written and read on a thread of its own.

A first-in, first-out queue of groups. A group is read, and stays until it is `done`; what was read and not done when the service ended is
read again by the next run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from zmtwist.changes import Change
from zmtwist.ingest.spoolfile import Group, Known, Left, SpoolFile, SpoolTrouble

T = TypeVar("T")


class Thread(Protocol):
    """Calls functions one after the other, off the reactor; `Disk` with one thread is one."""

    def run(self, function: Callable[..., T], *args: object, **kwargs: object) -> Deferred[T]:
        """Call `function`; its result or failure comes back on the reactor."""


@attrs.define
class SpoolFigures:
    """`now` and `ever`: changes that are in the spool, and that have been. `gave_way`: those given up since the disk was full.
    `bytes` is what is in use of the file, `trouble` why it can't be written or read at the moment."""

    now: int = 0
    ever: int = 0
    gave_way: int = 0
    bytes: int = 0
    trouble: str | None = None


class Spool:
    """One spool in `directory`. Calls come from the reactor; each is one transaction on `thread`."""

    log = Logger()

    def __init__(self, thread: Thread, directory: str, *, file: SpoolFile | None = None) -> None:
        self._thread = thread
        self._file = file or SpoolFile(directory)
        self._last = 0
        self._read = 0
        self._earlier = 0
        self._stored: set[str] = set()
        self._memo: dict[str, Known | None] = {}
        self.figures = SpoolFigures()

    @property
    def waiting(self) -> int:
        """Changes that are yet to be read."""
        return self.figures.now

    async def open(self) -> Mapping[str, Known]:
        """Open it; gives the events that what an earlier run left speaks of. Trouble is said, and tried again with the first use."""
        for _ in range(2):  # a file that makes no sense is replaced by a new one
            try:
                left: Left = await self._run(self._file.open)
            except SpoolTrouble as error:
                if not error.broken:
                    break
            else:
                self._last = self._earlier = left.last
                self._stored = set(left.events)
                self.figures.now = left.changes
                return left.events
        return {}

    async def close(self) -> None:
        """Close it, once all calls before have ended."""
        await self._thread.run(self._file.close)

    async def put(self, changes: Sequence[Change], events: Mapping[str, Known], *, under_way: bool = False) -> int:
        """Keep `changes` behind all others, with what is known of their events; gives the group's id. `under_way`: they are being
        written to the database at this moment, so they are not to be read again in this run. Raises `SpoolTrouble`."""
        new = {handle: known for handle, known in events.items() if handle not in self._stored}
        group_id = self._last + 1
        given_up = self._file.gave_way
        try:
            kept = await self._run(self._file.put, group_id, changes, new, tried=under_way)
        finally:
            self._gave_way(self._file.gave_way - given_up)
        self._last = group_id
        self._stored.update(new)
        self.figures.ever += kept
        if under_way:
            self._read = group_id
        else:
            self.figures.now += kept
        if kept < len(changes):
            self.figures.gave_way += len(changes) - kept
            self.log.error("ingest: {count} changes make no sense and were not kept", count=len(changes) - kept)
        return group_id

    def _gave_way(self, count: int) -> None:
        if not count:
            return
        self.figures.gave_way += count
        self.figures.now = max(0, self.figures.now - count)
        self.log.error(
            "ingest: no room for the spool: {count} of the oldest frames and updates gave way (openings and saves never do)",
            count=count,
        )

    async def read(self, most: int) -> tuple[Group, bool] | None:
        """The next groups, and whether an earlier run left them; None if there are none. Raises `SpoolTrouble`."""
        earlier = self._read < self._earlier
        group: Group | None = await self._run(
            self._file.read, self._read, self._earlier if earlier else self._last, most
        )
        if group is None:
            if earlier:
                self._read = self._earlier
            else:
                self.figures.now = 0
            return None
        self._read = group.upto
        self.figures.now = max(0, self.figures.now - len(group.changes) - group.unreadable)
        if group.unreadable:
            self.log.critical(
                "ingest: {count} changes in the spool make no sense to this version and were set aside in its table 'unreadable'",
                count=group.unreadable,
            )
        return group, earlier

    async def done(self, upto: int | None, events: Mapping[str, Known | None]) -> None:
        """All groups up to this one are in the database; `events` as in `SpoolFile.done`. What trouble prevents is done the next time."""
        self._memo.update(events)
        memo = dict(self._memo)
        try:
            await self._run(self._file.done, upto, memo)
        except SpoolTrouble:
            return
        for handle, known in memo.items():
            if self._memo.get(handle) is known:
                self._memo.pop(handle, None)
        self._stored = set() if upto is not None and upto == self._last else self._stored | memo.keys()

    async def _run(self, function: Callable[..., T], *args: object, **kwargs: object) -> T:
        try:
            result = await self._thread.run(function, *args, **kwargs)
        except SpoolTrouble as error:
            if self.figures.trouble != str(error):
                self.figures.trouble = str(error)
                self.log.error("ingest: {error}", error=str(error))
            if error.broken:
                await self._begin_anew()
            raise
        self.figures.bytes = self._file.used
        if self.figures.trouble is not None and function != self._file.read:
            self.figures.trouble = None
            self.log.info("ingest: the spool can be written again")
        return result

    async def _begin_anew(self) -> None:
        """The file is broken: nothing will ever be read from it again, and it must not hold up everything else."""
        lost, self.figures.now = self.figures.now, 0
        self._read = self._earlier = self._last
        self._stored.clear()
        try:
            aside = await self._thread.run(self._file.set_aside)
        except SpoolTrouble as error:
            self.log.critical("ingest: the spool is broken and can't be set aside: {error}", error=str(error))
        else:
            self.log.critical(
                "ingest: the spool was broken and is set aside as {path}, with {lost} changes or more; a new one is begun",
                path=aside,
                lost=lost,
            )
