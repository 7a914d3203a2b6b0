"""Rows and files as they are, gathered for a recovery in an order in which nothing can slip through.

First the clips under workers' own names, then the rows, then what lies in their directories, and last who lives and what is in hand: so
whoever wrote a file that was seen either has it open when it is asked, or will never write it again. Each storage is looked at by itself:
one that hangs, or can't be read, says nothing about another.
"""

from __future__ import annotations

import errno
from collections import defaultdict
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from datetime import tzinfo
from typing import Any, ParamSpec, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail, gatherResults
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.logger import Logger
from twisted.python.failure import Failure

from zmtwist.config.site import Site
from zmtwist.fleet.liveness import OpenFiles
from zmtwist.ingest.clips.placement import RootState, root_state
from zmtwist.ingest.clips.scan import Found, Stray, clips_in, days, strays_of
from zmtwist.ingest.service import Ingest
from zmtwist.ingest.session.clip_match import SLACK_US, tail
from zmtwist.ingest.session.worker_filename import days_of
from zmtwist.reactor.thread_pool import Disk
from zmtwist.recovery.plan import Scene
from zmtwist.zm.db.pool import Database
from zmtwist.zm.read.own_events import CHUNK, LeftRow, Own, Reader

P = ParamSpec("P")
T = TypeVar("T")

DIRECTORIES_AT_ONCE = 100
ANSWER_SECONDS = 60.0
"""How long a storage may take for one question."""


@attrs.frozen
class Seen:
    """What was seen of one storage: clips under workers' own names, and in the directories of events, by id.

    `unread` has the days, and `no_clips` the events, whose directories could not be looked at, and why; `away` is why nothing could be.
    """

    root: str
    state: RootState = "there"
    strays: tuple[Stray, ...] = ()
    unread: Mapping[str, str] = attrs.field(factory=dict)
    clips: Mapping[int, tuple[Found, ...]] = attrs.field(factory=dict)
    no_clips: Mapping[int, str] = attrs.field(factory=dict)
    away: str | None = None
    given_up: bool = False


class Asking:
    """Questions to storages. One that has let a question go unanswered is asked no more until it answers: each takes a thread."""

    def __init__(self, reactor: Any, disk: Disk) -> None:
        self._reactor = reactor
        self._disk = disk
        self._late: dict[str, set[Deferred[Any]]] = defaultdict(set)

    def ask(self, root: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Call a function that looks at this storage, on a thread. Fails with OSError, also where no answer comes."""
        late = self._late[root]
        if late:
            return fail(OSError(errno.ETIMEDOUT, "it has not answered yet what it was asked before", root))
        call = self._disk.run(function, *args, **kwargs)
        answer: Deferred[T] = Deferred(lambda _: late.add(call))

        def over(result: T | Failure) -> None:
            late.discard(call)
            if not answer.called:
                answer.callback(result)

        def unanswered(_failure: object, seconds: float) -> Failure:
            return Failure(OSError(errno.ETIMEDOUT, f"no answer within {seconds:g} s", root))

        answer.addTimeout(ANSWER_SECONDS, self._reactor, onTimeoutCancel=unanswered)
        call.addBoth(over)
        return answer


class Inventory:
    """One look after the other. `living` gives what each living worker has open."""

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        database: Database,
        site: Site,
        asking: Asking,
        ingest: Ingest,
        living: Callable[[], Coroutine[Any, Any, OpenFiles]],
        *,
        wall: Callable[[], int],
        zone: tzinfo | None,
        event_name: str | None,
    ) -> None:
        self._reactor = reactor
        self._database = database
        self._site = site
        self._asking = asking
        self._ingest = ingest
        self._living = living
        self._wall = wall
        self._zone = zone
        self._event_name = event_name

    async def scene(self, own: Mapping[int, Own], since_us: int, seconds: float) -> Scene:
        """Open rows and those closed since then, and all files; each storage has so many seconds. Raises DatabaseError."""
        hands = self._ingest.in_hand()
        reader = await self._reader(own)
        storages = {one.path: one for one in await self._database.interact(reader.storages)}
        homes = {monitor_id: one.monitor.storage.path for monitor_id, one in own.items()}
        monitors = frozenset(own)
        seen = await self._every({*storages, *homes.values()}, seconds, lambda root: self._strays(root, monitors))
        event_ids = await self._database.interact(reader.open_ids)
        event_ids += await self._database.interact(reader.closed_ids, since_us)
        rows = await self._rows(reader, event_ids)
        hands = hands.also(self._ingest.in_hand())
        places: dict[str, list[LeftRow]] = defaultdict(list)
        for row in rows:
            if row.event_id not in hands.event_ids:
                places[row.place.root].append(row)
        there = [root for root in places if root in seen and seen[root].state == "there" and not seen[root].away]
        seen |= await self._every(there, seconds, lambda root: self._places(seen[root], places[root]))
        recording = await self._living()
        hands = hands.also(self._ingest.in_hand())
        busy = hands.event_ids
        return Scene(
            rows=tuple(row for row in rows if row.event_id not in busy),
            clips={event_id: found for one in seen.values() for event_id, found in one.clips.items()},
            strays=tuple(stray for root in sorted(seen) for stray in seen[root].strays),
            unread={
                event_id: why for one in seen.values() for event_id, why in _unread(one, places[one.root], own).items()
            },
            roots={root: one.state for root, one in seen.items()},
            away={root: one.away for root, one in seen.items() if one.away},
            storages=storages,
            recording={
                monitor_id: None if files is None else frozenset(map(tail, files))
                for monitor_id, files in recording.items()
            },
            homes=homes,
            pre_roll_us={monitor_id: one.pre_roll_us for monitor_id, one in own.items()},
            triggered_us={monitor_id: one.triggered_us for monitor_id, one in own.items()},
            held=tuple((place.monitor_id, place.start_us) for place in hands.events),
            claimed=hands.paths,
            openings_wait=hands.openings_wait,
        )

    async def rows(self, own: Mapping[int, Own], event_ids: Sequence[int]) -> dict[int, LeftRow]:
        """Those of these events that are ours, as they are now. Raises DatabaseError."""
        return {row.event_id: row for row in await self._rows(await self._reader(own), event_ids)}

    async def _reader(self, own: Mapping[int, Own]) -> Reader:
        return Reader(await self._database.schema(), self._site, own, self._zone, self._event_name, self._wall())

    async def _rows(self, reader: Reader, event_ids: Sequence[int]) -> list[LeftRow]:
        rows: list[LeftRow] = []
        for first in range(0, len(event_ids), CHUNK):
            rows += await self._database.interact(reader.rows, event_ids[first : first + CHUNK])
        return rows

    async def _every(
        self, roots: Iterable[str], seconds: float, look: Callable[[str], Coroutine[Any, Any, Seen]]
    ) -> dict[str, Seen]:
        """What looking at each of these storages gave, all at once; of those at which it could not be looked, why."""

        def unseen(failure: Failure, root: str) -> Seen:
            error = failure.value
            if failure.check(TookTooLong):
                return Seen(root, away=f"no answer within {seconds:g} s")
            if failure.check(CancelledError):
                return Seen(root, given_up=True)
            if isinstance(error, OSError):
                return Seen(root, away=error.strerror or str(error))
            self.log.failure("recovery: looking at the storage {root} failed", failure, root=root)
            return Seen(root, away=repr(error))

        looks = []
        for root in sorted(roots):
            looking = Deferred.fromCoroutine(look(root)).addTimeout(seconds, self._reactor)
            looks.append(looking.addErrback(unseen, root))
        found = await gatherResults(looks)
        if any(one.given_up for one in found):
            raise CancelledError
        return {one.root: one for one in found}

    async def _strays(self, root: str, monitors: Collection[int]) -> Seen:
        """The clips under workers' own names. Raises OSError."""
        state = await self._asking.ask(root, root_state, root)
        if state != "there":
            return Seen(root, state)
        strays: list[Stray] = []
        unread: dict[str, str] = {}
        for day in await self._asking.ask(root, days, root):
            try:
                strays += await self._asking.ask(root, strays_of, root, day, monitors, None)
            except OSError as error:
                if error.errno == errno.ETIMEDOUT:
                    raise
                unread[day] = error.strerror or str(error)
        return Seen(root, state, tuple(strays), unread)

    async def _places(self, seen: Seen, rows: Sequence[LeftRow]) -> Seen:
        """What was seen of a storage, with what lies in the directories of these events. Raises OSError."""
        clips: dict[int, tuple[Found, ...]] = {}
        no_clips: dict[int, str] = {}
        for first in range(0, len(rows), DIRECTORIES_AT_ONCE):
            directories = {row.event_id: row.place.directory for row in rows[first : first + DIRECTORIES_AT_ONCE]}
            found = await self._asking.ask(seen.root, clips_in, directories)
            clips |= found.found
            no_clips |= found.unread
        return attrs.evolve(seen, clips=clips, no_clips=no_clips)


def _unread(seen: Seen, rows: Sequence[LeftRow], own: Mapping[int, Own]) -> dict[int, str]:
    """The events whose clip may lie where nobody could look, and why."""
    unread = dict(seen.no_clips)
    for row in rows if seen.unread else ():
        latest_us = row.start_us + max(own[row.monitor_id].pre_roll_us, own[row.monitor_id].triggered_us) + SLACK_US
        for day in days_of(row.start_us - SLACK_US, latest_us, None):
            if day in seen.unread and row.event_id not in unread:
                unread[row.event_id] = f"{seen.root}/{day} can't be looked at: {seen.unread[day]}"
    return unread
