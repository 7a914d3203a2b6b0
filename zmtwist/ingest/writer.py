"""The writer: group commit without a timer. Whenever a transaction has ended, everything queued by then goes into the next one.

So an idle system answers at the latency of one commit, and a busy one batches as hard as the database makes it. Effects (assignments,
file moves) come after the commit, never before.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import attrs
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from zmtwist.changes import Change, ClipSaved, CloseEvent, OpenEvent
from zmtwist.ingest.latency import Latencies
from zmtwist.ingest.queue import ChangeQueue
from zmtwist.interfaces import IEventStore
from zmtwist.pipeline.monitor import Monitor
from zmtwist.waiting import ended
from zmtwist.zm.errors import Refused, Retryable, Unsure
from zmtwist.zm.paths import EventPlace

FIRST_DELAY = 0.1
LAST_DELAY = 5.0
REMEMBERED_CLOSED = 512
"""Places of closed events are kept this long (in events) for what is said of them late: descriptions, synopses."""

Effect = Callable[[OpenEvent | ClipSaved | CloseEvent, EventPlace], None]


@attrs.define
class WriterFigures:
    """What the writer has done since it started; `refused` and `orphaned` changes are the only ones not in the database."""

    committed: int = 0
    batches: int = 0
    largest_batch: int = 0
    retries: int = 0
    unsure: int = 0
    refused: int = 0
    orphaned: int = 0
    last_error: str | None = None


class Writer(Service):
    """Takes changes, commits them in batches and fires `effect` for openings, saves and closes once they are in the database.

    A change that the database refuses for itself is found by bisection, logged and counted, and holds up nothing else. While the
    database is away the queue grows and the same batch is tried again, at growing intervals.
    """

    name = "writer"
    log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        store: IEventStore,
        monitors: Callable[[], Mapping[int, Monitor]],
        effect: Effect,
        *,
        max_batch: int = 2000,
        queue_max: int = 100_000,
    ) -> None:
        self._reactor = reactor
        self._store = store
        self._monitors = monitors
        self._effect = effect
        self._max_batch = max_batch
        self._queue_max = queue_max
        self._queue = ChangeQueue()
        self._places: dict[str, EventPlace] = {}
        self._closed: OrderedDict[str, EventPlace] = OrderedDict()
        self._working: Deferred[None] | None = None
        self._overflowing = False
        self.figures = WriterFigures()
        self.commit_seconds = Latencies()

    @property
    def queued(self) -> int:
        """Changes that wait for the database, those of the batch under way not counted."""
        return len(self._queue)

    def queued_of(self, monitor_id: int) -> int:
        """As `queued`, of one monitor."""
        return self._queue.of(monitor_id)

    @property
    def idle(self) -> bool:
        """Nothing is queued and no transaction is under way."""
        return self._working is None

    def submit(self, monitor_id: int, changes: Sequence[Change]) -> None:
        """Queue changes of one monitor. Returns at once; they are written in this order."""
        if not changes:
            return
        self._queue.put(monitor_id, changes)
        if (len(self._queue) > self._queue_max) != self._overflowing:
            self._overflowing = not self._overflowing
            if self._overflowing:
                self.log.error(
                    "ingest: {queued} changes wait for the database, over queue_max = {bound}; last error: {error}",
                    queued=len(self._queue),
                    bound=self._queue_max,
                    error=self.figures.last_error,
                )
        if self._working is None:
            self._working = Deferred.fromCoroutine(self._work())

    async def drained(self) -> None:
        """Wait until nothing is queued or under way."""
        while self._working is not None:
            await ended(self._working)

    def stopService(self) -> Deferred[None]:
        """End at once: a batch under way is given up (it is in the database or it is not), what is queued is not written.

        Wait for `drained` first for anything better.
        """
        Service.stopService(self)
        if self._working is None:
            return succeed(None)
        over = ended(self._working)
        self._working.cancel()
        return over

    async def _work(self) -> None:
        try:
            # Give the reactor's turn a chance to end, so that what one read of a socket brought goes into one batch.
            await deferLater(self._reactor, 0)
            while batch := self._queue.take(self._max_batch):
                await self._write(batch)
        except CancelledError:
            return
        except Exception:
            self.log.failure("ingest: the writer failed on a batch; it goes on with the next")
            self.figures.refused += len(batch)
        finally:
            self._working = None
        if len(self._queue):
            self._working = Deferred.fromCoroutine(self._work())

    async def _write(self, batch: Sequence[Change]) -> None:
        """Get `batch` into the database, however long it takes, less what the database refuses."""
        changes = self._placeable(batch)
        delay = FIRST_DELAY
        while changes:
            known = {c.handle: place for c in changes if (place := self._place(c.handle)) is not None}
            begun = self._reactor.seconds()
            try:
                opened = await self._store.commit(changes, known, self._monitors())
            except Retryable as error:
                delay = await self._pause(error, delay)
            except Unsure as unsure:
                self.figures.unsure += 1
                if await self._landed(unsure):
                    self._committed(changes, unsure.places)
                    return
            except Refused as error:
                if len(changes) == 1:
                    self._refuse(changes[0], error)
                    return
                middle = len(changes) // 2
                await self._write(changes[:middle])
                await self._write(changes[middle:])
                return
            else:
                self.commit_seconds.add(self._reactor.seconds() - begun)
                self._committed(changes, opened)
                return

    async def _landed(self, unsure: Unsure) -> bool:
        delay = FIRST_DELAY
        while True:
            try:
                return await self._store.landed(unsure)
            except Retryable as error:
                delay = await self._pause(error, delay)

    async def _pause(self, error: Exception, delay: float) -> float:
        """Wait before the next try; gives the delay after that."""
        self.figures.retries += 1
        text = str(error)
        if text != self.figures.last_error:
            self.figures.last_error = text
            self.log.warn("ingest: the database did not take a batch, trying again: {error}", error=text)
        await deferLater(self._reactor, delay)
        return min(LAST_DELAY, 2 * delay)

    def _placeable(self, batch: Sequence[Change]) -> list[Change]:
        """`batch` less the changes of events that never got a row."""
        opened = {change.handle for change in batch if isinstance(change, OpenEvent)}
        changes = [c for c in batch if c.handle in opened or self._place(c.handle) is not None]
        if orphaned := len(batch) - len(changes):
            self.figures.orphaned += orphaned
            self.log.warn("ingest: dropped {orphaned} changes of events that have no row", orphaned=orphaned)
        return changes

    def _place(self, handle: str) -> EventPlace | None:
        return self._places.get(handle) or self._closed.get(handle)

    def _refuse(self, change: Change, error: Refused) -> None:
        self.figures.refused += 1
        self.figures.last_error = str(error)
        self.log.error(
            "ingest: the database refused a {kind} of {handle}: {error}",
            kind=type(change).__name__,
            handle=change.handle,
            error=str(error),
        )

    def _committed(self, changes: Sequence[Change], opened: Mapping[str, EventPlace]) -> None:
        """The batch is in the database: only now may anything else come of it."""
        figures = self.figures
        figures.batches += 1
        figures.committed += len(changes)
        figures.largest_batch = max(figures.largest_batch, len(changes))
        figures.last_error = None
        self._places.update(opened)
        for change in changes:
            if not isinstance(change, OpenEvent | ClipSaved | CloseEvent):
                continue
            place = self._place(change.handle)
            if place is None:
                continue
            if isinstance(change, CloseEvent):
                self._closed[change.handle] = place
                self._places.pop(change.handle, None)
                while len(self._closed) > REMEMBERED_CLOSED:
                    self._closed.popitem(last=False)
            try:
                self._effect(change, place)
            except Exception:
                self.log.failure("ingest: the effect of a {kind} failed", kind=type(change).__name__)
