from __future__ import annotations

from zmtwist.ingest.clock_steps import STEP_US, ClockSteps


def test_only_what_is_set_is_told_and_once():
    seconds, wall = 100.0, 5_000_000_000
    steps = ClockSteps(lambda: seconds, lambda: wall)
    for passed, by_us in (
        (3600.0, 0),
        (1.0, 7 * 86_400_000_000),
        (0.5, -(10**15)),
        (5.0, STEP_US - 1),
        (1.0, -STEP_US),
    ):
        seconds += passed
        wall += round(passed * 1e6) + by_us
        assert steps.look() == (by_us if abs(by_us) >= STEP_US else 0)
        assert steps.look() == 0


def test_a_clock_that_is_slowed_until_it_is_right_is_never_taken_for_one_that_was_set():
    seconds, wall = 0.0, 0
    steps = ClockSteps(lambda: seconds, lambda: wall)
    for _ in range(3600):
        seconds += 1.0
        wall += 999_500
        assert steps.look() == 0
