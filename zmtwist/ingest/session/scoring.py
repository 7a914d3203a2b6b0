"""What a worker's event means for the clip it falls into: whether it makes an alarm frame, with which score and labels, and how that
reads in `Events.Cause` (doc/reference/rows.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import msgspec
from msgspec.structs import replace

from zmtwist.ingest.session.zone_filter import Zoning
from zmtwist.wire.event_details import (
    Alert,
    Analytics,
    AudioEvent,
    Description,
    Detail,
    DetectedObject,
    Detection,
    Faces,
    Motion,
    Plates,
    Pose,
    Reasoning,
    Segmentation,
    TrackedDetection,
    ZoneMotion,
)

MAX_SCORE = 255
RULE_SCORE = 100
MOTION_GATE_DOWNSCALE = 4
MAX_LABEL = 64
"""Characters of a label: as many as `Tags.Name` takes."""

CAUSES = {
    "continuous": "Continuous",
    "motion": "Motion",
    "zone_motion": "Motion",
    "detection": "Detection",
    "tracked_detection": "Detection",
    "audio_event": "Audio",
    "lpr": "Plate",
    "face": "Face",
}


class Activity(msgspec.Struct, frozen=True, gc=False):
    """What one event says of a clip. With a `score` it makes an alarm frame. `pts_us` is the frame's presentation time where the plugin
    gave it.

    `detail` is kept where there is more to tell than that; `found` are then the objects of it that count, and `zones`, where the
    monitor has some, the names of those that each is in.
    """

    at_us: int
    trigger: str
    score: int
    pts_us: int | None = None
    labels: tuple[str, ...] = ()
    detail: Detail | None = None
    found: tuple[DetectedObject, ...] = ()
    zones: tuple[tuple[str, ...], ...] = ()


def activity_of(
    detail: Detail | None, at_us: int, motion_area: int = 0, zoning: Zoning | None = None
) -> Activity | None:
    """What a detail tells of a clip; None where it tells nothing.

    `motion_area` is the picture's size in pixels, 0 while unknown. Scores are on ZoneMinder's scale (doc/reference/zoneminder.md, Scores):
    a detector's best confidence in percent (as for sounds, plates and faces); for motion the changed share of the picture in percent, at
    least 1; 100 for a rule that fired.
    """
    make = _MAKERS.get(type(detail))
    return make(detail, at_us, motion_area, zoning) if make is not None else None


MAX_PENDING = 1024
DETAILED = 64


def kept_back(pending: tuple[Activity, ...], activity: Activity) -> tuple[Activity, ...]:
    """`pending` with one more; when full, of each two neighbours only the higher-scored stays, so that the span is kept.

    The latest `DETAILED` keep what there is to tell of them: that may be much, and more rows of it would not be written at once anyway.
    """
    if len(pending) >= MAX_PENDING:
        pairs = zip(pending[::2], pending[1::2], strict=False)
        pending = tuple(a if a.score >= b.score else b for a, b in pairs)
    if len(pending) >= DETAILED and (old := pending[-DETAILED]).detail is not None:
        pending = (*pending[:-DETAILED], replace(old, detail=None, found=(), zones=()), *pending[1 - DETAILED :])
    return (*pending, activity)


UNKNOWN_FACE = "unknown"
"""What some plugins call a face that they know no name of."""


def percent(confidences: Iterable[float]) -> int:
    """The best of some confidences (0 to 1) as a score of 1 to 100."""
    return round(100 * max(0.01, min(1.0, max(confidences))))


def cause_of(trigger: str, labels: Iterable[str] = ()) -> str:
    """`Events.Cause` for a trigger and the labels seen: `Continuous`, `Detection: person, car`. Not yet cut to the column."""
    base = CAUSES.get(trigger) or trigger.replace("_", " ").strip().capitalize() or "Continuous"
    named = ", ".join(labels)
    return f"{base}: {named}" if named else base


def distinct(labels: Iterable[str | None]) -> tuple[str, ...]:
    """Labels on one line each, cut to what a tag may be long; no empty ones, each once."""
    return tuple(dict.fromkeys([short for label in labels if label and (short := _label(label))]))


@lru_cache(maxsize=1024)
def _label(label: str) -> str:
    return " ".join(label[: 4 * MAX_LABEL].split())[:MAX_LABEL].rstrip()


def _motion(motion: Motion, at_us: int, area: int, _zoning: Zoning | None) -> Activity:
    changed = motion.changed
    if changed is None:
        return Activity(at_us, "motion", _share(motion.amount, area), motion.pts_us)
    # motion_gate counts cells of the picture scaled down.
    return Activity(at_us, "motion", _share(changed, area // MOTION_GATE_DOWNSCALE**2), motion.pts_us)


def _zone_motion(motion: ZoneMotion, at_us: int, area: int, _zoning: Zoning | None) -> Activity:
    return Activity(at_us, "motion", _share(motion.pixels, area), motion.pts_us)


def _share(pixels: int, area: int) -> int:
    share = 100 * pixels // area if area > 0 else pixels
    return max(1, min(MAX_SCORE, share))


def _detection(detection: Detection, at_us: int, _area: int, zoning: Zoning | None) -> Activity | None:
    found = detection.found
    zones: tuple[tuple[str, ...], ...] = ()
    if zoning is not None:
        found, zones = zoning.counting(found)
    if not found:
        return None
    trigger = "tracked_detection" if isinstance(detection, TrackedDetection) else "detection"
    if len(found) == 1:  # the commonest by far
        label = _label(found[0].label)
        labels: tuple[str, ...] = (label,) if label else ()
        score = percent((found[0].confidence,))
    else:
        labels = distinct([o.label for o in found])
        score = percent([o.confidence for o in found])
    return Activity(at_us, trigger, score, detection.pts_us, labels, detection, found, zones)


def _alert(alert: Alert, at_us: int, _area: int, zoning: Zoning | None) -> Activity | None:
    found: tuple[DetectedObject, ...] = (
        DetectedObject(alert.label, alert.confidence, alert.bbox, track_id=alert.track_id),
    )
    zones: tuple[tuple[str, ...], ...] = ()
    if zoning is not None:
        found, zones = zoning.counting(found)
        if not found:
            return None
    score = percent((alert.confidence,))
    return Activity(at_us, "alert", score, alert.pts_us, distinct((alert.label,)), alert, found, zones)


def _sounds(audio: AudioEvent, at_us: int, _area: int, _zoning: Zoning | None) -> Activity | None:
    if not audio.events:
        return None
    labels = distinct([sound.label for sound in audio.events])
    score = percent([sound.confidence for sound in audio.events])
    return Activity(at_us, "audio_event", score, audio.pts_us, labels, audio)


def _plates(read: Plates, at_us: int, _area: int, _zoning: Zoning | None) -> Activity | None:
    """Only plates that the operator has on a list become labels: any other would be a tag that is never used again."""
    if not read.plates:
        return None
    labels = distinct([plate.text for plate in read.plates if plate.watchlisted])
    score = percent([plate.confidence for plate in read.plates])
    return Activity(at_us, "lpr", score, read.pts_us, labels, read)


def _faces(seen: Faces, at_us: int, _area: int, _zoning: Zoning | None) -> Activity | None:
    if not seen.faces:
        return None
    labels = distinct([face.name for face in seen.faces if face.name != UNKNOWN_FACE])
    score = percent([face.similarity for face in seen.faces])
    return Activity(at_us, "face", score, seen.pts_us, labels, seen)


def _analytics(rule: Analytics, at_us: int, _area: int, _zoning: Zoning | None) -> Activity:
    return Activity(at_us, "analytics", RULE_SCORE, rule.pts_us, distinct((rule.label,)), rule)


def _reasoning(said: Reasoning, at_us: int, _area: int, _zoning: Zoning | None) -> Activity | None:
    return Activity(at_us, "reasoning", 0, None, distinct((said.label,)), said) if said.text.strip() else None


def _description(said: Description, at_us: int, _area: int, _zoning: Zoning | None) -> Activity | None:
    if not said.text.strip():
        return None
    labels = distinct([said.label, *(o.label for o in said.detections)])
    return Activity(at_us, "description", 0, None, labels, said)


def _shapes(seen: Pose | Segmentation, at_us: int, _area: int, _zoning: Zoning | None) -> Activity | None:
    kind, shapes = "pose" if isinstance(seen, Pose) else "segmentation", seen.shapes
    return Activity(at_us, kind, 0, None, (), seen) if shapes else None


_MAKERS: dict[type, Callable[[Any, int, int, Zoning | None], Activity | None]] = {
    Motion: _motion,
    ZoneMotion: _zone_motion,
    Detection: _detection,
    TrackedDetection: _detection,
    Alert: _alert,
    AudioEvent: _sounds,
    Plates: _plates,
    Faces: _faces,
    Analytics: _analytics,
    Reasoning: _reasoning,
    Description: _description,
    Pose: _shapes,
    Segmentation: _shapes,
}
