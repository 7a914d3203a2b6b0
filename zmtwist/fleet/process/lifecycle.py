"""The life of one process, a monitor's worker above all, as one state machine.

What can happen is an input of `Life`; what follows is a state's entry action, which asks `Core.body` to do it. Timers live in the
data of the states that wait. An input that means nothing in a state leaves it alone: whoever reports need not know the state.

Rules of Automat kept here: all inputs return None, so that one called out of an output is postponed, not refused; outputs do not
raise, since a state that has moved does not move back; entering is a data factory, so it runs once and never on a loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from automat import TypeMachineBuilder
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from zmtwist.fleet.process.policy import failures_after_live, jittered, nominal_delay
from zmtwist.fleet.process.slot import Owner
from zmtwist.fleet.process.state import Change, State


class Life(Protocol):
    """Everything that can happen to a worker; `reason` is for people."""

    def start(self, reason: str) -> None:
        """Run it: at its turn, at once where it waits for another try, after the reaping where it is stopping."""

    def stop(self, reason: str) -> None:
        """Run it no more."""

    def restart(self, reason: str) -> None:
        """Stop what runs, and start again as soon as that is reaped."""

    def hold(self, reason: str) -> None:
        """Stop it until `release`, whatever else asks for a start."""

    def release(self, reason: str) -> None:
        """Let it be started again."""

    def replace(self, reason: str) -> None:
        """A stalled worker is to go; it comes back after a delay."""

    def adopted(self, reason: str) -> None:
        """A process that an earlier run of this service started is its process."""

    def leave(self, reason: str) -> None:
        """Nothing more, whatever is or happens: a process that runs is somebody else's from now on."""

    def spawned(self, reason: str) -> None:
        """Its process runs."""

    def linked(self, reason: str) -> None:
        """Its socket answered."""

    def live(self, reason: str) -> None:
        """Its media were seen to move."""

    def stalled(self, reason: str) -> None:
        """Its signs of life are too old."""

    def disconnected(self, reason: str) -> None:
        """Its connection to the camera is lost, or could not be made. The process may connect again, but records nothing useful then."""

    def failed(self, reason: str) -> None:
        """It could not be spawned, or ended and was reaped; another try may help."""

    def doomed(self, reason: str) -> None:
        """As `failed`, but its document or binary is at fault."""


class Body(Protocol):
    """What a life acts through. Neither method may raise."""

    def launch(self) -> None:
        """Spawn the process and report by `spawned`, `failed` or `doomed`."""

    def terminate(self, *, answers: bool) -> None:
        """See to it that the process ends, and report that by `failed` or `doomed`. Asked again, go on with the same stop.

        One that no longer `answers` (it is frozen, or hangs in its camera's connection) is given less time for it.
        """


@dataclass
class Core:
    """What a life needs, and what it remembers beside its state.

    `turn` reserves the next turn to spawn and says in how many seconds it is; `jitter` gives numbers evenly spread over 0 to 1.
    """

    owner: Owner
    clock: IReactorTime
    wall: Callable[[], int]
    turn: Callable[[], float]
    jitter: Callable[[], float]
    announce: Callable[[Change], None]
    min_backoff_seconds: float
    max_backoff_seconds: float
    stable_seconds: float
    body: Body = field(init=False)
    state: State = State.STOPPED
    reason: str = "not started yet"
    since: float = field(init=False)
    since_us: int = field(init=False)
    failures: int = 0
    camera_lost: bool = False
    """Whether it was ended for want of its camera, and has not been LIVE since."""
    start_at: float | None = None
    hindered: Callable[[], str | None] = lambda: None
    """Why another try would be in vain now; None where it might help."""
    log: Logger = field(default_factory=lambda: Logger(namespace="zmtwist.fleet.process.lifecycle"))

    def __post_init__(self) -> None:
        self.since = self.clock.seconds()
        self.since_us = self.wall()

    def enter(self, state: State, reason: str, start_in: float | None = None) -> None:
        """Note the state and tell of it where it is another one. `start_in`: seconds until it is spawned.

        What a stop leads to keeps the reason of the stop; how the process ended is only added.
        """
        before, now = self.state, self.clock.seconds()
        if state is State.LIVE:
            self.camera_lost = False
        if before is State.STOPPING and state is not State.STOPPING:
            reason = f"{self.reason} ({reason})"
        if state in (State.STALLED, State.STOPPING):
            self._forgive()
        self.reason = reason
        self.start_at = None if start_in is None else now + start_in
        if before is state:
            return
        self.state, self.since, self.since_us = state, now, self.wall()
        self.log.info(
            "{owner}: {from_state} -> {to_state}: {reason}",
            owner=self.owner.name,
            monitor_id=self.owner.monitor_id,
            from_state=before.value,
            to_state=state.value,
            reason=reason,
            start_in=start_in,
        )
        try:
            self.announce(Change(before, state, reason, self.since_us))
        except Exception:
            self.log.failure("{owner}: announcing a transition failed", owner=self.owner.name)

    def count_failure(self) -> int:
        """One more failure in a row; how many that makes."""
        self._forgive()
        self.failures += 1
        return self.failures

    def _forgive(self) -> None:
        """On the way out of LIVE: what was before a stable time counts no more."""
        if self.state is State.LIVE:
            live_seconds = self.clock.seconds() - self.since
            self.failures = failures_after_live(self.failures, live_seconds, self.stable_seconds)


Happening = Callable[[Life, str], None]

EVERYTHING: tuple[Happening, ...] = (
    Life.start,
    Life.stop,
    Life.restart,
    Life.hold,
    Life.release,
    Life.replace,
    Life.adopted,
    Life.leave,
    Life.spawned,
    Life.linked,
    Life.live,
    Life.stalled,
    Life.disconnected,
    Life.failed,
    Life.doomed,
)


def _noted(state: State) -> Callable[[Life, Core, str], None]:
    """Entry action of a state that only is noted."""

    def enter(_life: Life, core: Core, reason: str) -> None:
        core.enter(state, reason)

    return enter


def _queued(_life: Life, core: Core, reason: str) -> IDelayedCall:
    delay = core.turn()
    core.enter(State.STARTING, reason, start_in=delay)
    return core.clock.callLater(delay, core.body.launch)


def _stopping(_life: Life, core: Core, reason: str) -> None:
    core.enter(State.STOPPING, reason)
    core.body.terminate(answers=True)


def _replacing(_life: Life, core: Core, reason: str) -> None:
    core.enter(State.STOPPING, reason)
    core.body.terminate(answers=False)


def _backoff(life: Life, core: Core, reason: str) -> IDelayedCall:
    nominal = nominal_delay(core.count_failure(), core.min_backoff_seconds, core.max_backoff_seconds)
    return _try_again(life, core, State.BACKOFF, reason, nominal)


def _fatal(life: Life, core: Core, reason: str) -> IDelayedCall:
    core.count_failure()
    return _try_again(life, core, State.FATAL, reason, core.max_backoff_seconds)


def _left(_life: Life, core: Core, _reason: str) -> None:
    core.start_at = None


def _try_again(life: Life, core: Core, state: State, reason: str, nominal: float) -> IDelayedCall:
    delay = jittered(nominal, core.jitter())
    core.enter(state, reason, start_in=delay)

    def again() -> None:
        """What can only come to nothing is not begun: each time it would be a change of state for all who look on."""
        if (reason := core.hindered()) is not None:
            life.failed(reason)
        else:
            life.start(f"another try after: {core.reason}")

    return core.clock.callLater(delay, again)


def _leave(_life: Life, _core: Core, data: object, _reason: str) -> None:
    """Output of most transitions: the target's entry does the rest. `data` is a timer in the states that wait."""
    if IDelayedCall.providedBy(data) and data.active():
        data.cancel()


def _lose(life: Life, core: Core, data: object, reason: str) -> None:
    """What the target's entry does, and what is known of the camera."""
    core.camera_lost = True
    _leave(life, core, data, reason)


def _leave_stopped(_life: Life, _core: Core, _reason: str) -> None:
    """As `_leave`: STOPPED has no data."""


def _to_stopped(life: Life, core: Core, data: object, reason: str) -> None:
    """STOPPED is the initial state, which Automat gives no entry action."""
    _leave(life, core, data, reason)
    core.enter(State.STOPPED, reason)


def _still_stopped(_life: Life, core: Core, reason: str) -> None:
    """Nothing to stop, but now there is another reason for that."""
    core.reason = reason


def _make_machine() -> Callable[[Core], Life]:
    builder = TypeMachineBuilder(Life, Core)

    # States:
    stopped = builder.state("stopped")
    held = builder.state("held", _noted(State.HELD))
    queued = builder.state("queued", _queued)
    backoff = builder.state("backoff", _backoff)
    further = builder.state("further", _backoff)
    fatal = builder.state("fatal", _fatal)
    starting = builder.state("starting", _noted(State.STARTING))
    linked = builder.state("linked", _noted(State.LINKED))
    live = builder.state("live", _noted(State.LIVE))
    stalled = builder.state("stalled", _noted(State.STALLED))
    # Four ways to be STOPPING, told apart by what comes after the reaping:
    halting = builder.state("halting", _stopping)
    parking = builder.state("parking", _stopping)
    cycling = builder.state("cycling", _stopping)
    replacing = builder.state("replacing", _replacing)
    # Not ours to look after any more. What is told of it stays what it was.
    left = builder.state("left", _left)

    running = (starting, linked, live, stalled)
    stopping = (halting, parking, cycling, replacing)
    handled = set()

    def rule(sources: Iterable[Any], happening: Happening, target: Any, then: Any = _leave) -> None:
        for source in sources:
            handled.add((source, happening))
            source.upon(happening).to(target)(then)

    # Neither process nor timer:
    rule([stopped], Life.start, queued, _leave_stopped)
    rule([stopped], Life.restart, queued, _leave_stopped)
    rule([stopped], Life.hold, held, _leave_stopped)
    rule([stopped], Life.stop, stopped, _still_stopped)
    rule([held], Life.release, stopped, _to_stopped)
    rule([stopped], Life.adopted, starting, _leave_stopped)
    rule([stopped], Life.leave, left, _leave_stopped)

    # A timer, but no process:
    rule([backoff, further, fatal], Life.start, queued)
    rule([backoff, further, fatal], Life.restart, queued)
    rule([queued, backoff, further, fatal], Life.stop, stopped, _to_stopped)
    rule([queued, backoff, further, fatal], Life.hold, held)
    rule([queued], Life.spawned, starting)
    rule([queued], Life.failed, backoff)
    # Still no use: the next delay, by turns, since a state that goes over into itself keeps its timer.
    rule([backoff], Life.failed, further)
    rule([further], Life.failed, backoff)
    rule([queued], Life.doomed, fatal)

    # A process:
    rule([starting], Life.linked, linked)
    rule([starting, linked, stalled], Life.live, live)
    rule([starting, linked, live], Life.stalled, stalled)
    rule([stalled], Life.replace, replacing)
    rule(running, Life.disconnected, replacing, _lose)
    rule(running, Life.stop, halting)
    rule(running, Life.hold, parking)
    rule(running, Life.restart, cycling)
    rule(running, Life.failed, backoff)
    rule(running, Life.doomed, fatal)

    # A process that was told to end; how it ends makes no difference:
    for ended in (Life.failed, Life.doomed):
        rule([halting], ended, stopped, _to_stopped)
        rule([parking], ended, held)
        rule([cycling], ended, queued)
        rule([replacing], ended, backoff)
    rule([cycling, replacing], Life.stop, halting)
    rule([halting, cycling, replacing], Life.hold, parking)
    rule([halting], Life.start, cycling)
    rule([halting, replacing], Life.restart, cycling)
    rule([parking], Life.release, halting)

    rule([held, queued, backoff, further, fatal, *running, *stopping], Life.leave, left)

    # All else is no news there:
    states: tuple[Any, ...] = (stopped, held, queued, backoff, further, fatal, *running, *stopping, left)
    for state in states:
        for happening in EVERYTHING:
            if (state, happening) not in handled:
                state.upon(happening).loop().returns(None)
    return builder.build()


new_life = _make_machine()
"""Makes the life of one worker, STOPPED, out of its `Core`; the core's `body` must be there before the first input."""
