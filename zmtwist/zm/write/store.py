"""ZoneMinder's Events and Frames rows, behind `IEventStore`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import tzinfo
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from zmtwist.config.site import Site
from zmtwist.interfaces import IEventStore
from zmtwist.pipeline.monitor import Monitor
from zmtwist.zm.db.errors import CommitLost, DatabaseError, Refused, Retryable, Unsure, Unusable
from zmtwist.zm.db.pool import Database
from zmtwist.zm.event_paths import EventPlace
from zmtwist.zm.read.committed_openings import Search, find_opened
from zmtwist.zm.write.batch import Batch, GivenAgain, write
from zmtwist.zm.write.batch_result import Written
from zmtwist.zm.write.commit_check import add_to_storage, landed
from zmtwist.zm.write.insert_event import highest_id

if TYPE_CHECKING:
    from zmtwist.changes import Change, CloseEvent, OpenEvent

log = Logger()

DUPLICATE = 1062

MOST_LOST = 1_000_000
"""More events than this no replica lags behind, nor does a backup of some days ago."""


SKIPPED = 1000
"""So many ids are left out once some were given again: what else had one is known neither to the database nor, after a start, to us."""


@implementer(IEventStore)
class EventStore:
    """Writes batches into one database.

    `zone` None means the host's time zone; `event_name`, if given, is what every event is called; `site` says where storages are.
    """

    def __init__(
        self, database: Database, *, zone: tzinfo | None = None, event_name: str | None = None, site: Site | None = None
    ) -> None:
        self._database = database
        self._zone = zone
        self._event_name = event_name
        self._site = site or Site()
        self._owed = Counter[int]()
        """Bytes by storage that are still to be added to Storage.DiskSpace."""
        self._adding = False
        self._highest = 0
        self._raise = False
        """The next event gets an id above that, whatever the server would give."""

    def commit(
        self, changes: Sequence[Change], places: Mapping[str, EventPlace], monitors: Mapping[int, Monitor]
    ) -> Deferred[Mapping[str, EventPlace]]:
        """See `IEventStore.commit`."""
        self._note(places)
        batch = Batch(changes, places, monitors, self._zone, self._event_name, self._highest, self._raise)
        return Deferred.fromCoroutine(self._commit(batch))

    def go_on_above(self, event_id: int, *, sure: bool = True) -> Deferred[None]:
        """No event is to have this id, or a lower one, that has none yet. One that is far above all in the database is not believed in.

        Not `sure`: there may have been higher ones, which the database may have lost.
        """
        return Deferred.fromCoroutine(self._go_on_above(event_id, sure))

    def landed(self, unsure: Unsure) -> Deferred[bool]:
        """See `IEventStore.landed`. False as well for a batch that left nothing to tell by: that one may be written twice."""
        return Deferred.fromCoroutine(self._landed(unsure.written))

    def opened(
        self,
        openings: Sequence[OpenEvent],
        taken: Collection[int],
        monitors: Mapping[int, Monitor],
        closes: Mapping[str, CloseEvent],
    ) -> Deferred[Mapping[str, EventPlace]]:
        """See `IEventStore.opened`."""
        search = Search(openings, taken, monitors, self._zone, self._event_name, self._site, closes)
        return Deferred.fromCoroutine(self._opened(search))

    async def _opened(self, search: Search) -> Mapping[str, EventPlace]:
        try:
            return await self._database.interact(find_opened, await self._database.schema(), search)
        except Retryable:
            raise
        except DatabaseError as error:  # a statement of our own making: what fails it is the database's own trouble
            raise Retryable(str(error)) from None

    async def _commit(self, batch: Batch) -> Mapping[str, EventPlace]:
        try:
            schema = await self._database.schema()
            try:
                written = await (self._raised(batch) if batch.raised else self._database.interact(write, schema, batch))
            except GivenAgain as error:
                log.critical(
                    "{error}: has a database taken over that lacks the last commits of the one before? Ids go on above that",
                    error=str(error),
                )
                written = await self._raised(attrs.evolve(batch, highest=batch.highest + SKIPPED, raised=True))
        except CommitLost as error:
            raise Unsure(str(error), error.code, error.result) from None
        except Unusable as error:  # half-way through an upgrade, say: the rows are good
            raise Retryable(str(error)) from None
        except DatabaseError:
            raise
        except Exception as error:
            log.failure("a batch that makes no sense: {reason}", reason=repr(error))
            raise Refused(f"a batch that makes no sense: {error!r}") from error
        self._afterwards(written)
        return written.places

    async def _go_on_above(self, event_id: int, sure: bool) -> None:
        highest = await self._database.interact(highest_id)
        if highest < event_id <= highest + MOST_LOST:
            self._highest = max(self._highest, event_id)
        if not sure and highest:
            self._highest = max(self._highest, highest) + SKIPPED
            self._raise = True

    async def _raised(self, batch: Batch) -> Written:
        try:
            return await self._database.interact(write, await self._database.schema(), batch)
        except Refused as error:
            if error.code == DUPLICATE:  # somebody else was given that very id meanwhile
                raise Retryable(str(error), error.code) from None
            raise

    async def _landed(self, written: Written) -> bool:
        if written.witness is None or not await self._database.interact(landed, written.witness):
            return False
        self._afterwards(written)
        return True

    def _note(self, places: Mapping[str, EventPlace]) -> None:
        self._highest = max(self._highest, *(place.event_id for place in places.values()), 0)

    def _afterwards(self, written: Written) -> None:
        self._note(written.places)
        self._raise = self._raise and not written.places
        if written.vanished:
            log.warn(
                "events were deleted while they were recorded; what else is said of them is left out: {handles}",
                handles=written.vanished,
            )
        # What follows is outside the batch's transaction, and nothing waits for it: the worker is told its event's id the sooner.
        if written.stored:
            self._owed.update(written.stored)
            if not self._adding:
                Deferred.fromCoroutine(self._add_owed())

    async def _add_owed(self) -> None:
        """Add what is owed. What could not be added is owed on, and goes with what the next batch adds. Never fails."""
        self._adding = True
        try:
            while self._owed:
                adding, self._owed = self._owed, Counter[int]()
                try:
                    await self._database.interact(add_to_storage, adding)
                except Retryable as error:
                    self._owed.update(adding)
                    log.info("Storage.DiskSpace is raised later: {reason}", reason=str(error))
                    return
                except Exception as error:  # of a lost COMMIT nobody knows whether it was carried out: not twice, then
                    log.warn(
                        "Storage.DiskSpace was not raised (bytes by storage: {bytes}): {reason}",
                        bytes=dict(adding),
                        reason=str(error),
                    )
        finally:
            self._adding = False
