from __future__ import annotations

from contextlib import contextmanager

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher

from zmtwist.wire.encode import encode_event
from zmtwist.wire.protocol import StreamSocketProtocol
from zmtwist.wire.read_budget import TURN_SECONDS, Turns


class Slow:
    """A receiver that takes 1 ms for each message."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.heard, self.reasons = clock, [], []

    def connected(self, protocol):
        pass

    def video_passed(self, seen):
        pass

    def message(self, message):
        self.clock.rightNow += 0.001
        self.heard.append(message.sequence)

    def lost(self, reason):
        self.reasons.append(reason)


def socket(turns: Turns, clock: Clock) -> tuple[StreamSocketProtocol, StringTransport, Slow]:
    receiver = Slow(clock)
    protocol, transport = StreamSocketProtocol(receiver, turns=turns), StringTransport()
    protocol.makeConnection(transport)
    return protocol, transport, receiver


def events(first: int, count: int) -> bytes:
    return b"".join(encode_event(1, sequence=n, wall_us=0, detail={}) for n in range(first, first + count))


def turn(clock: Clock) -> None:
    """As the reactor does: what is called later from here on is of the next turn."""
    clock.calls.pop(0).func()


def busy_and(count: int):
    """A clock, a socket that has used up the turn, and one with as many events that wait for the next turn."""
    clock = Clock()
    turns = Turns(clock)
    busy, waiting = socket(turns, clock), socket(turns, clock)
    busy[0].dataReceived(events(1, 30))
    waiting[0].dataReceived(events(1, count))
    return clock, busy, waiting


def test_a_flood_on_many_sockets_is_read_in_turns_and_in_order():
    clock = Clock()
    turns = Turns(clock)
    sockets = [socket(turns, clock) for _ in range(50)]
    for protocol, _, _ in sockets:
        protocol.dataReceived(events(1, 5))
    assert clock.seconds() < TURN_SECONDS + 0.006
    paused = [transport.producerState == "paused" for _, transport, _ in sockets]
    assert paused == sorted(paused), "the first were read, the others wait"
    assert 3 <= paused.count(False) < 10
    rounds = 0
    while any(transport.producerState == "paused" for _, transport, _ in sockets):
        before = clock.seconds()
        turn(clock)
        assert clock.seconds() - before < TURN_SECONDS + 0.006
        rounds += 1
    assert rounds >= 9
    assert all(receiver.heard == [1, 2, 3, 4, 5] for _, _, receiver in sockets)


def test_a_socket_that_waits_goes_before_what_is_read_later():
    clock, first, second = busy_and(1)
    first[0].dataReceived(events(31, 1))
    assert (len(first[2].heard), second[2].heard) == (30, [])
    clock.advance(0)
    assert (len(first[2].heard), second[2].heard) == (31, [1])


def test_what_waits_is_heard_before_the_end_of_its_connection():
    clock, _, dying = busy_and(2)
    dying[0].connectionLost()
    assert dying[2].heard == [1, 2]
    assert dying[2].reasons == ["closed by the worker"]
    clock.advance(0)
    assert dying[2].heard == [1, 2]


def test_what_waits_is_not_told_after_a_drop():
    clock, _, dropped = busy_and(2)
    dropped[0].drop()
    clock.advance(0)
    assert (dropped[2].heard, dropped[2].reasons) == ([], [])


def test_what_one_work_raises_stops_no_other():
    clock = Clock()
    turns, done = Turns(clock), []

    def fail():
        clock.rightNow += 0.01
        raise RuntimeError("in the middle of a turn")

    assert turns.take(fail)
    turns.take(fail)
    for number in range(3):
        assert not turns.take(lambda number=number: done.append(number))
        turns.take(fail)
    with logged() as caught:
        while clock.calls:
            turn(clock)
    assert done == [0, 1, 2]
    assert len(caught) == 3


def test_even_an_end_of_the_process_in_a_turn_leaves_the_rest_to_be_done():
    clock = Clock()
    turns, done = Turns(clock), []

    def spend():
        clock.rightNow += TURN_SECONDS

    def leave():
        raise SystemExit

    turns.take(spend)
    assert not turns.take(leave)
    assert not turns.take(lambda: done.append("rest"))
    with pytest.raises(SystemExit):
        turn(clock)
    while clock.calls:
        turn(clock)
    assert done == ["rest"]


def test_sixty_links_go_on_with_one_among_them_that_talks_nonsense():
    """Whichever is the bad one: first in a turn, in the middle of what waits, or last."""
    for bad in (0, 4, 31, 59):
        clock = Clock()
        turns = Turns(clock)
        sockets = [socket(turns, clock) for _ in range(60)]
        sockets[bad][0].decoder._feed = nonsense
        with logged() as caught:
            for number in (1, 6, 11):
                for protocol, transport, _ in sockets:
                    if not transport.disconnected:
                        protocol.dataReceived(events(number, 5))
                while clock.calls:
                    turn(clock)
        good = [one for number, one in enumerate(sockets) if number != bad]
        assert all(receiver.heard == list(range(1, 16)) for _, _, receiver in good)
        assert all(transport.producerState == "producing" for _, transport, _ in good)
        assert sockets[bad][1].disconnected
        assert sockets[bad][0].untrusted
        assert len(caught) == 1, "it is told once"


def nonsense(data, messages):
    raise TypeError("unhashable type: 'list'")


@contextmanager
def logged():
    caught = []

    def keep(event):
        if "log_failure" in event:
            caught.append(event)

    globalLogPublisher.addObserver(keep)
    try:
        yield caught
    finally:
        globalLogPublisher.removeObserver(keep)
