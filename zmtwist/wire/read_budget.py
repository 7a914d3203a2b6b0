"""Shares the reactor's turns out among many sockets: a flood on all of them at once must not keep everything else waiting.

The reactor reads every socket that has something once in a turn, so with hundreds of them one turn may last half a second. Here the work
on what was read is bounded in each turn; what is over waits, with its socket, for the next turns, in order. As the reactor would be busy
meanwhile anyway, no socket waits longer than it would have.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

TURN_SECONDS = 0.015
"""Of one turn, for what was read."""

NOTICED_SECONDS = 0.004
"""Time spent that is not yet worth looking for the turn's end."""


@attrs.define(eq=False)
class Turns:
    """The time that work on what was read may still take in this turn of the reactor."""

    clock: IReactorTime
    _spent: float = attrs.field(default=0.0, init=False)
    _ending: bool = attrs.field(default=False, init=False)
    _waiting: deque[Callable[[], None]] = attrs.field(factory=deque, init=False)
    log = Logger()

    def take(self, work: Callable[[], None]) -> bool:
        """Do `work` now, or, if the turn's time is spent, in one of the next turns; says whether it is done.

        What `work` raises is logged, and is of no concern to those who wait behind it.
        """
        if self._waiting or self._spent >= TURN_SECONDS:
            self._waiting.append(work)
            return False
        self._do(work)
        return True

    def _do(self, work: Callable[[], None]) -> None:
        began = self.clock.seconds()
        try:
            work()
        except Exception:
            self.log.failure("the work on what was read of a socket failed")
        finally:
            self._spent += self.clock.seconds() - began
            if self._spent > NOTICED_SECONDS:
                self._come_back()

    def _next(self) -> None:
        self._spent, self._ending = 0.0, False
        try:
            while self._waiting and self._spent < TURN_SECONDS:
                self._do(self._waiting.popleft())
        finally:
            if self._waiting:
                self._come_back()

    def _come_back(self) -> None:
        if not self._ending:
            self._ending = True
            self.clock.callLater(0, self._next)
