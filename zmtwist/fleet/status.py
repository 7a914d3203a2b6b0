"""The status of a worker and of the shared inference: everything an operator may ask. Immutable; without credentials."""

from __future__ import annotations

import attrs

from zmtwist.fleet.process.policy import Exit
from zmtwist.fleet.process.state import State

NOT_RECORDING = "NOT_RECORDING"
"""The mark beside the state of a worker that is meant to record and does not."""


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
