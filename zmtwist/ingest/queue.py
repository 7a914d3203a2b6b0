"""What waits for the database: in order per monitor, fair between monitors, openings and saves ahead of other monitors' bulk."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from zmtwist.changes import Change, ClipSaved, CloseEvent, OpenEvent

URGENT = (OpenEvent, ClipSaved, CloseEvent)
"""What a worker or a file waits for: these pull everything before them of the same monitor to the front."""


class ChangeQueue:
    """Changes by monitor. `len` counts them all."""

    def __init__(self) -> None:
        self._waiting: dict[int, deque[Change]] = {}
        # How many of a monitor's waiting changes reach up to its last urgent one; the dict's order is that of arrival.
        self._urgent: dict[int, int] = {}
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
        self._size += len(changes)

    @property
    def urgent(self) -> bool:
        """Something waits that a worker or a file waits for."""
        return bool(self._urgent)

    def take(self, most: int, *, bulk: bool = True) -> list[Change]:
        """At most `most` changes: first what is urgent, then, if `bulk` may come along, an equal share of each monitor's rest."""
        batch: list[Change] = []
        for monitor_id in list(self._urgent):
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
        urgent = self._urgent.pop(monitor_id, 0) - count
        if urgent > 0:
            self._urgent[monitor_id] = urgent
