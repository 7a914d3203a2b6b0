"""What a trial of a monitor saw, and what that means for its recordings (`zmnextctl try`). Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence

import attrs

from zmtwist.config.model import Mode
from zmtwist.extras import VIDEO
from zmtwist.fleet.process.output import may_tell_opening, opening, sign
from zmtwist.ingest.clips.probe import Measure
from zmtwist.ops.cli.findings import Finding, fail, ok, warn
from zmtwist.wire.event_details import Detection, StreamState
from zmtwist.wire.messages import Event, Hello, Keyframe, Media, Message, Stream, kind_of

RING_SLOT = 1 << 20
"""Bytes of the largest frame that a worker's ring takes."""

_NEARLY = RING_SLOT * 3 // 4
_LONG_GOP = 5.0
_SILENCE = 3.0
_MOST_STEP_US = 1_000_000
_MOST_LABELS = 5
_KEYFRAME = re.compile(rb"\[Stream 0\] Publishing keyframe: size=(\d{1,9})\b")
_CODECS = {7: "MJPEG", 12: "MPEG-4", 27: "H.264", 173: "H.265"}
_RECORDED = (27, 173)


@attrs.define
class Seen:
    """What was seen of one worker. Times are seconds since its start; `name` makes a label of the worker's fit to be shown."""

    name: Callable[[str], str]
    watched: float = 0.0
    ended: str = ""
    """How the worker ended by itself, '' where it did not."""
    errors: tuple[str, ...] = ()
    refused_to_end: bool = False
    broken: str = ""
    """Why what it sent could not be read, '' where it could."""
    hello: Hello | None = None
    frames: int = 0
    first: float = 0.0
    last: float = 0.0
    keyframes: int = 0
    longest_gop: float = 0.0
    largest: int = 0
    backwards: int = 0
    """Frames that are shown before the one that came before them."""
    lost: int = 0
    gave_up: bool = False
    refused: int = 0
    openings: int = 0
    sights: Counter[str] = attrs.field(factory=Counter)
    labels: set[str] = attrs.field(factory=set)
    _pts: int | None = None
    _key_pts: int | None = None

    @property
    def futile(self) -> bool:
        """The camera can't be had: there is nothing to wait for."""
        return self.gave_up and not self.frames

    @property
    def rate(self) -> float:
        """Frames a second."""
        return (self.frames - 1) / (self.last - self.first) if self.last > self.first else 0.0

    def message(self, message: Message, at: float) -> None:
        """Take note of a message that came `at` this time."""
        match message:
            case Media(stream=Stream.VIDEO):
                self._frame(message, at)
            case Keyframe(stream=Stream.VIDEO):
                self.largest = max(self.largest, len(message.payload))
            case Hello(stream=Stream.VIDEO):
                self.hello = message
            case Event(detail=StreamState(event="StreamDisconnected", stream_id=0)):
                self.lost += 1
                self._pts = self._key_pts = None
            case Event(detail=Detection() as detail):
                if detail.found:
                    self.sights[kind_of(detail)] += 1
                    new = (self.name(one.label) for one in detail.found[:_MOST_LABELS])
                    self.labels.update(list(filter(None, new))[: _MOST_LABELS - len(self.labels)])
            case Event(detail=detail):
                self.sights[kind_of(detail)] += 1
            case _:
                pass

    def line(self, raw: bytes) -> None:
        """Take note of a line of the worker's log."""
        if may_tell_opening(raw) and opening(raw) is not None:
            self.openings += 1
        elif (found := _KEYFRAME.search(raw)) is not None:
            self.largest = max(self.largest, int(found[1]))
        else:
            said = sign(raw)
            self.refused += said == "refused"
            self.gave_up |= said == "unconnected"

    def _frame(self, media: Media, at: float) -> None:
        self.first = self.first if self.frames else at
        self.last = at
        self.frames += 1
        if self._pts is not None and 0 < self._pts - media.pts_us < _MOST_STEP_US:
            self.backwards += 1
        self._pts = media.pts_us
        if media.keyframe:
            self.keyframes += 1
            self.largest = max(self.largest, len(media.payload))
            if self._key_pts is not None:
                self.longest_gop = max(self.longest_gop, (media.pts_us - self._key_pts) / 1_000_000)
            self._key_pts = media.pts_us


def judge(
    seen: Seen,
    clips: Sequence[Measure],
    looks: Sequence[str],
    triggers: Collection[str],
    mode: Mode,
    *,
    can_measure: bool,
) -> Iterator[Finding]:
    """What to tell of a trial: `looks` are the nodes that look at the picture, `triggers` what would begin a clip."""
    if seen.ended:
        said = f": {'; '.join(seen.errors)}" if seen.errors else ""
        yield fail("worker", f"it ended by itself after {seen.watched:.1f} s, {seen.ended}{said}", "zmnextctl doctor")
    if seen.broken:
        yield fail("worker", f"what it sends can't be read: {seen.broken}", "is [zmnext.worker] binary a zm-core?")
    if seen.refused_to_end:
        yield warn("worker", "it had to be killed, so its clip is unfinished", "")
    if not seen.frames:
        said = f": {'; '.join(seen.errors)}" if seen.errors and not seen.ended else ""
        yield fail(
            "camera",
            f"no frame came within {seen.watched:.1f} s{said}",
            "check the address, user and password in ZoneMinder, and that this host reaches the camera",
        )
    else:
        yield from _of_camera(seen)
        yield from _of_keyframes(seen)
    yield from _of_clip(seen, clips, can_measure)
    if seen.frames:
        yield _of_triggers(seen, looks, triggers, mode)


def _of_camera(seen: Seen) -> Iterator[Finding]:
    if seen.lost:
        yield fail(
            "camera", f"its connection was lost {_times(seen.lost)}", "look at its network, power and other clients"
        )
    elif not seen.ended and seen.watched - seen.last > _SILENCE:
        yield fail(
            "camera",
            f"no frame came any more after {seen.last:.1f} s",
            "look at its network, and how many clients it takes",
        )
    else:
        yield ok("camera", f"connected: its first frame came after {seen.first:.1f} s")
    if seen.hello is None:
        yield warn("codec", "the worker did not tell it", "")
    else:
        hello = seen.hello
        size = f", {hello.width}x{hello.height}" if hello.width and hello.height else ""
        told = f"{_CODECS.get(hello.codec_id, f'number {hello.codec_id} of FFmpeg')}{size}"
        known = hello.codec_id in _RECORDED
        yield ok("codec", told) if known else warn("codec", told, "let the camera send H.264 or H.265")
    yield ok("frame rate", f"{seen.rate:.1f} a second ({seen.frames} frames)")


def _of_keyframes(seen: Seen) -> Iterator[Finding]:
    largest = f"the largest has {seen.largest / 1024:.0f} KiB"
    if seen.largest > RING_SLOT:
        yield fail(
            "keyframes",
            f"{largest}, and the worker loses all over {RING_SLOT >> 10} KiB",
            "a lower bit rate, resolution or quality at the camera",
        )
    elif seen.largest > _NEARLY:
        yield warn(
            "keyframes",
            f"{largest}; the worker would lose one over {RING_SLOT >> 10} KiB",
            "a lower bit rate, resolution or quality at the camera",
        )
    if seen.keyframes < 2:
        yield warn(
            "keyframes",
            f"{seen.keyframes} came in {seen.watched:.1f} s: their interval can't be told",
            "try longer with --seconds, or set a shorter interval (GOP) at the camera",
        )
    elif seen.longest_gop > _LONG_GOP:
        yield warn(
            "keyframes",
            f"one every {seen.longest_gop:.1f} s: clips begin and live pictures appear with one only",
            "an interval (GOP) of 1 to 2 s at the camera",
        )
    elif seen.largest <= _NEARLY:
        yield ok("keyframes", f"one every {seen.longest_gop:.1f} s, {largest}")
    if seen.backwards:
        yield fail(
            "B-frames",
            f"{seen.backwards} frames are shown before one that came earlier: the recorder refuses such",
            "turn B-frames off at the camera (H.264 profile Baseline, or 0 B-frames)",
        )


def _of_clip(seen: Seen, clips: Sequence[Measure], can_measure: bool) -> Iterator[Finding]:
    if seen.refused:
        yield fail(
            "recorder",
            f"it refused frames {_times(seen.refused)}",
            "B-frames, or times that jump: see the camera's settings",
        )
    whole = [clip for clip in clips if clip.readable and clip.frames]
    if not seen.openings and not clips:
        if seen.frames:
            yield fail("clip", "none was opened", "one opens at a keyframe: see above")
    elif any(not clip.readable for clip in clips) or not clips:
        yield fail("clip", "one was opened, but it holds no picture", "see above")
    elif not whole:
        remedy = "" if can_measure else VIDEO.remedy
        yield warn("clip", "one was opened; whether it can be played can't be told", remedy)
    else:
        frames, seconds = sum(clip.frames for clip in whole), sum(clip.duration_us for clip in whole) / 1_000_000
        yield ok("clip", f"it can be played: {frames} frames in {seconds:.1f} s, {whole[0].codec}")


def _of_triggers(seen: Seen, looks: Sequence[str], triggers: Collection[str], mode: Mode) -> Finding:
    if not looks:
        return ok("detector", "none looks at its picture")
    by = f"{', '.join(looks)}: "
    kinds = triggers or ("motion", "detection")
    counted = {kind: count for kind, count in sorted(seen.sights.items()) if kind in kinds}
    if not counted:
        return ok("detector", f"{by}nothing happened meanwhile that would begin a clip")
    told = ", ".join(f"{kind} {_times(count)}" for kind, count in counted.items())
    labels = f" ({', '.join(sorted(seen.labels))})" if seen.labels else ""
    would = ", which would have begun a clip" if mode == "event" else ""
    return ok("detector", f"{by}{told}{labels}{would}")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
