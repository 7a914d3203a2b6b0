"""Review assets, from the worker's word to a row: kept until their clip is in its place, then looked at on disk, then noted."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import attrs
from twisted.logger import Logger

from zmtwist.changes import AddData, Change
from zmtwist.ingest.assets import AssetsInvalid, look
from zmtwist.ingest.session.session import Session
from zmtwist.reactor.thread_pool import Disk
from zmtwist.untrusted.guard import Guards
from zmtwist.wire.event_details import Detail, ReviewAssets
from zmtwist.zm.event_paths import EventPlace

REMEMBERED = 256
"""Closed events, and assets that wait for theirs to be closed."""


@attrs.define
class Synopses:
    """`submit` takes a monitor's changes, `watch` a coroutine to be run to its end. `noted` and `refused` count assets."""

    disk: Disk
    submit: Callable[[int, Sequence[Change]], None]
    watch: Callable[[Coroutine[Any, Any, None]], None]
    guards: Guards = attrs.field(factory=Guards)
    noted: int = 0
    refused: int = 0
    _places: OrderedDict[str, EventPlace] = attrs.field(factory=OrderedDict, init=False)
    _waiting: OrderedDict[str, tuple[ReviewAssets | None, int]] = attrs.field(factory=OrderedDict, init=False)
    log = Logger()

    def heard(self, session: Session, detail: Detail | None, at_us: int) -> None:
        """A worker's event of review assets; its `detail` is None where the wire cut it. Not looked at where no rows of data are wanted."""
        if session.options.data is not None and (detail is None or isinstance(detail, ReviewAssets)):
            self.told(session.monitor_id, session.told_of(detail), detail, at_us)

    def told(self, monitor_id: int, handle: str | None, assets: ReviewAssets | None, at_us: int) -> None:
        """The worker has made review assets of this clip (None: of one that nobody knows); `assets` is None where the wire cut them."""
        if handle is None:
            self._refuse(monitor_id, "no clip is known that they are of")
        elif (place := self._places.get(handle)) is not None:
            self.watch(self._look(handle, place, assets, at_us))
        else:
            self._waiting[handle] = assets, at_us
            if len(self._waiting) > REMEMBERED:
                self._waiting.popitem(last=False)
                self._refuse(monitor_id, "too many wait for their clips to be closed")

    def closed(self, handle: str, place: EventPlace) -> None:
        """This event is closed: its clip, if any, is in its place."""
        self._places[handle] = place
        if len(self._places) > REMEMBERED:
            self._places.popitem(last=False)
        if handle in self._waiting:
            self.watch(self._look(handle, place, *self._waiting.pop(handle)))

    async def _look(self, handle: str, place: EventPlace, assets: ReviewAssets | None, at_us: int) -> None:
        try:
            row = await self.disk.run(look, place, assets, self.guards.of(place.monitor_id))
        except (AssetsInvalid, OSError) as error:
            self._refuse(place.monitor_id, str(error))
            return
        self.noted += 1
        self.submit(place.monitor_id, [AddData(handle, 1, at_us, row)])

    def _refuse(self, monitor_id: int, reason: str) -> None:
        self.refused += 1
        self.log.warn(
            "monitor {monitor_id}: review assets are left out: {reason}", monitor_id=monitor_id, reason=reason
        )
