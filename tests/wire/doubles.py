"""Doubles for the tests of a link: what it tells is kept, and the worker's end is played by hand."""

from __future__ import annotations

import socket
from pathlib import Path
from struct import pack
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from zmtwist.interfaces import IEventSink, ILinkObserver
from zmtwist.wire.frames import FrameDecoder
from zmtwist.wire.messages import Command, Event, Hello, Message, Subscribe

CAPTURES = Path(__file__).parent.parent / "data" / "captures"


@implementer(IEventSink)
class KeepingSink:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.hellos: list[Hello] = []
        self.rates: list[tuple[float, float]] = []
        self.gaps: list[int] = []
        self.received_at: list[int] = []
        self.fault: Exception | None = None

    def hello(self, monitor_id: int, hello: Hello) -> None:
        self.hellos.append(hello)

    def event(self, monitor_id: int, event: Event, at_us: int) -> None:
        self.events.append(event)
        self.received_at.append(at_us)
        if self.fault is not None:
            raise self.fault

    def rate(self, monitor_id: int, frames_per_second: float, bytes_per_second: float) -> None:
        self.rates.append((frames_per_second, bytes_per_second))

    def gap(self, monitor_id: int, missed: int) -> None:
        self.gaps.append(missed)

    def logged_opening(self, monitor_id: int, token: str, cause: str, at_us: int) -> None:
        raise NotImplementedError

    def adopted(self, monitor_id: int) -> None:
        raise NotImplementedError

    def clip_end(self, monitor_id: int) -> Deferred[None]:
        raise NotImplementedError

    def frame_refused(self, monitor_id: int) -> None:
        raise NotImplementedError

    def failing(self, monitor_id: int) -> None:
        raise NotImplementedError

    def gone(self, monitor_id: int) -> None:
        raise NotImplementedError


@implementer(ILinkObserver)
class KeepingObserver:
    """Keeps what it is told, in order."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def linked(self) -> None:
        self.told.append("linked")

    def media(self, frames_per_second: float | None) -> None:
        self.told.append(("media", frames_per_second))

    def stats(self) -> None:
        self.told.append("stats")

    def stream(self, stream_id: int, connected: bool) -> None:
        self.told.append(("stream", stream_id, connected))

    def bye(self) -> None:
        self.told.append("bye")

    def unlinked(self, reason: str) -> None:
        self.told.append(("unlinked", reason))


class WorkerEnd:
    """The worker's end of one connection: says what it is told to, and reads what the link wrote."""

    def __init__(self, protocol: Any, pid: int = 0) -> None:
        self.protocol = protocol
        self.transport = StringTransport()
        self.transport.getHandle = lambda: self
        self.pid = pid
        self.decoder = FrameDecoder()
        self.heard: list[Message] = []
        protocol.makeConnection(self.transport)

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        """What the kernel knows of the worker: its pid, uid and gid."""
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_PEERCRED)
        return pack("3i", self.pid, 0, 0)

    def say(self, *frames: bytes) -> None:
        self.protocol.dataReceived(b"".join(frames))

    def hear(self) -> list[Message]:
        """What the link has written since the last time."""
        written = self.transport.value()
        self.transport.clear()
        messages = self.decoder.feed(written)
        self.heard.extend(messages)
        return messages

    def commands(self) -> list[Command]:
        return [message for message in self.hear() if isinstance(message, Command)]

    def subscriptions(self) -> list[Subscribe]:
        return [message for message in self.hear() if isinstance(message, Subscribe)]

    def close(self, reason: Exception | None = None) -> None:
        self.protocol.connectionLost(Failure(reason or ConnectionDone()))
