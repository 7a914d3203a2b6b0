"""The writer: group commit. Whenever a transaction has ended, everything queued by then goes into the next one.

So an idle system answers at the latency of one commit, and a busy one batches as hard as the database makes it. In between, all but
openings waits a fifth of a second for company, so that openings, for which workers wait, find the database free. Effects (assignments,
file moves) come after the commit, never before. While the database is away, what waits is kept on disk (`backlog`, `spool`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from zmtwist.changes import Change, ClipSaved, CloseEvent, OpenEvent
from zmtwist.ingest.writer.backlog import Backlog, Batch
from zmtwist.ingest.writer.event_index import KnownEvents
from zmtwist.ingest.writer.histogram import Latencies
from zmtwist.ingest.writer.spool import Spool, SpoolFigures
from zmtwist.ingest.writer.spool_format import Known
from zmtwist.interfaces import IEventStore
from zmtwist.pipeline.monitor import Monitor
from zmtwist.reactor.deferreds import ended, given_up
from zmtwist.zm.db.errors import Refused, Retryable, Unsure
from zmtwist.zm.event_paths import EventPlace

FIRST_DELAY = 0.1
LAST_DELAY = 5.0
SPOOL_AFTER = 2.0
"""A batch that has not been taken for this many seconds: the database is away, and what waits belongs on disk."""

COMPANY_SECONDS = 0.2
"""How far apart batches of anything but openings are while there is little: with a hundred cameras they would otherwise keep the database
busy without a break, and every opening would find a transaction under way to wait for. Openings never wait for company, nor keep any."""

FEW = 20
"""So many changes that are due anyway cost an opening next to nothing: they go into one transaction with it."""

LOCKED = (1205, 1213, "SQLITE_BUSY", "SQLITE_LOCKED")
"""Codes of a database that is there, and in which somebody else was first."""

Effect = Callable[[OpenEvent | ClipSaved | CloseEvent, EventPlace], None]


@attrs.define
class WriterFigures:
    """What the writer has done since it started; `refused`, `orphaned` and `spool.gave_way` changes are the only ones that never
    get into the database."""

    committed: int = 0
    batches: int = 0
    largest_batch: int = 0
    retries: int = 0
    unsure: int = 0
    refused: int = 0
    orphaned: int = 0
    last_error: str | None = None
    spool: SpoolFigures = attrs.field(factory=SpoolFigures)


class Writer(Service):
    """Takes changes, commits them in batches and fires `effect` for openings, saves and closes once they are in the database.

    A change that the database refuses for itself is found by bisection, logged and counted, and holds up nothing else. While the
    database is away the queue grows and the same batch is tried again, at growing intervals; with a `spool`, it grows on disk.
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
        spool: Spool | None = None,
    ) -> None:
        self._reactor = reactor
        self._store = store
        self._monitors = monitors
        self._effect = effect
        self._max_batch = max_batch
        self._events = KnownEvents()
        self._working: Deferred[None] | None = None
        self._company: Deferred[None] | None = None
        self._rushing: Deferred[None] | None = None
        self._writing = False
        self._bulk_due = 0.0
        self._backlog = Backlog(
            reactor, spool, self._events.kept, lambda: self._events.saves, group=max_batch, queue_max=queue_max
        )
        self._was_away = False
        self.after_outage: Callable[[], None] = lambda: None
        self.figures = WriterFigures(spool=self._backlog.figures)
        self.commit_seconds = Latencies()

    @property
    def queued(self) -> int:
        """Changes that wait for the database, in memory and on disk, those of the batch under way not counted."""
        return len(self._backlog)

    def queued_of(self, monitor_id: int) -> int:
        """As `queued`, of one monitor and in memory."""
        return self._backlog.of(monitor_id)

    @property
    def openings_wait(self) -> bool:
        """Openings may be on their way into the database, those in the spool included."""
        return self._backlog.openings_wait

    @property
    def idle(self) -> bool:
        """Nothing is queued and no transaction is under way."""
        return self._working is None

    @property
    def open_places(self) -> Mapping[str, EventPlace]:
        """The events that have a row and are not closed, by handle."""
        return self._events.open

    def adopt(self, handle: str, place: EventPlace) -> None:
        """Take changes of an event whose row is there already: one that an earlier run opened."""
        self._events.add({handle: place})

    def submit(self, monitor_id: int, changes: Sequence[Change]) -> None:
        """Queue changes of one monitor. Returns at once; they are written in this order."""
        if not changes:
            return
        self._backlog.put(monitor_id, changes)
        if self._company is not None and (self._backlog.pressing or len(self._backlog) >= self._max_batch):
            self._go_on()
        if self._writing and self._rushing is None and self._backlog.may_rush:
            self._rushing = Deferred.fromCoroutine(self._rush())
        self._begin()

    async def resume(self) -> None:
        """Look into the spool, and begin to write what an earlier run left there. Saves are seen to once more; openings are only
        written, since the workers that waited for them may be gone. Call when every monitor is known."""
        await self._backlog.open(self._resume)

    def _resume(self, left: Mapping[str, Known]) -> None:
        for handle, known in left.items():
            self._events.add({handle: known.place})
            if known.saved is not None:
                self._follow(known.saved, known.place)
        if self.queued:
            self.log.info("ingest: an earlier run left {count} changes in the spool", count=self.queued)
            self._begin()

    def _begin(self) -> None:
        if self._working is None:
            self._working = Deferred.fromCoroutine(self._work())

    async def drained(self) -> None:
        """Wait until nothing is queued or under way."""
        while self._working is not None:
            await ended(self._working)

    def stopService(self) -> Deferred[None]:
        """End at once: a batch under way is given up (it is in the database or it is not). What is not written is left in the spool for
        the next run; without a spool it is lost.

        Wait for `drained` first for anything better.
        """
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._working is not None or self._events.saves:
            await self._backlog.keep()
        if self._working is not None:
            await given_up(self._working)
        await self._backlog.close()

    async def _work(self) -> None:
        try:
            # Give the reactor's turn a chance to end, so that what one read of a socket brought goes into one batch.
            await deferLater(self._reactor, 0)
            while (batch := await self._next()) is not None:
                late = self._reactor.callLater(SPOOL_AFTER, self._late)
                try:
                    await self._write_all(batch)
                finally:
                    if late.active():
                        late.cancel()
                await self._backlog.done(batch)
        except CancelledError:
            return
        except Exception:
            self.log.failure("ingest: the writer failed; it begins anew with what comes next")
        finally:
            self._working = None
            if self._rushing is not None:
                self._rushing.addErrback(lambda failure: failure.trap(CancelledError))  # nobody waits for it any more
                self._rushing.cancel()

    async def _write_all(self, batch: Batch) -> None:
        """Write a batch, and what was written beside it meanwhile."""
        self._writing = True
        try:
            await self._write(await self._missing(batch), batch.earlier)
        except CancelledError:
            raise
        except Exception:
            self.log.failure("ingest: the writer failed on a batch; it goes on with the next")
            self.figures.refused += len(batch.changes)
        finally:
            self._writing = False
        if self._rushing is not None:
            await self._rushing

    async def _rush(self) -> None:
        """Write openings while a batch is under way: on a connection of their own they need not wait for its end.

        Given up, it fails, so that the batch of which they are a part is not taken for written.
        """
        try:
            await deferLater(self._reactor, 0)
            while self._writing and (openings := self._backlog.rush(self._max_batch)):
                await self._write(openings, earlier=False)
        except CancelledError:
            raise
        except Exception:
            self.log.failure("ingest: the writer failed on openings; it goes on")
        finally:
            self._rushing = None

    async def _next(self) -> Batch | None:
        """The next batch. Where no opening waits, what follows hard on the batch before waits a moment for company."""
        backlog = self._backlog
        wait = self._bulk_due - self._reactor.seconds()
        if wait > 0 and 0 < len(backlog) < self._max_batch and not backlog.pressing:
            self._company = Deferred()
            timer = self._reactor.callLater(wait, self._go_on)
            try:
                await self._company
            finally:
                self._company = None
                if timer.active():
                    timer.cancel()
        now = self._reactor.seconds()
        few = now >= self._bulk_due and len(backlog) <= FEW
        bulk = few or not backlog.pressing or len(backlog) >= self._max_batch
        if bulk:
            self._bulk_due = now + COMPANY_SECONDS
        return await backlog.take(self._max_batch, bulk=bulk)

    def _go_on(self) -> None:
        if self._company is not None and not self._company.called:
            self._company.callback(None)

    def _late(self) -> None:
        self._backlog.to_disk(self.figures.last_error or f"the database has not answered for {SPOOL_AFTER:g} s")

    async def _missing(self, batch: Batch) -> Sequence[Change]:
        """The batch less those openings that were committed before an earlier run could take note of it."""
        delay = FIRST_DELAY
        # Of those written beside their batch the spool knows the place: they are there.
        while doubtful := [change for change in batch.doubtful if self._events.place(change.handle) is None]:
            closes = {change.handle: change for change in batch.changes if isinstance(change, CloseEvent)}
            taken = [place.event_id for place in self._events.open.values()]
            try:
                self._events.add(await self._store.opened(doubtful, taken, self._monitors(), closes))
                break
            except Retryable as error:
                delay = await self._pause(error, delay)
        there = {change.handle for change in batch.doubtful if self._events.place(change.handle) is not None}
        return [c for c in batch.changes if not (isinstance(c, OpenEvent) and c.handle in there)]

    async def _write(self, batch: Sequence[Change], earlier: bool) -> None:
        """Get `batch` into the database, however long it takes, less what the database refuses."""
        changes = self._placeable(batch)
        delay = FIRST_DELAY
        while changes:
            known = {c.handle: place for c in changes if (place := self._events.place(c.handle)) is not None}
            begun = self._reactor.seconds()
            try:
                opened = await self._store.commit(changes, known, self._monitors())
            except Retryable as error:
                delay = await self._pause(error, delay)
            except Unsure as unsure:
                self.figures.unsure += 1
                if await self._landed(unsure):
                    self._committed(changes, unsure.places, earlier)
                    return
            except Refused as error:
                if len(changes) == 1:
                    self._refuse(changes[0], error)
                    return
                middle = len(changes) // 2
                await self._write(changes[:middle], earlier)
                await self._write(changes[middle:], earlier)
                return
            else:
                self.commit_seconds.add(self._reactor.seconds() - begun)
                self._committed(changes, opened, earlier)
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
        self._was_away = self._was_away or getattr(error, "code", None) not in LOCKED
        text = str(error)
        if text != self.figures.last_error:
            self.figures.last_error = text
            self.log.warn("ingest: the database did not take a batch, trying again: {error}", error=text)
        await deferLater(self._reactor, delay)
        return min(LAST_DELAY, 2 * delay)

    def _placeable(self, batch: Sequence[Change]) -> list[Change]:
        """`batch` less the changes of events that never got a row."""
        opened = {change.handle for change in batch if isinstance(change, OpenEvent)}
        changes = [c for c in batch if c.handle in opened or self._events.place(c.handle) is not None]
        if orphaned := len(batch) - len(changes):
            self.figures.orphaned += orphaned
            self.log.warn("ingest: dropped {orphaned} changes of events that have no row", orphaned=orphaned)
        return changes

    def _refuse(self, change: Change, error: Refused) -> None:
        self.figures.refused += 1
        self.figures.last_error = str(error)
        self.log.error(
            "ingest: the database refused a {kind} of {handle}: {error}",
            kind=type(change).__name__,
            handle=change.handle,
            error=str(error),
        )

    def _committed(self, changes: Sequence[Change], opened: Mapping[str, EventPlace], earlier: bool) -> None:
        """The batch is in the database: only now may anything else come of it."""
        figures = self.figures
        figures.batches += 1
        figures.committed += len(changes)
        figures.largest_batch = max(figures.largest_batch, len(changes))
        figures.last_error = None
        if self._was_away:
            self._was_away = False
            self.after_outage()
        self._events.add(opened)
        for change in changes:
            if not isinstance(change, OpenEvent | ClipSaved | CloseEvent):
                continue
            place = self._events.place(change.handle)
            if place is None:
                continue
            if isinstance(change, CloseEvent):
                self._events.close(change.handle)
            if not (earlier and isinstance(change, OpenEvent)):
                self._follow(change, place)

    def _follow(self, change: OpenEvent | ClipSaved | CloseEvent, place: EventPlace) -> None:
        """What follows from a change that is in the database."""
        if isinstance(change, ClipSaved):
            self._events.save(change)
        try:
            self._effect(change, place)
        except Exception:
            self.log.failure("ingest: the effect of a {kind} failed", kind=type(change).__name__)
