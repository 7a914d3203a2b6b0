"""The life, input by input; the processes behind it are only pretended by `Puppet`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from zmtwist.fleet.process.lifecycle import EVERYTHING, Core, new_life
from zmtwist.fleet.process.slot import of_monitor
from zmtwist.fleet.process.state import Change, State


class Puppet:
    """A life, its clock, and what it asked of its body."""

    def __init__(self, chance: float = 0.5) -> None:
        self.clock = Clock()
        self.calls: list[str] = []
        self.told: list[Change] = []
        self.core = Core(
            owner=of_monitor(7),
            clock=self.clock,
            wall=lambda: round(self.clock.seconds() * 1e6),
            turn=lambda: 0.25,
            jitter=lambda: chance,
            announce=self.told.append,
            min_backoff_seconds=1,
            max_backoff_seconds=60,
            stable_seconds=60,
        )
        self.core.body = self
        self.life = new_life(self.core)

    def launch(self) -> None:
        self.calls.append("launch")

    def terminate(self, *, answers: bool) -> None:
        self.calls.append("terminate")


def stopped(_: Puppet) -> None: ...


def queued(puppet: Puppet) -> None:
    puppet.life.start("wanted")


def starting(puppet: Puppet) -> None:
    queued(puppet)
    puppet.clock.advance(0.25)
    puppet.life.spawned("process 1")


def linked(puppet: Puppet) -> None:
    starting(puppet)
    puppet.life.linked("answered")


def live(puppet: Puppet) -> None:
    linked(puppet)
    puppet.life.live("media move")


def stalled(puppet: Puppet) -> None:
    live(puppet)
    puppet.life.stalled("no media for 31 s")


def backoff(puppet: Puppet) -> None:
    live(puppet)
    puppet.life.failed("signal 11")


def fatal(puppet: Puppet) -> None:
    starting(puppet)
    puppet.life.doomed("exit 3")


def held(puppet: Puppet) -> None:
    puppet.life.hold("op")


def halting(puppet: Puppet) -> None:
    live(puppet)
    puppet.life.stop("unwanted")


def parking(puppet: Puppet) -> None:
    live(puppet)
    puppet.life.hold("op")


def cycling(puppet: Puppet) -> None:
    live(puppet)
    puppet.life.restart("digest")


def replacing(puppet: Puppet) -> None:
    stalled(puppet)
    puppet.life.replace("no media for 31 s")


def left(puppet: Puppet) -> None:
    puppet.life.leave("handoff")


HOW_TO_GET_THERE: tuple[Callable[[Puppet], None], ...] = (
    stopped,
    queued,
    starting,
    linked,
    live,
    stalled,
    backoff,
    fatal,
    held,
    halting,
    parking,
    cycling,
    replacing,
    left,
)

STOPPED, STARTING, LINKED, LIVE, STALLED = (
    State.STOPPED,
    State.STARTING,
    State.LINKED,
    State.LIVE,
    State.STALLED,
)
STOPPING, BACKOFF, FATAL, HELD = State.STOPPING, State.BACKOFF, State.FATAL, State.HELD

# Rows: where it is. Columns: what happens. Empty: nothing follows.
COLUMNS = [what.__name__ for what in EVERYTHING]
assert [
    *("start", "stop", "restart", "hold", "release", "replace", "adopted", "leave"),
    *("spawned", "linked", "live", "stalled", "disconnected", "failed", "doomed"),
] == COLUMNS
TABLE = {
    stopped: (STARTING, None, STARTING, HELD, None, None, STARTING, None, None, None, None, None, None, None, None),
    queued: (None, STOPPED, None, HELD, None, None, None, None, STARTING, None, None, None, None, BACKOFF, FATAL),
    starting: (
        None,
        STOPPING,
        STOPPING,
        STOPPING,
        None,
        None,
        None,
        None,
        None,
        LINKED,
        LIVE,
        STALLED,
        STOPPING,
        BACKOFF,
        FATAL,
    ),
    linked: (
        None,
        STOPPING,
        STOPPING,
        STOPPING,
        None,
        None,
        None,
        None,
        None,
        None,
        LIVE,
        STALLED,
        STOPPING,
        BACKOFF,
        FATAL,
    ),
    live: (
        None,
        STOPPING,
        STOPPING,
        STOPPING,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        STALLED,
        STOPPING,
        BACKOFF,
        FATAL,
    ),
    stalled: (
        None,
        STOPPING,
        STOPPING,
        STOPPING,
        None,
        STOPPING,
        None,
        None,
        None,
        None,
        LIVE,
        None,
        STOPPING,
        BACKOFF,
        FATAL,
    ),
    backoff: (STARTING, STOPPED, STARTING, HELD, None, None, None, None, None, None, None, None, None, None, None),
    fatal: (STARTING, STOPPED, STARTING, HELD, None, None, None, None, None, None, None, None, None, None, None),
    held: (None, None, None, None, STOPPED, None, None, None, None, None, None, None, None, None, None),
    halting: (None, None, None, None, None, None, None, None, None, None, None, None, None, STOPPED, STOPPED),
    parking: (None, None, None, None, None, None, None, None, None, None, None, None, None, HELD, HELD),
    cycling: (None, None, None, None, None, None, None, None, None, None, None, None, None, STARTING, STARTING),
    replacing: (None, None, None, None, None, None, None, None, None, None, None, None, None, BACKOFF, BACKOFF),
    left: (None, None, None, None, None, None, None, None, None, None, None, None, None, None, None),
}


@pytest.mark.parametrize("where", HOW_TO_GET_THERE)
@pytest.mark.parametrize("what", EVERYTHING)
def test_each_input_in_each_state(where: Callable[[Puppet], None], what: Callable[..., None]) -> None:
    puppet = Puppet()
    where(puppet)
    before = puppet.core.state
    expected = TABLE[where][COLUMNS.index(what.__name__)] or before

    getattr(puppet.life, what.__name__)("because")

    assert puppet.core.state is expected
    timed = expected in (BACKOFF, FATAL) or (expected is STARTING and where not in (starting, linked, live, stalled))
    came = (what.__name__, where)
    if came in (("spawned", queued), ("adopted", stopped)) or what.__name__ == "leave":
        timed = False
    assert len(puppet.clock.getDelayedCalls()) == (1 if timed else 0), (
        "a timer runs in the waiting states, and only there"
    )
    assert (puppet.core.start_at is not None) == timed


@pytest.mark.parametrize(
    ("where", "inputs", "end"),
    [
        (halting, ["start"], STARTING),
        (halting, ["start", "stop"], STOPPED),
        (halting, ["restart"], STARTING),
        (halting, ["hold"], HELD),
        (parking, ["start", "restart", "stop"], HELD),
        (parking, ["release"], STOPPED),
        (parking, ["release", "start"], STARTING),
        (cycling, ["stop"], STOPPED),
        (cycling, ["hold"], HELD),
        (replacing, ["start"], BACKOFF),
        (replacing, ["restart"], STARTING),
        (replacing, ["stop"], STOPPED),
    ],
)
def test_what_is_asked_during_a_stop_decides_what_comes_after_it(
    where: Callable[[Puppet], None], inputs: list[str], end: State
) -> None:
    puppet = Puppet()
    where(puppet)
    for name in inputs:
        getattr(puppet.life, name)("changed mind")
        assert puppet.core.state is STOPPING, "never before the reaping"
    puppet.life.failed("exit 0")
    assert puppet.core.state is end


def test_a_life_from_start_to_live() -> None:
    puppet = Puppet()
    puppet.life.start("wanted")
    assert puppet.calls == []
    puppet.clock.advance(0.25)
    assert puppet.calls == ["launch"]
    puppet.life.spawned("process 1")
    puppet.life.linked("answered")
    puppet.life.live("media move")
    assert puppet.told[0] == Change(STOPPED, STARTING, "wanted", 0)
    assert puppet.told[-1] == Change(LINKED, LIVE, "media move", 250_000)
    assert [told.to_state for told in puppet.told] == [STARTING, LINKED, LIVE]


def test_backoff_doubles_and_is_forgotten_after_stable_live() -> None:
    puppet = Puppet()
    puppet.life.start("wanted")
    delays = []
    for _ in range(8):
        puppet.clock.advance(0.25)
        puppet.life.spawned("process")
        puppet.life.failed("exit 5")
        [timer] = puppet.clock.getDelayedCalls()
        delays.append(timer.getTime() - puppet.clock.seconds())
        puppet.clock.advance(delays[-1])
    assert delays == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60])

    for seconds, failures in ((59, 9), (60, 1)):
        puppet.clock.advance(0.25)
        puppet.life.spawned("process")
        puppet.life.live("media move")
        puppet.clock.advance(seconds)
        puppet.life.failed("exit 5")
        assert puppet.core.failures == failures
        puppet.clock.advance(60)


def test_live_before_a_stall_counts_as_stable() -> None:
    puppet = Puppet()
    puppet.core.failures = 6
    live(puppet)
    puppet.clock.advance(3600)
    puppet.life.stalled("no media")
    puppet.life.replace("no media")
    puppet.life.failed("signal 9")
    assert puppet.core.failures == 1


def test_fatal_waits_the_longest_delay() -> None:
    puppet = Puppet()
    fatal(puppet)
    assert puppet.core.start_at == pytest.approx(puppet.clock.seconds() + 60)
    puppet.clock.advance(60)
    assert puppet.core.state is STARTING


def test_what_follows_a_stop_keeps_the_reason_of_the_stop() -> None:
    puppet = Puppet()
    halting(puppet)
    puppet.life.failed("exit 0")
    assert puppet.core.reason == "unwanted (exit 0)"


def test_each_transition_is_one_structured_log_event() -> None:
    with capturedLogs() as logs:
        puppet = Puppet()
        live(puppet)
    said = [(log["monitor_id"], log["from_state"], log["to_state"], log["reason"]) for log in logs]
    assert said == [
        (7, "STOPPED", "STARTING", "wanted"),
        (7, "STARTING", "LINKED", "answered"),
        (7, "LINKED", "LIVE", "media move"),
    ]


def test_an_announcement_that_fails_does_not_stop_a_life() -> None:
    puppet = Puppet()

    def fail(_: Change) -> None:
        raise RuntimeError("listener")

    puppet.core.announce = fail
    with capturedLogs() as logs:
        live(puppet)
    assert puppet.core.state is LIVE
    assert sum("log_failure" in log for log in logs) == 3


def test_inputs_from_inside_an_announcement_are_taken_afterwards() -> None:
    puppet = Puppet()
    puppet.core.announce = lambda told: puppet.life.stop("at once") if told.to_state is LIVE else None
    live(puppet)
    assert puppet.core.state is STOPPING
    assert puppet.calls == ["launch", "terminate"]


@pytest.mark.parametrize(("fail", "nominal"), [("failed", 1.0), ("doomed", 60.0)])
def test_workers_that_failed_together_do_not_come_back_together(fail, nominal):
    """A switch that restarts takes all its cameras away at once."""
    delays = []
    for chance in (0.0, 0.5, 1.0):
        puppet = Puppet(chance)
        starting(puppet)
        failed_at = puppet.clock.seconds()
        getattr(puppet.life, fail)("signal 11")
        assert puppet.core.start_at is not None
        delays.append(puppet.core.start_at - failed_at)
        puppet.clock.advance(delays[-1] - 0.001)
        assert puppet.core.state in (State.BACKOFF, State.FATAL)
        puppet.clock.advance(0.002)
        assert puppet.core.state is State.STARTING
    assert delays == [pytest.approx(nominal * share) for share in (0.8, 1.0, 1.2)]
