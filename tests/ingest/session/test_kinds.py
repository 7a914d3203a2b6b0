"""Every kind of worker event, from its bytes on the wire to its rows; the rows were written down by hand beforehand."""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any

import pytest

from tests.ingest.builders import us
from zmtwist.changes import Change, ClipSaved, CloseEvent
from zmtwist.ingest.session.options import Options, data_pace, frames_pace
from zmtwist.ingest.session.session import Session
from zmtwist.ingest.session.zone_filter import zoning_of
from zmtwist.pipeline.monitor import Monitor, Storage, Zone
from zmtwist.wire.encode import encode_event
from zmtwist.wire.event_details import ReviewAssets
from zmtwist.wire.frames import FrameDecoder
from zmtwist.zm.db import embedded
from zmtwist.zm.db.dialect import SQLITE, Sql
from zmtwist.zm.db.schema import probe
from zmtwist.zm.write.batch import Batch, write

DETECTED, DESCRIBED, SAVED, OPENING = 0x0301, 0x0302, 0x0303, 0x0304

YARD = Monitor(
    id=3,
    name="Yard",
    width=640,
    height=360,
    storage=Storage(id=1, path="/srv"),
    zones=(
        Zone(1, "Drive", "Active", coords="0.00,0.00 50.00,0.00 50.00,100.00 0.00,100.00"),
        Zone(2, "Street", "Preclusive", coords="50.00,0.00 100.00,0.00 100.00,100.00 50.00,100.00"),
    ),
)
ON_DRIVE, ON_STREET = [100, 100, 40, 80], [500, 100, 40, 80]


class Told:
    """A session that hears bytes, and the rows that come of it. Each step is a batch of its own unless `at_once`."""

    def __init__(self, *, monitor: Monitor = YARD, size: tuple[int, int] | None = (640, 360), **options: Any) -> None:
        zoning, problems = zoning_of(monitor, size)
        assert problems == ()
        self.monitor = monitor
        self.state = Session(3, "run", Options(zoning=zoning, bulk_interval=0, **options), rate=10.0)
        self.db = embedded.connect(":memory:")
        self.sql = Sql(self.db.cursor(), SQLITE)
        self.schema = probe(self.sql, "memory")
        self.places: dict[str, Any] = {}
        self.decoder = FrameDecoder()
        self.sequence = 0

    def say(self, at: float, code: int = 0, **detail: Any) -> list[Change]:
        """The worker says this at that second. Code 0 has its JSON in the message."""
        self.sequence += 1
        given = {"message": json.dumps(detail)} if code == 0 else {"detail": detail}
        (event,) = self.decoder.feed(encode_event(code, sequence=self.sequence, wall_us=us(at), **given))
        self.state, changes = self.state.handle(event, us(at))
        self.commit(changes)
        return changes

    def commit(self, changes: list[Change]) -> None:
        known = {self.monitor.id: self.monitor}
        self.places |= write(self.sql, self.schema, Batch(changes, self.places, known, UTC)).places
        self.db.commit()

    def opened(self, trigger: str = "continuous") -> Told:
        self.say(0, OPENING, event="RecordingOpening", clip_token="3-1-1", trigger=trigger)
        return self

    def saved(self, cause: str = "continuous") -> None:
        """The clip ends after ten seconds and a hundred frames, and is found in its place."""
        changes = self.say(10, SAVED, event="EventClip", path="/srv/a.mkv", duration=9.9, frames=100, cause=cause)
        (clip,) = (change for change in changes if isinstance(change, ClipSaved))
        figures = {name: getattr(clip, name) for name in ("handle", "frames", "tally", "settle", "cause")}
        self.commit([CloseEvent(length_us=clip.duration_us, **figures)])

    def one(self, columns: str = "Cause, AlarmFrames, MaxScore") -> tuple[Any, ...]:
        self.commit(self.state.tick(us(9.99))[1])
        (row,) = self.rows(f"SELECT {columns} FROM Events")
        return row

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.db.cursor().execute(query).fetchall()

    @property
    def frames(self) -> list[tuple[Any, ...]]:
        return self.rows("SELECT FrameId, Type, Delta, Score FROM Frames ORDER BY Id")

    @property
    def notes(self) -> list[str]:
        return self.rows("SELECT Notes FROM Events")[0][0].splitlines()

    @property
    def tags(self) -> list[str]:
        return [n for (n,) in self.rows("SELECT t.Name FROM Events_Tags e JOIN Tags t ON t.Id = e.TagId ORDER BY t.Id")]

    @property
    def data(self) -> list[dict[str, Any]]:
        return [json.loads(text) for (text,) in self.rows("SELECT Data FROM Event_Data ORDER BY Id")]


def test_a_detection():
    told = Told().opened("detection")
    found = {"label": "person", "confidence": 0.914, "bbox": ON_DRIVE, "class_id": 0}
    told.say(1, DETECTED, type="detection", stream_id=0, pts_usec=5_000_000, detections=[found])
    assert told.one() == ("Detection: person", 1, 91)
    assert told.frames == [(1, "Normal", 0, 0), (11, "Alarm", 1, 91)]
    assert told.tags == ["person"]
    assert told.notes == []
    assert told.data == [
        {
            "type": "detection",
            "at": 1.0,
            "objects": [{"label": "person", "confidence": 0.914, "box": [100, 100, 40, 80], "zone": ["Drive"]}],
        }
    ]
    assert told.rows("SELECT EventId, MonitorId, FrameId, Timestamp FROM Event_Data") == [
        (1, 3, 11, "2026-11-22 09:10:51.000")
    ]


def test_the_other_published_detection():
    told = Told().opened()
    other = {"label": "car", "confidence": 0.5, "x": 10, "y": 20, "w": 30, "h": 40, "track_id": 8, "zone_id": 1}
    told.say(0.02, DETECTED, objects=[other], frame_pts_us=77)
    assert told.one() == ("Continuous: car", 1, 50)
    assert told.frames == [(1, "Alarm", 0, 50)]
    assert told.data[0]["objects"][0]["track"] == 8
    told.saved()
    assert told.notes == ["0:00 car #8 50% in Drive"]


def test_tracked_detections_make_one_note_per_track():
    told = Told().opened()

    def seen(at: float, *tracks: tuple[int, str, float, list[int]]) -> None:
        found = [{"track_id": t, "label": label, "confidence": c, "bbox": box} for t, label, c, box in tracks]
        told.say(at, type="tracked_detection", stream_id=0, pts_usec=round(at * 1e6), detections=found)

    for step in range(20):
        seen(
            2 + step / 10, (7, "dog" if step == 0 else "person", 0.4 + step / 100, ON_DRIVE), (8, "car", 0.9, ON_STREET)
        )
    assert told.notes == []
    assert told.tags == ["dog", "person"]
    told.saved()
    assert told.notes == ["0:02 person #7 59% in Drive"]
    assert told.one()[0] == "Continuous: dog, person"
    assert told.data[0]["objects"] == [
        {"label": "dog", "confidence": 0.4, "box": ON_DRIVE, "track": 7, "zone": ["Drive"]}
    ]


def test_a_track_that_has_ended_is_noted_though_the_clip_goes_on():
    told = Told().opened()
    told.say(
        1, type="tracked_detection", detections=[{"track_id": "a", "label": "cat", "confidence": 0.7, "bbox": ON_DRIVE}]
    )
    told.state, changes = told.state.tick(us(20))
    told.commit(changes)
    assert told.notes == []
    told.state, changes = told.state.tick(us(32))
    told.commit(changes)
    assert told.notes == ["0:01 cat #a 70% in Drive"]


def test_what_is_in_no_including_zone_does_not_count():
    told = Told().opened()
    person = {"label": "person", "confidence": 0.9}
    assert told.say(1, DETECTED, type="detection", detections=[{**person, "bbox": ON_STREET}]) == []
    told.say(
        2, DETECTED, type="detection", detections=[{**person, "bbox": ON_STREET}, {"label": "cat", "bbox": ON_DRIVE}]
    )
    told.say(3, type="alert", label="person", confidence=0.9, bbox=ON_STREET)
    assert told.one() == ("Continuous: cat", 1, 1)
    assert told.tags == ["cat"]


def test_without_the_size_of_the_detectors_picture_everything_counts():
    told = Told(size=None).opened()
    told.say(1, DETECTED, type="detection", detections=[{"label": "person", "confidence": 0.9, "bbox": ON_STREET}])
    assert told.one() == ("Continuous: person", 1, 90)
    assert "zone" not in told.data[0]["objects"][0]


def test_a_zone_that_the_worker_names_stands_in_for_a_box():
    told = Told().opened()
    told.say(1, DETECTED, objects=[{"label": "car", "zone_id": 2}], frame_pts_us=1)
    told.say(2, DETECTED, objects=[{"label": "dog", "zone_id": "1"}], frame_pts_us=2)
    told.say(3, DETECTED, objects=[{"label": "owl", "zone_id": 99}], frame_pts_us=3)
    assert told.one()[0] == "Continuous: dog, owl"


def test_motion_and_zone_motion():
    told = Told(motion_area=640 * 360).opened("motion")
    told.say(1, DETECTED, type="motion", stream_id=0, changed=1440, pts_usec=1_000_000)
    told.say(2, DETECTED, type="motion", algorithm="pixel_diff", monitor=3, pixels=23_040, frame_count=9)
    told.say(3, DETECTED, type="zone_motion", zone=1, pixels=2_304, blobs=2)
    assert told.one() == ("Motion", 3, 10)
    assert told.frames[1:] == [(11, "Alarm", 1, 10), (21, "Alarm", 2, 10), (31, "Alarm", 3, 1)]
    assert (told.notes, told.tags, told.data) == ([], [], [])


def test_sounds():
    told = Told().opened("audio_event")
    told.say(1, type="audio_event", events=[{"label": "glass breaking", "confidence": 0.6}])
    told.say(2, type="audio_event", events=[{"label": "glass breaking", "confidence": 0.8}])
    assert told.one() == ("Audio: glass breaking", 2, 80)
    assert told.tags == ["glass breaking"]
    assert told.data[0] == {
        "type": "audio_event",
        "at": 1.0,
        "sounds": [{"label": "glass breaking", "confidence": 0.6}],
    }
    told.saved(cause="audio_event")
    assert told.notes == ["0:01 sound glass breaking 80%"]


def test_plates():
    told = Told().opened("lpr")
    plates = [
        {"text": "B AB 123", "confidence": 0.93, "bbox": [5, 6, 7, 8], "watchlisted": True},
        {"text": "X 1", "confidence": 0.5},
    ]
    told.say(1, type="lpr", plates=plates)
    assert told.one() == ("Plate: B AB 123", 1, 93)
    assert told.tags == ["B AB 123"]  # a tag for each plate that passes would be one that is never used again
    assert told.data[0]["plates"] == [
        {"text": "B AB 123", "confidence": 0.93, "box": [5, 6, 7, 8], "watchlisted": True},
        {"text": "X 1", "confidence": 0.5},
    ]
    told.saved(cause="lpr")
    assert told.notes == ["0:01 plate B AB 123 (watchlisted) 93%", "0:01 plate X 1 50%"]


def test_faces():
    told = Told().opened("face")
    told.say(1, type="face", faces=[{"name": "Alice", "similarity": 0.88, "bbox": [1, 2, 3, 4]}, {"similarity": 0.2}])
    assert told.one() == ("Face: Alice", 1, 88)
    assert told.tags == ["Alice"]
    assert told.data[0]["faces"][0] == {"name": "Alice", "similarity": 0.88, "box": [1, 2, 3, 4]}
    told.saved(cause="face")
    assert told.notes == ["0:01 face Alice 88%", "0:01 face not known 20%"]


def test_analytics():
    told = Told().opened("analytics")
    fired = {"rule": "Drive", "rule_type": "loiter", "track_id": 7, "label": "person", "dwell_sec": 12.4}
    told.say(1, type="analytics", **fired)
    told.say(2, type="analytics", **{**fired, "dwell_sec": 13.4})
    told.say(3, type="analytics", rule="Gate", rule_type="linecross", direction="in")
    assert told.one() == ("Analytics: person", 3, 100)
    assert told.tags == ["person"]
    assert told.notes == ["0:01 loiter Drive: person #7, 12 s", "0:03 linecross Gate: in"]
    assert told.data[0] == {
        "type": "analytics", "at": 1.0, "rule": "Drive", "rule_type": "loiter", "track": 7, "label": "person", "dwell_sec": 12.4,
    }  # fmt: skip


def test_alerts():
    told = Told().opened("alert")
    told.say(1, type="alert", track_id=7, label="person", bbox=ON_DRIVE, confidence=0.77, reason="at night")
    assert told.one() == ("Alert: person", 1, 77)
    assert told.tags == ["person"]
    assert told.notes == ["0:01 alert: person #7 77% in Drive, at night"]
    assert told.data == [
        {
            "type": "alert", "at": 1.0, "label": "person", "confidence": 0.77, "box": ON_DRIVE, "track": 7, "zone": ["Drive"],
            "reason": "at night",
        }
    ]  # fmt: skip


def test_descriptions():
    told = Told().opened()
    told.say(
        1, DESCRIBED, type="description", text="A man\n at the door", model="vlm", threat_level="high",
        scene_confidence=0.8, label="person", prompt="what is there?",
    )  # fmt: skip
    assert told.one() == ("Continuous: person", 0, 0)  # words are no alarm
    assert told.notes == ["Threat HIGH: A man at the door"]
    assert told.tags == ["person"]
    assert told.data == [
        {
            "type": "description", "at": 1.0, "text": "A man at the door", "threat_level": "high", "scene_confidence": 0.8,
            "label": "person", "model": "vlm",
        }
    ]  # fmt: skip
    assert told.rows("SELECT FrameId FROM Event_Data") == [(1,)]


def test_reasoning_and_pose():
    told = Told().opened("pose")
    told.say(1, type="pose", poses=[{"keypoints": [[1, 2], [3, 4]]}])
    told.say(2, type="reasoning", text="He waits for someone.", mode="track", track_id=7, label="person")
    told.say(3, type="segmentation", segments=[{}, {}])
    assert told.one() == ("Pose: person", 0, 0)
    assert told.notes == ["person #7: He waits for someone."]
    assert told.data == [
        {"type": "pose", "at": 1.0, "poses": [{"keypoints": [[1, 2], [3, 4]]}]},
        {
            "type": "reasoning",
            "at": 2.0,
            "text": "He waits for someone.",
            "mode": "track",
            "track": 7,
            "label": "person",
        },
        {"type": "segmentation", "at": 3.0, "segments": 2},
    ]


def test_poses_and_segments_under_their_other_names():
    told = Told().opened("pose")
    told.say(1, type="pose", persons=[{"keypoints": [[1, 2]]}])
    told.say(2, type="segmentation", objects=[{}, {}])
    assert told.data == [
        {"type": "pose", "at": 1.0, "poses": [{"keypoints": [[1, 2]]}]},
        {"type": "segmentation", "at": 2.0, "segments": 2},
    ]


def test_data_is_bounded_in_size():
    told = Told().opened()
    told.say(1, type="pose", poses=[["x" * 100] * 100])
    told.say(2, DESCRIBED, type="description", text="\N{OWL}" * 9_000)
    told.say(3, type="face", faces=[{"name": "f" * 500, "similarity": 1}] * 60)
    lengths = [len(text) for (text,) in told.rows("SELECT Data FROM Event_Data")]
    assert len(lengths) == 3
    assert max(lengths) <= 8_000
    assert told.data[0] == {"type": "pose", "at": 1.0, "poses": 1, "cut": True}
    assert len(told.data[2]["faces"]) == 32


def test_data_is_bounded_in_rate_and_says_what_was_left_out():
    told = Told(data=data_pace(10), motion_area=1).opened()
    found = [{"label": "person", "confidence": 0.9, "bbox": ON_DRIVE}]
    for step in range(600):
        told.say(step / 10, DETECTED, type="detection", detections=found)
    detections = len(told.data)
    assert 5 < detections <= 10
    told.say(60, type="alert", label="person", confidence=0.9, bbox=ON_DRIVE)  # there is always room for one of these
    assert told.data[-1]["type"] == "alert"
    assert sum(row.get("folded", 0) for row in told.data) == 600 - detections == told.state.room.folded
    assert Told(data=None).opened().say(1, type="pose", poses=[1]) == []


def test_alarm_frames_are_bounded_in_rate_but_a_new_best_score_is_kept():
    told = Told(frames=frames_pace(5), motion_area=640 * 360 * 16).opened()
    for step in range(200):  # 20 a second for 10 seconds
        told.say(step / 20, DETECTED, type="motion", changed=23_040 if step != 150 else 230_400, pts_usec=step * 50_000)
    scores = [score for *_, score in told.frames]
    assert scores.count(10) in range(50, 60)
    assert scores.count(100) == 1
    assert told.state.folded_frames == 200 - sum(score > 0 for score in scores)
    told.saved()
    assert told.state.folded_frames == 200 - sum(score > 0 for score in scores)
    # A clock that is set back an hour is not waited for.
    told.say(-3600, OPENING, event="RecordingOpening", clip_token="3-1-2", trigger="continuous")
    assert told.say(-3599, DETECTED, type="motion", changed=1) != []


def test_no_tags_where_the_operator_wants_none():
    told = Told(tags=False).opened()
    told.say(1, DETECTED, type="detection", detections=[{"label": "person", "confidence": 0.9, "bbox": ON_DRIVE}])
    assert told.tags == []
    assert told.one()[0] == "Continuous: person"


@pytest.mark.parametrize("unrecorded", [True, False])
def test_what_is_seen_where_nothing_is_recorded(unrecorded):
    told = Told(recorder=False, unrecorded=unrecorded)
    told.say(0, DESCRIBED, type="description", text="an empty yard")
    assert told.rows("SELECT * FROM Events") == []
    for at in (1, 2):
        told.say(at, DETECTED, type="detection", detections=[{"label": "fox", "confidence": 0.9, "bbox": ON_DRIVE}])
    told.say(3, DETECTED, type="detection", detections=[{"label": "fox", "confidence": 0.9, "bbox": ON_STREET}])
    told.state, changes = told.state.tick(us(70))
    told.commit(changes)
    found = told.rows("SELECT Cause, StartDateTime, EndDateTime, AlarmFrames, Notes, DefaultVideo FROM Events")
    if unrecorded:
        start, end = "2026-11-22 09:10:51", "2026-11-22 09:10:52"
        assert found == [("Detection: fox", start, end, 2, "an empty yard", "")]
        assert told.frames == [(1, "Alarm", 0, 90), (11, "Alarm", 1, 90)]
        told.say(75, type="reasoning", text="It was a fox.")
        assert told.notes == ["an empty yard", "It was a fox."]
    else:
        assert found == []
        assert told.state.pending == ()


def test_what_was_said_before_the_opening_goes_into_the_clip_whole():
    told = Told()
    told.say(0.5, type="alert", track_id=7, label="person", bbox=ON_DRIVE, confidence=0.77)
    told.say(1, OPENING, event="RecordingOpening", clip_token="3-1-1", trigger="alert")
    assert told.notes == ["0:00 alert: person #7 77% in Drive"]
    assert told.tags == ["person"]
    assert told.frames == [(1, "Alarm", 0, 77)]
    assert [row["type"] for row in told.data] == ["alert"]


def test_review_assets_find_their_clip():
    told = Told().opened()
    told.state = told.state.assigned("3.run.1", 41)
    assert told.state.told_of(None) is None  # a clip that is open has none yet
    assert told.state.told_of(ReviewAssets(event_id=41)) == "3.run.1"
    told.saved()
    told.say(11, OPENING, event="RecordingOpening", clip_token="3-1-2", trigger="continuous")
    first, second = "3.run.1", "3.run.2"
    assert told.state.told_of(None) == first
    assert told.state.told_of(ReviewAssets(clip_path="/srv/a.mkv")) == first
    assert told.state.told_of(ReviewAssets(event_id=41)) == first
    assert told.state.told_of(ReviewAssets(clip_token="3-1-2")) == second
    assert told.state.told_of(ReviewAssets(event_id=999)) is None


def test_health_is_kept_until_the_worker_has_gone():
    told = Told()
    told.say(1, event="StreamConnected", stream_id=0, url="rtsp://me:secret@cam/1")
    told.say(2, 0x0105, type="capture_failed", message="no frames")
    health = told.state.health
    assert [(stream.state, stream.since_us) for stream in health.streams] == [("connected", us(1))]
    assert [(trouble.what, trouble.since_us) for trouble in health.troubles] == [("capture", us(2))]
    assert "secret" not in repr(told.state)
    told.state, _ = told.state.gone(us(3))
    assert (told.state.health.streams, told.state.health.failures) == ((), 1)


def test_a_face_that_nobody_knows_names_no_event():
    told = Told().opened("face")
    told.say(1, type="face", faces=[{"name": "unknown", "similarity": 0.4}, {"name": "Ann", "similarity": 0.6}])
    assert told.one()[0] == "Face: Ann"


def test_objects_of_no_track_are_told_by_their_labels():
    told = Told().opened("detection")
    found = [{"label": label, "confidence": 0.9, "track_id": 0} for label in ("person", "car")]
    told.say(1, type="tracked_detection", detections=found)
    assert told.notes == []
    assert told.one()[0] == "Detection: person, car"
