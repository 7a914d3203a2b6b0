"""What detector stages publish about a frame with motion (doc/reference/wire.md, Events), keys in the captures' order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from zmtwist.sim.document import Stage
from zmtwist.sim.scene import Thing
from zmtwist.wire.event_details import EVENT_DESCRIPTION, EVENT_DETECTION


class Sighting(msgspec.Struct, frozen=True):
    """One event to publish: its code, its `type` and its JSON."""

    code: int
    kind: str
    detail: dict[str, Any]


_DETECTORS = frozenset({"decode_detect", "detect_onnx", "detect_openvocab"})


def sightings(
    stages: Iterable[Stage],
    thing: Thing,
    *,
    monitor_id: int,
    stream_id: int,
    pts_us: int,
    changed: int,
    frame: int,
    detect: bool,
    new: bool,
) -> list[Sighting]:
    """What `stages`, in their order, say of `thing` on a capture stream.

    Motion comes in every frame, objects only in those with `detect` set, and a description only with the first frame of a `new` thing.
    """
    seen: list[Sighting] = []
    box = {"bbox": list(thing.box), "class_id": thing.class_id, "confidence": thing.confidence, "label": thing.label}
    where: dict[str, Any] = {"pts_usec": pts_us, "stream_id": stream_id}
    for stage in stages:
        if not stage.sees(stream_id):
            continue
        if stage.kind == "motion_gate":
            seen.append(_sighting(EVENT_DETECTION, {"changed": changed, **where, "type": "motion"}))
        elif stage.kind == "motion_pixel_diff":
            seen.append(
                _sighting(
                    EVENT_DETECTION,
                    {
                        "algorithm": "pixel_diff",
                        "frame_count": frame,
                        "monitor": monitor_id,
                        "pixels": 16 * changed,
                        "type": "motion",
                    },
                )
            )
        elif stage.kind in _DETECTORS and detect:
            seen.append(_sighting(EVENT_DETECTION, {"detections": [box], **where, "type": "detection"}))
        elif stage.kind == "tracker" and detect:
            tracked = {**box, "track_id": thing.track_id}
            seen.append(_sighting(0, {"detections": [tracked], **where, "type": "tracked_detection"}))
        elif stage.kind == "describe_vlm" and new:
            words = {
                "model": "sim",
                "prompt": "What is there?",
                **where,
                "text": f"A {thing.label} crosses the picture.",
            }
            seen.append(_sighting(EVENT_DESCRIPTION, {**words, "type": "description"}))
    return seen


def _sighting(code: int, detail: dict[str, Any]) -> Sighting:
    return Sighting(code, detail["type"], detail)
