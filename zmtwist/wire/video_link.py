"""A second connection to a worker, for its video alone: events stay on the link that carries the handshake (doc/reference/wire.md)."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.interfaces import IReactorUNIX

from zmtwist.wire.encode import encode_subscribe
from zmtwist.wire.messages import Hello, Keyframe, Media, Message, Stream, Subscribe
from zmtwist.wire.protocol import StreamSocketProtocol

CONNECT_SECONDS = 3.0
"""For one attempt; there is only one."""


class VideoSink(Protocol):
    """What hears of the video. Calls are quick: the next is not read before one has returned."""

    def hello(self, hello: Hello) -> None:
        """The codec's parameters; again whenever the worker says them."""

    def last_keyframe(self, keyframe: Keyframe) -> None:
        """What the worker kept for those who come between two keyframes."""

    def frame(self, media: Media) -> None:
        """One access unit."""

    def lost(self, reason: str) -> None:
        """The connection is gone, and not by our own `close`. The last call."""


class VideoLink:
    """One connection, made once: whoever wants another makes another link. It reads whatever comes, however slow its sink's audience."""

    def __init__(self, reactor: IReactorUNIX, path: str, sink: VideoSink) -> None:
        self._endpoint = UNIXClientEndpoint(reactor, path, timeout=CONNECT_SECONDS)
        self._sink = sink
        self._protocol: StreamSocketProtocol | None = None
        self._attempt: Deferred[Any] | None = None

    def start(self) -> None:
        """Connect. Call it once."""
        self._protocol = protocol = StreamSocketProtocol(self)
        self._attempt = connectProtocol(self._endpoint, protocol)
        self._attempt.addErrback(lambda failure: self.lost(failure.getErrorMessage()))

    def close(self) -> None:
        """Let go of it; the sink is told nothing any more. Idempotent."""
        protocol, self._protocol = self._protocol, None
        if protocol is not None and self._attempt is not None:
            self._attempt.cancel()
            protocol.drop()

    # What the protocol tells.

    def connected(self, protocol: StreamSocketProtocol) -> None:
        """Ask for video, and for nothing else."""
        protocol.send(encode_subscribe(Subscribe(video=True, audio=False, events=False)))

    def message(self, message: Message) -> None:
        """Hand on what is of the video."""
        if self._protocol is None:
            return
        match message:
            case Media(stream=Stream.VIDEO):
                self._sink.frame(message)
            case Hello(stream=Stream.VIDEO):
                self._sink.hello(message)
            case Keyframe(stream=Stream.VIDEO):
                self._sink.last_keyframe(message)
            case _:
                pass

    def video_passed(self, seen: object) -> None:
        """Never called: nothing is passed over here."""

    def lost(self, reason: str) -> None:
        """The end, by the worker or because there was no way to it."""
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            self._sink.lost(reason)
