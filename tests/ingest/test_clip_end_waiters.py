"""Who waits for a clip's end, and when they hear of it."""

from __future__ import annotations

from twisted.internet.task import Clock

from zmtwist.ingest.clip_end_waiters import ClipEnds


def test_nobody_waits_where_nothing_is_open() -> None:
    assert ClipEnds(Clock()).wait(1, False).called


def test_the_end_is_told_in_a_later_turn_and_to_its_own_monitor() -> None:
    clock = Clock()
    ends = ClipEnds(clock)
    mine, other = ends.wait(1, True), ends.wait(2, True)
    ends.ended(1)
    assert not mine.called, "not in the middle of a message"
    clock.advance(0)
    assert (mine.called, other.called) == (True, False)
    ends.ended(1)
    clock.advance(0)


def test_of_an_adopted_worker_the_first_end_counts() -> None:
    clock = Clock()
    ends = ClipEnds(clock)
    ends.adopted(1)
    waiter = ends.wait(1, False)
    assert not waiter.called
    ends.ended(1)
    clock.advance(0)
    assert waiter.called
    assert ends.wait(1, False).called


def test_who_does_not_want_to_wait_any_more_is_forgotten() -> None:
    clock = Clock()
    ends = ClipEnds(clock)
    waiter = ends.wait(1, True)
    waiter.addErrback(lambda _: None)
    ends.ended(1)
    waiter.cancel()
    clock.advance(0)
    assert clock.getDelayedCalls() == []
