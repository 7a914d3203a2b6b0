"""The feed: what happens in the service, told to any number of listeners, each with a bounded backlog of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs
from twisted.logger import Logger

from zmtwist.ops.api.views import happening_view
from zmtwist.untrusted.guard import leaving
from zmtwist.untrusted.integers import whole

KEPT = 1000
"""Entries kept for listeners that come back: a browser that lost its connection for a minute misses nothing."""

BACKLOG = 500
"""Entries that one listener may be behind before it is given up."""


@attrs.frozen
class Entry:
    """One thing that happened. `number` counts from 1 within a run of the service, `data` is its JSON object."""

    number: int
    name: str
    monitor_id: int
    data: bytes


class Listener:
    """One listener's backlog. `wake` is called when there is something to take, and when it was given up (`lost`)."""

    def __init__(self, feed: Feed, wake: Callable[[], None], monitor_id: int | None, backlog: int) -> None:
        self._feed = feed
        self._wake = wake
        self._monitor_id = monitor_id
        self._most = backlog
        self._waiting: deque[Entry] = deque()
        self.lost = False

    def offer(self, entry: Entry) -> None:
        """One more entry. With a full backlog everything in it goes, and the listener is no longer one."""
        if self._monitor_id not in (None, entry.monitor_id):
            return
        if len(self._waiting) >= self._most:
            self._waiting.clear()
            self.lost = True
            self.close()
        else:
            self._waiting.append(entry)
        self._wake()

    def take(self) -> list[Entry]:
        """All that waits, oldest first."""
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    def close(self) -> None:
        """Listen no more. Idempotent."""
        self._feed.forget(self)


class Feed:
    """Publishes happenings. `run` tells this run's numbers from those of any other. A listener that fails costs no other one anything."""

    log = Logger()

    def __init__(self, run: str, wall: Callable[[], int], *, kept: int = KEPT, backlog: int = BACKLOG) -> None:
        self.run = run
        self._wall = wall
        self._backlog = backlog
        self._entries: deque[Entry] = deque(maxlen=kept)
        self._listeners: dict[Listener, None] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._listeners)

    def publish(self, happening: object) -> None:
        """Tell everyone; what is not for operators' eyes is passed over."""
        told = happening_view(happening, self._wall())
        if told is None:
            return
        name, fields = told
        self._number += 1
        entry = Entry(self._number, name, fields["monitor_id"], leaving(fields))
        self._entries.append(entry)
        for listener in list(self._listeners):
            try:
                listener.offer(entry)
            except Exception:
                self.log.failure("a listener to what happens has failed, and hears no more")
                listener.close()

    def listen(self, wake: Callable[[], None], monitor_id: int | None = None) -> Listener:
        """A new listener, to one monitor's entries or to all, from now on."""
        listener = Listener(self, wake, monitor_id, self._backlog)
        self._listeners[listener] = None
        return listener

    def forget(self, listener: Listener) -> None:
        """See `Listener.close`."""
        self._listeners.pop(listener, None)

    def since(self, mark: str, monitor_id: int | None = None) -> list[Entry] | None:
        """The entries after the one with this `mark`; None where they can't all be given any more, or the mark is another run's."""
        run, dash, number = mark.rpartition("-")
        last = whole(number)
        if not dash or run != self.run or last is None:
            return None
        oldest = self._entries[0].number if self._entries else self._number + 1
        if last > self._number or last + 1 < oldest:
            return None
        return [e for e in self._entries if e.number > last and monitor_id in (None, e.monitor_id)]

    def mark(self, entry: Entry) -> str:
        """What `since` takes to go on after this entry."""
        return f"{self.run}-{entry.number}"
