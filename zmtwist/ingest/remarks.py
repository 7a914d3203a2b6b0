"""The words of an event: lines for `Events.Notes` (doc/reference/rows.md). Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from zmtwist.ingest.activity import Activity, percent
from zmtwist.wire.details import (
    Alert,
    Analytics,
    AudioEvent,
    Description,
    Detection,
    Faces,
    Plates,
    Reasoning,
)

SECOND = 1_000_000
MAX_WORDS = 1_000
MAX_NAME = 80


class Sighting(msgspec.Struct, frozen=True, gc=False):
    """Something that is seen or heard for a while: `key` tells it from others in the clip, `name` is what the note calls it."""

    key: str
    name: str
    score: int
    zones: tuple[str, ...] = ()


def sightings(activity: Activity) -> list[Sighting]:
    """What in `activity` makes one note for all the time that it is seen, rather than one each time."""
    detail, seen = activity.detail, []
    if isinstance(detail, Detection):
        for number, found in enumerate(activity.found):
            if found.track_id is not None:
                zones = activity.zones[number] if activity.zones else ()
                name, key = _named(found.label, found.track_id), f"#{found.track_id}"
                seen.append(Sighting(key[:MAX_NAME], name, percent((found.confidence,)), zones))
    elif isinstance(detail, AudioEvent):
        seen = [_sighting("sound", sound.label, sound.confidence) for sound in detail.events]
    elif isinstance(detail, Plates):
        for plate in detail.plates:
            read = _sighting("plate", plate.text, plate.confidence)
            name = f"{read.name} (watchlisted)" if plate.watchlisted else read.name
            seen.append(Sighting(read.key, name, read.score))
    elif isinstance(detail, Faces):
        seen = [_sighting("face", face.name or "not known", face.similarity) for face in detail.faces]
    return seen


def _sighting(kind: str, name: str, confidence: float) -> Sighting:
    name = f"{kind} {short(name)}".rstrip()
    return Sighting(name, name, percent((confidence,)))


def remark(activity: Activity, offset_us: int) -> tuple[str, str] | None:
    """A line that is noted as soon as it is said, and by what a clip knows that it has it already; None for all else."""
    detail = activity.detail
    if isinstance(detail, Description):
        threat = short(detail.threat_level or "").upper()
        text = short(detail.text, MAX_WORDS)
        line = f"Threat {threat}: {text}" if threat else text
        return line, line
    if isinstance(detail, Reasoning):
        text = short(detail.text, MAX_WORDS)
        line = text if detail.track_id is None else f"{_named(detail.label, detail.track_id)}: {text}"
        return line, line
    if isinstance(detail, Alert):
        (found,), zones = activity.found, activity.zones[0] if activity.zones else ()
        who = _named(detail.label, detail.track_id)
        line = f"{clock(offset_us)} alert: {who} {percent((found.confidence,))}%{where(zones)}"
        reason = short(detail.reason or "", MAX_WORDS)
        return f"alert {who}: {reason}", f"{line}, {reason}" if reason else line
    if isinstance(detail, Analytics):
        what = " ".join(filter(None, (short(detail.rule_type) or "rule", short(detail.rule))))
        who = _named(detail.label, detail.track_id) if detail.label or detail.track_id is not None else ""
        stayed = f"{detail.dwell_sec:.0f} s" if detail.dwell_sec is not None else ""
        said = ", ".join(filter(None, (who, stayed, short(detail.direction or ""))))
        return f"rule {what} {who}", f"{clock(offset_us)} {what}" + (f": {said}" if said else "")
    return None


def _named(label: str | None, track: int | str | None) -> str:
    name = short(label or "") or "object"
    return name if track is None else f"{name} #{short(str(track))}"


def where(zones: Iterable[str]) -> str:
    """` in Drive, Gate`; nothing without zones."""
    named = ", ".join(zones)
    return f" in {named}" if named else ""


def clock(offset_us: int) -> str:
    """A time in the clip as people read it: `0:07`, `1:02:33`."""
    minutes, seconds = divmod(max(0, offset_us) // SECOND, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def short(text: str, most: int = MAX_NAME) -> str:
    """`text` on one line, cut to `most` characters."""
    return " ".join(text[: 4 * most].split())[:most]
