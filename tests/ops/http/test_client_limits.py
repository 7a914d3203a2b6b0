from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmtwist.ops.http import connections
from zmtwist.ops.http.client_limits import Caller, Limits, Places
from zmtwist.ops.http.errors import ApiError

LOCAL = Caller("33", "uid 33", local=True)


def remote(number: int) -> Caller:
    return Caller(f"192.0.2.{number}", "somebody")


def refused(places: Places, caller: Caller) -> tuple[int, str]:
    with pytest.raises(ApiError) as caught:
        places.take(caller)
    return caught.value.status, caught.value.code


def test_one_address_does_not_take_all_and_the_last_are_for_the_socket() -> None:
    places = Places("too_many", "things", most=6, each=2, kept=2)
    given = [places.take(remote(1)), places.take(remote(1))]
    assert refused(places, remote(1)) == (429, "too_many")
    given += [places.take(remote(2)), places.take(remote(3))]
    assert refused(places, remote(4)) == (503, "too_many")
    given += [places.take(LOCAL), places.take(LOCAL)]
    assert refused(places, LOCAL) == (503, "too_many")
    assert places.refused == 3
    for give_back in given:
        give_back()
        give_back()
    assert len(places) == 0
    places.take(remote(1))


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans())))
def test_the_bounds_hold_and_nothing_is_counted_that_is_not_there(steps: list[tuple[int, bool]]) -> None:
    places = Places("too_many", "things", most=5, each=2, kept=1)
    taken = []
    for number, take in steps:
        caller = remote(number) if number else LOCAL
        if take:
            try:
                taken.append((number, places.take(caller)))
            except ApiError:
                assert len(taken) >= 4 or [n for n, _ in taken].count(number) == 2
        elif taken:
            taken.pop(number % len(taken))[1]()
        assert len(places) == len(taken) <= 5
        assert all([n for n, _ in taken].count(number) <= 2 for number in (1, 2, 3))


def test_a_connection_that_waits_is_always_there_to_give_way() -> None:
    kinds = [getattr(Limits(), name) for name in ("requests", "streams", "viewers", "files")]
    assert sum(places.most for places in kinds) < connections.MOST_CONNECTIONS
    assert sum(places.each for places in kinds) < connections.EACH_CONNECTIONS < connections.MOST_CONNECTIONS
    assert all(places.each <= places.most - places.kept for places in kinds)
