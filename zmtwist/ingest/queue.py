"""What waits for the database: in order per monitor, fair between monitors, openings and saves ahead of other monitors' bulk."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from zmtwist.changes import Change, ClipSaved, CloseEvent, OpenEvent

URGENT = (OpenEvent, ClipSaved, CloseEvent)
"""These pull everything before them of the same monitor to the front of a batch."""

PRESSING = OpenEvent
"""What a worker waits for with its clip open: this does not wait for company (`Writer`). Saves and closes lose nothing by a moment."""


class ChangeQueue:
    """Changes by monitor. `len` counts them all."""

    def __init__(self) -> None:
        self._waiting: dict[int, deque[Change]] = {}
        # How many of a monitor's waiting changes reach up to its last urgent one; the dict's order is that of arrival.
        self._urgent: dict[int, int] = {}
        # The same for its last opening.
        self._pressing: dict[int, int] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def of(self, monitor_id: int) -> int:
        """How many changes of one monitor wait."""
        return len(self._waiting.get(monitor_id, ()))

    def put(self, monitor_id: int, changes: Sequence[Change]) -> None:
        """Add changes of one monitor, in their order."""
        waiting = self._waiting.setdefault(monitor_id, deque())
        for change in changes:
            waiting.append(change)
            if isinstance(change, URGENT):
                self._urgent[monitor_id] = len(waiting)
            if isinstance(change, PRESSING):
                self._pressing[monitor_id] = len(waiting)
        self._size += len(changes)

    @property
    def pressing(self) -> bool:
        """An opening waits, and so its worker does."""
        return bool(self._pressing)

    def take(self, most: int, *, bulk: bool = True) -> list[Change]:
        """At most `most` changes: first what is urgent, then an equal share of each monitor's rest; without `bulk`, openings only."""
        batch: list[Change] = []
        first = self._urgent if bulk else self._pressing
        for monitor_id in list(first):
            if len(batch) >= most:
                break
            self._move(monitor_id, min(first[monitor_id], most - len(batch)), batch)
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
            urgent = pressing = 0
            for change in self._waiting[monitor_id]:
                if dropped < most and not isinstance(change, URGENT):
                    dropped += 1
                    continue
                kept.append(change)
                if isinstance(change, URGENT):
                    urgent = len(kept)
                if isinstance(change, PRESSING):
                    pressing = len(kept)
            self._set(monitor_id, kept, urgent, pressing)
            if dropped >= most:
                break
        self._size -= dropped
        return dropped

    def _set(self, monitor_id: int, waiting: deque[Change], urgent: int, pressing: int) -> None:
        """Replace what waits of a monitor, in its place in the round."""
        if not waiting:
            del self._waiting[monitor_id]
            return
        self._waiting[monitor_id] = waiting
        if urgent:
            self._urgent[monitor_id] = urgent
        if pressing:
            self._pressing[monitor_id] = pressing

    def _move(self, monitor_id: int, count: int, batch: list[Change]) -> None:
        """The first `count` changes of a monitor to `batch`. What is left of it goes to the end of the round."""
        waiting = self._waiting.pop(monitor_id)
        if count >= len(waiting):
            batch.extend(waiting)
            waiting.clear()
        else:
            batch.extend(waiting.popleft() for _ in range(count))
            self._waiting[monitor_id] = waiting
        for upto in (self._urgent, self._pressing):
            left = upto.pop(monitor_id, 0) - count
            if left > 0:
                upto[monitor_id] = left
