"""Brings rows and clips together again after a crash: reads and looks in pieces, has it decided (`recovery.plan`), and carries it out.

At the service's start, before any worker runs, it is seen what there is; only that is then dealt with while the cameras record again.
After a worker's exit, and on request, clips that a living worker may still write are left alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, tzinfo
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from zmtwist.config.site import Site
from zmtwist.fleet.liveness import OpenFiles
from zmtwist.ingest.clips.probe import Measure, measure_files
from zmtwist.ingest.clips.scan import remove_past_days
from zmtwist.ingest.service import Ingest
from zmtwist.reactor.thread_pool import Disk
from zmtwist.recovery.actions import (
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
from zmtwist.recovery.apply import Repairs
from zmtwist.recovery.inventory import Asking, Inventory
from zmtwist.recovery.plan import Scene, plan
from zmtwist.zm.db.errors import DatabaseError
from zmtwist.zm.db.pool import Database
from zmtwist.zm.event_times import SECOND
from zmtwist.zm.read.own_events import Own

HOUR_US = 3600 * SECOND
DAY_US = 24 * HOUR_US
RECENT_US = HOUR_US
"""How far back closed rows are looked at where nobody asks for more."""

MOST_DAYS = 3650
USUAL_DAYS = 7
"""The same for a pass on request."""

FILES_AT_ONCE = 8
ACTIONS_TOGETHER = 100
"""So many are logged and begun without a pause: a worker may have left any number of clips."""

START_SECONDS = 20.0
"""How long the start may wait for the storages: cameras that are not recorded are worse than a late recovery."""

LOOK_SECONDS = 600.0
"""How long a storage may take at any other time."""

GONE_SECONDS = 1.0
BUSY_SECONDS = 30.0
AGAIN_SECONDS = 300.0
LINKED_SECONDS = 10.0
"""By then every worker that was adopted at the start is linked: a save that was said before it was has not been, and won't be, heard."""
HELD_BACK_SECONDS = 30.0
STRANGE_SECONDS = 10.0
LAST_RETRY_SECONDS = 15.0

EVERY = 0
"""Stands for all monitors where some are named."""


@attrs.frozen
class Outcome:
    """What a pass came to. `done` is false of a dry run; `failed` says what could not be done, and why."""

    plan: Plan
    done: bool
    failed: tuple[str, ...] = ()


@attrs.define
class RecoveryFigures:
    """What was done since the start, by kind of action; what of it failed; and how many storages the latest pass left alone, for good
    reason. `trouble` is what the latest pass as a whole failed by, None if it did not."""

    acted: Counter[type[Action]] = attrs.field(factory=Counter)
    failed: int = 0
    stopped: int = 0
    trouble: str | None = None


def _deaf(_monitor_id: int) -> None:
    """Hears of nothing any more."""


class RecoveryService(Service):
    """One pass at a time. `own` gives the monitors that are ours, `living` what each living worker has open."""

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
        living: Callable[[], Coroutine[Any, Any, OpenFiles]],
        *,
        wall: Callable[[], int],
        zone: tzinfo | None = None,
        event_name: str | None = None,
    ) -> None:
        self._reactor = reactor
        self._disk = disk
        self._ingest = ingest
        self._own = own
        self._wall = wall
        self._asking = Asking(reactor, disk)
        self._look = Inventory(
            reactor,
            database,
            site,
            self._asking,
            ingest,
            living,
            wall=wall,
            zone=zone,
            event_name=event_name,
        )
        self._repairs = Repairs(reactor, self._asking, self._look, ingest)
        self._told: frozenset[str] = frozenset()
        self.figures = RecoveryFigures()
        self._one_at_a_time = DeferredLock()
        self._under_way: set[Deferred[Any]] = set()
        self._due: dict[int, float] = {}
        self._timer: Any = None
        self._stopped = False
        self._lived: frozenset[int] = frozenset()

    # Life

    def startService(self) -> None:
        """Hear of workers' exits from now on.

        After an outage another database may answer, without the last commits: rows that were closed may be open again.
        Those that lived at the start may have ended before that, or have ended a clip before they were linked: what they left is looked
        for a while later.
        """
        Service.startService(self)
        self._ingest.after_gone = self._worker_gone
        self._ingest.after_met = self._monitor_met
        self._ingest.after_held_back = self._clip_held_back
        self._ingest.settler.after_lost = self._strange_clip
        self._ingest.writer.after_outage = lambda: self._look_in(HELD_BACK_SECONDS, (EVERY,))
        self._look_in(LINKED_SECONDS, self._lived)

    def stopService(self) -> None:
        """Leave what is not done for the next start."""
        self._stopped = True
        Service.stopService(self)
        self._ingest.after_gone = self._ingest.after_met = self._ingest.after_held_back = _deaf
        self._ingest.settler.after_lost = _deaf
        self._ingest.writer.after_outage = lambda: None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        for work in tuple(self._under_way):
            work.cancel()

    async def at_start(self) -> None:
        """See what an earlier run left, before any worker is started; it is dealt with later. Waits for the database as long as it takes,
        but for no storage that hangs. Whatever fails: it is told, tried again later, and keeps nobody from recording."""
        try:
            await self._until_quiet(None, START_SECONDS / 2)
            own, scene = await self._first_look()
            self._lived = frozenset(scene.recording) & own.keys()
            for action in plan(scene).actions:
                if isinstance(action, LeaveOpen):
                    self._ingest.leave_open(action.row)
            # A monitor without a row in the last hour was not being recorded by us when we ended: its stray clips may be about to be
            # spoken of by whoever makes them, so they are left for some minutes.
            seen = {row.place.monitor_id for row in scene.rows}
            if strangers := {stray.monitor_id for stray in scene.strays} - seen:
                scene = attrs.evolve(scene, strays=tuple(s for s in scene.strays if s.monitor_id in seen))
                self._look_in(AGAIN_SECONDS, strangers)
        except CancelledError:
            raise
        except Exception:
            self._failed((EVERY,), Failure())
        else:
            self._in_background(own, lambda: self._carry_out(scene, own))

    async def _first_look(self) -> tuple[Mapping[int, Own], Scene]:
        delay = 0.5
        while True:
            try:
                own = await self._own()
                return own, await self._look.scene(own, self._wall() - RECENT_US, START_SECONDS)
            except DatabaseError as error:
                self.log.warn("recovery: waiting for the database: {error}", error=str(error))
                await deferLater(self._reactor, delay)
                delay = min(LAST_RETRY_SECONDS, 2 * delay)

    def recover(self, *, days_back: int = USUAL_DAYS, dry_run: bool = False, force: bool = False) -> Deferred[Outcome]:
        """A pass over all monitors, on request. Fails with DatabaseError."""
        since = self._wall() - min(days_back, MOST_DAYS) * DAY_US
        return self._one_at_a_time.run(
            lambda: Deferred.fromCoroutine(self._pass(None, since, dry_run=dry_run, force=force))
        )

    def _worker_gone(self, monitor_id: int) -> None:
        self._look_in(GONE_SECONDS, (monitor_id,))

    def _strange_clip(self, monitor_id: int) -> None:
        """A worker has saved a clip that no event here waits for, or an event's clip is not where it should be: the disk tells."""
        self._look_in(STRANGE_SECONDS, (monitor_id,))

    def _monitor_met(self, monitor_id: int) -> None:
        """It is new here: made just now, or taken over from another server, which may have ended in the middle of a clip."""
        self._look_in(GONE_SECONDS, (monitor_id,))

    def _clip_held_back(self, monitor_id: int) -> None:
        """A clip has no event, for its worker said more than is taken of one."""
        self._look_in(AGAIN_SECONDS, (monitor_id,))

    def _look_in(self, seconds: float, monitors: Collection[int]) -> None:
        """Have a pass over these monitors then, or earlier where one is due; none any more once we have stopped."""
        if self._stopped:
            return
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
            narrow = None if EVERY in monitors else monitors
            await self._until_quiet(narrow, BUSY_SECONDS)
            await self._pass(narrow, self._wall() - RECENT_US)

        self._in_background(monitors, look)

    def _in_background(self, monitors: Collection[int], work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """When its turn has come. What fails of it is tried again later."""
        running = self._one_at_a_time.run(lambda: Deferred.fromCoroutine(work()))
        self._under_way.add(running)

        def over(result: object) -> None:
            self._under_way.discard(running)
            if isinstance(result, Failure) and not result.check(CancelledError):
                self._failed(monitors, result)

        running.addBoth(over)

    def _failed(self, monitors: Collection[int], failure: Failure) -> None:
        """Tell of a pass that has failed, and have another one later."""
        self.figures.trouble = f"{type(failure.value).__name__}: {failure.getErrorMessage()}"
        again = f"it is tried again in {AGAIN_SECONDS / 60:g} minutes, and by `zmnextctl recover`"
        if failure.check(DatabaseError, OSError):
            self.log.warn("recovery: not done: {error}; {again}", error=failure.getErrorMessage(), again=again)
        else:
            self.log.failure("recovery: not done, which is a defect of this program; {again}", failure, again=again)
        self._look_in(AGAIN_SECONDS, monitors)

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
        scene = await self._look.scene(own, since_us, LOOK_SECONDS)
        return await self._carry_out(attrs.evolve(scene, force=force), own, dry_run=dry_run)

    async def _carry_out(self, scene: Scene, own: Mapping[int, Own], *, dry_run: bool = False) -> Outcome:
        """Measure what matters, decide, and do what is still right by then."""
        scene = attrs.evolve(scene, measures=await self._measured(list(to_measure(plan(scene)))))
        planned = plan(scene)
        self._tell_stopped(planned)
        if dry_run:
            return Outcome(planned, done=False)
        # What is left alone now, as it may be being recorded, is looked at again as long as it bears its worker's own name, or as its
        # event is in nobody's hand; and so is what could not be looked at.
        left_open = {action.row.monitor_id for action in planned.actions if isinstance(action, LeaveOpen)}
        self._look_in(AGAIN_SECONDS, left_open | {stray.monitor_id for stray in scene.strays})
        if planned.stopped or scene.unread:
            self._look_in(AGAIN_SECONDS, own)
        if held_back := {action.stray.monitor_id for action in planned.actions if isinstance(action, HoldBack)}:
            self._look_in(HELD_BACK_SECONDS, held_back)
        actions: list[Action] = []
        failed: list[str] = []
        wanted = sorted(planned.actions, key=lambda action: not isinstance(action, SetAside))
        for first in range(0, len(wanted), ACTIONS_TOGETHER):
            done, not_done = await self._do(wanted[first : first + ACTIONS_TOGETHER], own)
            actions += done
            failed += not_done
        self.figures.trouble = None
        await self._clear(scene)
        if actions:
            self.log.info("recovery: done: {counts}", counts=counted(actions), failed=len(failed))
        return Outcome(attrs.evolve(planned, actions=tuple(actions)), done=True, failed=tuple(failed))

    async def _do(self, wanted: Sequence[Action], own: Mapping[int, Own]) -> tuple[Sequence[Action], Sequence[str]]:
        """Do what of this is still right; gives that, and what could not be done."""
        actions, changed = await self._repairs.still_right(wanted, own)
        if changed:
            self.log.info("recovery: of monitors {monitors} something has changed meanwhile", monitors=sorted(changed))
            self._look_in(HELD_BACK_SECONDS, changed)
        acted = [action for action in actions if not isinstance(action, NOTHING_DONE)]
        for action in acted:
            self.log.warn("recovery: {action}", action=describe(action))
        failed = await self._repairs.do([a for a in actions if isinstance(a, SetAside)], own)
        failed += await self._repairs.do([a for a in actions if not isinstance(a, SetAside)], own)
        self.figures.acted.update(map(type, acted))
        self.figures.failed += len(failed)
        return actions, failed

    def _tell_stopped(self, planned: Plan) -> None:
        """Once for each storage and reason."""
        for reason in planned.stopped:
            if reason not in self._told:
                self.log.critical("recovery: {reason}", reason=reason)
        self._told = frozenset(planned.stopped)
        self.figures.stopped = len(planned.stopped)

    async def _clear(self, scene: Scene) -> None:
        """Remove the workers' empty directories of past days."""
        past = f"{datetime.fromtimestamp((self._wall() - 2 * DAY_US) / SECOND, UTC):%Y-%m-%d}"
        for root, state in scene.roots.items():
            if state == "there" and root not in scene.away:
                with suppress(OSError):  # they do no harm, and it is looked at again
                    await self._asking.ask(root, remove_past_days, root, past)

    async def _measured(self, paths: Sequence[str]) -> dict[str, Measure]:
        measures: dict[str, Measure] = {}
        for first in range(0, len(paths), FILES_AT_ONCE):
            measures |= await self._disk.run(measure_files, paths[first : first + FILES_AT_ONCE])
        return measures
