"""What has been counted of each monitor since the service started, from what it told of: for the API and the metrics."""

from __future__ import annotations

import attrs

from zmtwist.fleet.process.state import State, Transition
from zmtwist.notifications import EventClosed, EventOpened


@attrs.frozen
class LastEvent:
    """A monitor's latest event. `length_us` is None while it is open."""

    event_id: int
    cause: str
    start_us: int | None
    length_us: int | None = None
    alarm_frames: int = 0


@attrs.define
class MonitorFigures:
    """Counts of one monitor: events opened and closed, frames and alarm frames of the closed ones, failures of its worker."""

    opened: int = 0
    closed: int = 0
    frames: int = 0
    alarm_frames: int = 0
    failures: int = 0
    last_event: LastEvent | None = None


class Figures:
    """Hears every happening and keeps count."""

    def __init__(self) -> None:
        self._monitors: dict[int, MonitorFigures] = {}

    def hear(self, happening: object) -> None:
        """Count one happening."""
        if isinstance(happening, Transition):
            self._of(happening.monitor_id).failures += happening.to_state in (State.BACKOFF, State.FATAL)
        elif isinstance(happening, EventOpened):
            figures = self._of(happening.monitor_id)
            figures.opened += 1
            figures.last_event = LastEvent(happening.event_id, happening.cause, happening.start_us)
        elif isinstance(happening, EventClosed):
            figures = self._of(happening.monitor_id)
            figures.closed += 1
            figures.frames += happening.frames
            figures.alarm_frames += happening.alarm_frames
            figures.last_event = _ended(figures.last_event, happening)

    def of(self, monitor_id: int) -> MonitorFigures:
        """The counts of one monitor; zeros for one that nothing was heard of."""
        return self._monitors.get(monitor_id) or MonitorFigures()

    def _of(self, monitor_id: int) -> MonitorFigures:
        return self._monitors.setdefault(monitor_id, MonitorFigures())


def _ended(last: LastEvent | None, closed: EventClosed) -> LastEvent:
    """The last event after this one was closed: an older one may be closed after a newer one has opened."""
    if last is not None and last.event_id > closed.event_id:
        return last
    if last is None or last.event_id < closed.event_id:
        last = LastEvent(closed.event_id, cause="", start_us=None)
    return attrs.evolve(last, length_us=closed.length_us, alarm_frames=closed.alarm_frames)
