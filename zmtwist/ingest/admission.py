"""What of a worker's is taken, and what is held back, by its monitor's budget (`zmtwist.untrusted.budget`). Pure; the time comes in.

An event of a plugin is held back as a whole, before anything is made of it, so that rows and the figures beside them always agree. A clip
whose opening or save is held back is no clip lost: the worker keeps it under a name of its own, and recovery makes its row later.
"""

from __future__ import annotations

from collections.abc import Sequence

from zmtwist.changes import AddData, AddFrame, AddTag, Change, OpenEvent, UpdateEvent
from zmtwist.untrusted.budget import Budget, Kind
from zmtwist.wire.event_details import (
    Lifecycle,
    RawDetail,
    RecordingOpening,
    RecordingSaved,
    ReviewAssets,
    StreamState,
)
from zmtwist.wire.messages import Event

ASSETS_COST = 20.0
"""Rows that a clip's review assets are worth: they are looked at on disk."""

_NO_ROWS = (RecordingOpening, RecordingSaved, StreamState, Lifecycle, RawDetail, type(None))
"""What makes no rows, or rows that only `openings` are counted of."""


def heard(budget: Budget, event: Event, now: float) -> bool:
    """Whether anything is to be made of an event."""
    detail = event.detail
    if isinstance(detail, _NO_ROWS):
        return True
    cost = ASSETS_COST if isinstance(detail, ReviewAssets) else 1.0
    return budget.take(Kind.BYTES, now, cost=0.0) and budget.take(Kind.ROWS, now, cost=cost)


def opens(budget: Budget, changes: Sequence[Change], now: float) -> bool:
    """Whether these changes may be written, as far as they begin an event."""
    return not any(isinstance(change, OpenEvent) for change in changes) or budget.take(Kind.OPENINGS, now)


def paid(budget: Budget, changes: Sequence[Change], now: float) -> Sequence[Change]:
    """`changes` without the labels for which there is no room; what the others cost is paid for."""
    rows, size, labels = 0, 0, 0
    for change in changes:
        if isinstance(change, AddData):
            rows, size = rows + 1, size + len(change.json)
        elif isinstance(change, AddFrame):
            rows += 1
        elif isinstance(change, UpdateEvent) and change.note:
            rows, size = rows + 1, size + len(change.note)
        elif isinstance(change, OpenEvent):
            size += len(change.notes)
        elif isinstance(change, AddTag):
            labels += 1
    if rows > 1:  # the first was asked for beforehand
        budget.spend(Kind.ROWS, now, rows - 1)
    if size:
        budget.spend(Kind.BYTES, now, size)
    if labels:
        return [change for change in changes if not isinstance(change, AddTag) or budget.take(Kind.LABELS, now)]
    return changes
