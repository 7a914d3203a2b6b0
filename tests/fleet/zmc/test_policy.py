"""What one look at the daemons means for a monitor: plain values in and out."""

from __future__ import annotations

import itertools

import attrs
from hypothesis import given
from hypothesis import strategies as st

from zmtwist.fleet.process.procfs import Seen
from zmtwist.fleet.zmc.daemons import capture_words, key_of, living_capturers
from zmtwist.fleet.zmc.policy import (
    QUIET_SECONDS,
    RETAKE_MOST_SECONDS,
    Act,
    Case,
    Look,
    Stage,
    advice,
    ours,
    retake_interval,
    taking,
)
from zmtwist.fleet.zmc.zmdc import Condition, Daemon, Listing
from zmtwist.pipeline.monitor import Monitor

WORDS = ("zmc", "-m", "3")
TAKING = Case(Stage.TAKING, 100.0, WORDS)
OURS = Case(Stage.OURS, 100.0, WORDS)
GONE = Look(Listing({}))


def runs(pid: int | None = 7, condition: Condition = Condition.RUNNING, **more: object) -> Look:
    return attrs.evolve(Look(Listing({"zmc -m 3": Daemon(condition, pid)})), **more)


def test_a_monitor_that_zoneminder_does_not_capture_is_ours_at_once() -> None:
    case, act = taking(TAKING, Look(Listing({"zmc -m 30": Daemon(Condition.RUNNING, 7)})), 100)
    assert (case.stage, act) == (Stage.OURS, Act.READY)


def test_a_capture_daemon_is_stopped_and_its_end_awaited() -> None:
    case, act = taking(TAKING, runs(), 100)
    assert act is Act.STOP
    assert case.trouble == "ZoneMinder's 'zmc -m 3' (process 7) is being stopped first"
    case, act = taking(case, runs(), 101)
    assert (case.stage, act) == (Stage.TAKING, Act.NOTHING)
    case, act = taking(case, runs(), 106)
    assert act is Act.STOP, "the first may have been lost"
    assert taking(case, GONE, 107) == (Case(Stage.OURS, 107, WORDS), Act.READY)


def test_one_that_waits_to_be_started_again_is_stopped_as_well() -> None:
    case, act = taking(TAKING, runs(None, Condition.PENDING), 100)
    assert act is Act.STOP
    assert "crashed, about to be started again" in case.trouble


def test_one_that_zmdc_calls_stopped_but_that_lives_is_waited_for() -> None:
    look = runs(None, Condition.STOPPED, living={"zmc -m 3": 7})
    assert taking(TAKING, look, 100)[0].stage is Stage.TAKING


def test_where_zmdc_does_not_answer_the_processes_decide() -> None:
    for look in (Look(absent=True), Look(trouble="zmdc does not answer"), Look()):
        assert taking(TAKING, look, 100)[1] is Act.READY
        case, act = taking(TAKING, attrs.evolve(look, living={"zmc -m 3": 7}), 100)
        assert case.stage is Stage.TAKING
        assert act is (Act.STOP if look.answers else Act.NOTHING)
    case, _ = taking(TAKING, Look(absent=True, living={"zmc -m 3": 7}), 100)
    assert case.trouble == (
        "ZoneMinder's 'zmc -m 3' (process 7) captures this camera. ZoneMinder is not running, so nobody can be asked to stop it: end it"
    )


def test_one_that_comes_back_is_taken_away_at_once_and_then_ever_more_rarely() -> None:
    case, stops, pid = OURS, [], 10
    for now in range(100, 5000, 5):  # zmwatch starts it within 10 s of each stop
        back = case.stopped_at is None or now - case.stopped_at >= 10
        pid += back and not case.seen
        case, act = ours(case, runs(pid) if back else GONE, now)
        if act is Act.STOP:
            stops.append(now)
    gaps = [b - a for a, b in itertools.pairwise(stops)]
    assert stops[0] == 100
    assert gaps == sorted(gaps)
    assert gaps[:3] == [60, 120, 240]
    assert max(gaps) <= RETAKE_MOST_SECONDS
    assert case.returns == pid - 10


@given(st.integers(0, 10_000))
def test_the_rate_is_bounded(stops: int) -> None:
    assert 60 <= retake_interval(stops) <= retake_interval(stops + 1) <= RETAKE_MOST_SECONDS


def test_one_that_is_still_ending_has_not_come_back_again() -> None:
    case, _ = ours(OURS, runs(7), 100)
    for now in range(101, 131):
        case, act = ours(case, runs(7), now)
        assert act is Act.NOTHING
    assert case.returns == 1


def test_a_clock_that_was_set_back_does_not_stop_the_taking() -> None:
    case, _ = ours(OURS, runs(7), 100_000)
    case, _ = ours(case, GONE, 100_001)
    assert ours(case, runs(8), 500)[1] is Act.STOP
    assert taking(attrs.evolve(TAKING, stopped_at=100_000.0), runs(), 500)[1] is Act.STOP


def test_returns_are_forgotten_in_time() -> None:
    case, _ = ours(OURS, runs(7), 100)
    case, _ = ours(case, GONE, 101)
    assert ours(case, GONE, 100 + QUIET_SECONDS)[0].returns == 1
    assert ours(case, GONE, 102 + QUIET_SECONDS)[0] == Case(Stage.OURS, 100, WORDS)


def test_of_what_is_ours_a_process_that_zmdc_does_not_list_is_another_zoneminders() -> None:
    case, act = ours(OURS, attrs.evolve(GONE, living={"zmc -m 3": 7}), 100)
    assert (case.returns, act) == (0, Act.NOTHING)
    case, act = ours(OURS, Look(living={"zmc -m 3": 7}), 100)
    assert (case.returns, act) == (1, Act.STOP), "an older zm-api lists nothing"


def test_what_the_operator_is_told() -> None:
    back = attrs.evolve(OURS, returns=2)
    assert advice(OURS, "Capturing", "Always", set_none=False) == ""
    told = advice(back, "Function", "Modect", set_none=False)
    assert "2 times" in told
    assert "while Monitors.Function is not None" in told
    assert "set_none = true" in told
    assert "by hand or by a run state" in advice(back, "Capturing", "None", set_none=False)
    assert "set to Always by someone, and is set to None again" in advice(back, "Capturing", "Always", set_none=True)
    trouble = attrs.evolve(OURS, trouble="zmdc cannot be reached at /x: Permission denied")
    assert advice(trouble, "Capturing", "Always", set_none=False) == trouble.trouble


def test_capture_daemons_are_known_by_their_command_line() -> None:
    assert key_of(["/usr/bin/zmc", "-m", "3"]) == "zmc -m 3"
    assert key_of(["zmc", "--monitor", "3"]) == "zmc -m 3"
    assert key_of(["zmc", "--monitor=3"]) == "zmc -m 3"
    assert key_of(["zmc", "-m3"]) == "zmc -m 3"
    assert key_of(["/usr/bin/zmc", "-d", "/dev/video0"]) == "zmc -d /dev/video0"
    for other in ([], ["/usr/bin/zma", "-m", "3"], ["sh", "-c", "zmc -m 3"], ["zmc"], ["zmc", "-v"]):
        assert key_of(other) is None
    seen = [Seen(5, 1, ("/usr/bin/zmc", "-m", "3")), Seen(6, 1, ("zm-core", "--monitor-id", "3")), Seen(7, 1, ())]
    assert living_capturers(seen) == {"zmc -m 3": 5}


def test_zoneminder_calls_local_devices_otherwise() -> None:
    assert capture_words(Monitor(id=3)) == WORDS
    assert capture_words(Monitor(id=3, type="Local", device="/dev/video0")) == ("zmc", "-d", "/dev/video0")
