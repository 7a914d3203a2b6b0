"""A proxy before a MySQL server that loses what it is told to lose."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from twisted.internet.endpoints import UNIXClientEndpoint, UNIXServerEndpoint
from twisted.internet.protocol import Factory, Protocol

How = Literal["before", "after", "silent"]
"""Cut the line before the server hears the command; when it answers; or let it never hear it, with the line left open."""


class FaultyProxy:
    """Listens on one UNIX socket and passes on to another. `arm` it for one fault."""

    def __init__(self, reactor: Any, server: Path, listen: Path) -> None:
        self.reactor = reactor
        self.server = server
        self.path = listen
        self.lines: set[_Client] = set()
        self.refuse = False
        self._nth = -1
        self._match = b""
        self._how: How = "before"
        self.hit = False

    async def start(self) -> None:
        """Listen."""
        factory = Factory.forProtocol(_Client)
        factory.proxy = self
        self._port = await UNIXServerEndpoint(self.reactor, str(self.path)).listen(factory)

    async def stop(self) -> None:
        """Close everything."""
        await self._port.stopListening()
        for line in list(self.lines):
            line.cut()

    def arm(self, how: How, *, nth: int = 0, match: bytes = b"") -> None:
        """Lose the command that is the `nth` from now among those that begin with `match` (with their command byte)."""
        self._how, self._nth, self._match, self.hit = how, nth, match, False

    def fault(self, command: bytes) -> How | None:
        """Called for each command that passes: what to do to it."""
        if self._nth < 0 or not command.startswith(self._match):
            return None
        self._nth -= 1
        if self._nth >= 0:
            return None
        self.hit = True
        return self._how


class _Client(Protocol):
    """The client's side: reads commands packet by packet."""

    def connectionMade(self) -> None:
        self.proxy: FaultyProxy = self.factory.proxy
        self.waiting = b""
        self.to_server: Any = None
        self.how: How | None = None
        self.proxy.lines.add(self)
        if self.proxy.refuse:
            self.transport.abortConnection()
            return
        self.transport.pauseProducing()
        factory = Factory.forProtocol(_Server)
        factory.client = self
        connecting = UNIXClientEndpoint(self.proxy.reactor, str(self.proxy.server)).connect(factory)
        connecting.addCallbacks(self._connected, lambda failure: self.transport.abortConnection())

    def _connected(self, server: Any) -> None:
        self.to_server = server.transport
        self.transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        self.waiting += data
        while len(self.waiting) >= 4:
            end = 4 + int.from_bytes(self.waiting[:3], "little")
            if len(self.waiting) < end:
                return
            packet, self.waiting = self.waiting[:end], self.waiting[end:]
            how = self.proxy.fault(packet[4:]) if packet[3] == 0 else None
            if how == "before":
                self.cut()
                return
            if how == "silent":
                return
            self.how = how or self.how
            self.to_server.write(packet)

    def cut(self) -> None:
        """Drop both sides."""
        self.transport.abortConnection()
        if self.to_server is not None:
            self.to_server.abortConnection()

    def connectionLost(self, reason: Any = None) -> None:
        self.proxy.lines.discard(self)
        # A line that fell silent stays open at the server's side, as one does when a router between is gone.
        if self.to_server is not None and not (self.proxy.hit and self.proxy._how == "silent"):
            self.to_server.loseConnection()


class _Server(Protocol):
    def dataReceived(self, data: bytes) -> None:
        client = self.factory.client
        if client.how == "after":
            client.cut()
        else:
            client.transport.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        self.factory.client.transport.loseConnection()
