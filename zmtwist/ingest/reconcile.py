"""Brings rows and clips together again after a crash: reads and looks in pieces, has it decided (`reconcile_plan`), and carries it out.

At the service's start, before any worker runs, it is seen what there is; only that is then dealt with while the cameras record again.
After a worker's exit, and on request, clips that a living worker may still write are left alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredLock,
)
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from zmtwist.ingest.clips import RootState, root_state
from zmtwist.ingest.disk import Disk
from zmtwist.ingest.hands import InHand
from zmtwist.ingest.ingest import Ingest
from zmtwist.ingest.measure import Measure, measure_files
from zmtwist.ingest.reconcile_actions import (
    NOTHING_DONE,
    Action,
    HoldBack,
    LeaveOpen,
    Plan,
    SetAside,
    counted,
    describe,
    to_measure,
)
from zmtwist.ingest.reconcile_apply import Repairs
from zmtwist.ingest.reconcile_plan import Scene, plan
from zmtwist.ingest.reconcile_scan import Found, Stray, clips_in, days, remove_past_days, strays_of
from zmtwist.zm.catalog import Site
from zmtwist.zm.errors import DatabaseError
from zmtwist.zm.left import CHUNK, LeftRow, Own, Reader
from zmtwist.zm.paths import SECOND
from zmtwist.zm.pool import Database

HOUR_US = 3600 * SECOND
DAY_US = 24 * HOUR_US
RECENT_US = HOUR_US
"""How far back closed rows are looked at where nobody asks for more."""

MOST_DAYS = 3650
USUAL_DAYS = 7
"""The same for a pass on request."""

DIRECTORIES_AT_ONCE = 100
FILES_AT_ONCE = 8
START_SECONDS = 20.0
"""How long the start may wait for the storages: cameras that are not recorded are worse than a late recovery."""

GONE_SECONDS = 1.0
BUSY_SECONDS = 30.0
AGAIN_SECONDS = 300.0
LINKED_SECONDS = 10.0
"""By then every worker that was adopted at the start is linked: a save that was said before it was has not been, and won't be, heard."""
HELD_BACK_SECONDS = 30.0
LAST_RETRY_SECONDS = 15.0


@attrs.frozen
class Outcome:
    """What a pass came to. `done` is false of a dry run; `failed` says what could not be done, and why."""

    plan: Plan
    done: bool
    failed: tuple[str, ...] = ()


@attrs.define
class RecoveryFigures:
    """What was done since the start, by kind of action; what of it failed; and how many storages the latest pass left alone, for good
    reason."""

    acted: Counter[type[Action]] = attrs.field(factory=Counter)
    failed: int = 0
    stopped: int = 0


class Reconciler(Service):
    """One pass at a time. `own` gives the monitors that are ours, `living` since when each living worker has run (`Scene.living`)."""

    name = "reconciler"
    log = Logger()

    def __init__(
        self,
        reactor: Any,
        database: Database,
        site: Site,
        disk: Disk,
        ingest: Ingest,
        own: Callable[[], Coroutine[Any, Any, Mapping[int, Own]]],
        living: Callable[[], Coroutine[Any, Any, Mapping[int, int]]],
        *,
        wall: Callable[[], int],
        zone: tzinfo | None = None,
        event_name: str | None = None,
    ) -> None:
        self._reactor = reactor
        self._database = database
        self._site = site
        self._disk = disk
        self._ingest = ingest
        self._own = own
        self._living = living
        self._wall = wall
        self._zone = zone
        self._event_name = event_name
        self._repairs = Repairs(reactor, disk, ingest)
        self.figures = RecoveryFigures()
        self._one_at_a_time = DeferredLock()
        self._under_way: set[Deferred[Any]] = set()
        self._due: dict[int, float] = {}
        self._timer: Any = None
        self._lived: frozenset[int] = frozenset()
        self._met: dict[int, int] = {}

    # Life

    def startService(self) -> None:
        """Hear of workers' exits from now on.

        Those that lived at the start may have ended before that, or have ended a clip before they were linked: what they left is looked
        for a while later.
        """
        Service.startService(self)
        self._ingest.after_gone = self._worker_gone
        self._ingest.after_met = self._monitor_met
        self._ingest.after_held_back = self._clip_held_back
        self._look_in(LINKED_SECONDS, self._lived)

    def stopService(self) -> None:
        """Leave what is not done for the next start."""
        Service.stopService(self)
        self._ingest.after_gone = self._ingest.after_met = self._ingest.after_held_back = lambda _monitor_id: None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        for work in tuple(self._under_way):
            work.cancel()

    async def at_start(self) -> None:
        """See what an earlier run left, before any worker is started; it is dealt with later. Waits for the database as long as it takes,
        but not for a storage that hangs."""
        await self._until_quiet(None, START_SECONDS / 2)
        delay = 0.5
        while True:
            try:
                own = await self._own()
                rows, hands = await self._rows(own, self._wall() - RECENT_US)
                break
            except DatabaseError as error:
                self.log.warn("recovery: waiting for the database: {error}", error=str(error))
                await deferLater(self._reactor, delay)
                delay = min(LAST_RETRY_SECONDS, 2 * delay)
        living = await self._living()
        self._lived = frozenset(living) & own.keys()
        scene = _scene(own, rows, hands, living, self._wall())
        looking = Deferred.fromCoroutine(self._look(scene, own)).addTimeout(START_SECONDS, self._reactor)
        try:
            scene = await looking
        except (TookTooLong, OSError) as error:
            self.log.error(
                "recovery: the storage can't be looked at, what an earlier run left has to wait: {error}",
                error=str(error) or f"no answer within {START_SECONDS:g} s",
            )
            self._look_in(AGAIN_SECONDS, own)
        else:
            # A monitor without a row in the last hour was not being recorded by us when we ended: its stray clips may be about to be
            # spoken of by whoever makes them, so they are left for some minutes.
            seen = {row.place.monitor_id for row in rows}
            if strangers := {stray.monitor_id for stray in scene.strays} - seen:
                scene = attrs.evolve(scene, strays=tuple(s for s in scene.strays if s.monitor_id in seen))
                self._look_in(AGAIN_SECONDS, strangers)
            self._in_background(self._one_at_a_time.run(lambda: Deferred.fromCoroutine(self._carry_out(scene, own))))
        for action in plan(scene).actions:
            if isinstance(action, LeaveOpen):
                self._ingest.leave_open(action.row)

    def recover(self, *, days_back: int = USUAL_DAYS, dry_run: bool = False, force: bool = False) -> Deferred[Outcome]:
        """A pass over all monitors, on request. Fails with DatabaseError or OSError."""
        since = self._wall() - min(days_back, MOST_DAYS) * DAY_US
        return self._one_at_a_time.run(
            lambda: Deferred.fromCoroutine(self._pass(None, since, dry_run=dry_run, force=force))
        )

    def _worker_gone(self, monitor_id: int) -> None:
        self._look_in(GONE_SECONDS, (monitor_id,))

    def _monitor_met(self, monitor_id: int) -> None:
        """It is new here: made just now, or taken over from another server, which may have ended in the middle of a clip."""
        self._met[monitor_id] = self._wall()
        self._look_in(GONE_SECONDS, (monitor_id,))

    def _clip_held_back(self, monitor_id: int) -> None:
        """A clip has no event, for its worker said more than is taken of one."""
        self._look_in(AGAIN_SECONDS, (monitor_id,))

    def _look_in(self, seconds: float, monitors: Collection[int]) -> None:
        """Have a pass over these monitors then, or earlier where one is due."""
        at = self._reactor.seconds() + seconds
        self._due |= {monitor_id: min(at, self._due.get(monitor_id, at)) for monitor_id in monitors}
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._due:
            wait = min(self._due.values()) - self._reactor.seconds()
            self._timer = self._reactor.callLater(max(0.0, wait), self._look_at_due)

    def _look_at_due(self) -> None:
        soon = self._reactor.seconds() + 0.001
        monitors = frozenset(monitor_id for monitor_id, at in self._due.items() if at <= soon)
        self._due = {monitor_id: at for monitor_id, at in self._due.items() if monitor_id not in monitors}
        self._set_timer()

        async def look() -> None:
            await self._until_quiet(monitors, BUSY_SECONDS)
            try:
                await self._pass(monitors, self._wall() - RECENT_US)
            except (DatabaseError, OSError) as error:
                self.log.warn("recovery: it is tried again later: {error}", error=str(error))
                self._look_in(AGAIN_SECONDS, monitors)

        self._in_background(self._one_at_a_time.run(lambda: Deferred.fromCoroutine(look())))

    def _in_background(self, work: Deferred[Any]) -> None:
        self._under_way.add(work)

        def over(result: object) -> None:
            self._under_way.discard(work)
            if isinstance(result, Failure) and not result.check(CancelledError):
                self.log.failure("recovery: a pass has failed", result)

        work.addBoth(over)

    async def _until_quiet(self, monitors: Collection[int] | None, seconds: float) -> None:
        """Wait, within bounds, until the saves that were heard are seen to: their clips must not be taken for strays."""
        deadline = self._reactor.seconds() + seconds
        while self._reactor.seconds() < deadline:
            hands = self._ingest.in_hand()
            if monitors is not None:
                quiet = not hands.monitors & set(monitors)
            else:  # openings that an earlier run left have no rows yet
                quiet = not hands.monitors and not hands.openings_wait and self._ingest.writer.idle
            if quiet:
                return
            await deferLater(self._reactor, 0.2)

    # A pass

    async def _pass(
        self, monitors: Collection[int] | None, since_us: int, *, dry_run: bool = False, force: bool = False
    ) -> Outcome:
        own = await self._own()
        if monitors is not None:
            own = {monitor_id: one for monitor_id, one in own.items() if monitor_id in monitors}
        # Who lives is asked first: a worker that starts meanwhile has nothing here that was there before.
        living = await self._living()
        rows, hands = await self._rows(own, since_us)
        scene = attrs.evolve(_scene(own, rows, hands, living, self._wall()), force=force, met=self._met)
        return await self._carry_out(await self._look(scene, own), own, dry_run=dry_run)

    async def _rows(self, own: Mapping[int, Own], since_us: int) -> tuple[tuple[LeftRow, ...], InHand]:
        """Open rows and recent closed ones, in batches, and what is in hand at any time meanwhile."""
        reader = Reader(await self._database.schema(), self._site, own, self._zone, self._event_name)
        before = self._ingest.in_hand()
        event_ids = await self._database.interact(reader.open_ids)
        event_ids += await self._database.interact(reader.closed_ids, since_us)
        rows: list[LeftRow] = []
        for first in range(0, len(event_ids), CHUNK):
            rows += await self._database.interact(reader.rows, event_ids[first : first + CHUNK])
        after = self._ingest.in_hand()
        wait = before.openings_wait or after.openings_wait
        return tuple(rows), InHand(before.events + after.events, before.paths | after.paths, openings_wait=wait)

    async def _look(self, scene: Scene, own: Mapping[int, Own]) -> Scene:
        """The scene with the files that there are, directory by directory. Raises OSError."""
        roots: dict[str, RootState] = {}
        strays: list[Stray] = []
        for root in sorted({*scene.homes.values(), *(row.place.root for row in scene.rows)}):
            roots[root] = await self._disk.run(root_state, root)
            if roots[root] != "there":
                continue
            for day in await self._disk.run(days, root):
                strays += await self._disk.run(strays_of, root, day, frozenset(own), None)
        clips: dict[int, tuple[Found, ...]] = {}
        for first in range(0, len(scene.rows), DIRECTORIES_AT_ONCE):
            part = scene.rows[first : first + DIRECTORIES_AT_ONCE]
            clips |= await self._disk.run(clips_in, {row.event_id: row.place.directory for row in part})
        return attrs.evolve(scene, roots=roots, strays=tuple(strays), clips=clips)

    async def _carry_out(self, scene: Scene, own: Mapping[int, Own], *, dry_run: bool = False) -> Outcome:
        """Measure what matters, decide, and do it."""
        scene = attrs.evolve(scene, measures=await self._measured(list(to_measure(plan(scene)))))
        planned = plan(scene)
        for reason in planned.stopped:
            self.log.critical("recovery: {reason}", reason=reason)
        if dry_run:
            return Outcome(planned, done=False)
        # What is left alone now, as it may be being recorded, is looked at again as long as it bears its worker's own name, or as its
        # event is in nobody's hand.
        left_open = {action.row.monitor_id for action in planned.actions if isinstance(action, LeaveOpen)}
        self._look_in(AGAIN_SECONDS, left_open | {stray.monitor_id for stray in scene.strays})
        if held_back := {action.stray.monitor_id for action in planned.actions if isinstance(action, HoldBack)}:
            self._look_in(HELD_BACK_SECONDS, held_back)
        for action in planned.actions:
            if not isinstance(action, NOTHING_DONE):
                self.log.warn("recovery: {action}", action=describe(action))
        failed = await self._repairs.do([a for a in planned.actions if isinstance(a, SetAside)], own)
        failed += await self._repairs.do([a for a in planned.actions if not isinstance(a, SetAside)], own)
        self.figures.acted.update(type(action) for action in planned.actions if not isinstance(action, NOTHING_DONE))
        self.figures.failed += len(failed)
        self.figures.stopped = len(planned.stopped)
        past = f"{datetime.fromtimestamp((self._wall() - 2 * DAY_US) / SECOND, UTC):%Y-%m-%d}"
        for root in (root for root, state in scene.roots.items() if state == "there"):
            await self._disk.run(remove_past_days, root, past)
        if planned.actions:
            self.log.info("recovery: done: {counts}", counts=counted(planned.actions), failed=len(failed))
        return Outcome(planned, done=True, failed=tuple(failed))

    async def _measured(self, paths: Sequence[str]) -> dict[str, Measure]:
        measures: dict[str, Measure] = {}
        for first in range(0, len(paths), FILES_AT_ONCE):
            measures |= await self._disk.run(measure_files, paths[first : first + FILES_AT_ONCE])
        return measures


def _scene(
    own: Mapping[int, Own], rows: Sequence[LeftRow], hands: InHand, living: Mapping[int, int], now_us: int
) -> Scene:
    busy = hands.event_ids
    return Scene(
        rows=tuple(row for row in rows if row.event_id not in busy),
        living=living,
        homes={monitor_id: one.monitor.storage.path for monitor_id, one in own.items()},
        pre_roll_us={monitor_id: one.pre_roll_us for monitor_id, one in own.items()},
        held=tuple((place.monitor_id, place.start_us) for place in hands.events),
        claimed=hands.paths,
        openings_wait=hands.openings_wait,
        now_us=now_us,
    )
