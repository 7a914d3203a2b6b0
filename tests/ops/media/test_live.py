"""Live view: one link however many watch, which takes all that comes; each viewer gets what it can."""

from __future__ import annotations

import socket
from io import BytesIO
from types import SimpleNamespace

import av
import msgspec
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from tests.ops.media.test_fmp4 import T0, boxes
from tests.ops.served import ask, free_port
from tests.service_case import Installation
from tests.waiting import until
from zmtwist.fleet.process.state import State
from zmtwist.ops.http.errors import ApiError
from zmtwist.ops.media import service as gallery
from zmtwist.ops.media import viewer as viewers
from zmtwist.ops.media.fmp4 import Fragment, Fragmenting, Made
from zmtwist.ops.media.live import FIRST_PICTURE_SECONDS, MOST_KEPT, Broadcast, Live
from zmtwist.ops.media.viewer import Viewer
from zmtwist.sim.camera import Camera
from zmtwist.wire.messages import Keyframe, Media


class Request:
    """As much of a request as a viewer uses. Reads nothing while `full`."""

    def __init__(self):
        self.written, self.headers, self.producer = [], {}, None
        self.full = self.was_cut = False
        self.channel = self
        self.transport = self

    def setHeader(self, name, value):
        self.headers[name] = value

    def registerProducer(self, producer, streaming):
        self.producer = producer

    def unregisterProducer(self):
        self.producer = None

    def write(self, data):
        self.written.append(data)
        if self.full and self.producer is not None:
            self.producer.pauseProducing()

    def cut(self):
        self.was_cut = True


class Link:
    def __init__(self, sink):
        self.sink, self.started, self.closed = sink, False, False

    def start(self):
        self.started = True

    def close(self):
        self.closed = True


@pytest.fixture(scope="module")
def camera():
    camera = Camera("yard", (160, 120), 10, 1)
    return camera.hello(), [camera.packet(T0 + n * 100_000, 1.0 * n, None) for n in range(32)]


class InProcess:
    """What a child does, here and at once."""

    def __init__(self):
        self.killed, self._fragmenting = False, Fragmenting()

    def ask(self, message, seconds):
        assert not self.killed
        return succeed(self._fragmenting.answer(message))

    def kill(self):
        self.killed = True


@pytest.fixture
def broadcast():
    links, over = [], []

    def make_link(sink):
        links.append(Link(sink))
        return links[-1]

    made = Broadcast(3, make_link, InProcess(), over.append)
    made.start()
    made.link, made.over_told = links[0], over
    return made


def feed(broadcast, packets, first=0):
    for n, packet in enumerate(packets, first):
        broadcast.frame(Media(0, packet.keyframe, n, 0, packet.pts_us, packet.data))


def watch(broadcast, clock=None):
    request = Request()
    viewer = Viewer(request, clock or Clock(), broadcast.leave)
    broadcast.join(viewer)
    return request, viewer


def frames_in(request):
    with av.open(BytesIO(b"".join(request.written))) as container:
        return sum(1 for _ in container.decode(video=0))


def test_viewers_begin_with_the_last_keyframe_and_share_one_link(broadcast, camera):
    hello, packets = camera
    ready = broadcast.ready()
    assert broadcast.link.started
    broadcast.frame(Media(0, False, 6, 0, T0, packets[1].data))  # before HELLO, and no keyframe
    broadcast.hello(hello)
    feed(broadcast, packets[:2])
    assert ready.called
    first, _ = watch(broadcast)
    broadcast.hello(hello)  # as each SUBSCRIBE brings it
    feed(broadcast, packets[2:16], 2)
    second, viewer = watch(broadcast)
    feed(broadcast, packets[16:21], 16)
    assert first.headers[b"content-type"] == b'video/mp4; codecs="avc1.42c00a"'
    assert boxes(b"".join(second.written))[:2] == ["ftyp", "moov"]
    assert (frames_in(first), frames_in(second)) == (20, 10)  # the newest waits for its successor
    first.producer.stopProducing()
    assert not broadcast.link.closed
    viewer.ended.cancel()
    assert broadcast.link.closed and broadcast.over_told == [broadcast]
    feed(broadcast, packets[21:], 21)  # what was under way: nothing happens


def test_a_picture_at_once_where_the_worker_kept_one(broadcast, camera):
    hello, packets = camera
    ready = broadcast.ready()
    broadcast.hello(hello)
    broadcast.last_keyframe(Keyframe(0, 4, 0, T0 - 700_000, packets[0].data))
    assert ready.called
    request, _ = watch(broadcast)
    assert frames_in(request) == 1
    feed(broadcast, packets[3:20], 3)  # those up to the next keyframe need others that nobody has
    assert frames_in(request) == 1 + 1 + (20 - 10) - 1


def test_frames_that_are_missing_are_passed_over_up_to_a_keyframe(broadcast, camera):
    hello, packets = camera
    broadcast.ready()
    broadcast.hello(hello)
    feed(broadcast, packets[:5])
    request, _ = watch(broadcast)
    feed(broadcast, packets[6:14], 6)
    feed(broadcast, packets[14:16], 14)
    assert broadcast.frames == 5 + 6
    assert frames_in(request) == 10


def test_a_slow_viewer_misses_what_it_can_not_take_and_nobody_else_does(broadcast, camera, monkeypatch):
    hello, packets = camera
    monkeypatch.setattr(
        viewers, "MOST_WAITING", sum(len(packet.data) + 104 + viewers.FRAME_BYTES for packet in packets[:6])
    )
    broadcast.ready()
    broadcast.hello(hello)
    feed(broadcast, packets[:2])
    clock = Clock()
    slow, viewer = watch(broadcast, clock)
    quick, _ = watch(broadcast)
    slow.full = True
    feed(broadcast, packets[2:31], 2)
    assert broadcast.frames == 31 and frames_in(quick) == 30
    assert viewer.missed > 0
    slow.full = False
    slow.producer.resumeProducing()
    feed(broadcast, packets[31:], 31)
    kept = frames_in(slow)
    assert kept + viewer.missed == 31
    assert broadcast.missed == {"child": 0, "viewer": viewer.missed}
    assert not slow.was_cut


def test_a_viewer_that_takes_nothing_is_cut_in_the_end():
    request, clock = Request(), Clock()
    viewer = Viewer(request, clock, lambda _: None)
    viewer.begin("video/mp4", b"head", [])
    viewer.offer(Fragment(b"no beginning", False))
    assert request.written == [b"head"]
    request.full = True
    for _ in range(int(viewers.STUCK_SECONDS) + 2):
        clock.advance(1)
        viewer.offer(Fragment(b"x" * 100_000, True))
    assert request.was_cut and viewer.missed > 0
    assert sum(map(len, request.written)) < 200_000


def test_another_stream_ends_it_for_all(broadcast, camera):
    hello, packets = camera
    broadcast.ready()
    broadcast.hello(hello)
    feed(broadcast, packets[:3])
    _, viewer = watch(broadcast)
    broadcast.hello(Camera("yard", (320, 240), 10, 1).hello())
    assert viewer.ended.called and broadcast.link.closed


def test_who_waits_hears_why_there_is_nothing(broadcast):
    failed = []
    broadcast.ready().addErrback(lambda failure: failed.append(failure.value))
    impatient = broadcast.ready().addErrback(lambda _: None)
    impatient.cancel()
    broadcast.lost("connection refused")
    (error,) = failed
    assert isinstance(error, ApiError)
    assert (error.code, "connection refused" in error.message) == ("no_picture", True)


def test_what_was_left_out_is_counted_when_it_is_over_too(broadcast):
    live = Live(Clock(), str)
    live._broadcasts[3], broadcast._over = broadcast, live._over
    for _ in range(2):
        watch(broadcast)[1].offer(Fragment(b"no beginning", False))
    broadcast._muxer._waiting.missed = 5
    assert live.missed == {"child": 5, "viewer": 2}
    broadcast.end(ApiError(503, "no_picture", "over"))
    assert (live.missed, live.links) == ({"child": 5, "viewer": 2}, 0)


def test_a_camera_that_gives_no_picture_in_time(monkeypatch, broadcast):
    clock = Clock()
    live = Live(clock, str)
    monkeypatch.setattr(live, "_broadcast", lambda _monitor_id: broadcast)
    waiting = Deferred.fromCoroutine(live.watch(Request(), 3))
    clock.advance(FIRST_PICTURE_SECONDS)
    (error,) = waiting.addErrback(lambda failure: [failure.value]).result
    assert (error.status, error.code, "none has come for 15 s" in error.message) == (503, "no_picture", True)
    assert (broadcast.link.closed, broadcast._muxer._child.killed) == (True, True)


@pytest.mark.parametrize(
    ("told", "status", "code"),
    [
        (Made(over="unshowable", why="it has \x1b[31m parts"), 409, "not_showable"),
        (Made(over="clock"), 503, "no_picture"),
        (Made(over="failed", why="SIGSEGV"), 503, "no_picture"),
    ],
)
def test_what_the_child_can_not_show_ends_it_for_all(broadcast, camera, told, status, code):
    hello, packets = camera
    failed = []
    broadcast.ready().addErrback(lambda failure: failed.append(failure.value))
    broadcast._muxer._child._fragmenting = SimpleNamespace(answer=lambda _message: msgspec.msgpack.encode(told))
    broadcast.hello(hello)
    feed(broadcast, packets[:2])
    (error,) = failed
    assert (error.status, error.code, "\x1b" in error.message) == (status, code, False)
    assert broadcast.link.closed and broadcast.over_told == [broadcast]


def test_a_long_group_of_pictures_is_not_kept_without_bound(broadcast, camera):
    hello, packets = camera
    broadcast.ready()
    broadcast.hello(hello)
    large = packets[1].data + len(bytes(MOST_KEPT // 8)).to_bytes(4, "big") + bytes(MOST_KEPT // 8)
    feed(broadcast, packets[:1])
    for n in range(1, 14):
        broadcast.frame(Media(0, False, n, 0, T0 + n * 100_000, large))
    assert sum(len(fragment.data) for fragment in broadcast._kept) == 0
    late, _ = watch(broadcast)
    assert len(late.written) == 1
    feed(broadcast, packets[20:23], 20)
    assert len(late.written) == 3


# With a real worker, over real sockets.


def _open(port, token):
    client = socket.create_connection(("127.0.0.1", port))
    client.settimeout(20)
    client.sendall(
        f"GET /api/monitors/1/live.mp4 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    )
    return client


def _read(client, size):
    data = b""
    while len(data) < size:
        more = client.recv(65536)
        assert more, data[:500]
        data += more
    return data


@pytest_twisted.ensureDeferred
async def test_a_viewer_that_does_not_read_holds_up_neither_the_worker_nor_others(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "CHECK_SECONDS", 0.5)
    port = free_port()
    zm = Installation.make(tmp_path)
    zm.monitor(1, Width=640, Height=480)
    zm.monitor(2)
    zm.execute(
        "INSERT INTO Zones (Id, MonitorId, Name, Type, Coords) VALUES (1, 2, 'Neighbour', 'Privacy', '0,0 9,0 9,9')"
    )
    service = zm.service(
        f'[api]\nweb = "tcp:{port}:interface=127.0.0.1"', tuning={"ZM_CORE_SIM": "fps=25", "ZM_CORE_SIM_2": "fps=5"}
    )
    service.startService()
    clients = []
    try:
        await until(lambda: service.fleet and [s.state for s in service.fleet.status()] == [State.LIVE] * 2)
        token = (tmp_path / "state" / "api.token").read_text().strip()
        live, watched_by = service.api.api.gallery.live, service.api.api._limits.viewers
        clients = [await deferToThread(_open, port, token) for _ in range(3)]
        read = [await deferToThread(_read, client, 4_000) for client in clients[:2]]
        assert all(b'content-type: video/mp4; codecs="avc1.' in data.lower() for data in read)
        assert (len(watched_by), live.links) == (3, 1)
        # The third has read nothing; the second stops reading now: frames go on coming, all of them.
        (broadcast,) = live._broadcasts.values()
        frames = broadcast.frames
        await deferToThread(_read, clients[0], 4_000)
        await until(lambda: broadcast.frames > frames + 20)
        assert service.fleet.status()[0].state is State.LIVE
        zm.execute(
            "INSERT INTO Zones (Id, MonitorId, Name, Type, Coords) VALUES (2, 1, 'New', 'Privacy', '0,0 9,0 9,9')"
        )
        await until(lambda: live.links == 0)
        zm.execute("DELETE FROM Zones WHERE Id = 2")

        at = f"{tmp_path}/run/api.sock"
        private = await ask(at, "/api/monitors/2/live.mp4")
        assert (private.status, private.code) == (409, "private")
        clients.append(await deferToThread(_open, port, token))
        await until(lambda: (len(watched_by), live.links) == (1, 1))
        clients[-1].close()
        await until(lambda: (len(watched_by), live.links) == (0, 0))
        service.fleet.hold(1)
        await until(lambda: service.fleet.status()[0].state is State.HELD)
        held = await ask(at, "/api/monitors/1/live.mp4")
        assert (held.status, held.code, "HELD" in held.json["error"]["message"]) == (503, "no_picture", True)
        assert (await ask(at, "/api/monitors/9/live.mp4")).status == 404
    finally:
        for client in clients:
            client.close()
        await service.stopService()
