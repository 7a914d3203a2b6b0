from __future__ import annotations

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from zmtwist.wire.encode import encode_event
from zmtwist.wire.protocol import StreamSocketProtocol
from zmtwist.wire.turns import TURN_SECONDS, Turns


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
