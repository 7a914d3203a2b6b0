"""HTTP under the routes: bounded requests, JSON answers, the headers that every answer carries."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any, cast

from twisted.internet.interfaces import IReactorTime
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from zmtwist.ops.http.client_limits import Caller, Places
from zmtwist.ops.http.connections import Connection
from zmtwist.ops.http.errors import ApiError
from zmtwist.untrusted.guard import leaving
from zmtwist.untrusted.integers import whole

MOST_BODY = 16 * 1024
"""Bytes of a request's body that are taken; no request needs one at all."""

MOST_DISCARDED = 1024 * 1024
"""Bytes of a body too large that are read for politeness' sake, so that the client gets to read its answer."""

SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


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
