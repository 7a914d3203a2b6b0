from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmtwist.fleet.process import policy
from zmtwist.fleet.process.policy import Exit, Signs


def test_delays_double_up_to_the_longest() -> None:
    assert [policy.nominal_delay(n, 1, 60) for n in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert policy.nominal_delay(10**9, 1, 60) == 60


@given(st.integers(1, 10_000), st.floats(0.1, 10), st.floats(10, 1000), st.floats(0, 1))
def test_delays_stay_within_a_fifth_of_their_bounds(failures: int, least: float, most: float, chance: float) -> None:
    delay = policy.jittered(policy.nominal_delay(failures, least, most), chance)
    assert least * 0.8 - 1e-9 <= delay <= most * 1.2 + 1e-9


def test_jitter_reaches_both_sides() -> None:
    assert policy.jittered(10, 0.0) == pytest.approx(8)
    assert policy.jittered(10, 0.5) == pytest.approx(10)
    assert policy.jittered(10, 1.0) == pytest.approx(12)


def test_failures_are_forgotten_only_after_a_stable_time() -> None:
    assert policy.failures_after_live(5, 59.9, 60) == 5
    assert policy.failures_after_live(5, 60, 60) == 0


@pytest.mark.parametrize("code", [1, 2, 3, 4, 126, 127])
def test_exits_that_another_try_would_repeat_are_fatal(code: int) -> None:
    verdict = policy.judge(Exit(code=code), ["[CORE][ERROR] no such plugin"])
    assert verdict.fatal
    assert f"exit {code}" in verdict.reason
    assert "no such plugin" in verdict.reason


@pytest.mark.parametrize(
    ("ended", "text"),
    [
        (Exit(code=0), "exit 0: ended by itself"),
        (Exit(code=5), "exit 5: could not bind its socket"),
        (Exit(code=77), "exit 77"),
        (Exit(signal=11), "signal 11 (SIGSEGV)"),
        (Exit(signal=250), "signal 250"),
    ],
)
def test_other_ends_are_worth_another_try(ended: Exit, text: str) -> None:
    assert policy.judge(ended) == policy.Verdict(False, text)


@pytest.mark.parametrize(
    ("signs", "now", "reason"),
    [
        (Signs("spawned", 100), 129, None),
        (Signs("spawned", 100), 131, "its socket has not answered for 31 s"),
        (Signs("linked", 100, stats_at=130), 130, None),
        (Signs("linked", 100, stats_at=130), 131, "no media for 31 s"),
        (Signs("live", 100, media_at=200, stats_at=200), 230, None),
        (Signs("live", 100, media_at=200, stats_at=230), 231, "no media for 31 s"),
        (Signs("live", 100, media_at=230, stats_at=200), 231, "no STATS for 31 s"),
        (Signs("live", 100, media_at=130), 131, "no STATS for 31 s"),
    ],
)
def test_stalls(signs: Signs, now: float, reason: str | None) -> None:
    assert policy.stall_reason(signs, now, 30) == reason


def test_a_short_watchdog_does_not_take_the_pause_between_two_stats_for_a_stall() -> None:
    assert policy.stall_reason(Signs("live", 100, media_at=106, stats_at=100), 106, watchdog_seconds=2) is None
    assert policy.sample_interval(2) < 2 / 2
