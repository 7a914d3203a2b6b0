"""What this run of the service is busy with: events that are open or being closed, and clips that are being seen to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs
from twisted.internet.defer import Deferred

from zmtwist.changes import Change, ClipSaved
from zmtwist.zm.event_paths import EventPlace


@attrs.frozen
class InHand:
    """`events`: their places; `paths`: clips whose save was heard and whose events are not closed yet; `monitors`: whose saves these are,
    or would have been. `openings_wait`: there may be events that have no row yet, only an opening that waits for the database."""

    events: tuple[EventPlace, ...] = ()
    paths: frozenset[str] = frozenset()
    monitors: frozenset[int] = frozenset()
    openings_wait: bool = False

    @property
    def event_ids(self) -> frozenset[int]:
        """The ids of `events`."""
        return frozenset(place.event_id for place in self.events)

    def also(self, later: InHand) -> InHand:
        """What is in hand at one of two times."""
        return InHand(
            tuple(dict.fromkeys(self.events + later.events)),
            self.paths | later.paths,
            self.monitors | later.monitors,
            self.openings_wait or later.openings_wait,
        )


class Hands:
    """Keeps count of saves until their events are closed. `run` tells this run's handles from earlier ones, which a spool may bring."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._taken_up: set[str] = set()
        self._saving: dict[str, str] = {}
        self._waiting: dict[str, Deferred[None]] = {}

    def take_up(self, handle: str) -> None:
        """An event of an earlier run is gone on with."""
        self._taken_up.add(handle)

    def take(self, changes: Iterable[Change]) -> None:
        """These changes are on their way."""
        for change in changes:
            if isinstance(change, ClipSaved):
                self._saving[change.handle] = change.path

    def let_go(self, handle: str) -> None:
        """This event is closed."""
        self._saving.pop(handle, None)
        self._taken_up.discard(handle)
        if (waiter := self._waiting.pop(handle, None)) is not None:
            waiter.callback(None)

    def closed(self, handle: str) -> Deferred[None]:
        """Fires when the event is closed."""

        def forget(_: object) -> None:
            self._waiting.pop(handle, None)

        waiter: Deferred[None] = Deferred(forget)
        self._waiting[handle] = waiter
        return waiter

    def now(self, open_places: Mapping[str, EventPlace], *, openings_wait: bool) -> InHand:
        """All that is in hand, given the events that the writer has open, and whether openings wait for it."""
        ours = f".{self._run}."
        busy = self._saving.keys() | self._taken_up
        places = tuple(place for handle, place in open_places.items() if ours in handle or handle in busy)
        return InHand(
            places,
            frozenset(path for path in self._saving.values() if path),
            frozenset(int(handle.partition(".")[0]) for handle in self._saving),
            openings_wait,
        )
