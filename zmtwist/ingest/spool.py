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
from zmtwist.ingest.spoolfile import Group, Known, Left, SpoolFile, SpoolTrouble, Stored

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
        try:
            left: Left = await self._run(self._file.open)
        except SpoolTrouble:
            return {}
        if left.set_aside:
            self.log.critical(
                "ingest: the spool could not be read and was set aside as {path}; a new one was begun", path=left.set_aside
            )
        self._last = self._earlier = left.last
        self._stored = set(left.events)
        self.figures.now, self.figures.bytes = left.changes, left.bytes
        return left.events

    async def close(self) -> None:
        """Close it, once all calls before have ended."""
        await self._thread.run(self._file.close)

    async def put(self, changes: Sequence[Change], events: Mapping[str, Known], *, under_way: bool = False) -> int:
        """Keep `changes` behind all others, with what is known of their events; gives the group's id. `under_way`: they are being
        written to the database at this moment, so they are not to be read again in this run. Raises `SpoolTrouble`."""
        new = {handle: known for handle, known in events.items() if handle not in self._stored}
        group_id = self._last + 1
        stored = await self._run(self._file.put, group_id, changes, new, tried=under_way)
        self._last = group_id
        self._stored.update(new)
        figures = self.figures
        figures.ever += len(changes)
        figures.gave_way += stored.gave_way
        figures.now -= stored.gave_way
        if under_way:
            self._read = group_id
        else:
            figures.now += len(changes)
        if stored.gave_way:
            self.log.error(
                "ingest: no room for the spool: {count} of the oldest frames and updates gave way (openings and saves never do)",
                count=stored.gave_way,
            )
        return group_id

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
            raise
        if self.figures.trouble is not None:
            self.log.info("ingest: the spool can be written again")
            self.figures.trouble = None
        if isinstance(result, Stored):
            self.figures.bytes = result.bytes
        return result
