"""Moves bytes between a transport and the decoder, and hands what comes to a receiver. Decides nothing itself."""

from __future__ import annotations

from collections import Counter
from typing import Any
from typing import Protocol as TypingProtocol

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from zmtwist.wire.frames import FrameDecoder, MediaSeen, UntrustedStream
from zmtwist.wire.messages import Message, Stream
from zmtwist.wire.read_budget import Turns

log = Logger()
carry_on = log.failureHandler("telling the receiver of a stream")
"""Logs what a receiver raises, and goes on."""


class StreamReceiver(TypingProtocol):
    """What a `StreamSocketProtocol` tells. An exception in any of these is logged and does not stop the stream."""

    def connected(self, protocol: StreamSocketProtocol) -> None:
        """The connection is made; what is sent here goes out first."""

    def message(self, message: Message) -> None:
        """One message came."""

    def video_passed(self, seen: MediaSeen) -> None:
        """One read passed over video; `seen` tells of the last access unit. Before the read's messages; only where media is skipped."""

    def lost(self, reason: str) -> None:
        """The connection is gone, for good. `reason` is for people."""


READ_BYTES = 4096
"""Read at once from an events link: a few dozen events, some half a millisecond's work."""


class StreamSocketProtocol(Protocol):
    """A client's end of a stream socket. It never stops reading: a worker that can't write stops its camera (doc/reference/wire.md). With
    `turns`, it waits for its turn where hundreds of sockets have something to say at once.

    A stream that can't be trusted any further is dropped at once, and is `untrusted` from then on. `skipped` counts as
    `FrameDecoder.skipped` does; pass one in to go on counting from an earlier connection.
    """

    def __init__(
        self,
        receiver: StreamReceiver,
        *,
        skip_media: bool = False,
        skipped: Counter[str] | None = None,
        turns: Turns | None = None,
    ) -> None:
        self._skip_media = skip_media
        self.decoder = FrameDecoder(client=True, skip_media=skip_media, skipped=skipped)
        self.untrusted = False
        self.bytes_received = 0
        self.messages_received = 0
        self._receiver: StreamReceiver | None = receiver
        self._fault: str | None = None
        self._turns = turns
        self._unread = b""
        self._behind = False

    def connectionMade(self) -> None:
        """Twisted calls this when the connection is there."""
        transport: Any = self.transport
        if self._skip_media and isinstance(transport, FileDescriptor):
            # The reactor reads every socket once in a turn: this bounds what a flood on all of them costs before anything else is done.
            transport.bufferSize = READ_BYTES
        if self._receiver is not None:
            with carry_on:
                self._receiver.connected(self)

    def dataReceived(self, data: bytes) -> None:
        """Twisted calls this with what was read."""
        if self._turns is None:
            self._read(data)
            return
        self._unread += data
        if not self._turns.take(self._catch_up):
            self._behind = True
            self._transport.pauseProducing()

    def _catch_up(self) -> None:
        data, self._unread = self._unread, b""
        try:
            if data:
                self._read(data)
        finally:
            if self._behind and self._fault is None:
                self._behind = False
                self._transport.resumeProducing()

    def _read(self, data: bytes) -> None:
        if self._fault is not None:
            return
        self.bytes_received += len(data)
        video = self.decoder.media[Stream.VIDEO]
        passed = video.messages
        try:
            messages = self.decoder.feed(data)
        except UntrustedStream as untrusted:
            messages = untrusted.messages
            self._fault = f"the stream can't be trusted: {untrusted}"
            self.untrusted = True
            if untrusted.__cause__ is not None:
                log.failure("what a worker said could not be decoded", Failure(untrusted.__cause__))
        self.messages_received += len(messages)
        if video.messages != passed and self._receiver is not None:
            # First, so that nothing of the kind follows a BYE.
            with carry_on:
                self._receiver.video_passed(video)
        for message in messages:
            if self._receiver is not None:
                with carry_on:
                    self._receiver.message(message)
        if self._fault is not None:
            self._abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Twisted calls this when the connection is gone."""
        self._catch_up()
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return
        if self._fault is None:
            self._fault = "closed by the worker" if reason.check(ConnectionDone) else reason.getErrorMessage()
        with carry_on:
            receiver.lost(self._fault)

    def send(self, frame: bytes) -> None:
        """Write one encoded message; nothing happens where the connection is gone."""
        if self.transport is not None and self._fault is None:
            self.transport.write(frame)

    def drop(self) -> None:
        """Cut the connection at once; the receiver is told nothing any more."""
        self._receiver = None
        self._fault = "dropped by us"
        self._abort()

    def _abort(self) -> None:
        if self.transport is not None:
            self._transport.abortConnection()

    @property
    def _transport(self) -> Any:
        return self.transport
