"""A session's clip, made again from the row that an earlier run of the service left open while its worker went on recording. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from zmtwist.ingest.session.open_event import Clip
from zmtwist.ingest.session.scoring import CAUSES
from zmtwist.ingest.session.session import UNKNOWN_TOKEN, Session
from zmtwist.zm.read.own_events import LeftRow

NARROW_CAUSE = 32
"""Characters of Events.Cause in ZoneMinder 1.36: of a text that fills it, the last label may be cut."""


def restored(session: Session, row: LeftRow, handle: str) -> Session:
    """The session with the row's clip open, so that the coming save closes it."""
    trigger, labels = cause_parts(row.cause)
    clip = Clip(
        handle=handle,
        start_us=row.start_us,
        trigger=trigger,
        token=UNKNOWN_TOKEN,
        event_id=row.event_id,
        labels=labels,
        tally=row.tally,
        last_frame=max(1, row.last_frame),
        guess=True,
        seen_us=row.start_us,
        refreshed_us=row.start_us,
    )
    return replace(session, clips=(*session.clips, clip))


def cause_parts(cause: str) -> tuple[str, tuple[str, ...]]:
    """Trigger and labels of which `scoring.cause_of` made this text."""
    base, _, named = cause.partition(": ")
    labels = tuple(label for label in named.split(", ") if label)
    if len(cause) >= NARROW_CAUSE:
        labels = labels[:-1]
    for trigger, text in CAUSES.items():
        if text == base:
            return trigger, labels
    return base.lower().replace(" ", "_") or "continuous", labels
