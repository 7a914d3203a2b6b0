"""What a worker's plugins say: the JSON details of EVENT messages as typed values (doc/reference/wire.md).

Plugins add keys at any time, so unknown keys are ignored. A detail of a kind not known here, or of a known kind with a value of the
wrong type, is kept whole as `RawDetail`. The values are msgspec structs because msgspec parses JSON straight into them: that is what
keeps a typed event within a few times the cost of slicing it off the stream (tests/bench/bench_wire.py). None can be part of a cycle,
so the garbage collector is spared all of them (`gc=False`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import msgspec

from zmtwist.wire.bounds import SMALL, UNREADABLE, Number, Whole, known_pts, too_much


class DetectedObject(msgspec.Struct, frozen=True, gc=False):
    """One box of a detection, in either published shape. Confidence is 0 to 1; boxes are pixels of the detector's picture."""

    label: str = ""
    confidence: Number = 0.0
    bbox: tuple[Number, Number, Number, Number] | None = None
    class_id: Whole | None = None
    track_id: Whole | str | None = None
    zone_id: Whole | str | None = None
    x: Number | None = None
    y: Number | None = None
    w: Number | None = None
    h: Number | None = None

    @property
    def box(self) -> tuple[float, float, float, float] | None:
        """Left, top, width and height, whichever way they were given; None where they were not."""
        if self.bbox is not None:
            return self.bbox
        if self.x is None or self.y is None or self.w is None or self.h is None:
            return None
        return (self.x, self.y, self.w, self.h)


class OfFrame(msgspec.Struct, frozen=True, gc=False):
    """What belongs to one frame of one of the worker's streams; `pts_usec` is that frame's presentation time in microseconds."""

    stream_id: Whole = 0
    pts_usec: Whole | None = None

    @property
    def pts_us(self) -> int | None:
        """That time, where it is one."""
        return known_pts(self.pts_usec)


class Detection(OfFrame, frozen=True, gc=False, tag="detection", tag_field="type"):
    """Objects seen in one frame. `detections` and `pts_usec` are one published shape, `objects` and `frame_pts_us` the other."""

    frame_pts_us: Whole | None = None
    detections: tuple[DetectedObject, ...] = ()
    objects: tuple[DetectedObject, ...] = ()

    @property
    def found(self) -> tuple[DetectedObject, ...]:
        """The objects, whichever key they came under."""
        return self.detections or self.objects

    @property
    def pts_us(self) -> int | None:
        """Presentation time of the frame in microseconds, whichever key it came under."""
        return known_pts(self.pts_usec if self.pts_usec is not None else self.frame_pts_us)


class TrackedDetection(Detection, frozen=True, gc=False, tag="tracked_detection", tag_field="type"):
    """A detection whose objects carry a `track_id` that stays the same from frame to frame."""


class Motion(OfFrame, frozen=True, gc=False, tag="motion", tag_field="type"):
    """Motion in one frame: `changed` cells (motion_gate) or `pixels` (motion_pixel_diff). One comes per frame while there is motion."""

    changed: Whole | None = None
    algorithm: str | None = None
    monitor: Whole | None = None
    pixels: Whole | None = None
    frame_count: Whole | None = None

    @property
    def amount(self) -> int:
        """How much changed, in the plugin's own unit."""
        return self.changed if self.changed is not None else self.pixels or 0


class ZoneMotion(OfFrame, frozen=True, gc=False, tag="zone_motion", tag_field="type"):
    """Motion inside one zone: changed pixels and blobs."""

    zone: Whole | str | None = None
    pixels: Whole = 0
    blobs: Whole = 0


class Description(OfFrame, frozen=True, gc=False, tag="description", tag_field="type"):
    """A model's sentence about the scene; `threat_level` is LOW, MEDIUM or HIGH where the model was asked for it."""

    text: str = ""
    prompt: str | None = None
    model: str | None = None
    threat_level: str | None = None
    scene_confidence: Number | None = None
    label: str | None = None
    confidence: Number | None = None
    trigger_type: str | None = None
    detections: tuple[DetectedObject, ...] = ()


class RecordingOpening(msgspec.Struct, frozen=True, gc=False):
    """A clip was opened under the worker's own name; `clip_token` is to be echoed in the assignment."""

    clip_token: str
    trigger: str = "continuous"


class RecordingSaved(msgspec.Struct, frozen=True, gc=False):
    """A clip's file is closed. `duration` is seconds; `event_id` is 0 when no assignment reached the worker."""

    path: str
    event_id: Whole = 0
    cause: str = ""
    duration: Number = 0.0
    frames: Whole = 0
    clip_token: str | None = None


class ReviewAssets(msgspec.Struct, frozen=True, gc=False, tag="review_assets", tag_field="type"):
    """The manifest of a clip's synopsis; complete on disk as `<clip dir>/{path_base}/manifest.json`."""

    schema: Whole = 1
    monitor_id: Whole | None = None
    event_id: Whole = 0
    clip_token: str | None = None
    clip_path: str | None = None
    path_base: str = "synopsis"
    t_start_us: Whole | None = None
    t_end_us: Whole | None = None
    source_w: Whole | None = None
    source_h: Whole | None = None
    sample_fps: Number | None = None
    plates: tuple[Any, ...] = ()
    tubes: tuple[Any, ...] = ()


class Analytics(OfFrame, frozen=True, gc=False, tag="analytics", tag_field="type"):
    """A rule fired: `rule_type` is intrusion, linecross, loiter or fall."""

    rule: str = ""
    rule_type: str = ""
    track_id: Whole | str | None = None
    label: str | None = None
    dwell_sec: Number | None = None
    direction: str | None = None


class Alert(OfFrame, frozen=True, gc=False, tag="alert", tag_field="type"):
    """An object that the worker's own policy thinks worth an alert."""

    track_id: Whole | str | None = None
    label: str = ""
    bbox: tuple[Number, Number, Number, Number] | None = None
    confidence: Number = 0.0
    reason: str | None = None


class Sound(msgspec.Struct, frozen=True, gc=False):
    """One recognised sound."""

    label: str = ""
    confidence: Number = 0.0


class AudioEvent(OfFrame, frozen=True, gc=False, tag="audio_event", tag_field="type"):
    """Sounds recognised in one window of audio."""

    events: tuple[Sound, ...] = ()


class Plate(msgspec.Struct, frozen=True, gc=False):
    """One number plate."""

    text: str = ""
    confidence: Number = 0.0
    bbox: tuple[Number, Number, Number, Number] | None = None
    watchlisted: bool = False


class Plates(OfFrame, frozen=True, gc=False, tag="lpr", tag_field="type"):
    """Number plates read in one frame."""

    plates: tuple[Plate, ...] = ()


class Face(msgspec.Struct, frozen=True, gc=False):
    """One face; `name` is empty where the gallery has no match."""

    name: str = ""
    similarity: Number = 0.0
    bbox: tuple[Number, Number, Number, Number] | None = None


class Faces(OfFrame, frozen=True, gc=False, tag="face", tag_field="type"):
    """Faces seen in one frame."""

    faces: tuple[Face, ...] = ()


class Pose(OfFrame, frozen=True, gc=False, tag="pose", tag_field="type"):
    """Body poses; their inner form differs between models and is kept as it came. Plugins name the list either way."""

    poses: tuple[Any, ...] = ()
    persons: tuple[Any, ...] = ()

    @property
    def shapes(self) -> tuple[Any, ...]:
        """The list, whatever its name."""
        return self.poses or self.persons


class Segmentation(OfFrame, frozen=True, gc=False, tag="segmentation", tag_field="type"):
    """Segmented objects; their inner form differs between models and is kept as it came. Plugins name the list either way."""

    segments: tuple[Any, ...] = ()
    objects: tuple[Any, ...] = ()

    @property
    def shapes(self) -> tuple[Any, ...]:
        """The list, whatever its name."""
        return self.segments or self.objects


class Reasoning(OfFrame, frozen=True, gc=False, tag="reasoning", tag_field="type"):
    """A model's longer reasoning about a track or scene."""

    text: str = ""
    mode: str | None = None
    track_id: Whole | str | None = None
    label: str | None = None


class BackgroundPlate(OfFrame, frozen=True, gc=False, tag="background_plate", tag_field="type"):
    """A picture of the scene without moving objects was written."""

    path: str | None = None


StreamEvent = Literal["StreamConnected", "StreamDisconnected", "StreamReconnecting"]


class StreamState(msgspec.Struct, frozen=True, gc=False):
    """`event` is StreamConnected, StreamDisconnected or StreamReconnecting. The camera's URL that comes with it is not kept."""

    event: StreamEvent
    stream_id: Whole = 0
    message: str | None = None
    attempt: Whole | None = None
    error: str | None = None


class Lifecycle(msgspec.Struct, frozen=True, gc=False):
    """The raw JSON of codes 0x0101 to 0x0106 and of the snapshot on connect, e.g. `connection_failed`."""

    type: str = ""
    stream_id: Whole = 0
    message: str | None = None


class RawDetail(msgspec.Struct, frozen=True, gc=False):
    """A detail that none of the above fits: its `type` (or `event`), and its JSON as it came."""

    kind: str
    json: str = ""


_Tagged = (
    Detection
    | TrackedDetection
    | Motion
    | ZoneMotion
    | Description
    | ReviewAssets
    | Analytics
    | Alert
    | AudioEvent
    | Plates
    | Faces
    | Pose
    | Segmentation
    | Reasoning
    | BackgroundPlate
)

Detail = _Tagged | RecordingOpening | RecordingSaved | StreamState | Lifecycle | RawDetail

EVENT_SNAPSHOT = 0x0001
EVENT_DETECTION = 0x0301
EVENT_DESCRIPTION = 0x0302
EVENT_RECORDING_SAVED = 0x0303
EVENT_RECORDING_OPENING = 0x0304
EVENT_REVIEW_ASSETS = 0x0306
LIFECYCLE_CODES = range(0x0101, 0x0107)

_STREAM_EVENTS = frozenset(get_args(StreamEvent))

KNOWN_KINDS = frozenset(
    {str(kind.__struct_config__.tag) for kind in get_args(_Tagged)} | _STREAM_EVENTS | {"EventClip", "RecordingOpening"}
)
"""What plugins call what they say (`type`, or `event`)."""

_decode_tagged = msgspec.json.Decoder(_Tagged).decode
_decode_by_code: dict[int, Callable[[bytes], Any]] = {
    EVENT_RECORDING_SAVED: msgspec.json.Decoder(RecordingSaved).decode,
    EVENT_RECORDING_OPENING: msgspec.json.Decoder(RecordingOpening).decode,
    **dict.fromkeys((EVENT_SNAPSHOT, *LIFECYCLE_CODES), msgspec.json.Decoder(Lifecycle).decode),
}
_decode_untyped = msgspec.json.Decoder().decode


class MalformedDetail(Exception):
    """The bytes are not JSON, or not a JSON object: often a detail cut at 65,535 bytes."""


def decode_detail(code: int, data: bytes) -> Detail:
    """The detail of an EVENT with this code.

    Raises `MalformedDetail`, and nothing else, where `data` is no JSON object, or too large a structure to be one of a plugin's; anything
    else comes back, at worst as `RawDetail`.
    """
    if len(data) > SMALL and too_much(data):
        raise MalformedDetail("too long, too deep, or of too many parts")
    try:
        detail: Detail = _decode_by_code.get(code, _decode_tagged)(data)
    except UNREADABLE:
        return _decode_untagged(code, data)
    return detail


def _decode_untagged(code: int, data: bytes) -> Detail:
    """What the typed decoders refuse: a detection without `type`, a stream's state, or something to keep raw."""
    try:
        value = _decode_untyped(data)
    except UNREADABLE as error:
        raise MalformedDetail(str(error)) from None
    if not isinstance(value, dict):
        raise MalformedDetail(f"expected a JSON object, got {type(value).__name__}")
    kind = value.get("type", value.get("event", ""))
    if not isinstance(kind, str):
        kind = ""
    try:
        if code == EVENT_DETECTION and "type" not in value and ("objects" in value or "detections" in value):
            return msgspec.convert({**value, "type": "detection"}, Detection)
        if kind in _STREAM_EVENTS:
            return msgspec.convert(value, StreamState)
    except msgspec.ValidationError:
        pass  # of a known kind but not of its form: kept raw below, where the caller counts it
    return RawDetail(kind, data.decode("utf-8", "replace"))
