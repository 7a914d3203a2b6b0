"""What there is to tell: happenings as they come, and how each monitor is, looked at again and again. Pure: time comes in by argument."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import attrs

from zmtwist.fleet.status import WorkerStatus
from zmtwist.ingest.session.snapshot import UnderWay
from zmtwist.notifications import EventClosed, EventOpened
from zmtwist.ops.mqtt.discovery import discovery
from zmtwist.ops.mqtt.messages import Happening, Message, Topics, event_message, state_payload

SECOND = 1_000_000

ALARM_US = 10 * SECOND
"""An alarm lasts this long after what gave rise to it was last seen."""

RECORDING_US = 2 * SECOND
"""A recording that is not there for less than this goes on: between two segments there is an instant without a clip."""

UPDATE_US = 2 * SECOND
"""Between two updates of one event."""

MOST_OPEN = 4096
"""Events that are remembered until they are over: one whose end the database never takes must not be remembered for ever."""

_STALE = b"?"
"""Stands for a payload that the broker keeps and that we did not send."""


@attrs.define
class _Open:
    """An event that is not over, as last told."""

    told: Happening
    told_us: int


class Teller:
    """Knows what the broker was told, and gives messages for what is new. `discover` gives the payloads that make a monitor known to Home
    Assistant, by topic."""

    def __init__(self, topics: Topics, discover: Callable[[int, str], Mapping[str, bytes]]) -> None:
        self._topics = topics
        self._discover = discover
        self._known: dict[int, tuple[str, Mapping[str, bytes]]] = {}
        self._told: dict[str, bytes] = {}
        self._open: dict[int, _Open] = {}
        self._recorded_us: dict[int, int] = {}

    def hear(self, happening: object, names: Mapping[int, str], now_us: int) -> Message | None:
        """What a happening gives rise to at once."""
        if isinstance(happening, EventOpened):
            begun = Happening.opened(happening)
            self._open[happening.event_id] = _Open(begun, now_us)
            if len(self._open) > MOST_OPEN:
                del self._open[next(iter(self._open))]
            return self._event("new", begun, names, now_us)
        if isinstance(happening, EventClosed):
            last = self._open.pop(happening.event_id, None)
            before = Happening(happening.monitor_id, happening.event_id) if last is None else last.told
            return self._event("end", before.closed(happening), names, now_us)
        return None

    def look(
        self,
        workers: Sequence[WorkerStatus],
        under_way: Collection[UnderWay],
        names: Mapping[int, str],
        now_us: int,
        *,
        complete: bool = True,
    ) -> Iterator[Message]:
        """What is different from what the broker was told. What is told of a monitor that is not among `workers` is taken back, if these
        are `complete`."""
        yield from self._updates(under_way, names, now_us)
        wanted = self._wanted(workers, under_way, names, now_us)
        for topic, payload in wanted.items():
            if self._told.get(topic) != payload:
                yield Message(topic, payload, retain=True)
        if not complete:
            self._told |= wanted
            return
        for topic in self._told.keys() - wanted.keys():
            yield Message(topic, b"", retain=True)
        self._told = wanted

    def connected(self) -> None:
        """The broker may have lost all that it was told: the next look tells it again."""
        self._told = dict.fromkeys(self._told, _STALE)

    def kept(self, topic: str) -> None:
        """The broker keeps the state of a monitor, maybe of one that is there no more: then the next look makes it forget it."""
        monitor_id = self._topics.monitor_of(topic)
        if monitor_id is not None:
            for stale in (topic, *self._discover(monitor_id, "")):
                self._told.setdefault(stale, _STALE)

    def _updates(self, under_way: Collection[UnderWay], names: Mapping[int, str], now_us: int) -> Iterator[Message]:
        for event in under_way:
            if event.event_id is None:
                continue
            last = self._open.setdefault(
                event.event_id, _Open(Happening(event.monitor_id, event.event_id).grown(event), now_us)
            )
            grown = last.told.grown(event)
            if grown != last.told and abs(now_us - last.told_us) >= UPDATE_US:
                self._open[event.event_id] = _Open(grown, now_us)
                yield self._event("update", grown, names, now_us)

    def _wanted(
        self, workers: Sequence[WorkerStatus], under_way: Collection[UnderWay], names: Mapping[int, str], now_us: int
    ) -> dict[str, bytes]:
        """Everything that the broker should keep, by topic."""
        events: dict[int, list[UnderWay]] = {}
        for event in under_way:
            events.setdefault(event.monitor_id, []).append(event)
            if event.records:
                self._recorded_us[event.monitor_id] = now_us
        wanted: dict[str, bytes] = {}
        for worker in workers:
            monitor_id, name = worker.monitor_id, names.get(worker.monitor_id, "")
            mine = events.get(monitor_id, [])
            recorded_us = self._recorded_us.get(monitor_id)
            wanted |= self._discovery(monitor_id, name)
            wanted[self._topics.state(monitor_id)] = state_payload(
                worker,
                name,
                recording=recorded_us is not None and abs(now_us - recorded_us) < RECORDING_US,
                alarm=any(abs(now_us - event.active_us) < ALARM_US for event in mine),
                event_id=max((event.event_id for event in mine if event.event_id), default=None),
            )
        return wanted

    def _discovery(self, monitor_id: int, name: str) -> Mapping[str, bytes]:
        known = self._known.get(monitor_id)
        if known is None or known[0] != name:
            known = self._known[monitor_id] = (name, self._discover(monitor_id, name))
        return known[1]

    def _event(self, kind: str, happening: Happening, names: Mapping[int, str], now_us: int) -> Message:
        return event_message(self._topics, kind, happening, names.get(happening.monitor_id, ""), now_us)


def discovering(topics: Topics, prefix: str, *, on: bool) -> Callable[[int, str], Mapping[str, bytes]]:
    """What a `Teller` makes monitors known with. Where discovery is off, what it may once have left at the broker is taken away."""

    def discover(monitor_id: int, name: str) -> Mapping[str, bytes]:
        payloads = discovery(topics, prefix, monitor_id, name)
        return payloads if on else dict.fromkeys(payloads, b"")

    return discover
