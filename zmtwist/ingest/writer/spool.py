"""The spool: changes on disk while the database is away, in order, written and read on a thread of its own.

A first-in, first-out queue of groups. A group is read, and stays until it is `done`; what was read and not done when the service ended is
read again by the next run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from zmtwist.changes import Change
from zmtwist.ingest.writer.spool_file import Group, Left, SpoolFile, SpoolTrouble
from zmtwist.ingest.writer.spool_format import Known

T = TypeVar("T")


PATIENCE = 12
"""After so many tries to read it without success in a row, a file is as good as damaged."""


class Thread(Protocol):
    """Calls functions one after the other, off the reactor; `Disk` with one thread is one."""

    def run(self, function: Callable[..., T], *args: object, **kwargs: object) -> Deferred[T]:
        """Call `function`; its result or failure comes back on the reactor."""


@attrs.define
class SpoolFigures:
    """`now` and `ever`: changes that are in the spool, and that have been. `gave_way`: those given up since the disk was full.
    `bytes` is what is in use of the file, `trouble` why it can't be written or read at the moment. `unreadable`: what made no sense when
    it was read, `aside` the file of the last such find."""

    now: int = 0
    ever: int = 0
    gave_way: int = 0
    bytes: int = 0
    unreadable: int = 0
    aside: str | None = None
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
        self.is_open = False
        self._failed = 0
        self._stored: set[str] = set()
        self._memo: dict[str, Known | None] = {}
        self._upto = 0
        self.figures = SpoolFigures()
        self.unsure = False
        """Whether a group of which nobody knows is in the file: one whose `put` has failed."""

    @property
    def waiting(self) -> int:
        """Changes that are yet to be read."""
        return self.figures.now

    async def open(self) -> Mapping[str, Known]:
        """Open it; gives the events that what an earlier run left speaks of. Until that has been done once, nothing can be put, lest what
        was left be lost. Raises `SpoolTrouble`."""
        left: Left = await self._run(self._file.open)
        self.is_open = True
        self._last = self._earlier = left.last
        self._stored = set(left.events)
        self.figures.now = left.changes
        self._say(left)
        return left.events

    async def close(self) -> None:
        """Close it, once all calls before have ended."""
        await self._thread.run(self._file.close)

    async def put(self, changes: Sequence[Change], events: Mapping[str, Known], *, under_way: bool = False) -> int:
        """Keep `changes` behind all others, with what is known of their events; gives the group's id. `under_way`: they are being
        written to the database at this moment, so they are not to be read again in this run. Raises `SpoolTrouble`."""
        new = {handle: known for handle, known in events.items() if handle not in self._stored}
        group_id = self._last + 1
        given_up = self._file.gave_way
        self.unsure = True
        try:
            kept = await self._run(self._file.put, group_id, changes, new, tried=under_way)
        finally:
            self._gave_way(self._file.gave_way - given_up)
        self.unsure = False
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

    @property
    def unsettled(self) -> bool:
        """Something is still to be forgotten, since the file could not be written when it was over."""
        return self.unsure or bool(self._memo) or self._upto > 0

    async def settle(self) -> None:
        """Forget what is over. Raises `SpoolTrouble`, and then it is still to be done.

        A group whose `put` has failed may be there all the same: its changes are in memory, and will be put again or written otherwise.
        """
        if self.unsure:
            await self._run(self._file.forget_after, self._last)
            self.unsure = False
        memo, upto = dict(self._memo), self._upto
        if not memo and not upto:
            return
        await self._run(self._file.done, upto or None, memo)
        for handle, known in memo.items():
            if self._memo.get(handle) is known:
                self._memo.pop(handle, None)
        self._upto = 0 if self._upto == upto else self._upto
        self._stored = set() if upto and upto == self._last else self._stored | memo.keys()

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
        self._aside(group.unreadable, group.aside)
        return group, earlier

    async def done(self, upto: int | None, events: Mapping[str, Known | None]) -> None:
        """All groups up to this one are in the database; `events` as in `SpoolFile.done`. What trouble prevents is left `unsettled`."""
        self._memo.update(events)
        self._upto = max(self._upto, upto or 0)
        with suppress(SpoolTrouble):
            await self.settle()

    async def _run(self, function: Callable[..., T], *args: object, **kwargs: object) -> T:
        reads = function in (self._file.open, self._file.read)
        if not self.is_open and function != self._file.open:
            raise SpoolTrouble(self.figures.trouble or "the spool is not open")
        try:
            result = await self._thread.run(function, *args, **kwargs)
        except SpoolTrouble as error:
            if self.figures.trouble != str(error):
                self.figures.trouble = str(error)
                self.log.error("ingest: {error}", error=str(error))
            self._failed += reads
            if error.broken or self._failed >= PATIENCE:
                await self._begin_anew(str(error))
            raise
        self.figures.bytes = self._file.used
        if reads:
            self._failed = 0
        if self.figures.trouble is not None and function != self._file.read:
            self.figures.trouble = None
            self.log.info("ingest: the spool can be written again")
        return result

    async def _begin_anew(self, why: str) -> None:
        """The file is broken: nothing will ever be read from it in this way again, and it must not hold up everything else."""
        self._failed = 0
        try:
            left = await self._thread.run(self._file.renew, why, self._read)
        except SpoolTrouble as error:
            self.log.critical("ingest: the spool is broken and can't be set aside: {error}", error=str(error))
            return
        self.figures.trouble = None
        if self.is_open:
            self._last = max(self._last, left.last)
            self._stored = set(left.events)
            self.figures.now = left.changes
        self._say(left)

    def _say(self, left: Left) -> None:
        """What was found that makes no sense."""
        if (damage := left.damage) is not None:
            self.figures.unreadable += damage.unread
            self.figures.aside = damage.aside
            self.log.critical(
                "ingest: the spool was damaged ({why}): {changes} changes could be read and are written, at {unread} places nothing could; "
                "the damaged file is kept as {aside}",
                why=damage.why,
                changes=damage.changes,
                unread=damage.unread,
                aside=damage.aside,
            )
        self._aside(left.unreadable, left.aside)

    def _aside(self, count: int, paths: Sequence[str]) -> None:
        if not count:
            return
        self.figures.unreadable += count
        self.figures.aside = paths[-1] if paths else self.figures.aside
        self.log.critical(
            "ingest: {count} changes in the spool make no sense and are not written; they are kept as {paths}",
            count=count,
            paths=", ".join(paths) or "rows of its table 'unreadable', for lack of room",
        )
