"""What waits for the database: in memory as a rule, on disk while the database is away or the memory's bound is passed.

Once anything is in the spool, everything goes behind it, until the spool is empty again; so the order is always that of arrival. A batch
that is under way when the spool is begun is kept there too, and leaves it, like any other, only after its commit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from zmtwist.changes import Change, ClipSaved, CloseEvent, OpenEvent
from zmtwist.ingest.writer.change_queue import ChangeQueue
from zmtwist.ingest.writer.spool import Spool, SpoolFigures
from zmtwist.ingest.writer.spool_file import SpoolTrouble
from zmtwist.ingest.writer.spool_format import Known
from zmtwist.reactor.deferreds import given_up

SPOOL_EVERY = 0.5
"""Seconds between two writes to the spool: what was heard longer ago than this, while the spool is in use, is on disk."""

FIRST_DELAY = 0.25
TROUBLE_DELAY = 5.0
"""Seconds until a spool that can't be written or read is tried again; one that can't be opened, first after `FIRST_DELAY`, since what it
holds is wanted by those who look at rows."""

GROUP = 500
"""Changes in one of the spool's groups, at most (but for a batch that was under way)."""


@attrs.define
class Batch:
    """Changes to write in one go. `upto` is their last group in the spool, None if they are in memory only.

    `earlier`: an earlier run of the service left them; `doubtful` are those of its openings that may be in the database already.
    """

    changes: Sequence[Change]
    upto: int | None = None
    earlier: bool = False
    doubtful: Sequence[OpenEvent] = ()


class Backlog:
    """Takes changes in, gives them out in batches, in order per monitor. Without a spool, all stays in memory, without a bound.

    `known` tells what must be kept of an event along with its changes; `unsettled` the handles of saved clips that are not closed yet.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        spool: Spool | None,
        known: Callable[[str], Known | None],
        unsettled: Callable[[], Sequence[str]],
        *,
        group: int = GROUP,
        queue_max: int = 100_000,
    ) -> None:
        self._reactor = reactor
        self._unopened = spool
        self._spool: Spool | None = None
        self._opening: Deferred[None] | None = None
        self._known = known
        self._unsettled = unsettled
        self._group = min(group, GROUP)
        self._queue_max = queue_max
        self._queue = ChangeQueue()
        self._held: list[Change] = []
        self._current: Batch | None = None
        self._to_disk = False
        self._spooling: Deferred[None] | None = None
        self._lock = DeferredLock()
        self._saves_kept: set[str] = set()
        self._overflowing = False
        self.figures = SpoolFigures() if spool is None else spool.figures

    def __len__(self) -> int:
        return len(self._queue) + len(self._held) + self.figures.now

    def of(self, monitor_id: int) -> int:
        """How many changes of one monitor wait in memory."""
        return self._queue.of(monitor_id)

    async def open(self, found: Callable[[Mapping[str, Known]], None]) -> None:
        """Look into the spool. `found` is told the events that what an earlier run left speaks of: before this ends, or, of a spool that
        can't be opened yet, when it can."""
        if self._unopened is None:
            return
        try:
            found(await self._open(self._unopened))
        except SpoolTrouble:
            self._opening = Deferred.fromCoroutine(self._open_later(self._unopened, found))
        self._spool = self._unopened

    async def _open_later(self, spool: Spool, found: Callable[[Mapping[str, Known]], None]) -> None:
        delay = FIRST_DELAY
        try:
            while not spool.is_open:
                await deferLater(self._reactor, delay)
                delay = min(TROUBLE_DELAY, 2 * delay)
                async with self._lock:
                    with suppress(SpoolTrouble):
                        found(await self._open(spool))
        except CancelledError:
            pass
        finally:
            self._opening = None

    async def _open(self, spool: Spool) -> Mapping[str, Known]:
        left = await spool.open()
        self._saves_kept.update(handle for handle, known in left.items() if known.saved is not None)
        return left

    def put(self, monitor_id: int, changes: Sequence[Change]) -> None:
        """Add changes of one monitor, in their order."""
        self._queue.put(monitor_id, changes)
        over = len(self._queue) > self._queue_max
        if over and not self._overflowing:
            self.log.error(
                "ingest: {queued} changes wait in memory, over queue_max = {bound}",
                queued=len(self),
                bound=self._queue_max,
            )
        self._overflowing = over
        if over and self._spool is not None:
            self.to_disk("the database takes them more slowly than they come")
            if self._spool.figures.trouble is not None:
                self._spool.figures.gave_way += self._queue.give_way(max(1, self._queue_max // 10))

    def to_disk(self, why: str) -> None:
        """From now on until it is empty again everything goes to the spool, the batch under way included."""
        if self._spool is None or self._to_disk:
            return
        self._to_disk = True
        self.log.warn("ingest: what is heard goes to the spool on disk: {why}", why=why)
        self._begin_spooling(self._spool)

    def _begin_spooling(self, spool: Spool) -> None:
        if self._spooling is None:
            self._spooling = Deferred.fromCoroutine(self._keep_spooling(spool))

    @property
    def pressing(self) -> bool:
        """Something waits that must not wait for company."""
        return self._queue.pressing or bool(self._held) or self.figures.now > 0

    @property
    def openings_wait(self) -> bool:
        """An opening waits or is under way, or may be in the spool, of which nothing is known until it is open."""
        current = self._current
        return (
            self.pressing
            or self._opening is not None
            or (
                current is not None
                and (current.upto is not None or any(isinstance(change, OpenEvent) for change in current.changes))
            )
        )

    async def take(self, most: int, *, bulk: bool = True) -> Batch | None:
        """The next batch; None when nothing waits. It is under way until it is `done`. `bulk` as in `ChangeQueue.take`."""
        spool = self._spool
        if spool is not None and spool.unsure:
            with suppress(SpoolTrouble):
                await self._settle(spool)  # what failed to be put must not be there when it is in the database
        while spool is not None and (spool.waiting or self._lock.locked):
            async with self._lock:
                if spool.waiting <= most:
                    self._to_disk = False  # what comes from now on can wait in memory for these few
                try:
                    found = await spool.read(most) if spool.waiting else None
                except SpoolTrouble:
                    found = None
                if found is not None:
                    group, earlier = found
                    self._current = Batch(group.changes, group.upto, earlier, group.doubtful)
                    return self._current
            if spool.waiting and spool.figures.trouble is not None:
                await deferLater(self._reactor, TROUBLE_DELAY)
        self._to_disk = False
        # What seemed urgent may turn out not to be there (a group that was set aside): then bulk is as good.
        changes, self._held = self._held or self._queue.take(most, bulk=bulk) or self._queue.take(most), []
        self._current = Batch(changes) if changes else None
        return self._current

    async def _settle(self, spool: Spool) -> None:
        async with self._lock:
            await spool.settle()

    @property
    def may_rush(self) -> bool:
        """Openings wait, and may be written beside the batch under way: not while the spool is in use."""
        batch, spool = self._current, self._spool
        in_memory = batch is not None and batch.upto is None and not self._lock.locked
        return self._queue.pressing and in_memory and (spool is None or not spool.waiting)

    def rush(self, most: int) -> list[Change]:
        """Openings to be written beside the batch under way, of which they become a part; none where they may not."""
        batch = self._current
        if batch is None or not self.may_rush:
            return []
        openings = self._queue.take(most, bulk=False)
        batch.changes = [*openings, *batch.changes]
        return openings

    async def done(self, batch: Batch) -> None:
        """The batch is in the database, but for what that refused."""
        spool = self._spool
        if spool is None or (batch.upto is None and not self._lock.locked and not self._saves_kept):
            self._current = None
            return
        async with self._lock:
            self._current = None
            await self._forget(spool, batch)
        if spool.unsettled:
            self._begin_spooling(spool)

    async def _forget(self, spool: Spool, batch: Batch) -> None:
        closed = {change.handle for change in batch.changes if isinstance(change, CloseEvent)}
        if batch.upto is None:
            if over := closed & self._saves_kept:
                await spool.done(None, dict.fromkeys(over))
                self._saves_kept -= over
            return
        events: dict[str, Known | None] = dict.fromkeys(closed)
        for change in batch.changes:
            if isinstance(change, OpenEvent | ClipSaved) and (known := self._known(change.handle)) is not None:
                events[change.handle] = known
        await spool.done(batch.upto, events)
        self._saves_kept -= closed
        self._saves_kept.update(h for h, known in events.items() if known is not None and known.saved is not None)
        if not spool.waiting and not self._to_disk:
            self.log.info("ingest: the spool is empty: {count} changes came through it", count=spool.figures.ever)

    async def keep(self) -> None:
        """Put everything that waits, is under way, or is not seen to yet into the spool: the service is about to end."""
        if self._spool is not None:
            try:
                await self._pour(self._spool)
                await self._spool.done(None, self._events(set(self._unsettled())))
            except SpoolTrouble as error:
                self.log.critical(
                    "ingest: {count} changes are lost with the end of the service: {error}",
                    count=len(self._queue) + len(self._held),
                    error=str(error),
                )

    async def close(self) -> None:
        """End what goes on here, and close the spool."""
        for going_on in (self._opening, self._spooling):
            if going_on is not None:
                await given_up(going_on)
        if self._spool is not None:
            with suppress(SpoolTrouble):
                await self._settle(self._spool)
            await self._spool.close()

    async def _keep_spooling(self, spool: Spool) -> None:
        try:
            while self._to_disk or spool.unsettled:
                pause = SPOOL_EVERY
                try:
                    if self._to_disk:
                        await self._pour(spool)
                    await self._settle(spool)
                except SpoolTrouble:
                    pause = TROUBLE_DELAY
                await deferLater(self._reactor, pause)
        except CancelledError:
            pass
        except Exception:
            self.log.failure("ingest: writing to the spool failed; what is heard stays in memory")
            self._to_disk = False
        finally:
            self._spooling = None

    async def _pour(self, spool: Spool) -> None:
        """All that waits in memory at this moment, behind the batch under way."""
        async with self._lock:
            current = self._current
            if current is not None and current.upto is None:
                handles = {*self._unsettled(), *(change.handle for change in current.changes)}
                current.upto = await spool.put(current.changes, self._events(handles), under_way=True)
            rest = len(self._queue)
            while self._held or rest > 0:
                if not self._held:
                    self._held = self._queue.take(self._group)
                    rest -= len(self._held)
                await spool.put(self._held, self._events({change.handle for change in self._held}))
                self._held = []

    def _events(self, handles: set[str]) -> dict[str, Known]:
        events = {handle: known for handle in handles if (known := self._known(handle)) is not None}
        self._saves_kept.update(handle for handle, known in events.items() if known.saved is not None)
        return events
