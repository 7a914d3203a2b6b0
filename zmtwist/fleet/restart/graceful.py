"""A restart that does not cut a clip short if it can help it: it waits for the clip's end, but not for ever."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

PATIENCE_SECONDS = 60.0
"""How long the end of a clip is waited for. Continuous segments may be longer; then one is cut."""


class Recycle:
    """At most one restart that is due.

    `turn` says in how many seconds it is this worker's turn: where many are due at once (an upgrade may change every document), they
    go one after the other, since all stopped at once would have to queue for their start. `clip_end` gives the Deferred to wait
    for then, `act` restarts for the given reason.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        turn: Callable[[], float],
        clip_end: Callable[[], Deferred[None]],
        act: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self._turn = turn
        self._clip_end = clip_end
        self._act = act
        self._waiting: Deferred[None] | None = None
        self.reason: str | None = None
        """Why a restart is due, or None while none is."""

    def ask(self, reason: str) -> None:
        """Restart soon, at the end of the clip that records then. Of several reasons the first one is told."""
        if self.reason is not None:
            return
        self.reason = reason
        self._waiting = deferLater(self._clock, self._turn()).addCallback(self._clip_ended)
        self._waiting.addBoth(self._go)
        self._waiting.addErrback(lambda failure: self.log.failure("a restart at a clip's end has failed", failure))

    def withdraw(self, reason: str) -> None:
        """There is no need any more, if it was for this reason."""
        if self.reason == reason:
            self.cancel()

    def cancel(self) -> None:
        """No restart is due: there is none to wait for, or another one came first."""
        waiting, self._waiting, self.reason = self._waiting, None, None
        if waiting is not None:
            waiting.cancel()

    def _clip_ended(self, _: object) -> Deferred[None]:
        return self._clip_end().addTimeout(PATIENCE_SECONDS, self._clock)

    def _go(self, _: object) -> None:
        """The clip has ended, or has not within the time; or there is nothing due any more, after `cancel`."""
        reason, self.reason, self._waiting = self.reason, None, None
        if reason is not None:
            self._act(reason)
