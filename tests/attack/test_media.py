"""Pictures and clips that were made to do harm: in the live view of one camera, and in the storage in a clip's place."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.attack.target import GOOD, HOSTILE, Target
from tests.attack.worker import Worker
from zmtwist.ops.media.h26x import START
from zmtwist.wire.encode import encode_hello, encode_media
from zmtwist.wire.frames import MAX_LENGTH, MIN_LENGTH
from zmtwist.wire.messages import Hello

MEBIBYTE = 1 << 20
SETS = START + bytes.fromhex("6742c00ada0a11f961000003000100000300148f1226a0") + START + bytes.fromhex("68ce0fc8")
PLAIN = Hello(0, 27, SETS, width=160, height=120)
LENGTHS = Hello(0, 27, bytes.fromhex("0142c00afce10017" + SETS[4:27].hex() + "01000468ce0fc8"), width=160, height=120)
"""With lengths of one byte before each part."""

PICTURES: dict[str, tuple[Hello, bytes, float]] = {
    "parts": (PLAIN, b"\0\0\1\x65" * 1_000_000, 0.5),
    "lengths": (LENGTHS, b"\1\x65" * (4 * MEBIBYTE - 1000), 0.5),
    "long": (LENGTHS, b"\1\x65" * ((MAX_LENGTH - MIN_LENGTH) // 2), 2),
    "parameters": (Hello(0, 27, START + b"\0\0\1" * 20_000, width=160, height=120), START + b"\x65a", 0.5),
    "absurd": (
        Hello(0, 173, b"\1" + bytes(21) + b"\xff" * 60_000, width=2**32 - 1, height=2**32 - 1),
        b"\xff" * MEBIBYTE,
        0.5,
    ),
    "flood": (PLAIN, START + b"\x65aaaa", 0),
    "good": (PLAIN, START + b"\x65aaaa", 0.1),
}


def film(worker: Worker) -> None:
    """Sends pictures of the kind that a file names to all who want video, a HELLO first for each."""
    named, greeted = Path(os.environ["ATTACK_KIND"]), set()
    worker.film = lambda _number: None
    threading.Thread(target=worker.record, daemon=True).start()
    for number in itertools.count():
        kind = named.read_text()
        for client, video in list(worker.clients.items()):
            if not video:
                continue
            hello, payload, pause = PICTURES[kind]
            with contextlib.suppress(OSError), worker._lock:
                if (client, kind) not in greeted:
                    greeted.add((client, kind))
                    client.sendall(encode_hello(hello))
                client.sendall(encode_media(0, payload, sequence=number, pts_us=number * 100, keyframe=True))
            time.sleep(pause)
        time.sleep(0.001)


@pytest.fixture
def attacked(tmp_path):
    kind = tmp_path / "kind"
    kind.write_text("good")
    made = Target(tmp_path, film, environment={"ATTACK_KIND": str(kind)})
    made.kind = kind
    yield made
    made.remove()


def children(target):
    """The service's own children that read media, and their states."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                argv = (entry / "cmdline").read_bytes()
                if int(parent) == target.process.pid and (
                    not argv or b"zmtwist.ops." in argv or b"zmtwist.ingest." in argv
                ):
                    found[int(entry.name)] = state
    return found


def holds(target):
    """All bounds; no FFmpeg in the service's own process, and nothing left of its children."""
    figures = target.hold(5)
    assert figures.resident < 300 * MEBIBYTE, figures
    assert "libav" not in Path(f"/proc/{target.process.pid}/maps").read_text()
    target.until(lambda: not children(target), "the end of all children")


def watch(target, monitor_id, wanted=b"\0never\0"):
    """What comes of a live view until that is `wanted`, or it ends, or a minute is over."""
    heard = b""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(target.zm.directory / "run" / "api.sock"))
        client.sendall(b"GET /api/monitors/%d/live.mp4 HTTP/1.0\r\nHost: localhost\r\n\r\n" % monitor_id)
        with contextlib.suppress(TimeoutError):
            end = time.monotonic() + 60
            while (more := client.recv(1 << 16)) and time.monotonic() < end:
                heard = heard[-1000:] + more
                if wanted in heard:
                    break
    return heard


def test_live_pictures_that_cost_many_times_their_size(attacked):
    attacked.calm()
    for kind, status, why in (
        ("parts", 409, "more than 2048 parts"),
        ("lengths", 409, "more than 2048 parts"),
        ("parameters", 409, "more codec parameters"),
        ("absurd", 409, "no live view of"),
        ("long", 503, "none has come"),
    ):
        attacked.kind.write_text(kind)
        answer = attacked.get(f"/api/monitors/{HOSTILE}/live.mp4")
        assert (answer[0], why in json.loads(answer[1])["error"]["message"]) == (status, True), (kind, answer)
    attacked.kind.write_text("flood")
    assert b"moof" in watch(attacked, HOSTILE, b"moof")
    time.sleep(2)
    attacked.kind.write_text("good")
    holds(attacked)


def test_a_child_that_is_killed_ends_its_own_view_only(attacked):
    attacked.calm()
    seen = {}

    def look(monitor_id):
        seen[monitor_id] = watch(attacked, monitor_id)

    attacked.kind.write_text("flood")
    watching = threading.Thread(target=look, args=(HOSTILE,))
    watching.start()
    attacked.until(lambda: len(children(attacked)) == 1, "a child")
    (first,) = children(attacked)
    os.kill(first, signal.SIGSTOP)  # while nothing reads, the worker's socket is read on
    time.sleep(3)
    attacked.hold(2)
    attacked.kind.write_text("good")
    os.kill(first, signal.SIGKILL)
    watching.join(30)
    assert not watching.is_alive()
    holds(attacked)


# In the storage

SDP = (
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 47123 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
)


def ebml(element: str, content: bytes, size: int | None = None) -> bytes:
    length = len(content) if size is None else size
    return bytes.fromhex(element) + (length | 1 << 56).to_bytes(8, "big") + content


def matroska(*, private: int = 0, block: int = 0) -> bytes:
    """The beginning of a clip whose codec's parameters, or whose first frame, are said to be so long."""
    picture = ebml("e0", ebml("b0", b"\x40") + ebml("ba", b"\x30"))
    track = ebml("d7", b"\1") + ebml("73c5", b"\1") + ebml("83", b"\1") + ebml("86", b"V_MPEG4/ISO/AVC") + picture
    record = LENGTHS.extradata
    track += ebml("63a2", record, private or None)
    head = ebml("1a45dfa3", ebml("4282", b"matroska"))
    tracks = ebml("1654ae6b", ebml("ae", track))
    cluster = ebml("1f43b675", ebml("e7", b"\0") + ebml("a3", b"\x81\0\0\x80", block or None), 1 << 40)
    return head + ebml("18538067", tracks + cluster, 1 << 41)


def put(path: Path, content: bytes | str, size: int = 0) -> None:
    path.unlink()
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    if size:
        os.truncate(path, size)


def test_clips_that_are_none(tmp_path):
    target = Target(tmp_path)
    (tmp_path / "secret").write_bytes(b"secret")
    try:
        target.calm()

        def closed():
            return [e for e in target.zm.events() if e["EndDateTime"] and e["MonitorId"] in GOOD]

        target.until(lambda: len(closed()) >= 9, "nine closed events")
        events = closed()[:9]
        paths = [target.zm.clip(event) for event in events]
        secret = os.path.relpath(tmp_path / "secret", Path.cwd())
        put(paths[0], f"ffconcat version 1.0\nfile {tmp_path}/secret\n")
        put(paths[1], f"ffconcat version 1.0\nfile {secret}\n")
        put(paths[2], f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\n{tmp_path}/secret\n#EXT-X-ENDLIST\n")
        put(paths[3], SDP)
        paths[4].unlink()
        os.mkfifo(paths[4])
        put(paths[5], matroska(private=900 * MEBIBYTE), 1000 * MEBIBYTE)
        put(paths[6], matroska(block=900 * MEBIBYTE), 1000 * MEBIBYTE)
        put(paths[7], matroska()[:-40] + os.urandom(MEBIBYTE))
        paths[8].unlink()
        paths[8].symlink_to("/dev/zero")

        def ask(event):
            return target.get(f"/api/events/{event['Id']}/clip.mp4")

        with ThreadPoolExecutor(4) as asking:
            answers = dict(enumerate(asking.map(ask, events)))
        told = {number: (status, body[:200]) for number, (status, body) in answers.items()}
        for number in (0, 1, 2, 3):
            assert (told[number][0], b"not_showable" in told[number][1]) == (409, True), told
        for number in (4, 8):
            assert (told[number][0], b"no_file" in told[number][1]) == (404, True), told
        assert not any(b"secret" in body for _, body in answers.values())
        assert not _bound(47123)
        holds(target)
    finally:
        target.remove()


def _bound(port: int) -> bool:
    """Whether somebody listens on this UDP port."""
    return any(line.split()[1].endswith(f":{port:04X}") for line in Path("/proc/net/udp").read_text().splitlines()[1:])
