"""The connection for video: it asks for video first thing, hands on what is video, and says once that it has ended."""

from __future__ import annotations

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.protocol import Factory, Protocol

from tests.waiting import until
from zmtwist.wire.encode import encode_bye, encode_hello, encode_media, encode_stats
from zmtwist.wire.frames import FrameDecoder
from zmtwist.wire.messages import Hello, Subscribe
from zmtwist.wire.video_link import VideoLink


class Worker(Protocol):
    def connectionMade(self):
        self.decoder, self.heard, self.gone = FrameDecoder(), [], False
        self.factory.clients.append(self)

    def dataReceived(self, data):
        self.heard += self.decoder.feed(data)

    def connectionLost(self, reason=None):
        self.gone = True


class Sink:
    def __init__(self):
        self.told = []

    def hello(self, hello):
        self.told.append(("hello", hello.codec_id))

    def last_keyframe(self, keyframe):
        self.told.append(("kept", keyframe.payload))

    def frame(self, media):
        self.told.append(("frame", media.sequence, media.payload))

    def lost(self, reason):
        self.told.append(("lost", reason))


@pytest_twisted.ensureDeferred
async def test_video_and_nothing_else(tmp_path):
    path, factory = str(tmp_path / "w.sock"), Factory.forProtocol(Worker)
    factory.clients = []
    port = await UNIXServerEndpoint(reactor, path).listen(factory)
    try:
        sink = Sink()
        link = VideoLink(reactor, path, sink)
        link.start()
        await until(lambda: factory.clients and factory.clients[0].heard)
        (worker,) = factory.clients
        assert worker.heard == [Subscribe(video=True, audio=False, events=False)]
        video = encode_media(0, b"v", sequence=7, pts_us=1, keyframe=True)
        audio = encode_media(1, b"a", sequence=3, pts_us=1)
        hello = encode_hello(Hello(0, 27)) + encode_hello(Hello(1, 86018))
        worker.transport.write(hello + audio + video + encode_stats(1, 2) + encode_bye())
        await until(lambda: len(sink.told) == 2)
        assert sink.told == [("hello", 27), ("frame", 7, b"v")]
        worker.transport.loseConnection()
        await until(lambda: len(sink.told) == 3)
        assert sink.told[-1][0] == "lost"
        link.close()

        quiet = Sink()
        other = VideoLink(reactor, path, quiet)
        other.start()
        await until(lambda: len(factory.clients) == 2)
        other.close()
        other.close()
        await until(lambda: factory.clients[1].gone)
        assert quiet.told == []
    finally:
        await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_nobody_there(tmp_path):
    sink, quiet = Sink(), Sink()
    VideoLink(reactor, str(tmp_path / "none.sock"), sink).start()
    given_up = VideoLink(reactor, str(tmp_path / "none.sock"), quiet)
    given_up.start()
    given_up.close()
    await until(lambda: sink.told)
    assert sink.told[0][0] == "lost" and "No such file" in sink.told[0][1]
    assert quiet.told == []
