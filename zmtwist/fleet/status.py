"""What is said of a worker: its state, each change of it, and everything an operator may ask. Immutable; without credentials."""

from __future__ import annotations

import enum

import attrs

from zmtwist.fleet.policy import Exit


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

NOT_RECORDING = "NOT_RECORDING"
"""The mark beside the state of a worker that is meant to record and does not."""


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


@attrs.frozen
class InferenceStatus:
    """All that is known of the shared inference; LIVE means that its socket has answered. The fields are as those of `WorkerStatus`."""

    state: State
    since_us: int
    reason: str
    socket: str
    pid: int | None = None
    last_exit: Exit | None = None
    restarts_last_hour: int = 0
    next_start_us: int | None = None
    lines: tuple[str, ...] = ()
    adopted: bool = False


@attrs.frozen
class WorkerStatus:
    """All that is known of one monitor's worker. Wall times in microseconds since the epoch; None where there is nothing to tell.

    `last_exit` is how its latest process ended, `next_start_us` when it will be spawned if nothing else happens, `digest` that of
    the running document (of the next one, while none runs), `lines` its last log lines, guarded, oldest first; `unlogged_lines` were only
    counted, for their level or for there being too many. Of its socket:
    `media_age_seconds` since media were last seen, `worker_events` received and `missed_events` not received since it was started.
    """

    monitor_id: int
    state: State
    since_us: int
    reason: str
    pid: int | None = None
    last_exit: Exit | None = None
    restarts_last_hour: int = 0
    next_start_us: int | None = None
    digest: str | None = None
    frames_per_second: float | None = None
    media_age_seconds: float | None = None
    worker_events: int = 0
    missed_events: int = 0
    lines: tuple[str, ...] = ()
    unlogged_lines: int = 0
    legacy: str = ""
    """What the operator should know of ZoneMinder's own capture of this monitor, '' where there is nothing."""
    adopted: bool = False
    """Its process was started by an earlier run of this service; then nothing is known of what it logs, or of how it ends."""
    not_recording: tuple[str, float] | None = None
    """Why nothing of its camera, or not all, is recorded, and for how many seconds; None where nothing is wrong with that."""
    restart_due: str | None = None
    """Why it is started anew when the clip that it records has ended."""
