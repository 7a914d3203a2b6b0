import pytest

from zmtwist.ingest.session.scoring import activity_of, cause_of, percent
from zmtwist.wire.event_details import (
    AudioEvent,
    DetectedObject,
    Detection,
    Motion,
    Sound,
    TrackedDetection,
    ZoneMotion,
)


@pytest.mark.parametrize(
    ("changed", "area", "score"),
    [
        (951, 160 * 120, 79),  # 951 of the 40 x 30 cells that motion_gate sees
        (1, 160 * 120, 1),  # never 0: something did move
        (100_000, 160 * 120, 255),
        (57, 0, 57),  # size unknown: the count itself
    ],
)
def test_motion_scores_the_changed_share_of_the_picture(changed, area, score):
    assert activity_of(Motion(changed=changed), 0, area).score == score


def test_pixel_motion_counts_pixels_not_cells():
    assert activity_of(Motion(algorithm="pixel_diff", pixels=1920), 0, 160 * 120).score == 10
    assert activity_of(ZoneMotion(zone=2, pixels=1920, blobs=1), 0, 160 * 120).score == 10


def test_a_detection_scores_its_best_confidence_and_names_each_label_once():
    found = tuple(DetectedObject(label=n, confidence=c) for n, c in [("car", 0.5), ("person", 0.914), ("car", 0.7)])
    activity = activity_of(Detection(pts_usec=7, detections=found), 5, 0)
    assert (activity.trigger, activity.score, activity.labels) == ("detection", 91, ("car", "person"))
    assert (activity.at_us, activity.pts_us) == (5, 7)


@pytest.mark.parametrize(("confidence", "score"), [(1e308, 100), (-1e308, 1), (0.0, 1), (0.005, 1), (1.0, 100)])
def test_a_score_is_one_of_1_to_100_whatever_the_confidence(confidence, score):
    assert percent([confidence]) == score


def test_both_published_shapes_of_a_detection_count():
    other = Detection(frame_pts_us=9, objects=(DetectedObject(label="dog", confidence=1.0, x=1, y=2, w=3, h=4),))
    assert activity_of(other, 0, 0).labels == ("dog",)
    assert activity_of(other, 0, 0).pts_us == 9


def test_an_empty_detection_is_no_activity():
    assert activity_of(Detection(), 0, 0) is None
    assert activity_of(AudioEvent(), 0, 0) is None
    assert activity_of(None, 0, 0) is None


def test_tracked_detections_and_sounds_have_triggers_of_their_own():
    assert (
        activity_of(TrackedDetection(detections=(DetectedObject("person", 0.4),)), 0, 0).trigger == "tracked_detection"
    )
    sound = activity_of(AudioEvent(events=(Sound("glass", 0.8), Sound("glass", 0.2))), 0, 0)
    assert (sound.trigger, sound.score, sound.labels) == ("audio_event", 80, ("glass",))


@pytest.mark.parametrize(
    ("trigger", "labels", "cause"),
    [
        ("continuous", (), "Continuous"),
        ("motion", (), "Motion"),
        ("detection", ("person", "car"), "Detection: person, car"),
        ("tracked_detection", ("person",), "Detection: person"),
        ("audio_event", (), "Audio"),
        ("line_cross", (), "Line cross"),
        ("", (), "Continuous"),
    ],
)
def test_causes(trigger, labels, cause):
    assert cause_of(trigger, labels) == cause
