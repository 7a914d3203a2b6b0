from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmtwist.config.model import MonitorOverride, ZmNextConfig
from zmtwist.fleet import policy
from zmtwist.fleet.policy import Guard, Host
from zmtwist.pipeline.monitor import Monitor


@given(st.integers(1, 50), st.floats(0.5, 50), st.lists(st.floats(0, 2), max_size=60))
def test_turns_never_come_faster_than_allowed(workers: int, per_second: float, pauses: list[float]) -> None:
    now, free_at, turns = 0.0, 0.0, []
    for pause in pauses:
        now += pause
        at, free_at = policy.next_turn(now, free_at, per_second, workers=1_000)
        assert at >= now
        turns.append(at)
    assert all(later - earlier >= 1 / per_second - 1e-6 for earlier, later in itertools.pairwise(turns))


def test_a_clock_set_back_does_not_keep_workers_down() -> None:
    at, _ = policy.next_turn(now=1_000.0, free_at=4_600.0, per_second=4, workers=8)
    assert at == 1_002.0


def run_guard(*ticks: tuple[float, Host]) -> list[bool]:
    memory, waits = Guard(), []
    for now, host in ticks:
        memory, wait = policy.guard(memory, host, now, window=30)
        waits.append(wait is not None)
    return waits


def test_a_single_stall_is_acted_on_at_once() -> None:
    assert run_guard((0, Host(workers=10, stalled=1))) == [False]
    assert run_guard((0, Host(workers=1, stalled=1))) == [False]


def test_many_stalls_wait_one_window_and_only_one() -> None:
    many = Host(workers=9, stalled=4)
    assert run_guard((0, many), (15, many), (29, many), (30, many)) == [True, True, True, False]
    assert run_guard((0, Host(workers=9, stalled=3))) == [False]


def test_stalls_count_within_one_window_not_at_one_instant() -> None:
    one = Host(workers=5, stalled=1)
    assert run_guard((0, one), (10, one)) == [False, True]
    assert run_guard((0, one), (31, one)) == [False, False]


def test_a_late_loop_begins_a_new_window_each_time() -> None:
    one = Host(workers=5, stalled=1)
    late = Host(workers=5, stalled=1, loop_late_seconds=20)
    assert run_guard((0, late), (5, one), (25, late), (31, one), (54, one), (55, one)) == [True] * 5 + [False]


def test_a_database_that_is_away_delays_by_one_window_only() -> None:
    away = Host(workers=5, stalled=1, database_away=True)
    assert run_guard((0, away), (29, away), (30, away)) == [True, True, False]


def test_after_a_calm_time_the_guard_waits_again() -> None:
    many, calm = Host(workers=9, stalled=9), Host(workers=9, stalled=0)
    assert run_guard((0, many), (30, many), (100, calm), (200, many)) == [True, False, False, True]


@pytest.mark.parametrize(
    ("monitor", "config", "reason"),
    [
        (Monitor(1), ZmNextConfig(), "not opted in: neither Monitors.UseZmNext nor [zmnext] monitors names it"),
        (Monitor(1, use_zm_next=True), ZmNextConfig(), None),
        (Monitor(1), ZmNextConfig(monitors=(1,)), None),
        (Monitor(2), ZmNextConfig(monitors="all"), None),
        (Monitor(1, use_zm_next=True, deleted=True), ZmNextConfig(monitors="all"), "it is deleted"),
        (Monitor(1, use_zm_next=True, capturing="None"), ZmNextConfig(), "Capturing is None"),
        (Monitor(1, use_zm_next=True, capturing="Always", function="None"), ZmNextConfig(), None),
        (Monitor(1, use_zm_next=True, function="None"), ZmNextConfig(), "Function is None"),
        (Monitor(1, capturing="None"), ZmNextConfig(monitor=(MonitorOverride(1, enabled=True),)), None),
        (
            Monitor(1, use_zm_next=True),
            ZmNextConfig(monitor=(MonitorOverride(1, enabled=False),)),
            "[[zmnext.monitor]] enabled is false",
        ),
        (Monitor(1, use_zm_next=True), ZmNextConfig(monitor=(MonitorOverride(1, store_mode="event"),)), None),
        (Monitor(1, deleted=True), ZmNextConfig(monitor=(MonitorOverride(1, enabled=True),)), "it is deleted"),
    ],
)
def test_which_monitors_are_to_run(monitor: Monitor, config: ZmNextConfig, reason: str | None) -> None:
    assert policy.unwanted_reason(monitor, config) == reason


def test_the_choice_of_all() -> None:
    monitors = [Monitor(1, use_zm_next=True), Monitor(2, use_zm_next=True, deleted=True)]
    unreadable = {3: "Width: not a number", 4: "Width: not a number"}
    choice = policy.choose(monitors, unreadable, {3}, ZmNextConfig(enabled=True))
    assert choice.wanted == {1, 3}, "a slip of the editor stops no recording, and starts none"
    assert choice.unwanted[2] == "it is deleted"
    assert choice.unwanted[4] == "its row makes no sense: Width: not a number"
    off = policy.choose(monitors, unreadable, {1, 3}, ZmNextConfig(enabled=False))
    assert off == policy.Choice(frozenset(), dict.fromkeys((1, 2, 3, 4), policy.DISABLED))
