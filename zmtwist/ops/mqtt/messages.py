"""What is published: topics and JSON payloads (doc/guide/mqtt.md). Pure; times are microseconds since the epoch, in payloads ISO 8601."""

from __future__ import annotations

from typing import Any

import attrs

from zmtwist.fleet.status import WorkerStatus
from zmtwist.ingest.session.snapshot import UnderWay
from zmtwist.notifications import EventClosed, EventOpened
from zmtwist.ops.api.views import at
from zmtwist.untrusted.guard import leaving
from zmtwist.untrusted.integers import whole

ONLINE, OFFLINE = b"online", b"offline"


@attrs.frozen
class Message:
    """One message, sent with QoS 1. One that is retained tells how something is, any other what has happened. An empty payload that is
    retained makes the broker forget what it kept."""

    topic: str
    payload: bytes
    retain: bool = False


@attrs.frozen
class Topics:
    """The topics under `base`. Monitors go by their number: their names may hold what a topic can't, and may change."""

    base: str

    @property
    def available(self) -> str:
        """Whether the service runs."""
        return f"{self.base}/available"

    @property
    def every_state(self) -> str:
        """A filter for the states of all monitors."""
        return f"{self.base}/monitors/+/state"

    def state(self, monitor_id: int) -> str:
        """How a monitor is."""
        return f"{self.base}/monitors/{monitor_id}/state"

    def event(self, monitor_id: int) -> str:
        """What happens at a monitor."""
        return f"{self.base}/monitors/{monitor_id}/event"

    def monitor_of(self, topic: str) -> int | None:
        """The monitor whose state this topic tells; None where it is none such."""
        monitor_id = whole(topic.removeprefix(f"{self.base}/monitors/").removesuffix("/state"))
        return monitor_id if monitor_id is not None and topic == self.state(monitor_id) else None


@attrs.frozen
class Happening:
    """What is known of one event: all that `event_message` tells, None for what is not known (yet)."""

    monitor_id: int
    event_id: int
    cause: str | None = None
    start_us: int | None = None
    labels: tuple[str, ...] = ()
    alarm_frames: int = 0
    max_score: int = 0
    length_us: int | None = None
    frames: int | None = None
    clip: bool | None = None

    @classmethod
    def opened(cls, told: EventOpened) -> Happening:
        """One that has just begun."""
        return cls(told.monitor_id, told.event_id, told.cause, told.start_us)

    def grown(self, now: UnderWay) -> Happening:
        """What it is by now."""
        return attrs.evolve(
            self,
            cause=now.cause,
            start_us=now.start_us,
            labels=now.labels,
            alarm_frames=now.tally.alarm_frames,
            max_score=now.tally.max_score,
        )

    def closed(self, told: EventClosed) -> Happening:
        """It is over."""
        return attrs.evolve(
            self,
            cause=told.cause or self.cause,
            labels=told.labels or self.labels,
            alarm_frames=told.alarm_frames,
            max_score=told.max_score,
            length_us=told.length_us,
            frames=told.frames,
            clip=told.path is not None,
        )


def event_message(topics: Topics, kind: str, happening: Happening, name: str, now_us: int) -> Message:
    """`kind` is new, update or end; all three have the same keys."""
    length = happening.length_us
    payload = {
        "type": kind,
        "monitor_id": happening.monitor_id,
        "monitor": name,
        "event_id": happening.event_id,
        "cause": happening.cause,
        "start": at(happening.start_us),
        "labels": list(happening.labels),
        "alarm_frames": happening.alarm_frames,
        "max_score": happening.max_score,
        "length_seconds": None if length is None else round(length / 1e6, 3),
        "frames": happening.frames,
        "clip": happening.clip,
        "at": at(now_us),
    }
    return Message(topics.event(happening.monitor_id), leaving(payload))


def state_payload(status: WorkerStatus, name: str, *, recording: bool, alarm: bool, event_id: int | None) -> bytes:
    """How a monitor is. Holds nothing that changes all the time, so that equal payloads mean that there is nothing to tell."""
    payload: dict[str, Any] = {
        "monitor_id": status.monitor_id,
        "name": name,
        "state": status.state.value,
        "reason": status.reason,
        "since": at(status.since_us),
        "recording": recording,
        "alarm": alarm,
        "event_id": event_id,
        "not_recording": None if status.not_recording is None else status.not_recording[0],
    }
    return leaving(payload)
