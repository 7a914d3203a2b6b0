"""The states of a supervised process, and each change of them."""

from __future__ import annotations

import enum

import attrs


class State(enum.StrEnum):
    """The states of doc/reference/states.md. The names are a contract: status, metrics and log show them as they are."""

    STOPPED = "STOPPED"
    """No process, and none wanted."""
    STARTING = "STARTING"
    """Waiting for its turn to be spawned (no pid yet), or spawned and not linked yet."""
    LINKED = "LINKED"
    """Its socket answered; no media yet."""
    LIVE = "LIVE"
    """Media move."""
    STALLED = "STALLED"
    """The process is there, but its media or STATS have stopped."""
    STOPPING = "STOPPING"
    """Told to end; not reaped yet."""
    BACKOFF = "BACKOFF"
    """Failed; is tried again at a known time."""
    FATAL = "FATAL"
    """Its document or binary is at fault: tried again at the longest delay, or when one of them changes."""
    HELD = "HELD"
    """An operator stopped it; only an operator lets it go on."""


IDLE = frozenset({State.STOPPED, State.HELD})
"""Where there is no process, and none is wanted."""


@attrs.frozen
class Change:
    """One change of state; `at_us` is wall time in microseconds since the epoch."""

    from_state: State
    to_state: State
    reason: str
    at_us: int


@attrs.frozen
class Transition:
    """One change of state of one monitor's worker, for log, status page and metrics."""

    monitor_id: int
    from_state: State
    to_state: State
    reason: str
    at_us: int
