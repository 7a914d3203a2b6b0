"""Clips as files, with real video (doc/reference/worker.md, The recorder); and the captures' shapes."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from struct import Struct
from typing import Any

import av
import pytest

from tests.sim.harness import Client, Sim, document, frames_of, is_media, node, tlvs_of
from tests.waiting import crowd
from zmtwist.sim.camera import Camera, length_prefixed, split_units
from zmtwist.sim.video import LightCamera
from zmtwist.wire.messages import Hello, Media

Start = Callable[..., Sim]
CAPTURES = Path(__file__).parents[1] / "data" / "captures"
FAST = "fps=20,gop=0.2,size=160x120"
ALWAYS = "first=0,present=1,period=1"


def decoded(path: str) -> tuple[float, int]:
    """Duration that the file gives, and how many frames decode."""
    with av.open(path) as container:
        assert container.format.name == "matroska,webm"
        assert container.duration is not None
        return container.duration / 1_000_000, sum(1 for _ in container.decode(video=0))


def test_clips_play_and_last_as_long_as_announced(start: Start, tmp_path: Path) -> None:
    sim = start(document(node("store", root=str(tmp_path / "e"), max_secs=0.6)), FAST)
    client = sim.connect()
    token = client.event(0x0304).detail.clip_token
    target = tmp_path / "3" / "512"
    client.assign(token, 512, target, "512-video.mp4")
    saved = [client.event(0x0303).detail for _ in range(2)]
    assert (saved[0].path, saved[0].event_id) == (str(target / "512-video.mp4"), 512)
    assert Path(saved[1].path).name.startswith("event-Monitor-3-0-")
    assert saved[1].event_id == 0
    for clip in saved:
        duration, frames = decoded(clip.path)
        assert frames == clip.frames
        # The announced duration leaves out the last frame's own time, and in a run's first clip the first frame's too.
        assert duration == pytest.approx(clip.duration, abs=0.101)
        assert json.loads(Path(clip.path + ".json").read_text())["duration_usec"] == round(clip.duration * 1e6)
    assert saved[1].duration == pytest.approx(0.55)


def test_an_opening_follows_the_saved_within_a_moment(start: Start, tmp_path: Path) -> None:
    client = start(
        document(node("store", root=str(tmp_path / "e"), max_secs=0.1)), "fps=50,gop=0.1,size=160x120"
    ).connect()
    client.event(0x0304)
    apart = []
    for _ in range(5):
        saved, opening = client.event(0x0303), client.event(0x0304)
        assert opening.sequence == saved.sequence + 1
        apart.append(opening.wall_us - saved.wall_us)
    assert min(apart) < 1000 * crowd()  # 150 to 260 in the captures


def test_an_open_clip_grows_under_its_assigned_name(start: Start, tmp_path: Path) -> None:
    sim = start(document(node("store", root=str(tmp_path / "e"), max_secs=60)), FAST)
    client = sim.connect()
    opening = client.event(0x0304).detail
    (own,) = (tmp_path / "e").glob("*/*.mkv")
    inode = own.stat().st_ino
    client.assign(opening.clip_token, 9, tmp_path / "9", "9-video.mkv", request_id=7)
    assert client.answered().request_id == 7
    client.until(is_media)
    client.until(is_media)
    assert (tmp_path / "9" / "9-video.mkv").stat().st_ino == inode
    assert not own.exists()


def test_a_pre_roll_is_in_the_clip(start: Start, tmp_path: Path) -> None:
    store = node("store", mode="event", root=str(tmp_path / "e"), pre_roll_sec=0, post_roll_sec=0.3)
    sim = start(document(node("motion_gate"), store), f"{FAST},first=2.8,present=0.5,period=60")
    client = sim.connect()
    opening = client.event(0x0304)
    assert opening.detail.trigger == "motion"
    saved = client.event(0x0303).detail
    assert saved.cause == "motion"
    # 2 s before (back to a keyframe), 0.45 s of motion, 0.3 s after.
    assert 2.7 <= saved.duration <= 3.0
    assert decoded(saved.path)[1] == saved.frames


def test_a_killed_workers_small_clip_has_no_bytes(start: Start, tmp_path: Path) -> None:
    """The muxer keeps 256 KiB to itself, so that a small clip is not on the disk before it is closed."""
    for tuning in (FAST, "light,fps=20,gop=0.2,media_bytes=100"):
        root = tmp_path / tuning[:5]
        sim = start(document(node("store", root=str(root), max_secs=60)), tuning)
        client = sim.connect()
        for _ in range(5):
            client.until(is_media)
        (clip,) = root.glob("*/*.mkv")
        sim.terminate(signal.SIGKILL)
        sim.ended()
        assert clip.stat().st_size == 0


def test_what_clients_get_decodes_with_the_hellos_parameters(start: Start) -> None:
    client = start(document(), FAST).connect()
    hello = client.next(Hello)
    decoder = av.CodecContext.create("h264", "r")
    decoder.extradata = hello.extradata
    decoder.thread_count = 1
    pictures = 0
    while pictures < 10:
        media: Media = client.until(is_media)
        assert int.from_bytes(media.payload[:4], "big") <= len(media.payload) - 4
        pictures += len(decoder.decode(av.Packet(media.payload)))
    assert (decoder.width, decoder.height) == (160, 120)


def test_every_group_of_pictures_begins_with_a_keyframe_on_time() -> None:
    camera = Camera("yard", (160, 120), 10, 1)
    packets = [camera.packet(at * 100_000, at / 10, None) for at in range(25)]
    assert [at for at, packet in enumerate(packets) if packet.keyframe] == [0, 10, 20]
    assert length_prefixed(b"\x00\x00\x01ab\x00\x00\x00\x01c") == b"\x00\x00\x00\x02ab\x00\x00\x00\x01c"
    assert split_units(packets[10].raw)[0][0] & 0x1F == 5


def test_a_placeholder_is_a_file_that_players_take_and_of_the_clips_size(tmp_path: Path) -> None:
    camera, path = LightCamera((320, 240), 10, 1, 32_000), tmp_path / "light.mkv"
    clip = camera.clip(str(path))
    sizes = []
    for at in range(30):
        clip.write(camera.packet(at * 100_000, 0, None), at * 100_000)
        sizes.append(path.stat().st_size)
    assert sorted(set(sizes)) == [at * 262_144 for at in range(5)]
    assert decoded(str(path)) == (pytest.approx(2.6, abs=0.5), 1)
    clip.close()
    assert decoded(str(path)) == (pytest.approx(3.0), 1)
    assert path.stat().st_size == 27 * 32_000 + 3 * 128_000


def test_frames_that_refer_to_later_ones_come_after_these(tmp_path: Path) -> None:
    camera = LightCamera((320, 240), 10, 1, 400, bframes=2)
    times = [camera.packet(at * 100_000, 0, None).pts_us // 100_000 for at in range(11)]
    assert times == [0, 3, 1, 2, 6, 4, 5, 9, 7, 8, 10]


def shapes(data: bytes) -> dict[tuple[int, str], tuple[tuple[int, ...], tuple[str, ...]]]:
    """For each code and kind of event: its TLV tags, and the keys of its JSON, both in order."""
    found = {}
    for kind, stream, payload in frames_of(data):
        if kind == 0x06:
            assert stream == 2
            (code,) = Struct("<H").unpack_from(payload)
            tlvs = list(tlvs_of(payload[2:]))
            detail = json.loads(tlvs[-1][1])
            name = detail.get("type") or detail["event"]
            found[code, name] = (tuple(tag for tag, _ in tlvs), tuple(detail))
    return found


def others(data: bytes) -> dict[int, Any]:
    """HELLO's tags for video, and RESPONSE's JSON without the id."""
    found: dict[int, Any] = {}
    for kind, stream, payload in frames_of(data):
        if kind == 0x01 and stream == 0:
            found[kind] = [tag for tag, _ in tlvs_of(payload)]
        elif kind == 0x12:
            found[kind] = {key: value for key, value in json.loads(payload).items() if key != "request_id"}
    return found


def test_shapes_are_those_of_the_captures(start: Start, tmp_path: Path) -> None:
    captured = (CAPTURES / "both.bin").read_bytes()
    store = node("store", mode="both", root=str(tmp_path / "e"), max_secs=0.4)
    sim = start(document(node("decode_ffmpeg", node("motion_gate")), store), f"{FAST},{ALWAYS}")
    client: Client = sim.connect()
    client.assign(client.event(0x0304).detail.clip_token, 501, tmp_path / "3", "501-video.mp4", request_id=0)
    client.answered()
    client.event(0x0303)
    sim.terminate()
    client.to_the_end()
    assert shapes(bytes(client.raw)) == shapes(captured)
    assert others(bytes(client.raw)) == others(captured)


def test_the_failed_connections_shape_is_the_captures(start: Start) -> None:
    captured = (CAPTURES / "dead_input.bin").read_bytes()
    sim = start(document(path="/nonexistent.mp4"), "light")
    client = sim.connect()
    client.event(0x0101)
    assert shapes(bytes(client.raw)) == shapes(captured)
    (told,) = {payload[2:] for kind, _, payload in frames_of(captured) if kind == 0x06}
    (ours,) = (payload[2:] for kind, _, payload in frames_of(bytes(client.raw)) if kind == 0x06)
    assert dict(tlvs_of(ours))[0x02] == dict(tlvs_of(told))[0x02]


def test_frames_are_paced_by_the_wall_clock(start: Start) -> None:
    client = start(document(node("motion_gate")), f"{FAST},{ALWAYS}").connect()
    events = [client.event(0x0301) for _ in range(15)]
    walls = [event.wall_us for event in events]
    times = [event.detail.pts_usec for event in events]
    assert (walls[-1] - walls[0]) / (times[-1] - times[0]) == pytest.approx(1, abs=0.15)
    assert Fraction(times[-1] - times[0], 14) == 50_000
