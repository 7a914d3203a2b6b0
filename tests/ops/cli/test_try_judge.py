from __future__ import annotations

import pytest

from zmtwist.ingest.clips.probe import Measure
from zmtwist.ops.cli.try_judge import RING_SLOT, Seen, judge
from zmtwist.wire.event_details import DetectedObject, Detection, Motion, StreamState
from zmtwist.wire.messages import Event, Hello, Keyframe, Media

CLIP = Measure(duration_us=8_000_000, frames=80, codec="h264")


def seen_of(seconds=10, fps=10, gop=1.0, key_bytes=1000, order=(0,)):
    """A camera's stream as it comes; `order`: within so many frames, which is sent first."""
    seen = Seen(lambda said: said)
    seen.message(Hello(0, 27, width=640, height=480), 0.5)
    for sent in range(seconds * fps):
        group = sent - sent % len(order)
        number = group + order[sent % len(order)]
        key = sent % round(gop * fps) == 0
        seen.message(Media(0, key, sent, 0, number * 1_000_000 // fps, bytes(key_bytes if key else 10)), 1 + sent / fps)
    seen.watched = 1 + seconds
    seen.openings = 1
    return seen


def judged(seen, clips=(CLIP,), looks=(), triggers=(), mode="continuous", can_measure=True):
    found = list(judge(seen, clips, looks, triggers, mode, can_measure=can_measure))
    return {one.what: one for one in found}, {one.what for one in found if one.verdict == "FAIL"}


def test_a_camera_that_is_well():
    found, failed = judged(seen_of())
    assert failed == set()
    assert {one.verdict for one in found.values()} == {"ok"}
    assert found["codec"].found == "H.264, 640x480"
    assert found["frame rate"].found.startswith("10.0 a second")
    assert found["keyframes"].found.startswith("one every 1.0 s")
    assert found["clip"].found == "it can be played: 80 frames in 8.0 s, h264"


def test_a_camera_that_can_not_be_had():
    seen = Seen(lambda said: said)
    seen.line(b"[PLUGIN][WARN] [Stream 0] Connection failed, retrying in 2000 ms (attempt 2)")
    assert not seen.futile
    seen.line(b"[PLUGIN][WARN] [Stream 0] Connection failed, retrying in 4000 ms (attempt 3)")
    assert seen.futile
    seen.errors = ("Connection refused",)
    found, failed = judged(seen, clips=())
    assert failed == {"camera"}
    assert "Connection refused" in found["camera"].found


def test_a_worker_that_ends():
    seen = Seen(lambda said: said)
    seen.ended, seen.errors, seen.watched = "exit 4", ("Failed to load plugin: lpr",), 0.2
    found, failed = judged(seen, clips=())
    assert failed == {"worker", "camera"}
    assert "exit 4: Failed to load plugin: lpr" in found["worker"].found


def test_frames_that_stop():
    seen = seen_of()
    seen.watched += 4
    assert judged(seen)[1] == {"camera"}


def test_a_connection_that_is_lost():
    seen = seen_of()
    seen.message(Event(0, detail=StreamState("StreamDisconnected")), 9)
    found, failed = judged(seen)
    assert failed == {"camera"}
    assert found["camera"].found == "its connection was lost once"
    seen.message(Media(0, True, 101, 0, 0, b""), 10)  # times begin anew: no B-frame, and no interval
    assert (seen.backwards, seen.longest_gop) == (0, 1.0)


def test_b_frames():
    found, failed = judged(seen_of(order=(0, 3, 1, 2)))
    assert failed == {"B-frames"}
    assert "Baseline" in found["B-frames"].fix


def test_frames_that_the_recorder_refuses():
    seen = seen_of()
    for _ in range(3):
        seen.line(b"[PLUGIN][ERROR] store: write_frame failed: Invalid argument")
    found, failed = judged(seen)
    assert failed == {"recorder"}
    assert "3 times" in found["recorder"].found


@pytest.mark.parametrize(("size", "verdict"), [(RING_SLOT // 2, "ok"), (RING_SLOT, "warn"), (RING_SLOT + 1, "FAIL")])
def test_keyframes_against_the_ring(size, verdict):
    assert judged(seen_of(key_bytes=size))[0]["keyframes"].verdict == verdict


def test_keyframes_that_the_ring_has_lost():
    seen = seen_of(gop=100)
    seen.keyframes = seen.largest = 0
    seen.line(b"[PLUGIN][DEBUG] [Stream 0] Publishing keyframe: size=1662976, pts=0")
    seen.line(b"[PLUGIN][DEBUG] [Stream 1] Publishing keyframe: size=9662976, pts=0")
    assert seen.largest == 1_662_976
    seen.openings = 0
    assert judged(seen, clips=())[1] == {"keyframes", "clip"}


def test_the_keyframe_from_before():
    seen = Seen(lambda said: said)
    seen.message(Keyframe(0, 1, 0, 0, bytes(500)), 0)
    assert (seen.largest, seen.frames, seen.keyframes) == (500, 0, 0)


def test_few_keyframes():
    assert judged(seen_of(seconds=20, gop=8))[0]["keyframes"].verdict == "warn"
    found, _ = judged(seen_of(gop=100))
    assert "can't be told" in found["keyframes"].found


def test_clips():
    unknown, bad = Measure(), Measure(readable=False)
    found, failed = judged(seen_of(), clips=(unknown,), can_measure=False)
    assert failed == set()
    assert found["clip"].verdict == "warn"
    assert "zmtwist[video]" in found["clip"].fix
    for clips in ((bad,), (CLIP, bad), ()):
        assert judged(seen_of(), clips=clips)[1] == {"clip"}
    seen = seen_of()
    seen.openings = 0
    assert judged(seen, clips=())[0]["clip"].found == "none was opened"


def test_what_would_begin_a_clip():
    looks, triggers = ("motion_gate", "detect_onnx"), {"detection"}
    seen = seen_of()
    seen.message(Event(0x0301, detail=Motion(changed=7)), 2)
    seen.message(Event(0x0301, detail=Detection()), 2)
    found, _ = judged(seen, looks=looks, triggers=triggers, mode="event")
    assert found["detector"].found == "motion_gate, detect_onnx: nothing happened meanwhile that would begin a clip"
    seen.message(Event(0x0301, detail=Detection(detections=(DetectedObject("cat"), DetectedObject("dog")))), 3)
    found, _ = judged(seen, looks=looks, triggers=triggers, mode="event")
    assert found["detector"].found.endswith("detection once (cat, dog), which would have begun a clip")
    assert judged(seen)[0]["detector"].found == "none looks at its picture"


def test_labels_without_end():
    seen = seen_of()
    for number in range(50):
        seen.message(Event(0x0301, detail=Detection(detections=(DetectedObject(f"thing {number}"),))), 3)
    assert len(seen.labels) == 5
