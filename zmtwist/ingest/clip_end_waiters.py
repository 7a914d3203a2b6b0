"""Who waits for the end of a clip: a worker is not restarted in the middle of one if that can be helped."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime


class ClipEnds:
    """The Deferreds of those who wait, by monitor. They fire in a later turn, so that nothing is restarted in the middle of a message."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: dict[int, list[Deferred[None]]] = {}
        self._unknown: set[int] = set()

    def adopted(self, monitor_id: int) -> None:
        """A clip may be open whose opening was heard by nobody here."""
        self._unknown.add(monitor_id)

    def wait(self, monitor_id: int, recording: bool) -> Deferred[None]:
        """Fires with the next `ended`; at once where nothing can be open, which `recording` tells as far as is known."""
        if not recording and monitor_id not in self._unknown:
            return succeed(None)
        waiter: Deferred[None] = Deferred(lambda cancelled: self._forget(monitor_id, cancelled))
        self._waiting.setdefault(monitor_id, []).append(waiter)
        return waiter

    def ended(self, monitor_id: int) -> None:
        """A clip was saved, or its worker has gone."""
        self._unknown.discard(monitor_id)
        for waiter in tuple(self._waiting.get(monitor_id, ())):
            self._clock.callLater(0, self._fire, monitor_id, waiter)

    def _fire(self, monitor_id: int, waiter: Deferred[None]) -> None:
        if waiter in self._waiting.get(monitor_id, ()):
            self._forget(monitor_id, waiter)
            waiter.callback(None)

    def _forget(self, monitor_id: int, waiter: Deferred[None]) -> None:
        waiters = self._waiting.get(monitor_id, [])
        if waiter in waiters:
            waiters.remove(waiter)
        if not waiters:
            self._waiting.pop(monitor_id, None)
