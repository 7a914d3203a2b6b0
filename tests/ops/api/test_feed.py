from __future__ import annotations

import json

import pytest
from twisted.logger import capturedLogs

from tests.ops.served import transition
from zmtwist.notifications import EventClosed, EventOpened
from zmtwist.ops.api.feed import Feed


@pytest.fixture
def feed():
    return Feed("run", lambda: 1_700_000_000_000_000, kept=5, backlog=3)


def numbers(entries):
    return [entry.number for entry in entries]


def test_a_listener_hears_what_comes_in_order(feed):
    woken = []
    feed.publish(transition(1))
    listener = feed.listen(lambda: woken.append(1))
    feed.publish(EventOpened(4, 17, 1_700_000_000_000_000, "Motion"))
    feed.publish(EventClosed(4, 17, 2_500_000, 25, 3, "/secret/place.mkv"))
    first, second = listener.take()
    assert (first.name, second.name, len(woken), listener.take()) == ("event_opened", "event_closed", 2, [])
    assert json.loads(first.data) == {
        "monitor_id": 4,
        "event_id": 17,
        "cause": "Motion",
        "start": "2023-11-14T22:13:20.000Z",
        "at": "2023-11-14T22:13:20.000Z",
    }
    assert json.loads(second.data)["length_seconds"] == 2.5


def test_a_listener_that_fails_takes_nothing_from_the_others(feed):
    def fail():
        raise RuntimeError("its client has gone")

    feed.listen(fail)
    well = feed.listen(lambda: None)
    with capturedLogs() as logs:
        feed.publish(transition(1))
        feed.publish(transition(2))
    assert numbers(well.take()) == [1, 2]
    assert len(feed) == 1
    assert len([event for event in logs if "log_failure" in event]) == 1


@pytest.mark.parametrize("number", ["9" * 5000, "-1", "1_0", "\u0661", "", " 1"])
def test_a_mark_that_is_none_asks_for_everything_anew(feed, number):
    feed.publish(transition(1))
    assert feed.since(f"run-{number}") is None


def test_one_monitor_only(feed):
    listener = feed.listen(lambda: None, 2)
    feed.publish(transition(1, monitor_id=1))
    feed.publish(transition(1, monitor_id=2))
    assert [entry.monitor_id for entry in listener.take()] == [2]


def test_a_slow_listener_is_given_up_and_the_others_go_on(feed):
    slow, quick = feed.listen(lambda: None), feed.listen(lambda: None)
    heard = 0
    for number in range(10):
        feed.publish(transition(number))
        heard += len(quick.take())
    assert (slow.lost, slow.take(), heard, quick.lost, len(feed)) == (True, [], 10, False, 1)


def test_who_comes_back_misses_nothing_or_is_told(feed):
    for number in range(3):
        feed.publish(transition(number))
    mark = feed.mark(feed.since("run-0")[0])
    assert numbers(feed.since(mark)) == [2, 3]
    assert feed.since("run-3") == []
    for number in range(5):
        feed.publish(transition(number))
    assert feed.since(mark) is None  # entry 2 and 3 are forgotten
    assert numbers(feed.since("run-3")) == [4, 5, 6, 7, 8]


@pytest.mark.parametrize("mark", ["", "7", "other-1", "run-", "run-x", "run-99", "run--1"])
def test_marks_of_another_run_or_of_nobody(feed, mark):
    assert feed.since(mark) is None


def test_passwords_do_not_get_in_and_strangers_are_passed_over(feed):
    listener = feed.listen(lambda: None)
    feed.publish(transition(1, reason="no route to rtsp://bob:hush@camera/1"))
    feed.publish(object())
    (entry,) = listener.take()
    assert b"hush" not in entry.data
    assert b"rtsp://***@camera/1" in entry.data
