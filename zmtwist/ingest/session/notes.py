"""The words of an event: lines for `Events.Notes` (doc/reference/rows.md). Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import msgspec

from zmtwist.ingest.session.options import SECOND
from zmtwist.ingest.session.scoring import Activity, percent
from zmtwist.wire.event_details import (
    Alert,
    Analytics,
    AudioEvent,
    Description,
    Detection,
    Faces,
    Plates,
    Reasoning,
)

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
            if found.track_id:  # 0 is of no track
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
    make = _REMARKS.get(type(activity.detail))
    return make(activity, offset_us) if make is not None else None


def _description(activity: Activity, _offset_us: int) -> tuple[str, str]:
    said = cast(Description, activity.detail)
    threat = short(said.threat_level or "").upper()
    text = short(said.text, MAX_WORDS)
    line = f"Threat {threat}: {text}" if threat else text
    return line, line


def _reasoning(activity: Activity, _offset_us: int) -> tuple[str, str]:
    said = cast(Reasoning, activity.detail)
    text = short(said.text, MAX_WORDS)
    line = text if said.track_id is None else f"{_named(said.label, said.track_id)}: {text}"
    return line, line


def _alert(activity: Activity, offset_us: int) -> tuple[str, str]:
    alert = cast(Alert, activity.detail)
    who = _named(alert.label, alert.track_id)
    zones = activity.zones[0] if activity.zones else ()
    line = f"{clock(offset_us)} alert: {who} {activity.score}%{where(zones)}"
    reason = short(alert.reason or "", MAX_WORDS)
    return f"alert {who}: {reason}", f"{line}, {reason}" if reason else line


def _rule(activity: Activity, offset_us: int) -> tuple[str, str]:
    rule = cast(Analytics, activity.detail)
    what = " ".join(filter(None, (short(rule.rule_type) or "rule", short(rule.rule))))
    who = _named(rule.label, rule.track_id) if rule.label or rule.track_id is not None else ""
    stayed = f"{rule.dwell_sec:.0f} s" if rule.dwell_sec is not None else ""
    said = ", ".join(filter(None, (who, stayed, short(rule.direction or ""))))
    line = f"{clock(offset_us)} {what}"
    return f"rule {what} {who}", f"{line}: {said}" if said else line


_REMARKS: dict[type, Callable[[Activity, int], tuple[str, str]]] = {
    Description: _description,
    Reasoning: _reasoning,
    Alert: _alert,
    Analytics: _rule,
}


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
