"""Cameras over RTSP: connections that are lost, and what the worker makes of it (shapes from a real worker's log and events)."""

from __future__ import annotations

import re
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sim.harness import DEADLINE, Client, Sim, frames_of, is_media, node, tlvs_of
from tests.waiting import wait_for
from zmtwist.wire.messages import Event, Hello, Keyframe, Media, MessageType, Stats

Start = Callable[..., Sim]
LIGHT = "light,fps=20,gop=0.2,connect=0,stats=0.1"


class Camera:
    """What listens at an RTSP address."""

    def __init__(self) -> None:
        self.port = 0
        self.back()
        self.line: socket.socket | None = None

    def back(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.listener.settimeout(DEADLINE)
        self.port = self.listener.getsockname()[1]

    def take(self, word: bytes = b"1") -> None:
        """Take the next connection, and say `word`."""
        self.line, _ = self.listener.accept()
        self.line.sendall(word)

    def say(self, word: bytes) -> None:
        assert self.line is not None
        self.line.sendall(word)

    def hang_up(self, *, reset: bool = False) -> None:
        if self.line is not None:
            if reset:
                self.line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.line.close()

    def away(self, *, reset: bool = False) -> None:
        self.listener.close()
        self.hang_up(reset=reset)


@pytest.fixture
def camera() -> Iterator[Camera]:
    camera = Camera()
    yield camera
    camera.away()


def rtsp(camera: Camera, *nodes: dict[str, Any], streams: int = 1) -> dict[str, Any]:
    url = f"rtsp://user:pw@127.0.0.1:{camera.port}/live"
    return {
        "plugins": [
            node("capture_rtsp_multi", *nodes, streams=[{"url": url, "stream_id": number} for number in range(streams)])
        ]
    }


def recording(camera: Camera, root: Path, **store: Any) -> dict[str, Any]:
    return rtsp(camera, node("store", root=str(root), **{"max_secs": 60, "stream_filter": [0], **store}))


def told(client: Client) -> list[str]:
    """The JSON of the events of code 0, as it stands in the message."""
    return [
        dict(tlvs_of(payload[2:]))[0x02].decode()
        for kind, _, payload in frames_of(bytes(client.raw))
        if kind == MessageType.EVENT and payload[:2] == b"\0\0"
    ]


def test_a_lost_connection_is_told_and_the_next_ones_times_begin_anew(
    start: Start, camera: Camera, tmp_path: Path
) -> None:
    sim = start(recording(camera, tmp_path / "e"), f"{LIGHT},dial,retry=0.1")
    client = sim.connect()
    camera.take()
    client.event(0x0304)
    before = [client.until(is_media) for _ in range(6)][-1]
    camera.away()
    sim.wait_log("(attempt 1)")
    camera.back()
    camera.take()
    sim.wait_log("write_frame failed")
    client.until(lambda message: isinstance(message, Media) and message.sequence > before.sequence + 6)
    times = [message.pts_us for message in client.messages if isinstance(message, Media)]
    assert times.count(50_000) == 2, "a live camera's first frame, twice"
    sequences = [message.sequence for message in client.messages if isinstance(message, Media)]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
    assert [type(message) for message in client.messages].count(Hello) == 1, "the same parameters are not told again"
    stream = f'"stream_id":0,"url":"rtsp://user:pw@127.0.0.1:{camera.port}/live","video_streams":1,"audio_streams":0'
    connected = f'{{"event":"StreamConnected",{stream}}}'
    assert told(client) == [connected, '{"event":"StreamDisconnected","stream_id":0}', connected]
    sim.terminate()
    saved = [message for message in client.to_the_end() if isinstance(message, Event)][-1].detail
    assert saved.frames > len([line for line in sim.log.splitlines() if "write_frame failed" in line]) > 0


def test_the_log_of_a_lost_camera_is_the_real_ones(start: Start, camera: Camera) -> None:
    sim = start(rtsp(camera), f"{LIGHT},dial,retry=0.05")
    sim.connect()
    camera.take()
    sim.wait_log("Connected successfully")
    camera.away()
    log = sim.wait_log("Capture loop ended")
    lines = log[log.index("[PLUGIN][INFO] [Stream 0] End of stream") :].splitlines()
    attempt = [
        f"[PLUGIN][ERROR] Connection to tcp://127.0.0.1:{camera.port}?timeout=0 failed: Connection refused",
        "",
        "[PLUGIN][ERROR] [Stream 0] Failed to open RTSP stream: Connection refused",
    ]
    expected = [
        "[PLUGIN][INFO] [Stream 0] End of stream reached",
        "[PLUGIN][INFO] [Stream 0] Stream disconnected, will attempt reconnection",
    ]
    for number, pause in enumerate((50, 100, 200, 400), 1):
        warning = f"[PLUGIN][WARN] [Stream 0] Connection failed, retrying in {pause} ms (attempt {number})"
        expected += [*attempt, warning]
    expected += [
        *attempt,
        "[PLUGIN][ERROR] [Stream 0] Max retry attempts reached, stopping stream",
        "[PLUGIN][INFO] [Stream 0] Capture loop ended",
    ]
    assert [line for line in lines if "DEBUG" not in line] == expected


def test_a_camera_that_is_back_too_late_is_not_heard_any_more(start: Start, camera: Camera) -> None:
    sim = start(rtsp(camera), f"{LIGHT},dial,retry=0.01")
    camera.away()
    client = sim.connect()
    sim.wait_log("Max retry attempts reached")
    camera.back()
    camera.listener.settimeout(1)
    with pytest.raises(TimeoutError):
        camera.take()
    for _ in range(3):
        client.next(Stats)
    assert not any(isinstance(message, Media) for message in client.messages)
    sim.terminate()
    assert sim.ended() == 0


def test_a_reset_connection_is_told_as_reconnecting_first(start: Start, camera: Camera) -> None:
    sim = start(rtsp(camera), f"{LIGHT},dial,retry=0.01")
    client = sim.connect()
    camera.take()
    client.until(is_media)
    camera.away(reset=True)
    sim.wait_log("Max retry attempts reached")
    client.until(lambda message: isinstance(message, Event) and message.sequence == 2)
    assert told(client)[1:] == [
        '{"event":"StreamReconnecting","stream_id":0}',
        '{"event":"StreamDisconnected","stream_id":0}',
    ]
    assert "[Stream 0] Error reading frame: Connection reset by peer" in sim.log


def test_a_silent_camera_and_one_that_never_answers_keep_the_process_from_ending(start: Start, camera: Camera) -> None:
    sim = start(rtsp(camera), f"{LIGHT},dial")
    client = sim.connect()
    camera.take(b"0")
    client.event(0)
    for _ in range(3):
        client.next(Stats)
    assert not any(isinstance(message, Media) for message in client.messages)
    camera.say(b"1")
    client.until(is_media)
    camera.say(b"0")
    client.next(Stats)
    sim.terminate()
    for _ in range(4):
        client.next(Stats)
    assert sim.process.poll() is None
    camera.hang_up()
    assert sim.ended() == 0

    mute = start(rtsp(camera), f"{LIGHT},dial")
    client = mute.connect()
    client.next(Stats)
    mute.terminate()
    client.next(Stats)
    client.next(Stats)
    assert mute.process.poll() is None
    assert told(client) == []


def test_it_ends_when_its_pause_between_two_attempts_is_over(start: Start, camera: Camera) -> None:
    camera.away()
    sim = start(rtsp(camera), f"{LIGHT},dial,retry=1")
    sim.wait_log("(attempt 1)")
    begin = time.monotonic()
    sim.terminate()
    assert sim.ended() == 0
    assert time.monotonic() - begin > 0.5
    assert "(attempt 2)" not in sim.log


def test_a_long_connection_may_be_pretended(start: Start, camera: Camera, tmp_path: Path) -> None:
    sim = start(recording(camera, tmp_path / "e"), f"{LIGHT},dial,uptime=3600,retry=0.01")
    client = sim.connect()
    camera.take()
    client.event(0x0304)
    client.until(lambda message: isinstance(message, Media) and message.sequence == 3)
    camera.hang_up()
    camera.take()
    sim.wait_log("write_frame failed")
    sim.terminate()
    saved = client.event(0x0303).detail
    assert saved.duration < -3590


def test_two_streams_are_one_on_the_wire(start: Start, camera: Camera, tmp_path: Path) -> None:
    """One sequence, one keyframe, the HELLO of whichever came last; and the recorder heeds the stream that it records alone."""
    store = node("store", mode="event", root=str(tmp_path / "e"), pre_roll_sec=0, stream_filter=[0])
    motion = node("decode_ffmpeg", node("motion_gate"), stream_filter=[1])
    sim = start(rtsp(camera, motion, store, streams=2), f"{LIGHT},size=320x240,sub=160x120,first=0,present=1,period=1")
    client = sim.connect()
    media = [client.until(is_media) for _ in range(30)]
    hello = [message for message in client.messages if isinstance(message, Hello)][-1]
    assert (hello.width, hello.height, hello.generation) == (160, 120, 1)
    settled = [message for message in media if message.generation == 1]
    assert [message.sequence for message in settled] == list(
        range(settled[0].sequence, settled[0].sequence + len(settled))
    )
    frames = {time: [m.pts_us for m in settled].count(time) for time in {m.pts_us for m in settled[2:-2]}}
    assert set(frames.values()) == {2}, "each frame's time comes once of either stream"
    assert {
        event.detail.stream_id for event in client.messages if isinstance(event, Event) and event.code == 0x0301
    } == {1}
    assert not any(isinstance(message, Event) and message.code == 0x0304 for message in client.messages)
    late = sim.connect()
    assert isinstance(late.next(Keyframe), Keyframe)


def test_keyframes_over_a_mebibyte_are_lost_and_with_them_every_clip(
    start: Start, camera: Camera, tmp_path: Path
) -> None:
    sim = start(recording(camera, tmp_path / "e"), f"{LIGHT},media_bytes=262200")
    client = sim.connect()
    media = [client.until(is_media) for _ in range(9)]
    assert not any(message.keyframe for message in media)
    assert [message.sequence for message in media] == list(range(media[0].sequence, media[0].sequence + 9))
    assert len({message.pts_us // 50_000 % 4 for message in media}) == 3
    assert not (tmp_path / "e").exists()


def test_frames_that_refer_to_later_ones_are_refused(start: Start, camera: Camera, tmp_path: Path) -> None:
    sim = start(recording(camera, tmp_path / "e"), f"{LIGHT},connect=0.3,gop=0.5,bframes=2")
    client = sim.connect()
    client.event(0x0304)
    for _ in range(20):
        client.until(is_media)
    sim.terminate()
    saved = client.event(0x0303).detail
    refused = len(re.findall("write_frame failed: Invalid argument", sim.log))
    assert 0.5 < refused / saved.frames < 0.7


def test_a_plugin_that_it_has_not_got_ends_it_with_4(start: Start, camera: Camera) -> None:
    sim = start(rtsp(camera, node("motion_gate")), "light,without=decode_detect+motion_gate")
    assert sim.ended() == 4
    file = "plugins/motion_gate/motion_gate.so"
    assert (
        f"Failed to load plugin: {file}: {file}: cannot open shared object file: No such file or directory\n" in sim.log
    )
    assert not sim.path.exists()


def test_a_frozen_worker_is_stopped_by_itself(start: Start, camera: Camera) -> None:
    sim = start(rtsp(camera), f"{LIGHT},freeze=0.1")
    client = sim.connect()
    client.until(is_media)
    state = Path(f"/proc/{sim.process.pid}/stat")
    wait_for(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", "a stop")
    sim.terminate()
    sim.terminate(signal.SIGCONT)
    assert sim.ended() == 0


def test_every_keyframe_of_a_live_camera_is_a_line_in_the_log(start: Start, camera: Camera) -> None:
    sim = start(rtsp(camera), LIGHT)
    log = sim.wait_log("pts=450000")
    assert re.findall(r"\[PLUGIN\]\[DEBUG\] \[Stream 0\] Publishing keyframe: size=1600, pts=(\d+)", log)[:3] == [
        "50000",
        "250000",
        "450000",
    ]
