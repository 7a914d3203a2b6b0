"""Cameras handed over from ZoneMinder's own capture daemon (`zmc`) to a worker, and given back (doc/guide/legacy.md).

One loop does everything, one step after the other: it looks at all daemons at once, and then does for each monitor what `policy`
makes of that. What must be mended after a crash is written down (`ledger`) before it is done, so a start goes on where the last run was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from zmtwist.fleet.process.procfs import Seen
from zmtwist.fleet.zmc.daemons import capture_words, living_capturers
from zmtwist.fleet.zmc.ledger import InThread, Ledger, captures, setting
from zmtwist.fleet.zmc.policy import Act, Case, Look, Stage, advice, ours, taking
from zmtwist.fleet.zmc.zmdc import NoAnswer, Zmdc, started, stopping
from zmtwist.pipeline.monitor import Monitor

FAST_SECONDS = 0.5
"""Between two looks while a capture daemon is expected to end."""

FAST_FOR_SECONDS = 60.0
"""One that has not ended by then gets a look as often as the others."""

WATCH_SECONDS = 10.0
"""Between two looks at the capture daemons of monitors that were taken: one request for all of them."""


WAITS = "it is started when ZoneMinder's own capture of this camera has ended"


def _ignore(*_: object) -> None:
    pass


class Legacy(Protocol):
    """What the fleet asks of whoever deals with ZoneMinder's own capture."""

    def start(self, ready: Callable[[int], None], reconcile: Callable[[], object]) -> None:
        """Begin. `ready` hears of each monitor whose worker may be started now; `reconcile` reads the monitors anew."""

    def stop(self) -> None:
        """Do no more. Nothing is given back: see doc/guide/legacy.md."""

    def see(self, monitors: Sequence[Monitor]) -> Sequence[Monitor]:
        """The monitors as they were just read; gives them with the capture setting that was meant where we have set it to None."""

    def take(self, monitor_id: int) -> str:
        """A worker is to run for this monitor: why not yet, or '' where it may."""

    def keep(self, used: Collection[int]) -> None:
        """Only these are needed; all others that were taken go back to ZoneMinder."""

    def owes(self) -> bool:
        """Whether any monitor that was taken, by this run or an earlier one, is not given back yet."""

    def told(self, monitor_id: int) -> str:
        """What the operator should know of this monitor's hand-over; '' where there is nothing."""


class LeaveAlone:
    """`[legacy] control = "none"`: nothing of ZoneMinder's is touched."""

    def start(self, ready: Callable[[int], None], reconcile: Callable[[], object]) -> None:
        """Nothing to begin."""

    def stop(self) -> None:
        """Nothing to end."""

    def see(self, monitors: Sequence[Monitor]) -> Sequence[Monitor]:
        """As they are."""
        return monitors

    def take(self, monitor_id: int) -> str:
        """It may be started."""
        return ""

    def keep(self, used: Collection[int]) -> None:
        """Nothing was taken."""

    def owes(self) -> bool:
        """Nothing was taken."""
        return False

    def told(self, monitor_id: int) -> str:
        """Nothing to tell."""
        return ""


class Handover:
    """`[legacy] control = "zmdc"`."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        zmdc: Zmdc,
        ledger: Ledger,
        processes: Callable[[], Iterable[Seen]],
        in_thread: InThread,
    ) -> None:
        self._clock = clock
        self._zmdc = zmdc
        self._ledger = ledger
        self._processes = processes
        self._in_thread = in_thread
        self._cases: dict[int, Case] = {}
        self._said: dict[int, str] = {}
        self._running = False
        self._asked = False
        self._timer: IDelayedCall | None = None
        self._under_way: Deferred[None] | None = None
        self._ready: Callable[[int], None] = _ignore
        self._reconcile: Callable[[], object] = _ignore

    # What the fleet asks. See `Legacy`.

    def start(self, ready: Callable[[int], None], reconcile: Callable[[], object]) -> None:
        """See `Legacy`."""
        self._ready, self._reconcile, self._running = ready, reconcile, True
        self._ledger.load()

    def stop(self) -> None:
        """See `Legacy`."""
        self._running = False
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._under_way is not None:
            self._under_way.cancel()

    def see(self, monitors: Sequence[Monitor]) -> Sequence[Monitor]:
        """See `Legacy`."""
        self._ledger.rows = {monitor.id: monitor for monitor in monitors}
        if self._ledger.switched_on(self._ours()):
            self._ask()
        return [self._ledger.as_meant(monitor) for monitor in monitors]

    def take(self, monitor_id: int) -> str:
        """See `Legacy`."""
        case = self._cases.get(monitor_id)
        if case is None or case.stage is Stage.RETURNING:
            words = capture_words(self._ledger.rows[monitor_id])
            case = self._cases[monitor_id] = Case(Stage.TAKING, self._clock.seconds(), words)
            self._ask()
        return "" if case.stage is Stage.OURS else WAITS

    def keep(self, used: Collection[int]) -> None:
        """See `Legacy`."""
        for monitor_id in {*self._cases, *self._ledger.taken} - set(used):
            case = self._cases.get(monitor_id)
            if case is None or case.stage is not Stage.RETURNING:
                self._cases[monitor_id] = Case(Stage.RETURNING, self._clock.seconds())
                self._ask()

    def owes(self) -> bool:
        """See `Legacy`."""
        return bool(self._cases or self._ledger.taken)

    def told(self, monitor_id: int) -> str:
        """See `Legacy`."""
        case, row = self._cases.get(monitor_id), self._ledger.rows.get(monitor_id)
        if case is None:
            return ""
        column, value = setting(row) if row is not None else ("Capturing", None)
        return advice(case, column, value, self._ledger.set_none)

    # The loop: a round, a rest, a round. No rest where something was asked for meanwhile, no round where there is nothing to do.

    def _ask(self) -> None:
        self._asked = True
        if self._running and self._under_way is None:
            self._schedule(0.0)

    def _schedule(self, seconds: float) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._clock.callLater(seconds, self._begin)

    def _begin(self) -> None:
        self._asked = False
        self._under_way = Deferred.fromCoroutine(self._round())
        self._under_way.addErrback(self._failed).addCallback(self._rest)

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self.log.failure("a round of the hand-over has failed", failure)

    def _rest(self, _: None) -> None:
        self._under_way = None
        now = self._clock.seconds()
        young = (case.stage is Stage.TAKING and now - case.since < FAST_FOR_SECONDS for case in self._cases.values())
        if self._running and self._cases:
            self._schedule(0.0 if self._asked else FAST_SECONDS if any(young) else WATCH_SECONDS)

    async def _round(self) -> None:
        await self._ledger.settle(self._ours(), self._cases.keys() - self._ours())
        look = await self._look()
        for monitor_id, case in sorted(self._cases.items()):
            if self._cases.get(monitor_id) is not case:
                continue  # something else was asked for while others were dealt with
            try:
                if case.stage is Stage.RETURNING:
                    await self._give_back(monitor_id, look)
                else:
                    await self._step(monitor_id, case, look)
            except NoAnswer as error:
                # It answered a moment ago. More requests would wait for the same time-out, one after the other.
                look = attrs.evolve(look, trouble=str(error))
                self._note(monitor_id, str(error))
            self._say(monitor_id)
        await self._ledger.tidy()

    async def _look(self) -> Look:
        try:
            look = Look(await self._zmdc.status())
        except NoAnswer as error:
            look = Look(absent=error.absent, trouble="" if error.absent else str(error))
        some_to_take = any(case.stage is Stage.TAKING for case in self._cases.values())
        if some_to_take or (look.listed is None and not look.absent):
            living = await self._in_thread(lambda: living_capturers(self._processes()))
            look = attrs.evolve(look, living=living)
        return look

    async def _step(self, monitor_id: int, case: Case, look: Look) -> None:
        decide = taking if case.stage is Stage.TAKING else ours
        after, act = decide(case, look, self._clock.seconds())
        self._cases[monitor_id] = after
        if act is Act.READY:
            self.log.info("monitor {monitor_id}: ZoneMinder does not capture it now", monitor_id=monitor_id)
            self._ready(monitor_id)
        elif act is Act.STOP:
            reply = await self._zmdc.stop(after.words)
            again = case.stage is Stage.TAKING and case.stopped_at is not None
            self.log.emit(
                LogLevel.debug if again else LogLevel.info,
                "monitor {monitor_id}: zmdc was told to stop '{key}'",
                monitor_id=monitor_id,
                key=after.key,
                reply=reply,
            )
            if not stopping(reply):
                self._note(
                    monitor_id, f"'{after.key}' captures this camera, and zmdc does not stop it: {_short(reply)}"
                )
        if after.returns > case.returns and self._ledger.set_none:
            self._reconcile()  # a run state may have set it to capture: `see` finds out

    async def _give_back(self, monitor_id: int, look: Look) -> None:
        """Its worker is gone. Have ZoneMinder capture it, if it is set to; the next round tries again where that fails."""
        row = self._ledger.rows.get(monitor_id)
        if not self._ledger.restored(monitor_id):
            return  # with None, a capture daemon would end at once
        wanted = row is not None and captures(row)
        if row is not None and wanted and not look.absent:  # one that is not running starts its daemons when it starts
            if look.trouble:
                self._note(monitor_id, look.trouble)
                return
            reply = await self._zmdc.start(capture_words(row))
            if not started(reply):
                self._note(
                    monitor_id, f"zmdc does not start ZoneMinder's capture of this camera again: {_short(reply)}"
                )
                return
        if monitor_id not in self._ours():
            del self._cases[monitor_id]
            self._ledger.forget(monitor_id)
            self.log.info(
                "monitor {monitor_id}: given back to ZoneMinder, which is set to {do} it",
                monitor_id=monitor_id,
                do="capture" if wanted else "not capture",
            )

    # Small parts.

    def _ours(self) -> set[int]:
        return {monitor_id for monitor_id, case in self._cases.items() if case.stage is not Stage.RETURNING}

    def _note(self, monitor_id: int, trouble: str) -> None:
        case = self._cases.get(monitor_id)
        if case is not None:
            self._cases[monitor_id] = attrs.evolve(case, trouble=trouble)

    def _say(self, monitor_id: int) -> None:
        """Log what an operator is told, once each time that it changes."""
        told = self.told(monitor_id)
        if told != self._said.get(monitor_id, ""):
            self._said[monitor_id] = told
            if told:
                self.log.warn("monitor {monitor_id}: {told}", monitor_id=monitor_id, told=told)


def _short(reply: str) -> str:
    return " ".join(reply.split())[:200] or "it said nothing"
