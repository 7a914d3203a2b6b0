"""Worker events as sessions get them, and a walk of many through one session."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from zmtwist.changes import Change
from zmtwist.ingest.session.options import SECOND, Options
from zmtwist.ingest.session.session import Session
from zmtwist.wire.event_details import (
    EVENT_DESCRIPTION,
    EVENT_DETECTION,
    EVENT_RECORDING_OPENING,
    EVENT_RECORDING_SAVED,
    Description,
    DetectedObject,
    Detection,
    Motion,
    RecordingOpening,
    RecordingSaved,
)
from zmtwist.wire.frames import FrameDecoder
from zmtwist.wire.messages import Event, Message

T0 = 1_795_338_650 * SECOND
CAPTURES = Path(__file__).parent.parent / "data" / "captures"


def opening(at: float, token: str, trigger: str = "continuous") -> Event:
    return Event(EVENT_RECORDING_OPENING, wall_us=us(at), detail=RecordingOpening(token, trigger))


def saved(at: float, path: str, seconds: float, frames: int, cause: str = "continuous", event_id: int = 0) -> Event:
    detail = RecordingSaved(path=path, event_id=event_id, cause=cause, duration=seconds, frames=frames)
    return Event(EVENT_RECORDING_SAVED, wall_us=us(at), detail=detail)


def motion(at: float, changed: int = 100, pts: float | None = None) -> Event:
    pts_us = None if pts is None else round(pts * SECOND)
    return Event(EVENT_DETECTION, wall_us=us(at), detail=Motion(changed=changed, pts_usec=pts_us))


def detection(at: float, label: str, confidence: float, pts: float | None = None) -> Event:
    pts_us = None if pts is None else round(pts * SECOND)
    found = (DetectedObject(label=label, confidence=confidence, bbox=(1, 2, 3, 4)),)
    return Event(EVENT_DETECTION, wall_us=us(at), detail=Detection(pts_usec=pts_us, detections=found))


def description(at: float, text: str) -> Event:
    return Event(EVENT_DESCRIPTION, wall_us=us(at), detail=Description(text=text))


def us(at: float) -> int:
    """Seconds after the tests' beginning of time, as wall time."""
    return T0 + round(at * SECOND)


def session(*, rate: float = 10.0, **options: object) -> Session:
    return Session(3, "run", Options(**options), rate=rate)  # type: ignore[arg-type]


def walk(start: Session, events: Iterable[Event]) -> tuple[Session, list[Change]]:
    """All events through one session, each heard when it happened; the changes in a row."""
    changes: list[Change] = []
    for event in events:
        start, more = start.handle(event, event.wall_us)
        changes += more
    return start, changes


def capture(name: str) -> list[Message]:
    return FrameDecoder().feed((CAPTURES / f"{name}.bin").read_bytes())
