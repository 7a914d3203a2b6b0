"""What waits for the database: fair between monitors, openings first, saves ahead of other monitors' bulk; in order for each event."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from zmtwist.changes import Change, ClipSaved, CloseEvent, OpenEvent

URGENT = (OpenEvent, ClipSaved, CloseEvent)
"""These go first, and never give way. A save or close takes along everything before it of the same monitor."""


class ChangeQueue:
    """Changes by monitor. `len` counts them all.

    Openings are kept apart, for a worker waits for each with its clip open. They may pass what is said of other events of their monitor:
    nothing of that depends on them; and nothing is ever said of an event before its opening.
    """

    def __init__(self) -> None:
        self._openings: deque[OpenEvent] = deque()
        self._waiting: dict[int, deque[Change]] = {}
        # How many of a monitor's waiting changes reach up to its last urgent one; the dict's order is that of arrival.
        self._urgent: dict[int, int] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def of(self, monitor_id: int) -> int:
        """How many changes of one monitor wait."""
        return len(self._waiting.get(monitor_id, ())) + sum(o.monitor_id == monitor_id for o in self._openings)

    def put(self, monitor_id: int, changes: Sequence[Change]) -> None:
        """Add changes of one monitor, in their order."""
        for change in changes:
            if isinstance(change, OpenEvent):
                self._openings.append(change)
                continue
            waiting = self._waiting.get(monitor_id)
            if waiting is None:
                waiting = self._waiting[monitor_id] = deque()
            waiting.append(change)
            if isinstance(change, URGENT):
                self._urgent[monitor_id] = len(waiting)
        self._size += len(changes)

    @property
    def pressing(self) -> bool:
        """An opening waits, and so its worker does."""
        return bool(self._openings)

    def take(self, most: int, *, bulk: bool = True) -> list[Change]:
        """At most `most` changes: first openings, then what is urgent, then an equal share of each monitor's rest; without `bulk`,
        openings only."""
        batch: list[Change] = [self._openings.popleft() for _ in range(min(most, len(self._openings)))]
        for monitor_id in list(self._urgent) if bulk else ():
            if len(batch) >= most:
                break
            self._move(monitor_id, min(self._urgent[monitor_id], most - len(batch)), batch)
        while bulk and len(batch) < most and self._waiting:
            share = max(1, (most - len(batch)) // len(self._waiting))
            for monitor_id in list(self._waiting):
                if len(batch) >= most:
                    break
                self._move(monitor_id, min(share, len(self._waiting[monitor_id]), most - len(batch)), batch)
        self._size -= len(batch)
        return batch

    def give_way(self, most: int) -> int:
        """Drop the oldest bulk, at most `most` changes, of those monitors first that have most waiting; how many that were."""
        dropped = 0
        for monitor_id in sorted(self._waiting, key=lambda number: -len(self._waiting[number])):
            kept: deque[Change] = deque()
            urgent = 0
            for change in self._waiting[monitor_id]:
                if dropped < most and not isinstance(change, URGENT):
                    dropped += 1
                    continue
                kept.append(change)
                if isinstance(change, URGENT):
                    urgent = len(kept)
            self._set(monitor_id, kept, urgent)
            if dropped >= most:
                break
        self._size -= dropped
        return dropped

    def _set(self, monitor_id: int, waiting: deque[Change], urgent: int) -> None:
        """Replace what waits of a monitor, in its place in the round."""
        if not waiting:
            del self._waiting[monitor_id]
            return
        self._waiting[monitor_id] = waiting
        if urgent:
            self._urgent[monitor_id] = urgent

    def _move(self, monitor_id: int, count: int, batch: list[Change]) -> None:
        """The first `count` changes of a monitor to `batch`. What is left of it goes to the end of the round."""
        waiting = self._waiting.pop(monitor_id)
        if count >= len(waiting):
            batch.extend(waiting)
            waiting.clear()
        else:
            batch.extend(waiting.popleft() for _ in range(count))
            self._waiting[monitor_id] = waiting
        left = self._urgent.pop(monitor_id, 0) - count
        if left > 0:
            self._urgent[monitor_id] = left
