"""HTTP under the routes: bounded requests and connections, JSON answers, the headers that every answer carries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from io import BytesIO
from typing import Any, cast

from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from zmtwist.guard import leaving
from zmtwist.ops.errors import ApiError
from zmtwist.ops.places import Caller, Places
from zmtwist.whole import whole

MOST_BODY = 16 * 1024
"""Bytes of a request's body that are taken; no request needs one at all."""

MOST_DISCARDED = 1024 * 1024
"""Bytes of a body too large that are read for politeness' sake, so that the client gets to read its answer."""

RECEIVE_SECONDS = 30.0
"""How long a request may take to arrive, and a connection may wait for the next one (its last answer to be read, too)."""

MOST_CONNECTIONS = 640
"""Of one endpoint. When there are as many, one that only waits gives way to each new one."""

EACH_CONNECTIONS = 320
"""Of one address."""

SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


class Connection(ProtocolWrapper):
    """One client. It is cut when no whole request has come for `RECEIVE_SECONDS`, however busily it drips.

    `place` stands for it where connections are counted, None where it is not; `signed_in` once it has made a request that was.
    """

    place: str | None = None
    signed_in = False
    _deadline: IDelayedCall | None = None
    _turn: IDelayedCall | None = None
    _waiting: Callable[[], None] | None = None

    def connectionMade(self) -> None:
        """Wait for the first request."""
        self.await_request()
        super().connectionMade()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Any = None) -> None:
        """Wait no more."""
        self.request_came()
        factory: LimitedFactory = self.factory
        factory.gone(self)
        self._waiting = None
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def await_request(self) -> None:
        """A whole request has to come from here on."""
        self.request_came()
        factory: LimitedFactory = self.factory
        self._deadline = factory.clock.callLater(RECEIVE_SECONDS, self.cut)
        factory.waits(self)

    def request_came(self) -> None:
        """It has; its answer may take as long as it needs."""
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None
        factory: LimitedFactory = self.factory
        factory.waits_no_more(self)

    def in_turn(self, serve: Callable[[], None]) -> None:
        """Call `serve`: at once, but no more than one in each turn of the reactor.

        Else a client that sends a thousand requests at once would hold up everything until the last one is answered. The channel keeps
        what comes after a request until that one is answered: no more than one ever waits, and the order stays.
        """
        if self._turn is None:
            factory: LimitedFactory = self.factory
            self._turn = factory.clock.callLater(0, self._next_turn)
            serve()
        else:
            self._waiting = serve

    def _next_turn(self) -> None:
        self._turn = None
        if self._waiting is not None:
            serve, self._waiting = self._waiting, None
            self.in_turn(serve)

    def cut(self) -> None:
        """End the connection at once, whatever is unsent."""
        transport: Any = self.transport
        transport.abortConnection()


class LimitedFactory(WrappingFactory):
    """Makes connections, up to `most` of them, `each` for those whose `place_of` their address is the same (None: not counted so).

    When there are as many, the one that has waited longest for a request gives way to the new one: first of all one that never made a
    signed one. So whoever opens connections and is slow to use them only takes places from itself.
    """

    protocol = Connection
    noisy = False

    def __init__(
        self,
        site: Site,
        clock: IReactorTime,
        place_of: Callable[[IAddress | None], str | None] = lambda _: None,
        most: int = MOST_CONNECTIONS,
        each: int = EACH_CONNECTIONS,
    ) -> None:
        super().__init__(site)  # type: ignore[no-untyped-call]
        self.clock = clock
        self._place_of = place_of
        self._most = most
        self._each = each
        self._open: set[Connection] = set()
        self._of: Counter[str | None] = Counter()
        self._waiting: tuple[dict[Connection, None], ...] = ({}, {})
        """Those that wait for a request, longest first: strangers, and those that are signed in."""

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:  # type: ignore[override]
        """None, which closes the connection, where there are too many and none of them only waits."""
        place = self._place_of(addr)
        if place is not None and self._of[place] >= self._each and not self._give_way(place):
            return None
        if len(self._open) >= self._most and not self._give_way():
            return None
        made = cast(Connection, super().buildProtocol(addr))
        made.place = place
        self._open.add(made)
        self._of[place] += 1
        return made

    def _give_way(self, place: str | None = None) -> bool:
        """Have one connection (of `place`, where that is given) make room; whether there is one that can."""
        for group in self._waiting:
            for connection in group:
                if place in (None, connection.place):
                    self.gone(connection)
                    connection.cut()
                    return True
        return False

    def waits(self, connection: Connection) -> None:
        """A request has to come from it."""
        if connection in self._open:
            self._waiting[connection.signed_in][connection] = None

    def waits_no_more(self, connection: Connection) -> None:
        """It has."""
        for group in self._waiting:
            group.pop(connection, None)

    def gone(self, connection: Connection) -> None:
        """It counts no more. Idempotent."""
        self.waits_no_more(connection)
        if connection in self._open:
            self._open.remove(connection)
            self._of[connection.place] -= 1
            if not self._of[connection.place]:
                del self._of[connection.place]

    def cut(self) -> None:
        """End all connections."""
        for connection in list(self.protocols):
            connection.cut()


class BoundedRequest(Request):
    """A request that holds no more of its body than `MOST_BODY`."""

    caller: Caller | None = None
    _received = 0
    _give_back: Callable[[], None] | None = None

    def came_from(self, caller: Caller) -> None:
        """It is known who makes it."""
        self.caller = caller
        connection_of(self).signed_in |= caller.signed_in

    def occupy(self, places: Places) -> None:
        """Count it there from here on, until it is answered or its client gone, and no longer where it was counted. Raises ApiError."""
        given = places.take(self.caller or Caller("", "somebody"))
        self._vacate()
        self._give_back = given

    def _vacate(self) -> None:
        if self._give_back is not None:
            self._give_back()
        self._give_back = None

    def connectionLost(self, reason: Any) -> None:
        """The client has gone."""
        self._vacate()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def gotLength(self, length: int | None) -> None:
        """The headers are there. What announces far too much is not listened to."""
        self.content = BytesIO()
        self._declined = length is not None and length > MOST_DISCARDED
        if self._declined:
            connection_of(self).write(last_answer(b"413 Content Too Large", _too_large()))  # type: ignore[no-untyped-call]
            self.channel.loseConnection()

    def handleContentChunk(self, data: bytes) -> None:
        """A piece of the body."""
        self._received += len(data)
        if self._received > MOST_DISCARDED:
            connection_of(self).cut()
        elif self._received <= MOST_BODY and not self._declined:
            self.content.write(data)  # type: ignore[union-attr]

    def process(self) -> None:
        """The whole request has come."""
        connection = connection_of(self)
        connection.request_came()
        connection.in_turn(self._serve)

    def _serve(self) -> None:
        for name, value in SECURITY_HEADERS:
            self.responseHeaders.setRawHeaders(name, [value])
        if self._received > MOST_BODY:
            refuse(self, _too_large())
        elif self.clientproto == b"HTTP/1.1" and self.getHeader(b"host") is None:
            refuse(self, ApiError(400, "bad_request", "HTTP/1.1 needs a Host header"))
        else:
            super().process()  # type: ignore[no-untyped-call]

    def getRequestHostname(self) -> bytes:
        """The name in Host. HTTP/1.0 need not give one, and a UNIX socket has none either."""
        try:
            return cast(bytes, super().getRequestHostname())  # type: ignore[no-untyped-call]
        except AttributeError:
            return b"localhost"

    def finish(self) -> None:
        """The whole answer was given."""
        self._vacate()
        connection_of(self).await_request()
        super().finish()  # type: ignore[no-untyped-call]


class Channel(HTTPChannel):
    """HTTP/1.1 on one connection."""

    def headerReceived(self, line: bytes) -> bool:
        """One header. Twisted makes a number of any Content-Length, and Python refuses that where there are thousands of digits."""
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and whole(value.strip().decode("latin-1")) is None:
            error = ApiError(400, "bad_request", "Content-Length is no whole number")
            transport: Any = self.transport
            transport.write(last_answer(b"400 Bad Request", error))
            self.loseConnection()  # type: ignore[no-untyped-call]
            return False
        return cast(bool, super().headerReceived(line))  # type: ignore[no-untyped-call]


class ApiSite(Site):
    """A site without an access log (what changes anything is logged by the routes) and without sessions."""

    noisy = False
    protocol = Channel  # type: ignore[assignment] # what stands there otherwise looks for HTTP/2 first

    def __init__(self, root: IResource, clock: IReactorTime) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            root, requestFactory=BoundedRequest, parsePOSTFormSubmission=False, timeout=None, reactor=clock
        )

    def log(self, request: object) -> None:
        """Nothing: a query may hold what its sender should not have put there."""


def connection_of(request: Request) -> Connection:
    """What a request came by."""
    return cast(Connection, request.channel.transport)


def _too_large() -> ApiError:
    return ApiError(413, "too_large", f"the request's body is over {MOST_BODY} bytes")


def came_from(request: Request, caller: Caller) -> None:
    """It is known who makes this request."""
    cast(BoundedRequest, request).came_from(caller)


def occupy(request: Request, places: Places) -> None:
    """See `BoundedRequest.occupy`. Raises ApiError."""
    cast(BoundedRequest, request).occupy(places)


def last_answer(status: bytes, error: ApiError) -> bytes:
    """A whole answer to what never became a request; the connection ends with it."""
    body = error_body(error)
    head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    return head % (status, len(body)) + body


def error_body(error: ApiError) -> bytes:
    """The JSON object that tells of an error."""
    return leaving({"error": {"code": error.code, "message": error.message}})


def json_answer(request: Request, value: Any, status: int = 200) -> bytes:
    """Set what goes with a JSON answer, and give its body."""
    return _body(request, status, leaving(value))


def refuse(request: Request, error: ApiError) -> None:
    """Answer with an error, and be done."""
    request.write(error_answer(request, error))
    request.finish()


def error_answer(request: Request, error: ApiError) -> bytes:
    """Set what goes with an error, and give its body."""
    if error.status == 401:
        request.setHeader(b"www-authenticate", b'Bearer realm="zmnext"')
    return _body(request, error.status, error_body(error))


def _body(request: Request, status: int, body: bytes) -> bytes:
    request.setResponseCode(status)
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"content-length", b"%d" % len(body))
    return body


def argument(request: Request, name: str) -> str | None:
    """A value from the query; None where it is missing. Raises ApiError where it is given twice."""
    values = request.args.get(name.encode()) or []
    if not values:
        return None
    if len(values) > 1:
        raise ApiError(400, "bad_request", f"{name} is given more than once")
    text: str = values[0].decode("utf-8", "replace")
    return text


def header(request: Request, name: str) -> str | None:
    """A header's value; None where it is missing, given twice, or no text."""
    values = request.requestHeaders.getRawHeaders(name.encode()) or []
    if len(values) != 1:
        return None
    return values[0].decode("latin-1")
