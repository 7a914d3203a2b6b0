"""A recovery as operators are told of it: plain values for the API. Pure."""

from __future__ import annotations

from typing import Any

from zmtwist.recovery.actions import (
    KINDS,
    Action,
    CloseEmpty,
    CloseFromFile,
    HoldBack,
    LeaveOpen,
    MakeEvent,
    SetAside,
    describe,
)
from zmtwist.recovery.service import Outcome


def outcome_view(outcome: Outcome) -> dict[str, Any]:
    """What a pass did, or would do."""
    return {
        "done": outcome.done,
        "actions": [_action_view(action) for action in outcome.plan.actions],
        "stopped": list(outcome.plan.stopped),
        "failed": list(outcome.failed),
    }


def _action_view(action: Action) -> dict[str, Any]:
    monitor_id, event_id, path = _subject(action)
    return {
        "kind": KINDS[type(action)],
        "monitor_id": monitor_id,
        "event_id": event_id,
        "path": path,
        "text": describe(action),
    }


def _subject(action: Action) -> tuple[int, int | None, str | None]:
    """Monitor, event and file that an action is about."""
    if isinstance(action, CloseFromFile):
        return action.row.monitor_id, action.row.event_id, action.path
    if isinstance(action, CloseEmpty | LeaveOpen):
        return action.row.monitor_id, action.row.event_id, None
    if isinstance(action, MakeEvent | HoldBack):
        return action.stray.monitor_id, None, action.stray.path
    if isinstance(action, SetAside):
        return action.monitor_id, None, action.path
    return action.monitor_id, action.event_id, None
