"""Tells workers the event ids of their clips, and how long that took from the clip's opening."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from zmtwist.changes import Change, OpenEvent
from zmtwist.ingest.writer.histogram import Latencies
from zmtwist.interfaces import ICommander
from zmtwist.wire.encode import MAX_EVENT_ID
from zmtwist.zm.event_paths import EventPlace

MOST_HEARD = 1000
"""Openings whose assignment is timed at once: those that never get one must not add up."""


@attrs.define
class Assigner:
    """`seconds` are the times from an opening's being heard until its worker knew its event."""

    clock: IReactorTime
    commander: ICommander
    seconds: Latencies = attrs.field(factory=Latencies)
    _heard: OrderedDict[str, float] = attrs.field(factory=OrderedDict, init=False)
    log = Logger()

    def heard(self, changes: Iterable[Change]) -> None:
        """Time the openings among `changes` from now on."""
        for change in changes:
            if isinstance(change, OpenEvent) and change.token is not None:
                self._heard[change.handle] = self.clock.seconds()
                if len(self._heard) > MOST_HEARD:
                    self._heard.popitem(last=False)

    async def assign(self, handle: str, token: str, place: EventPlace) -> None:
        """Tell the worker. If it can't be told, that is logged, and the clip is moved at its end."""
        if place.event_id > MAX_EVENT_ID:
            self.log.critical(
                "monitor {monitor_id}: event id {event_id} is over {limit}: workers cannot be told it; the clip is moved at its end",
                monitor_id=place.monitor_id,
                event_id=place.event_id,
                limit=MAX_EVENT_ID,
            )
            return
        try:
            response = await self.commander.command(
                place.monitor_id,
                "assign_recording",
                clip_token=token,
                event_id=place.event_id,
                dir=place.directory,
                video_name=place.video_name,
            )
        except Exception as error:
            # The clip is found and moved at its end, so this costs nothing but the move.
            self.log.warn(
                "monitor {monitor_id}: event {event_id} could not be assigned: {error}",
                monitor_id=place.monitor_id,
                event_id=place.event_id,
                error=str(error) or type(error).__name__,
            )
            return
        if not response.ok:
            self.log.warn(
                "monitor {monitor_id}: the worker refused event {event_id}: {answer}",
                monitor_id=place.monitor_id,
                event_id=place.event_id,
                answer=response.message,
            )
        elif (heard := self._heard.pop(handle, None)) is not None:
            self.seconds.add(self.clock.seconds() - heard)
