"""Whether one worker does what it is there for: its frames come, and are recorded."""

from __future__ import annotations

from zmtwist.fleet.policy import NOTHING_RECORDED_SECONDS
from zmtwist.fleet.process.instance import Run, Surroundings
from zmtwist.fleet.process.lifecycle import Core
from zmtwist.fleet.process.policy import Phase, stall_reason
from zmtwist.fleet.process.state import IDLE, State
from zmtwist.pipeline.document import Document

STARTS_SECONDS = 15.0
"""How long a worker may take from its start to its camera's first picture before that is told as a recording that fails."""

_PHASES: dict[State, Phase] = {State.STARTING: "spawned", State.LINKED: "linked", State.LIVE: "live"}


class Vitals:
    """Judges the worker whose life `core` holds."""

    def __init__(self, monitor_id: int, around: Surroundings, core: Core) -> None:
        self._monitor_id = monitor_id
        self._around = around
        self._core = core
        self._replaced_at = float("-inf")

    def stall(self, run: Run) -> str | None:
        """Why it is to be replaced: its signs of life are too old, or nothing is recorded of a camera whose frames come."""
        core = self._core
        phase = _PHASES.get(core.state)
        if phase is None:
            return None
        now, allowed = core.clock.seconds(), self._around.settings.zmnext.worker.watchdog_seconds
        return stall_reason(run.signs(phase, core.since), now, allowed) or self._records_nothing(now, allowed)

    def weight(self, run: Run) -> str | None:
        """Why it is to be started anew: its memory has grown beyond what is allowed."""
        most, pid = self._around.settings.zmnext.worker.max_rss_mb, run.child.pid
        resident = self._around.processes.resident_kb(pid) if most and pid is not None else None
        if resident is None or resident <= most * 1024:
            return None
        return f"it uses {resident // 1024} MiB of memory, max_rss_mb is {most}"

    def not_recording(self, document: Document | None) -> tuple[str, float] | None:
        """Why what `document` wants recorded is not, and for how many seconds; None also where a start is only just under way, or an
        operator stopped it."""
        core = self._core
        if document is None or document.store_root is None or core.state in IDLE:
            return None
        if core.state is State.LIVE:
            failing = self._around.sink.failing(self._monitor_id)
            return None if failing is None else (failing.reason, core.clock.seconds() - failing.since)
        seconds = core.clock.seconds() - core.since
        at_once = core.state in (State.BACKOFF, State.FATAL, State.STALLED)
        return (core.reason, seconds) if at_once or seconds > STARTS_SECONDS else None

    def _records_nothing(self, now: float, allowed: float) -> str | None:
        failing = self._around.sink.failing(self._monitor_id)
        if failing is None or not failing.nothing or now - failing.since < allowed:
            return None
        if now - self._replaced_at < NOTHING_RECORDED_SECONDS:
            return None
        self._replaced_at = now
        return failing.reason
