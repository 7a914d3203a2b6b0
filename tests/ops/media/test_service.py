"""Clips and pictures over HTTP: parts of files, tickets, and no way out of the storage."""

from __future__ import annotations

import http.client
import os
import socket
from io import BytesIO
from types import SimpleNamespace

import attrs
import av
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from tests.media.clips import record
from tests.media.stand_ins import stand_in
from tests.ops.media.test_fmp4 import boxes
from tests.ops.served import Nothing, Served, ask, free_port
from tests.service_case import Installation
from tests.waiting import until
from zmtwist.config.database_url import parse_url
from zmtwist.config.site import Site
from zmtwist.ops.media import file_response as filebody
from zmtwist.ops.media.event_media import Library
from zmtwist.ops.media.file_response import Outside, open_inside, read_at
from zmtwist.sim.camera import Camera
from zmtwist.zm.db.pool import Database

CLIP = bytes(n * 7 % 256 for n in range(300_000))


class Running(Nothing):
    def __init__(self, directory):
        self.database = Database(reactor, parse_url(f"sqlite:///{directory}/zm.db"))


@attrs.define
class Shop:
    zm: Installation
    served: Served

    def event(
        self, event_id, video="{}-video.mkv", *, content=CLIP, scheme="Medium", storage=1, start="2026-03-29 14:00:07"
    ):
        video = video.format(event_id)
        self.zm.execute(
            "INSERT INTO Events (Id, MonitorId, StorageId, Name, Cause, StartDateTime, EndDateTime, Width, Height, DefaultVideo,"
            " Orientation, Scheme) VALUES (?, 3, ?, 'x', 'y', ?, ?, 16, 16, ?, 'ROTATE_0', ?)",
            event_id, storage, start, start, video, scheme,
        )  # fmt: skip
        place = {"Medium": f"3/2026-03-29/{event_id}", "Shallow": f"3/{event_id}", "Deep": "3/26/03/29/14/00/07"}[
            scheme
        ]
        directory = self.zm.storage / place
        directory.mkdir(parents=True, exist_ok=True)
        if content is not None:
            (directory / video).write_bytes(content)
        return directory

    @property
    def sending(self):
        return self.served.service._limits.files

    def clip(self, event_id, **headers):
        return ask(self.served.path, f"/api/events/{event_id}/clip", **headers)


@pytest_twisted.async_yield_fixture
async def shop(tmp_path):
    zm = Installation.make(tmp_path)
    running = Running(tmp_path)
    running.database.startService()
    served = await Served.on(tmp_path, web=True, running=running)
    yield Shop(zm, served)
    await served.service.stopService()
    await running.database.stopService()


@pytest_twisted.ensureDeferred
async def test_a_clip_whole_and_in_parts(shop):
    for event_id, scheme in ((1, "Medium"), (2, "Shallow"), (3, "Deep")):
        shop.event(event_id, scheme=scheme)
        whole = await shop.clip(event_id)
        assert (whole.status, whole.body) == (200, CLIP)
    assert (whole.headers["content-type"], whole.headers["accept-ranges"]) == ("video/x-matroska", "bytes")
    part = await shop.clip(1, Range="bytes=250000-")
    assert (part.status, part.body) == (206, CLIP[250_000:])
    assert part.headers["content-range"] == "bytes 250000-299999/300000"
    assert (await shop.clip(1, Range="bytes=-5")).body == CLIP[-5:]
    beyond = await shop.clip(1, Range="bytes=300000-")
    assert (beyond.status, beyond.code, beyond.headers["content-range"]) == (416, "no_such_range", "bytes */300000")
    tag = whole.headers["etag"]
    assert (await shop.clip(3, Range="bytes=0-9", If_Range=tag)).status == 206
    assert (await shop.clip(3, Range="bytes=0-9", If_Range='"other"')).status == 200
    head = await ask(shop.served.path, "/api/events/1/clip", "HEAD", Range="bytes=5-6")
    assert (head.status, head.headers["content-length"], head.body) == (206, "2", b"")
    shop.event(4, "event.mp4", content=b"")
    empty = await shop.clip(4)
    assert (empty.status, empty.headers["content-type"], empty.body) == (200, "video/mp4", b"")


@pytest_twisted.ensureDeferred
async def test_nothing_beyond_the_storage(shop, tmp_path):
    (tmp_path / "secret.mkv").write_bytes(b"secret")
    inside = shop.event(1)
    (inside / "1-video.mkv").unlink()
    (inside / "1-video.mkv").symlink_to(tmp_path / "secret.mkv")
    assert ((await shop.clip(1)).status, (await shop.clip(1)).code) == (404, "no_file")
    for event_id, video in (
        (10, "../../../../secret.mkv"),
        (11, f"{tmp_path}/secret.mkv"),
        (12, ".hidden.mkv"),
        (13, ""),
    ):
        shop.event(event_id, "{}-video.mkv")
        shop.zm.execute("UPDATE Events SET DefaultVideo = ? WHERE Id = ?", video, event_id)
        answer = await shop.clip(event_id)
        assert (answer.status, answer.code) == (404, "no_file"), video
    elsewhere = shop.event(20)
    (elsewhere / "20-video.mkv").unlink()
    elsewhere.rmdir()
    elsewhere.symlink_to(tmp_path)
    (tmp_path / "20-video.mkv").write_bytes(b"secret")
    assert (await shop.clip(20)).status == 404
    shop.event(21, content=None)
    os.mkfifo(shop.zm.storage / "3" / "2026-03-29" / "21" / "21-video.mkv")
    assert (await shop.clip(21)).status == 404
    shop.event(22, "{}.txt")
    assert (await shop.clip(22)).code == "no_file"
    missing = await shop.clip(99)
    assert (missing.status, missing.code) == (404, "no_such_event")
    for path in (
        "../1/clip",
        "1/../../../etc/passwd",
        "%2e%2e/clip",
        "1%2f..%2fclip",
        "-1/clip",
        "1/passwd.jpg",
        "1/..%2fx.jpg",
    ):
        answer = await ask(shop.served.path, f"/api/events/{path}")
        assert answer.status == 404, path


@pytest_twisted.ensureDeferred
async def test_pictures_where_they_were_made(shop):
    directory = shop.event(1)
    none = await ask(shop.served.path, "/api/events/1/snapshot.jpg")
    assert (none.status, none.body) == (204, b"")
    (directory / "snapshot.jpg").write_bytes(b"\xff\xd8 picture")
    there = await ask(shop.served.path, "/api/events/1/snapshot.jpg")
    assert (there.status, there.headers["content-type"], there.body) == (200, "image/jpeg", b"\xff\xd8 picture")
    assert there.headers["cache-control"] == "no-store"
    assert (await ask(shop.served.path, "/api/events/9/alarm.jpg")).status == 404


@pytest_twisted.ensureDeferred
async def test_a_clip_as_mp4(shop, tmp_path):
    camera = Camera("yard", (160, 120), 10, 1)
    packets = [camera.packet(n * 100_000, 1.0 * n, None) for n in range(25)]
    path = shop.event(1) / "1-video.mkv"
    clip = camera.clip(str(path))
    for packet in packets:
        clip.write(packet, packet.pts_us)
    clip.close()
    at = "/api/events/{}/clip.mp4"
    answer = await ask(shop.served.path, at.format(1))
    assert (answer.status, answer.headers["content-type"]) == (200, 'video/mp4; codecs="avc1.42c00a"')
    assert set(boxes(answer.body)) == {"ftyp", "moov", "moof", "mdat"}
    with av.open(BytesIO(answer.body)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 25
    path.write_bytes(path.read_bytes()[:-400])
    cut_short = await ask(shop.served.path, at.format(1))
    with av.open(BytesIO(cut_short.body)) as container:
        assert 20 <= sum(1 for _ in container.decode(video=0)) < 25
    shop.event(2)
    junk = await ask(shop.served.path, at.format(2))
    assert (junk.status, junk.code) == (409, "not_showable")
    shop.event(3, content=None)
    assert (await ask(shop.served.path, at.format(3))).code == "no_file"
    head = await ask(shop.served.path, at.format(1), "HEAD")
    assert (head.status, head.headers["content-type"], head.body) == (200, 'video/mp4; codecs="avc1.42c00a"', b"")
    of_zoneminders_own = shop.event(4, "event.mp4", content=answer.body)
    again = await ask(shop.served.path, at.format(4))
    with av.open(BytesIO(again.body)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 25
    assert of_zoneminders_own.is_dir()


@pytest_twisted.ensureDeferred
async def test_a_clip_that_names_others_or_is_no_file_is_not_shown(shop, tmp_path, monkeypatch):
    """FFmpeg knows formats that are lists of files and hosts to read; what is no file may have whoever opens it wait for ever."""
    secret = record(tmp_path / "secret.mkv")
    os.mkfifo(tmp_path / "fifo")
    sdp = (
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {} RTP/AVP 96\na=rtpmap:96 H264/90000\n"
    )
    for event_id, content in enumerate(
        (
            f"ffconcat version 1.0\nfile '{secret}'\n",
            f"ffconcat version 1.0\nfile '{os.path.relpath(secret)}'\n",
            f"ffconcat version 1.0\nfile '{os.path.relpath(tmp_path / 'fifo')}'\n",
            f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n",
            sdp.format(free_port()),
        ),
        1,
    ):
        shop.event(event_id, content=content.encode())
        answer = await ask(shop.served.path, f"/api/events/{event_id}/clip.mp4")
        assert (answer.status, answer.code) == (409, "not_showable"), content
    os.mkfifo(shop.event(10, content=None) / "10-video.mkv")
    with socket.socket(socket.AF_UNIX) as listening, monkeypatch.context() as patched:
        patched.chdir(shop.event(11, content=None))
        listening.bind("11-video.mkv")
    for event_id in (10, 11):
        answer = await ask(shop.served.path, f"/api/events/{event_id}/clip.mp4")
        assert (answer.status, answer.code) == (404, "no_file")


@pytest.mark.parametrize(
    ("behaviour", "status"),
    [
        ("os.abort()", 409),
        ("time.sleep(100)", 409),
        ("say(b'\\xff')", 409),
        ("say({'codec': 'x'}) if 'n' not in globals() else os.abort()\nn = 1", 409),
        ("say({'problem': 'no'})", 409),
        ("say({'codec': '\"><script>'})", 409),
        (
            "n = globals().get('n', -1) + 1\nos.abort() if n == 3 else say(b'piece' if n else {'codec': 'x'})",
            200,
        ),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_process_that_fails_on_a_clip_costs_that_answer(shop, monkeypatch, behaviour, status):
    shop.event(1)
    with monkeypatch.context() as patched:
        if "sleep" in behaviour:
            patched.setattr(filebody, "PIECE_SECONDS", 1.5)
        patched.setattr(filebody, "command", lambda _module: stand_in(behaviour))
        if status == 200:  # what came is no whole answer
            with pytest.raises(http.client.IncompleteRead):
                await ask(shop.served.path, "/api/events/1/clip.mp4")
        else:
            answer = await ask(shop.served.path, "/api/events/1/clip.mp4")
            assert (answer.status, answer.code) == (status, "not_showable")
    files = shop.served.service.gallery._files
    await until(lambda: files._remuxing == 0)
    record(shop.event(2) / "2-video.mkv")
    assert (await ask(shop.served.path, "/api/events/2/clip.mp4")).status == 200
    await until(lambda: (files._remuxing, len(shop.sending)) == (0, 0))


@pytest_twisted.ensureDeferred
async def test_clips_as_mp4_are_bounded_in_number_and_end_with_their_client(shop, monkeypatch):
    monkeypatch.setattr(filebody, "MOST_REMUXES", 1)
    record(shop.event(1) / "1-video.mkv")
    files = shop.served.service.gallery._files

    def stall():
        client = socket.socket(socket.AF_UNIX)
        client.connect(shop.served.path)
        client.send(b"GET /api/events/1/clip.mp4 HTTP/1.1\r\nHost: x\r\n\r\n")
        return client

    with monkeypatch.context() as patched:
        patched.setattr(
            filebody,
            "command",
            lambda _module: stand_in("say({'codec': 'x'} if 'n' not in globals() else bytes(500_000))\nn = 1"),
        )
        client = await deferToThread(stall)
        try:
            await until(lambda: files._remuxing == 1)
            full = await ask(shop.served.path, "/api/events/1/clip.mp4")
            assert (full.status, full.code) == (503, "too_many_files")
        finally:
            client.close()
    await until(lambda: files._remuxing == 0)
    assert (await ask(shop.served.path, "/api/events/1/clip.mp4")).status == 200


@pytest_twisted.ensureDeferred
async def test_over_tcp_a_clip_needs_the_token_or_a_ticket_for_it(shop):
    shop.event(1)
    shop.event(2)
    served = shop.served
    assert (await ask(served.tcp, "/api/events/1/clip")).status == 401
    assert (await ask(served.tcp, "/api/events/1/ticket")).status == 401
    ticket = (await ask(served.tcp, "/api/events/1/ticket", **served.bearer)).json
    part = await ask(served.tcp, ticket["url"], Range="bytes=0-3")
    assert (part.status, part.body) == (206, CLIP[:4])
    other = ticket["url"].replace("/1/", "/2/")
    for path in (other, ticket["url"][:-1], ticket["url"] + "&ticket=x", ticket["url"].replace("clip", "ticket")):
        assert (await ask(served.tcp, path)).status in (400, 401), path
    assert (await ask(served.tcp, ticket["url"], Host="evil.example")).code == "wrong_host"
    assert (await ask(served.tcp, ticket["url"], Origin="http://evil.example")).code == "foreign_origin"


@pytest_twisted.ensureDeferred
async def test_a_client_that_stops_reading_is_cut_and_files_are_bounded(shop, monkeypatch):
    shop.event(1, content=bytes(20_000_000))
    shop.sending.most = 1

    def stall():
        client = socket.socket(socket.AF_UNIX)
        client.connect(shop.served.path)
        client.send(b"GET /api/events/1/clip HTTP/1.1\r\nHost: x\r\n\r\n")
        return client

    client = await deferToThread(stall)
    try:
        await until(lambda: len(shop.sending) == 1)
        full = await shop.clip(1)
        assert (full.status, full.code) == (503, "too_many_files")
    finally:
        client.close()
    await until(lambda: len(shop.sending) == 0)
    monkeypatch.setattr(filebody, "STUCK_SECONDS", 0.3)
    client = await deferToThread(stall)
    try:
        await until(lambda: len(shop.sending) == 1)
        await until(lambda: len(shop.sending) == 0)
    finally:
        client.close()
    assert (await shop.clip(1, Range="bytes=0-0")).status == 206


def test_opening_is_by_what_the_path_leads_to(tmp_path):
    root, other = tmp_path / "root", tmp_path / "root-2"
    root.mkdir()
    other.mkdir()
    (root / "a").write_bytes(b"abc")
    (other / "b").write_bytes(b"secret")
    (tmp_path / "link").symlink_to(root)
    (root / "in").symlink_to(root / "a")
    for path in (root / "a", root / "in", tmp_path / "link" / "a"):
        opened = open_inside(str(tmp_path / "link"), str(path))
        with opened.file:
            assert (opened.size, read_at(opened.file, 1, 10)) == (3, b"bc")
    for path in (other / "b", root / ".." / "root-2" / "b", root):
        with pytest.raises(Outside):
            open_inside(str(root), str(path))


@pytest_twisted.ensureDeferred
async def test_a_monitor_that_can_not_be_read_is_not_watched(shop):
    shop.zm.monitor(1)
    shop.zm.monitor(2)
    shop.zm.execute(
        "INSERT INTO Zones (Id, MonitorId, Name, Type, Coords) VALUES (1, 2, 'Window', ' privacy', 'nonsense')"
    )
    library = Library(SimpleNamespace(database=shop.served.service.gallery._library.running.database), Site())
    await library.see_that_it_may_be_watched(1)
    with pytest.raises(Exception, match="Privacy zone"):
        await library.see_that_it_may_be_watched(2)
    with pytest.raises(Exception, match="no monitor 9"):
        await library.see_that_it_may_be_watched(9)
