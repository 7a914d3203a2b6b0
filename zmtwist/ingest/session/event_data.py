"""What a plugin said in full, as JSON for `Event_Data`: with track, box and zone, bounded in size (doc/reference/rows.md). Pure."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from zmtwist.ingest.session.notes import MAX_NAME, MAX_WORDS, short
from zmtwist.ingest.session.options import SECOND, Pace
from zmtwist.ingest.session.scoring import Activity
from zmtwist.wire.event_details import (
    Alert,
    Analytics,
    AudioEvent,
    Description,
    DetectedObject,
    Detection,
    Faces,
    Plates,
    Pose,
    Reasoning,
    Segmentation,
)

MAX_DATA = 8_000
"""Characters of one Event_Data row: ZoneMinder's event page prints every row in full."""

MAX_LISTED = 32

CHATTY = frozenset({"detection", "tracked_detection", "pose", "segmentation", "audio_event"})
"""Triggers of what is said many times a second: of the room for Event_Data, half is kept free for the rest."""


class Room(msgspec.Struct, frozen=True, gc=False):
    """What room a monitor has for rows of data: `left_out` are those since the last that was written, `folded` are all ever left out."""

    due_us: int = 0
    left_out: int = 0
    folded: int = 0

    def after(self, activity: Activity, pace: Pace) -> Room:
        """The room after `activity`: it may be written if then nothing is left out."""
        slack = pace.slack_us // 2 if activity.trigger in CHATTY else pace.slack_us
        due = pace.admits(self.due_us, activity.at_us, slack)
        return Room(due, 0, self.folded) if due else Room(self.due_us, self.left_out + 1, self.folded + 1)


def data_of(activity: Activity, offset_us: int, folded: int) -> str:
    """What the plugin said, as ASCII JSON of at most `MAX_DATA` characters: its `type`, `at` (seconds into the clip), and `folded`, how
    many before it were not written for lack of room."""
    row: dict[str, Any] = {"type": activity.trigger, "at": round(offset_us / SECOND, 3), **_facts(activity)}
    row = {key: value for key, value in row.items() if value is not None}
    if folded:
        row["folded"] = folded
    return dumped(row)


def dumped(row: dict[str, Any]) -> str:
    """`row` as ASCII JSON of at most `MAX_DATA` characters. Of one that is too long, lists are counted and texts cut short."""
    try:
        text = json.dumps(row, separators=(",", ":"))
    except (ValueError, RecursionError):  # what a model's own form may hold: numbers without end, lists without bottom
        text = ""
    if 0 < len(text) <= MAX_DATA:
        return text
    cut = {key: len(value) if isinstance(value, list) else value for key, value in row.items()}
    cut = {key: value[:MAX_NAME] if isinstance(value, str) else value for key, value in cut.items()}
    return json.dumps({**cut, "cut": True}, separators=(",", ":"))


def _facts(activity: Activity) -> dict[str, Any]:
    detail = activity.detail
    if isinstance(detail, Detection):
        return {"objects": [_object(activity, n) for n in range(min(len(activity.found), MAX_LISTED))]}
    if isinstance(detail, Alert):
        return _object(activity, 0) | {"reason": _words(detail.reason)}
    if isinstance(detail, AudioEvent):
        return {
            "sounds": [
                {"label": short(sound.label), "confidence": _rounded(sound.confidence)}
                for sound in detail.events[:MAX_LISTED]
            ]
        }
    if isinstance(detail, Plates):
        return {
            "plates": [
                _filled(
                    text=short(plate.text),
                    confidence=_rounded(plate.confidence),
                    box=_box(plate.bbox),
                    watchlisted=plate.watchlisted or None,
                )
                for plate in detail.plates[:MAX_LISTED]
            ]
        }
    if isinstance(detail, Faces):
        return {
            "faces": [
                _filled(name=short(face.name), similarity=_rounded(face.similarity), box=_box(face.bbox))
                for face in detail.faces[:MAX_LISTED]
            ]
        }
    if isinstance(detail, Analytics):
        return {
            "rule": short(detail.rule),
            "rule_type": short(detail.rule_type),
            "track": _track(detail.track_id),
            "label": _words(detail.label),
            "dwell_sec": detail.dwell_sec,
            "direction": _words(detail.direction),
        }
    if isinstance(detail, Description):
        return {
            "text": _words(detail.text),
            "threat_level": _words(detail.threat_level),
            "scene_confidence": detail.scene_confidence,
            "label": _words(detail.label),
            "confidence": detail.confidence,
            "model": _words(detail.model),
        }
    if isinstance(detail, Reasoning):
        return {
            "text": _words(detail.text),
            "mode": _words(detail.mode),
            "track": _track(detail.track_id),
            "label": _words(detail.label),
        }
    if isinstance(detail, Pose):
        return {"poses": list(detail.shapes)}
    return {"segments": len(detail.shapes)} if isinstance(detail, Segmentation) else {}


def _object(activity: Activity, number: int) -> dict[str, Any]:
    found: DetectedObject = activity.found[number]
    zones = activity.zones[number] if activity.zones else ()
    return _filled(
        label=short(found.label),
        confidence=_rounded(found.confidence),
        box=_box(found.box),
        track=_track(found.track_id),
        zone=[short(name) for name in zones] or None,
    )


def _filled(**facts: Any) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if value is not None}


def _box(box: tuple[float, float, float, float] | None) -> list[float] | None:
    return None if box is None else [round(side, 1) for side in box]


def _rounded(confidence: float) -> float:
    return round(confidence, 3)


def _track(track: int | str | None) -> int | str | None:
    return short(track) if isinstance(track, str) else track


def _words(text: str | None) -> str | None:
    return short(text, MAX_WORDS) if text else None
