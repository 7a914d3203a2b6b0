"""What the writer knows of the events whose rows are in the database: where they are, and which of their saves are still to be seen to."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from zmtwist.changes import ClipSaved
from zmtwist.ingest.writer.spool_format import Known
from zmtwist.zm.event_paths import EventPlace

REMEMBERED_CLOSED = 512
"""Places of closed events are kept this long (in events) for what is said of them late: descriptions, synopses."""


class KnownEvents:
    """By handle. An event is added when its opening is committed, and closed when its close is."""

    def __init__(self) -> None:
        self._open: dict[str, EventPlace] = {}
        self._closed: OrderedDict[str, EventPlace] = OrderedDict()
        self._saved: dict[str, ClipSaved] = {}

    @property
    def open(self) -> Mapping[str, EventPlace]:
        """Those that have a row and are not closed."""
        return self._open

    @property
    def saves(self) -> Sequence[str]:
        """The handles of saved clips whose events are not closed yet."""
        return tuple(self._saved)

    def add(self, places: Mapping[str, EventPlace]) -> None:
        """These have rows now."""
        self._open.update(places)

    def place(self, handle: str) -> EventPlace | None:
        """Where an event is; None of one without a row, or long closed."""
        return self._open.get(handle) or self._closed.get(handle)

    def save(self, saved: ClipSaved) -> None:
        """Its clip was saved, and is to be seen to."""
        self._saved[saved.handle] = saved

    def close(self, handle: str) -> None:
        """It is closed."""
        self._saved.pop(handle, None)
        place = self._open.pop(handle, None)
        if place is not None:
            self._closed[handle] = place
        while len(self._closed) > REMEMBERED_CLOSED:
            self._closed.popitem(last=False)

    def kept(self, handle: str) -> Known | None:
        """What the spool must keep of it."""
        place = self.place(handle)
        return None if place is None else Known(place, self._saved.get(handle))
