"""Connections to the API: a bounded number, each with a bounded time to make its requests, and their turns at being served."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Any, cast

from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.server import Site

RECEIVE_SECONDS = 30.0
"""How long a request may take to arrive, and a connection may wait for the next one (its last answer to be read, too)."""

MOST_CONNECTIONS = 640
"""Of one endpoint. When there are as many, one that only waits gives way to each new one."""

EACH_CONNECTIONS = 320
"""Of one address."""

MOST_A_TURN = 16
"""Requests that are begun in one turn of the reactor."""


class Turns:
    """Who is served next: at once, but no more than `MOST_A_TURN` requests in each turn of the reactor, and one of each connection.

    Else clients that send many at once would hold up everything until the last one is answered.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._served: set[Connection] = set()
        self._waiting: dict[Connection, Callable[[], None]] = {}
        self._next: IDelayedCall | None = None

    def take(self, connection: Connection, serve: Callable[[], None]) -> None:
        """Serve one request of this connection, or have it wait."""
        if connection in self._served or len(self._served) >= MOST_A_TURN:
            self._waiting[connection] = serve
        else:
            self._serve(connection, serve)

    def drop(self, connection: Connection) -> None:
        """It has gone."""
        self._waiting.pop(connection, None)
        self._served.discard(connection)
        if self._next is not None and not self._served and not self._waiting:
            self._next.cancel()
            self._next = None

    def _serve(self, connection: Connection, serve: Callable[[], None]) -> None:
        self._served.add(connection)
        if self._next is None:
            self._next = self._clock.callLater(0, self._turn)
        serve()

    def _turn(self) -> None:
        self._next = None
        self._served.clear()
        for connection in list(islice(self._waiting, MOST_A_TURN)):
            if (serve := self._waiting.pop(connection, None)) is not None:
                self._serve(connection, serve)


class Connection(ProtocolWrapper):
    """One client. It is cut when no whole request has come for `RECEIVE_SECONDS`, however busily it drips.

    `place` stands for it where connections are counted, None where it is not; `signed_in` once it has made a request that was.
    """

    place: str | None = None
    signed_in = False
    _deadline: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Wait for the first request."""
        self.await_request()
        super().connectionMade()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Any = None) -> None:
        """Wait no more."""
        self.request_came()
        factory: LimitedFactory = self.factory
        factory.gone(self)
        factory.turns.drop(self)
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
        """Call `serve` when it is this connection's turn (`Turns`).

        The channel keeps what comes after a request until that one is answered: no more than one ever waits, and the order stays.
        """
        factory: LimitedFactory = self.factory
        factory.turns.take(self, serve)

    def cut(self) -> None:
        """End the connection at once, whatever is unsent."""
        factory: LimitedFactory = self.factory
        factory.cuts += 1
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
        self.turns = Turns(clock)
        self.refused = self.cuts = 0
        """Connections that there was no place for; and those that were ended from here: too slow, or in favour of another."""
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
        crowded = place is not None and self._of[place] >= self._each and not self._give_way(place)
        if crowded or (len(self._open) >= self._most and not self._give_way()):
            self.refused += 1
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
