"""What is done again and again: every loop of the fleet, with one way to start and to end them."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger


class Loops:
    """Loops which an error does not end: one bad round must not be the last."""

    log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._loops: list[LoopingCall] = []

    def every(self, seconds: float, what: Callable[[], object], *, now: bool = False) -> None:
        """Call `what` every so often until `stop`; a Deferred that it gives is waited for."""

        def round_() -> Deferred[object]:
            return maybeDeferred(what).addErrback(
                lambda failure: self.log.failure("a round of the fleet has failed", failure)
            )

        loop = LoopingCall(round_)
        loop.clock = self._clock
        self._loops.append(loop)
        loop.start(seconds, now=now).addErrback(
            lambda failure: self.log.failure("a loop of the fleet has ended by an error", failure)
        )

    def stop(self) -> None:
        """End all of them. Idempotent."""
        loops, self._loops = self._loops, []
        for loop in loops:
            if loop.running:
                loop.stop()
