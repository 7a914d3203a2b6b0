"""HTTP under the routes, without sockets: pipelined requests, and requests without Host."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from zmtwist.ops.http.connections import MOST_A_TURN, Connection, LimitedFactory
from zmtwist.ops.http.protocol import ApiSite, json_answer

TCP = IPv4Address("TCP", "127.0.0.1", 1)
UNIX = UNIXAddress(b"/run/api.sock")


class Echo(Resource):
    """Answers with the request's path; `later` gives what must be called for that, where it is not at once."""

    isLeaf = True
    asked = 0

    def __init__(self) -> None:
        super().__init__()
        self.later: list[Callable[[], None]] | None = None

    def render(self, request: Request) -> bytes | int:
        self.asked += 1
        answer = json_answer(request, [request.path.decode(), request.getRequestHostname().decode()])

        def finish() -> None:
            request.write(answer)
            request.finish()

        if self.later is None:
            return answer
        self.later.append(finish)
        return NOT_DONE_YET


class Turns(Clock):
    """As the reactor does it: what is called for during a turn comes in the next one."""

    def turn(self) -> None:
        for call in [call for call in self.calls if call.getTime() <= self.seconds()]:
            self.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)


class Client:
    """The other end."""

    def __init__(self, address: IAddress = TCP) -> None:
        self.clock, self.root = Turns(), Echo()
        factory = LimitedFactory(ApiSite(self.root, self.clock), self.clock)
        protocol = factory.buildProtocol(address)
        assert isinstance(protocol, Connection)
        self.protocol = protocol
        self.transport = StringTransport(hostAddress=address, peerAddress=address)
        protocol.makeConnection(self.transport)

    def answers(self) -> list[bytes]:
        """The body of each so far."""
        return [answer.partition(b"\r\n\r\n")[2] for answer in self.transport.value().split(b"HTTP/1.1 200 OK")[1:]]

    def close(self) -> None:
        self.protocol.connectionLost()
        assert self.clock.getDelayedCalls() == []


def get(number: int) -> bytes:
    return b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number


def body(number: int) -> bytes:
    return b'["/%d","x"]' % number


@pytest.mark.parametrize("size", [1 << 20, 7, 1000])
def test_pipelined_requests_are_answered_in_order_and_one_in_a_turn(size: int) -> None:
    client = Client()
    data = b"".join(map(get, range(200)))
    for start in range(0, len(data), size):
        client.protocol.dataReceived(data[start : start + size])
    assert client.answers() == [body(0)]
    for turn in range(1, 200):
        client.clock.turn()
        assert client.root.asked == turn + 1
    assert client.answers() == [body(number) for number in range(200)]
    client.clock.turn()
    client.close()


def test_single_requests_are_answered_at_once() -> None:
    client = Client()
    for number in range(3):
        client.protocol.dataReceived(get(number))
        assert client.answers() == [body(n) for n in range(number + 1)]
        client.clock.turn()
    client.close()


def test_answers_that_take_their_time_keep_their_order() -> None:
    client = Client()
    client.root.later = []
    client.protocol.dataReceived(get(1) + get(2) + get(3))
    for number in (1, 2, 3):
        client.clock.advance(1)
        (finish,) = client.root.later
        client.root.later.clear()
        finish()
        assert client.answers()[-1] == body(number)
    client.clock.turn()
    client.close()


def test_what_waits_for_its_turn_is_dropped_with_the_connection() -> None:
    client = Client()
    client.protocol.dataReceived(get(1) + get(2))
    client.close()
    client.clock.advance(1)
    assert client.root.asked == 1


class Crowd:
    """Connections to one factory, by addresses."""

    def __init__(self, most: int, each: int) -> None:
        self.clock, self.root = Turns(), Echo()
        site = ApiSite(self.root, self.clock)
        self.factory = LimitedFactory(
            site, self.clock, lambda address: getattr(address, "host", None), most=most, each=each
        )

    def join(self, host: str = "", *, asks: bool = False, signed_in: bool = False) -> StringTransport | None:
        """The transport of a new connection from this host (by a socket, if none), None where it is not let in."""
        address = IPv4Address("TCP", host, 1) if host else UNIX
        protocol = self.factory.buildProtocol(address)
        if protocol is None:
            return None
        transport = StringTransport(hostAddress=address, peerAddress=address)
        protocol.makeConnection(transport)
        protocol.signed_in = signed_in
        if asks:
            protocol.dataReceived(get(1))
        return transport

    @staticmethod
    def gone(transports: list[StringTransport | None]) -> list[bool]:
        return [transport is None or transport.disconnected for transport in transports]


def test_whoever_waits_longest_gives_way_to_the_next() -> None:
    crowd = Crowd(most=3, each=9)
    crowd.root.later = []
    busy = crowd.join("192.0.2.1", asks=True)
    waiting = [crowd.join("192.0.2.1") for _ in range(4)]
    assert crowd.gone([busy, *waiting]) == [False, True, True, False, False]


def test_one_address_only_takes_places_from_itself() -> None:
    crowd = Crowd(most=9, each=2)
    other, local = crowd.join("192.0.2.9"), crowd.join()
    slow = [crowd.join("192.0.2.1") for _ in range(20)]
    assert crowd.gone(slow) == 18 * [True] + 2 * [False]
    assert crowd.gone([other, local]) == [False, False]
    assert crowd.gone([crowd.join() for _ in range(6)]) == 6 * [False]  # no such limit for a socket, or a proxy


def test_strangers_give_way_before_those_who_are_signed_in() -> None:
    crowd = Crowd(most=3, each=9)
    signed = crowd.join("192.0.2.1", signed_in=True, asks=True)
    crowd.clock.turn()
    strangers = [crowd.join("192.0.2.1") for _ in range(5)]
    assert crowd.gone([signed, *strangers]) == [False, True, True, True, False, False]


def test_who_is_being_answered_never_gives_way() -> None:
    crowd = Crowd(most=3, each=2)
    crowd.root.later = []
    busy = [crowd.join("192.0.2.1", asks=True), crowd.join("192.0.2.1", asks=True), crowd.join("192.0.2.2", asks=True)]
    assert crowd.join("192.0.2.1") is None
    assert crowd.join("192.0.2.3") is None
    assert crowd.gone(busy) == [False, False, False]
    crowd.root.later.pop(0)()
    assert crowd.join("192.0.2.1") is not None
    assert crowd.gone(busy) == [True, False, False]


def test_no_more_than_some_in_a_turn_and_everybody_is_served_in_order() -> None:
    crowd = Crowd(most=100, each=100)
    greedy = [crowd.join("192.0.2.1") for _ in range(2 * MOST_A_TURN)]
    for protocol in list(crowd.factory.protocols):
        protocol.dataReceived(b"".join(map(get, range(20))))
    late = crowd.join("192.0.2.9", asks=True)
    asked = [crowd.root.asked]
    for _ in range(3):
        crowd.clock.turn()
        asked.append(crowd.root.asked)
    assert asked == [MOST_A_TURN, 2 * MOST_A_TURN, 3 * MOST_A_TURN, 4 * MOST_A_TURN]
    assert late is not None
    assert late.value().endswith(body(1))
    for _ in range(50):
        crowd.clock.turn()
    assert crowd.root.asked == 2 * MOST_A_TURN * 20 + 1
    assert all(transport is not None and transport.value().endswith(body(19)) for transport in greedy)


@pytest.mark.parametrize("address", [TCP, UNIX])
def test_http_1_1_needs_a_host(address: IAddress) -> None:
    client = Client(address)
    client.protocol.dataReceived(b"GET /1 HTTP/1.1\r\n\r\n")
    assert client.transport.value().startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"HTTP/1.1 needs a Host header" in client.transport.value()
    assert client.root.asked == 0
    client.close()


@pytest.mark.parametrize("length", [b"9" * 5000, b"9" * 19, b"+5", b"5 5", b"1_0", b"-1", b""])
def test_a_length_that_is_no_number_is_refused_and_the_connection_ends(length: bytes) -> None:
    client = Client()
    with capturedLogs() as logs:
        client.protocol.dataReceived(b"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: %s\r\n\r\n" % length)
    head, _, told = client.transport.value().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert told == b'{"error":{"code":"bad_request","message":"Content-Length is no whole number"}}'
    assert client.transport.disconnecting
    assert (client.root.asked, logs) == (0, [])
    client.close()


@pytest.mark.parametrize("head", [b"GET /1 HTTP/1.0\r\n\r\n", b"GET /1 HTTP/1.1\r\nHost:\r\n\r\n"])
def test_without_a_name_a_socket_is_localhost(head: bytes) -> None:
    client = Client(UNIX)
    client.protocol.dataReceived(head)
    assert b'["/1","' in client.transport.value()
    client.close()
