"""How late our own reactor is: everything else here is only as prompt as it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

INTERVAL = 0.25
REMEMBERED = 240
"""Looks that `longest` goes back: a minute of them."""


class Lag:
    """Measures by how much a timer comes late, on a monotonic clock (the reactor's own may be set)."""

    def __init__(self, clock: IReactorTime, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._late: deque[float] = deque(maxlen=REMEMBERED)
        self._timer: IDelayedCall | None = None
        self._set_at = 0.0

    def start(self) -> None:
        """Begin to measure."""
        self._set_at = self._monotonic()
        self._timer = self._clock.callLater(INTERVAL, self._look)

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    @property
    def last(self) -> float:
        """Seconds that the last look was late."""
        return self._late[-1] if self._late else 0.0

    @property
    def longest(self) -> float:
        """The most that any look of the last minute was late, in seconds."""
        return max(self._late, default=0.0)

    def _look(self) -> None:
        self._late.append(max(0.0, self._monotonic() - self._set_at - INTERVAL))
        self.start()
