"""Inputs that are no files, both orders of events, and everything that the tuning can spoil."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.sim.harness import Sim, document, frames_of, is_bye, is_media, node, tlvs_of
from tests.waiting import wait_for
from zmtwist.wire.event_details import DetectedObject, Detection, Motion, TrackedDetection
from zmtwist.wire.frames import UntrustedStream
from zmtwist.wire.messages import Event, Hello, Media, MessageType, Stats, Unknown

Start = Callable[..., Sim]
LIGHT = "light,fps=20,gop=0.2"
ALWAYS = "first=0,present=1,period=1"
SECRET = "rtsp://user:pa%40ss@10.0.0.9:554/live?channel=1"


def rtsp(url: str, *nodes: dict[str, Any]) -> dict[str, Any]:
    return {"plugins": [node("capture_rtsp_multi", *nodes, streams=[{"url": url, "stream_id": 0}])]}


def test_an_rtsp_camera_tells_its_url_in_the_log_and_in_stream_connected(start: Start, tmp_path: Path) -> None:
    sim = start(rtsp(SECRET, node("store", root=str(tmp_path / "e"))), LIGHT)
    client = sim.connect()
    connected = client.event(0)
    assert (connected.sequence, connected.detail.event) == (0, "StreamConnected")
    payload = next(payload for kind, _, payload in frames_of(bytes(client.raw)) if kind == MessageType.EVENT)
    assert f'"url":"{SECRET}"'.encode() in dict(tlvs_of(payload[2:]))[0x02]
    first = client.until(is_media)
    assert first.pts_us > 0
    assert SECRET in sim.log


@pytest.mark.parametrize(("url", "tuning"), [('rtsp://u:a"b}c@h/', ""), (SECRET, ",dead")])
def test_an_rtsp_camera_that_does_not_connect_is_silent_but_for_stats(start: Start, url: str, tuning: str) -> None:
    client = start(rtsp(url), f"light,connect=0,stats=0.1{tuning}").connect()
    for _ in range(4):
        client.next(Stats)
    assert {type(message) for message in client.messages} == {Stats}


def test_objects_are_detected_and_tracked_at_five_a_second(start: Start) -> None:
    sim = start(document(node("decode_detect"), node("tracker")), f"light,fps=20,{ALWAYS}")
    client = sim.connect()
    detections = [client.event(0x0301, "detection").detail for _ in range(4)]
    tracked = client.event(0, "tracked_detection").detail
    assert isinstance(detections[0], Detection) and isinstance(tracked, TrackedDetection)
    assert {detection.detections[0].label for detection in detections} <= {"person", "car", "dog"}
    steps = {b.pts_usec - a.pts_usec for a, b in pairwise(detections)}
    assert steps == {200_000}
    boxes = [detection.detections[0].box for detection in detections]
    assert len(set(boxes)) == 4, "the object moves"
    assert isinstance(tracked.detections[0], DetectedObject) and tracked.detections[0].track_id is not None


def test_motion_comes_with_every_frame_while_the_object_is_there(start: Start) -> None:
    client = start(document(node("motion_gate")), "light,fps=50,first=0.25,present=0.25,period=0.5").connect()
    times = [client.event(0x0301, "motion").detail.pts_usec for _ in range(15)]
    assert times == [*range(260_000, 500_000, 20_000), *range(760_000, 820_000, 20_000)]


@pytest.mark.parametrize("order", ["before", "after"])
def test_a_detection_may_come_before_or_after_the_opening(start: Start, tmp_path: Path, order: str) -> None:
    store = node("store", mode="event", root=str(tmp_path / "e"), pre_roll_sec=0.2, post_roll_sec=0.2)
    tuning = f"{LIGHT},first=0.3,present=0.3,period=60,order={order}"
    client = start(document(node("motion_gate"), store), tuning).connect()
    opening = client.event(0x0304)
    motions = [m for m in client.messages if isinstance(m, Event) and isinstance(m.detail, Motion)]
    if order == "after":
        assert opening.sequence == 0
        assert client.event(0x0301).sequence == 1
    else:
        assert [motion.sequence for motion in motions][:1] == [0]
        assert opening.sequence == 1


def test_an_input_that_ends_leaves_the_clip_open_until_the_stop_here_without_bye(start: Start, tmp_path: Path) -> None:
    store = node("store", root=str(tmp_path / "e"), max_secs=60)
    sim = start(document(store, loop=False), f"{LIGHT},length=0.5,no_bye")
    client = sim.connect()
    sim.wait_log("EOF reached")
    sim.terminate()
    *_, saved = client.to_the_end()
    assert saved.detail.frames == 10
    assert not any(is_bye(message) for message in client.messages)
    assert sum(isinstance(message, Media) for message in client.messages) == 10


def test_an_opening_before_any_client_is_missed_and_its_clip_unassigned(start: Start, tmp_path: Path) -> None:
    store = node("store", root=str(tmp_path / "e"), max_secs=0.4)
    client = start(document(store), f"{LIGHT},early", awaits=False).connect()
    first = client.next(Event)
    assert (first.code, first.sequence, first.detail.event_id) == (0x0303, 1, 0)


@pytest.mark.parametrize(("by", "status"), [("SEGV", -signal.SIGSEGV), ("3", 3)])
def test_a_crash_leaves_its_debris(start: Start, tmp_path: Path, by: str, status: int) -> None:
    store = node("store", root=str(tmp_path / "e"), max_secs=60)
    sim = start(document(store), f"{LIGHT},crash_after=0.3,crash_by={by}")
    client = sim.connect()
    messages = client.to_the_end()
    assert sim.ended() == status
    assert sim.path.exists()
    assert not any(is_bye(message) for message in messages)
    (clip,) = (tmp_path / "e").glob("*/event-Monitor-3-0-*.mkv")
    assert not clip.with_name(clip.name + ".json").exists()


def test_mute_stops_frames_and_stats_stall_only_frames(start: Start) -> None:
    # The mute one would have sent STATS and frames long before the other's fifth STATS after its last frame.
    mute = start(document(), f"{LIGHT},stats=0.1,mute=0.3").connect()
    mute.next(Hello)
    with pytest.raises(AssertionError, match="not within"):
        for _ in range(100):
            mute.until(lambda message: True, seconds=0.4)


def test_a_stalled_camera_still_sends_stats(start: Start) -> None:
    client = start(document(), f"{LIGHT},stats=0.1,stall=0.3").connect()
    client.until(is_media)

    def three_stats_in_a_row() -> bool:
        client.next(Stats)
        return all(isinstance(message, Stats) for message in client.messages[-3:])

    wait_for(three_stats_in_a_row, "nothing but STATS")


def test_refuse_term_needs_a_kill(start: Start) -> None:
    sim = start(document(), f"{LIGHT},refuse_term")
    client = sim.connect()
    client.until(is_media)
    sim.terminate()
    sim.terminate(signal.SIGINT)
    for _ in range(10):
        client.until(is_media)
    assert sim.process.poll() is None


def test_malformed_messages_can_be_skipped_while_an_untrusted_header_ends_the_trust(start: Start) -> None:
    client = start(document(), f"{LIGHT},malformed=0.3,untrusted=0.6").connect()
    unknown = client.next(Unknown)
    assert unknown.type == 0x7E
    odd, cut = client.next(Event), client.next(Event)
    assert (odd.code, cut.code, cut.detail) == (0x7FFF, 0x0306, None)
    assert (client.decoder.skipped["malformed"], client.decoder.skipped["detail"]) == (1, 1)
    client.until(is_media)
    with pytest.raises(UntrustedStream):
        client.to_the_end()


def test_a_slow_assignment_is_acted_on_late_and_only_while_the_clip_is_open(start: Start, tmp_path: Path) -> None:
    store = node("store", root=str(tmp_path / "e"), max_secs=0.6)
    client = start(document(store), f"{LIGHT},slow_assign=0.3").connect()
    client.assign(client.event(0x0304).detail.clip_token, 7, tmp_path / "7", "7-video.mkv")
    assert client.answered().ok
    assert not (tmp_path / "7").exists()
    assert client.event(0x0303).detail.path == str(tmp_path / "7" / "7-video.mkv")

    late = start(document(node("store", root=str(tmp_path / "e"), max_secs=0.4)), f"{LIGHT},slow_assign=1").connect()
    late.assign(late.event(0x0304).detail.clip_token, 8, tmp_path / "8", "8-video.mkv")
    assert late.event(0x0303).detail.event_id == 0
    assert not (tmp_path / "8").exists()


def test_clip_error_keeps_the_own_name_and_the_id(start: Start, tmp_path: Path) -> None:
    sim = start(document(node("store", root=str(tmp_path / "e"), max_secs=0.5)), f"{LIGHT},clip_error")
    client = sim.connect()
    client.assign(client.event(0x0304).detail.clip_token, 7, tmp_path / "7", "7-video.mkv")
    saved = client.event(0x0303).detail
    assert saved.event_id == 7
    assert Path(saved.path).name.startswith("event-Monitor-3-0-")
    assert "could not move clip to" in sim.log


def test_bind_delay_flood_and_growth(start: Start) -> None:
    sim = start(document(), "light,bind_delay=0.3,flood=500,rss=200")
    assert not sim.path.exists()
    client = sim.connect()
    client.next(Hello)

    def resident_kib() -> int:
        return int(Path(f"/proc/{sim.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024

    begin = resident_kib()
    wait_for(lambda: resident_kib() > begin + 50_000, "50 MiB more")
    wait_for(lambda: sim.log.count("flood: line") > 100, "a flood")


def test_the_ring_is_removed_at_a_clean_stop_and_left_at_a_kill(start: Start) -> None:
    number = 1_000_000 + os.getpid()
    ring = Path(f"/dev/shm/zm_shmring_{number}")
    try:
        sim = start(document(), "light,shm", monitor_id=number)
        sim.connect()
        assert ring.stat().st_size == 256 * 1024 * 1024
        sim.terminate()
        assert sim.ended() == 0
        assert not ring.exists()
        killed = start(document(), "light,shm", monitor_id=number)
        killed.connect()
        killed.terminate(signal.SIGKILL)
        killed.ended()
        assert ring.exists() and killed.path.exists()
    finally:
        ring.unlink(missing_ok=True)
