"""The protocol: moves bytes, and lets nothing that a receiver does stop them."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from tests.wire.doubles import CAPTURES
from zmtwist.wire.encode import encode_bye, encode_media, encode_stats
from zmtwist.wire.frames import FrameDecoder, MediaSeen, encode_frame
from zmtwist.wire.messages import Bye, Message, Stats
from zmtwist.wire.protocol import StreamSocketProtocol


class KeepingReceiver:
    """Keeps what it is told; raises when told to."""

    def __init__(self, *, raising: bool = False) -> None:
        self.told: list[Any] = []
        self.raising = raising

    def _keep(self, what: Any) -> None:
        self.told.append(what)
        if self.raising:
            raise RuntimeError("from a receiver")

    def connected(self, protocol: StreamSocketProtocol) -> None:
        protocol.send(b"first")
        self._keep("connected")

    def message(self, message: Message) -> None:
        self._keep(message)

    def video_passed(self, seen: MediaSeen) -> None:
        self._keep(("video", seen.messages, seen.sequence))

    def lost(self, reason: str) -> None:
        self._keep(("lost", reason))


def made(receiver: KeepingReceiver, **options: Any) -> tuple[StreamSocketProtocol, StringTransport]:
    protocol, transport = StreamSocketProtocol(receiver, **options), StringTransport()
    protocol.makeConnection(transport)
    return protocol, transport


def test_a_capture_comes_through_as_it_decodes() -> None:
    receiver = KeepingReceiver()
    protocol, transport = made(receiver)
    data = (CAPTURES / "both.bin").read_bytes()
    for at in range(0, len(data), 1000):
        protocol.dataReceived(data[at : at + 1000])
    protocol.connectionLost(Failure(ConnectionDone()))
    messages = FrameDecoder().feed(data)
    assert receiver.told == ["connected", *messages, ("lost", "closed by the worker")]
    assert transport.value() == b"first"
    assert (protocol.bytes_received, protocol.messages_received) == (len(data), len(messages))
    assert transport.producerState == "producing"


def test_skipped_video_is_told_of_once_per_read_and_before_the_reads_messages() -> None:
    receiver = KeepingReceiver()
    protocol, _ = made(receiver, skip_media=True)
    frames = b"".join(encode_media(0, bytes(40), sequence=number, pts_us=0) for number in (4, 5))
    protocol.dataReceived(frames + encode_bye())
    protocol.dataReceived(encode_media(1, b"sound", sequence=1, pts_us=0) + encode_stats(1, 0))
    assert receiver.told == ["connected", ("video", 2, 5), Bye(), Stats(1, 0)]


def test_what_only_workers_are_told_is_not_read() -> None:
    for options in ({}, {"skip_media": True}):
        receiver = KeepingReceiver()
        protocol, _ = made(receiver, **options)
        protocol.dataReceived(encode_frame(0x11, b'{"cmd":"a"}') + encode_frame(0x10, b"{}") + encode_bye())
        assert receiver.told == ["connected", Bye()]
        assert protocol.decoder.skipped == {"foreign": 2}


def test_what_a_receiver_raises_is_logged_and_stops_nothing() -> None:
    caught: list[Any] = []
    globalLogPublisher.addObserver(caught.append)
    try:
        receiver = KeepingReceiver(raising=True)
        protocol, transport = made(receiver, skip_media=True)
        protocol.dataReceived(encode_media(0, b"x", sequence=1, pts_us=0) + encode_stats(1, 0) + encode_bye())
        protocol.connectionLost(Failure(ConnectionLost()))
    finally:
        globalLogPublisher.removeObserver(caught.append)
    assert receiver.told[:4] == ["connected", ("video", 1, 1), Stats(1, 0), Bye()]
    assert receiver.told[4][0] == "lost"
    assert not transport.disconnected
    assert [event["log_failure"].type for event in caught] == [RuntimeError] * 5


@pytest.mark.parametrize("chunk", [1, 1000])
def test_a_stream_that_cannot_be_trusted_is_cut_after_what_came_before(chunk: int) -> None:
    receiver = KeepingReceiver()
    protocol, transport = made(receiver)
    data = encode_stats(1, 0) + b"\xff" * 40 + encode_stats(2, 0)
    for at in range(0, len(data), chunk):
        protocol.dataReceived(data[at : at + chunk])
    assert transport.disconnected
    protocol.send(b"too late")
    protocol.connectionLost(Failure(ConnectionLost()))
    assert receiver.told[:2] == ["connected", Stats(1, 0)]
    assert receiver.told[2][1].startswith("the stream can't be trusted: header with length 4294967295")
    assert transport.value() == b"first"


def test_a_dropped_connection_tells_nothing_any_more() -> None:
    receiver = KeepingReceiver()
    protocol, transport = made(receiver)
    protocol.drop()
    assert transport.disconnected
    protocol.dataReceived(encode_stats(1, 0))
    protocol.connectionLost(Failure(ConnectionLost()))
    assert receiver.told == ["connected"]


def test_dropping_in_the_middle_of_a_read_ends_it_there() -> None:
    receiver = KeepingReceiver()
    protocol, _ = made(receiver)
    receiver.message = lambda message: (receiver.told.append(message), protocol.drop())
    protocol.dataReceived(encode_stats(1, 0) + encode_stats(2, 0))
    assert receiver.told == ["connected", Stats(1, 0)]
