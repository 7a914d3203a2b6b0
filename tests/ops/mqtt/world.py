"""A service to be told of, and a connection to no broker."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec

from zmtwist.changes import Tally
from zmtwist.fleet.process.state import State
from zmtwist.fleet.status import WorkerStatus
from zmtwist.ingest.session.snapshot import UnderWay
from zmtwist.ops.mqtt.messages import Message

START = 1_700_000_000_000_000
SECOND = 1_000_000


def worker(monitor_id: int, state: State = State.LIVE, reason: str = "media move") -> WorkerStatus:
    return WorkerStatus(monitor_id, state, START, reason)


def open_event(
    event_id: int | None, monitor_id: int = 3, *, alarms: int = 0, active_us: int = 0, **more: Any
) -> UnderWay:
    told: dict[str, Any] = {"records": True, "start_us": START, "cause": "Continuous", "labels": (), **more}
    return UnderWay(
        monitor_id, event_id, active_us=active_us, tally=Tally(alarms, alarms * 50, 50 if alarms else 0), **told
    )


def decoded(message: Message) -> Any:
    return msgspec.json.decode(message.payload) if message.payload else None


@attrs.define
class Running:
    """Stands for `ZmNext`, its fleet and its ingest at once."""

    workers: list[WorkerStatus] = attrs.field(factory=list)
    under_way: list[UnderWay] = attrs.field(factory=list)
    names: dict[int, str] = attrs.field(factory=dict)
    unwanted: dict[int, str] = attrs.field(factory=dict)
    up: bool = True
    running: bool = True

    @property
    def fleet(self) -> Any:
        return self if self.up else None

    @property
    def ingest(self) -> Any:
        return self if self.up else None

    def status(self) -> tuple[WorkerStatus, ...]:
        return tuple(self.workers)


class FakeConnection:
    """Takes what is published; `accept` is the broker's word that it has so many of them."""

    def __init__(self, _reactor: Any, broker: Any, will: Message, listener: Any) -> None:
        self.broker, self.will, self.listener = broker, will, listener
        self.published: list[Message] = []
        self.filters: list[str] = []
        self.started = self.stopped = False

    def start(self) -> None:
        self.started = True

    def publish(self, message: Message) -> None:
        self.published.append(message)

    def subscribe(self, topic: str) -> None:
        self.filters.append(topic)

    def stop(self) -> None:
        self.stopped = True

    def accept(self, count: int) -> None:
        for _ in range(count):
            self.listener.sent()

    def take(self) -> list[Message]:
        """All that was published since the last look, taken by the broker."""
        taken: list[Message] = []
        while self.published:
            now, self.published = self.published, []
            taken += now
            self.accept(len(now))
        return taken
