"""Details: every kind that plugins publish is typed, and nothing else gets lost or gets out."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zmtwist.wire.event_details import (
    Alert,
    Analytics,
    AudioEvent,
    BackgroundPlate,
    Description,
    DetectedObject,
    Detection,
    Face,
    Faces,
    Lifecycle,
    MalformedDetail,
    Motion,
    Plate,
    Plates,
    Pose,
    RawDetail,
    Reasoning,
    RecordingOpening,
    RecordingSaved,
    ReviewAssets,
    Segmentation,
    Sound,
    StreamState,
    TrackedDetection,
    ZoneMotion,
    decode_detail,
)

PERSON = DetectedObject(label="person", confidence=0.91, bbox=(10, 20, 30, 40), class_id=0)

KINDS: list[tuple[int, dict[str, Any], Any]] = [
    (
        0x0301,
        {
            "type": "detection",
            "stream_id": 0,
            "pts_usec": 4000000,
            "detections": [{"label": "person", "confidence": 0.91, "bbox": [10, 20, 30, 40], "class_id": 0}],
        },
        Detection(pts_usec=4000000, detections=(PERSON,)),
    ),
    (
        0x0301,
        {
            "objects": [
                {
                    "label": "car",
                    "confidence": 0.5,
                    "x": 1,
                    "y": 2,
                    "w": 3,
                    "h": 4,
                    "track_id": 9,
                    "zone_id": 2,
                }
            ],
            "frame_pts_us": 77,
        },
        Detection(
            frame_pts_us=77,
            objects=(DetectedObject(label="car", confidence=0.5, x=1, y=2, w=3, h=4, track_id=9, zone_id=2),),
        ),
    ),
    (0x0301, {"type": "motion", "stream_id": 0, "changed": 951, "pts_usec": 5}, Motion(changed=951, pts_usec=5)),
    (
        0x0301,
        {"type": "motion", "algorithm": "pixel_diff", "monitor": 3, "pixels": 1234, "frame_count": 8},
        Motion(algorithm="pixel_diff", monitor=3, pixels=1234, frame_count=8),
    ),
    (0x0301, {"type": "zone_motion", "zone": 2, "pixels": 50, "blobs": 1}, ZoneMotion(zone=2, pixels=50, blobs=1)),
    (
        0x0302,
        {"type": "description", "text": "A van.", "prompt": "?", "model": "m", "threat_level": "LOW", "frames": 3},
        Description(text="A van.", prompt="?", model="m", threat_level="LOW"),
    ),
    (
        0x0303,
        {
            "event": "EventClip",
            "event_id": 501,
            "path": "/e/501-video.mp4",
            "cause": "motion",
            "duration": 2.933333,
            "frames": 45,
        },
        RecordingSaved(path="/e/501-video.mp4", event_id=501, cause="motion", duration=2.933333, frames=45),
    ),
    (0x0303, {"path": "/e/x.mkv"}, RecordingSaved(path="/e/x.mkv")),
    (
        0x0304,
        {"event": "RecordingOpening", "clip_token": "3-1795338176-2", "trigger": "motion"},
        RecordingOpening(clip_token="3-1795338176-2", trigger="motion"),
    ),
    (
        0x0306,
        {
            "type": "review_assets",
            "schema": 1,
            "monitor_id": 3,
            "event_id": 501,
            "clip_token": "3-1-1",
            "path_base": "synopsis",
            "tubes": [{"track_id": 1, "samples": []}],
        },
        ReviewAssets(schema=1, monitor_id=3, event_id=501, clip_token="3-1-1", tubes=({"track_id": 1, "samples": []},)),
    ),
    (
        0,
        {"type": "tracked_detection", "detections": [{"label": "person", "confidence": 0.9, "track_id": 4}]},
        TrackedDetection(detections=(DetectedObject(label="person", confidence=0.9, track_id=4),)),
    ),
    (
        0,
        {"type": "analytics", "rule": "gate", "rule_type": "loiter", "track_id": 4, "dwell_sec": 9.5},
        Analytics(rule="gate", rule_type="loiter", track_id=4, dwell_sec=9.5),
    ),
    (
        0,
        {"type": "alert", "track_id": 4, "label": "person", "bbox": [1, 2, 3, 4], "confidence": 1, "reason": "night"},
        Alert(track_id=4, label="person", bbox=(1, 2, 3, 4), confidence=1.0, reason="night"),
    ),
    (
        0,
        {"type": "audio_event", "events": [{"label": "glass", "confidence": 0.7}]},
        AudioEvent(events=(Sound(label="glass", confidence=0.7),)),
    ),
    (
        0,
        {"type": "lpr", "plates": [{"text": "AB 12", "confidence": 0.8, "bbox": [1, 2, 3, 4], "watchlisted": True}]},
        Plates(plates=(Plate(text="AB 12", confidence=0.8, bbox=(1, 2, 3, 4), watchlisted=True),)),
    ),
    (
        0,
        {"type": "face", "faces": [{"name": "Ann", "similarity": 0.6, "bbox": [1, 2, 3, 4]}]},
        Faces(faces=(Face(name="Ann", similarity=0.6, bbox=(1, 2, 3, 4)),)),
    ),
    (0, {"type": "pose", "poses": [{"k": [1, 2]}]}, Pose(poses=({"k": [1, 2]},))),
    (0, {"type": "segmentation", "segments": [[1, 2]]}, Segmentation(segments=([1, 2],))),
    (0, {"type": "reasoning", "text": "why", "mode": "track"}, Reasoning(text="why", mode="track")),
    (0, {"type": "background_plate", "path": "/b.jpg"}, BackgroundPlate(path="/b.jpg")),
    (
        0,
        {"event": "StreamConnected", "stream_id": 0, "url": "rtsp://u:secret@cam/1"},
        StreamState(event="StreamConnected"),
    ),
    (
        0,
        {"event": "StreamReconnecting", "stream_id": 1, "attempt": 3},
        StreamState(event="StreamReconnecting", stream_id=1, attempt=3),
    ),
    (
        0x0101,
        {"type": "connection_failed", "stream_id": 0, "message": "refused"},
        Lifecycle(type="connection_failed", message="refused"),
    ),
    (0x0106, {"type": "capture_resumed"}, Lifecycle(type="capture_resumed")),
    (0x0001, {"type": "connection_failed"}, Lifecycle(type="connection_failed")),
]


@pytest.mark.parametrize(("code", "said", "meant"), KINDS)
def test_every_kind_is_typed_and_keys_of_tomorrow_are_ignored(code: int, said: dict[str, Any], meant: Any) -> None:
    assert decode_detail(code, json.dumps(said).encode()) == meant
    tomorrow = decode_detail(code, json.dumps({**said, "of_tomorrow": {"deep": [1, None]}}).encode())
    assert tomorrow == meant
    assert type(tomorrow) is type(meant)


def test_both_shapes_of_a_detection_read_the_same() -> None:
    one = decode_detail(0x0301, b'{"type":"detection","pts_usec":7,"detections":[{"label":"a","bbox":[1,2,3,4]}]}')
    other = decode_detail(0x0301, b'{"frame_pts_us":7,"objects":[{"label":"a","x":1,"y":2,"w":3,"h":4}]}')
    assert isinstance(one, Detection)
    assert isinstance(other, Detection)
    assert (one.pts_us, [(found.label, found.box) for found in one.found]) == (7, [("a", (1, 2, 3, 4))])
    assert (other.pts_us, [(found.label, found.box) for found in other.found]) == (7, [("a", (1, 2, 3, 4))])
    assert DetectedObject(x=1, y=2).box is None


@pytest.mark.parametrize(
    ("code", "said", "kind"),
    [
        (0, '{"type":"of_tomorrow","a":1}', "of_tomorrow"),
        (0, '{"event":"Other"}', "Other"),
        (0, "{}", ""),
        (0, '{"type":7}', ""),
        (0, '{"type":[]}', ""),
        (0, '{"type":{}}', ""),
        (0x0301, '{"type":[1,{"a":2}]}', ""),
        (0, '{"event":["StreamConnected"]}', ""),
        (0, '{"type":"StreamConnected","event":"made up"}', "StreamConnected"),
        (0x0301, '{"type":"motion","changed":9223372036854775808}', "motion"),
        (0x0301, '{"type":"motion","changed":' + "9" * 400 + "}", "motion"),
        (0x0301, '{"type":"detection","detections":[{"bbox":[1e300,0,1,1]}]}', "detection"),
        (0x0303, '{"path":"/x","duration":1e300}', ""),
        (0x0301, '{"type":"motion","changed":"many"}', "motion"),
        (0x0301, '{"objects":[{"label":1}]}', ""),
        (0x0303, '{"event":"EventClip"}', "EventClip"),
        (0x0304, '{"clip_token":3}', ""),
        (0, '{"event":"StreamConnected","stream_id":"x"}', "StreamConnected"),
        (0x0999, '{"type":"odd"}', "odd"),
    ],
)
def test_what_no_form_fits_is_kept_raw(code: int, said: str, kind: str) -> None:
    assert decode_detail(code, said.encode()) == RawDetail(kind, said)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[1]", b'"x"', b"null", b"\xff\xfe", b'{"type":"\xff"}', b"[" * 60_000, b'{"a":' * 9999],
    ids=lambda data: repr(data[:12]),
)
@pytest.mark.parametrize("code", [0, 0x0301, 0x0303, 0x0101])
def test_what_is_no_json_object_is_malformed(code: int, data: bytes) -> None:
    with pytest.raises(MalformedDetail):
        decode_detail(code, data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"type":"pose","poses":[' + b"[]," * 9_000 + b"[]]}",
        b'{"type":"pose","poses":' + b"[" * 80 + b"]" * 80 + b" " * 1000 + b"}",
        b'{"a":' * 900 + b"1" + b"}" * 900,
        b'{"type":"motion","x":"' + bytes(70_000) + b'"}',
    ],
    ids=lambda data: repr(data[:30]),
)
def test_what_is_too_much_is_malformed_before_it_is_decoded(data: bytes) -> None:
    with pytest.raises(MalformedDetail, match="too long, too deep"):
        decode_detail(0, data)


def test_a_long_list_of_objects_is_not_too_much() -> None:
    found = {"label": "a [b] {c", "bbox": [1, 2, 3, 4]}
    data = json.dumps({"type": "detection", "detections": [found] * 1000}).encode()
    assert len(decode_detail(0x0301, data).found) == 1000


@pytest.mark.parametrize("pts", [-(2**63), -1, 2**53, 2**63 - 1])
def test_a_time_that_is_none_costs_no_more_than_the_time(pts: int) -> None:
    motion = decode_detail(0x0301, json.dumps({"type": "motion", "changed": 5, "pts_usec": pts}).encode())
    assert (motion.amount, motion.pts_us) == (5, None)
    found = decode_detail(0x0301, json.dumps({"objects": [{"label": "a"}], "frame_pts_us": pts}).encode())
    assert (len(found.found), found.pts_us) == (1, None)


@settings(deadline=None)
@given(
    code=st.sampled_from([0, 1, 0x0101, 0x0301, 0x0302, 0x0303, 0x0304, 0x0306, 0x7777]),
    source=st.sampled_from([json.dumps(said).encode() for _, said, _ in KINDS]),
    cut=st.integers(0, 200),
    change=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=4),
)
def test_mangled_details_are_malformed_at_worst(
    code: int, source: bytes, cut: int, change: list[tuple[int, int]]
) -> None:
    mangled = bytearray(source)
    for at, byte in change:
        mangled[at % len(mangled)] = byte
    with suppress(MalformedDetail):
        decode_detail(code, bytes(mangled[: len(mangled) - cut % len(mangled)]))


def test_a_cameras_url_is_not_kept() -> None:
    detail = decode_detail(0, b'{"event":"StreamConnected","stream_id":0,"url":"rtsp://u:secret@cam/1"}')
    assert "secret" not in repr(detail)
