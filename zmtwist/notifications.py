"""What the service tells of as it happens, for the feed, the demo's account and tests: plain values, published after the fact."""

from __future__ import annotations

import attrs


@attrs.frozen
class EventOpened:
    """An `Events` row was committed for a clip that has begun (or for activity without a recorder)."""

    monitor_id: int
    event_id: int
    start_us: int
    cause: str


@attrs.frozen
class EventClosed:
    """An event is over and its row closed. `path` is the clip's file, None for an event without one. Length in microseconds.

    `cause` is None where it stays what it was; `labels` are known of events of this run only.
    """

    monitor_id: int
    event_id: int
    length_us: int
    frames: int
    alarm_frames: int
    path: str | None
    max_score: int = 0
    cause: str | None = None
    labels: tuple[str, ...] = ()


@attrs.frozen
class RecordingFailed:
    """A camera's frames come, and are not recorded, or not all of them, for `reason` (words for people)."""

    monitor_id: int
    reason: str
    at_us: int


@attrs.frozen
class RecordingWell:
    """What a `RecordingFailed` told of is over."""

    monitor_id: int
    at_us: int
