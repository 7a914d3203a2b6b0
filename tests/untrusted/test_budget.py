from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from zmtwist.untrusted.budget import LIMITS, RECENT_SECONDS, UNLIMITED, Allowance, Budget, Budgets, Kind, Together

ASSURED = 20


def test_a_flood_is_held_back_and_counted() -> None:
    allowance, logged = Allowance(per_second=10, burst=5, left=5), 0
    for _ in range(100):
        allowance, allowed, _ = allowance.take(50.0)
        logged += allowed
    assert logged == 5
    allowance, allowed, refused = allowance.take(50.1)
    assert (allowed, refused) == (True, 95)
    assert Allowance(at=100).take(50.0)[1], "a clock set back refuses nothing"


def test_what_many_say_at_once_is_held_back_but_for_a_few_lines_of_each() -> None:
    together = Together(per_second=10, burst=100)

    def logged(now: float, allowance: Allowance) -> tuple[int, Allowance]:
        before = allowance.left
        for _ in range(500):
            allowance, _, _ = allowance.take(now, lambda: together.take(now))
        return round(before - allowance.left), allowance

    workers = [Allowance(at=50.0) for _ in range(10)]
    told = [logged(50.0, worker) for worker in workers]
    assert sum(count for count, _ in told) == 100 + 10 * ASSURED
    assert min(count for count, _ in told) == ASSURED
    assert told[-1][1].refused == 500 - ASSURED
    count, _ = logged(51.0, told[-1][1])
    assert count > 0, "it may say more as time goes by"


def test_one_alone_has_its_whole_burst() -> None:
    together, allowance, logged = Together(), Allowance(at=50.0), 0
    for _ in range(500):
        allowance, allowed, _ = allowance.take(50.0, lambda: together.take(50.0))
        logged += allowed
    assert logged == 200


def test_what_costs_more_is_waited_for_the_longer() -> None:
    allowance = Allowance.full(10.0, 100.0)
    allowance, granted, _ = allowance.take(0.0, cost=150.0)
    assert granted, "one that is dearer than the whole burst can be had once"
    assert not allowance.take(5.0)[1]
    assert allowance.take(5.2)[1]


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0.1, 50)), max_size=200))
def test_no_more_is_had_than_the_burst_and_what_time_refills(asked: list[tuple[float, float]]) -> None:
    allowance, now, had = Allowance.full(10.0, 40.0), 0.0, 0.0
    for pause, cost in asked:
        now += pause
        allowance, granted, _ = allowance.take(now, cost=cost)
        had += cost if granted else 0.0
        assert had <= 40.0 + 10.0 * now + 50.0


def test_each_monitor_has_its_own_and_what_is_held_back_is_counted_by_kind() -> None:
    now = [100.0]
    budgets = Budgets(lambda: now[0], limits={**LIMITS, Kind.OPENINGS: Allowance.full(1.0, 3.0)})
    budget = budgets.of(1)
    assert [budget.take(Kind.OPENINGS, 100.0) for _ in range(5)] == [True] * 3 + [False] * 2
    assert budget.take(Kind.ROWS, 100.0)
    assert budgets.of(2).take(Kind.OPENINGS, 100.0)
    assert budget.held == Counter({Kind.OPENINGS: 2})
    assert (budget.untold(Kind.OPENINGS), budget.untold(Kind.OPENINGS)) == (2, 0)
    assert budget.take(Kind.OPENINGS, 101.0), "time refills it"
    assert budgets.recently_held(1) == {"openings": 2}
    now[0] += RECENT_SECONDS
    assert budgets.recently_held(1) == {}
    assert budget.held[Kind.OPENINGS] == 2
    assert budgets.recently_held(7) == {}


def test_what_was_done_already_is_paid_for_later() -> None:
    budget = Budget({Kind.BYTES: Allowance.full(10.0, 100.0)})
    budget.spend(Kind.BYTES, 0.0, 130.0)
    assert not budget.take(Kind.BYTES, 3.0)
    assert budget.take(Kind.BYTES, 3.2)


def test_without_limits_everything_is_granted() -> None:
    budget = Budget(dict(UNLIMITED))
    for kind in Kind:
        assert all(budget.take(kind, 1.0, cost=1e9) for _ in range(1000))
        budget.spend(kind, 1.0, 1e9)
        assert budget.take(kind, 1.0)
