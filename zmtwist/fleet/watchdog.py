"""The watch over all workers: marks the stalled and has them replaced, unless the host is to blame."""

from __future__ import annotations

from collections.abc import Callable, Collection

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from zmtwist.fleet.policy import Guard, Host, guard, watch_interval
from zmtwist.fleet.process.state import IDLE, State
from zmtwist.fleet.worker import Worker


class Watchdog:
    """Call `look` every `interval` seconds. `workers` gives all there are, `database_away` whether the database can't be read."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        window: float,
        workers: Callable[[], Collection[Worker]],
        database_away: Callable[[], bool],
    ) -> None:
        self._clock = clock
        self._window = window
        self._workers = workers
        self._database_away = database_away
        self._guard = Guard()
        self._looked_at = 0.0
        self.interval = watch_interval(window)

    def begin(self) -> None:
        """Count from now whether a look comes late."""
        self._looked_at = self._clock.seconds()

    def look(self) -> None:
        """Look at all workers. A look that comes late judges none: all that it sees is our own lateness."""
        now = self._clock.seconds()
        late, self._looked_at = now - self._looked_at - self.interval, now
        late = late if late > self.interval else 0.0
        workers = tuple(self._workers())
        if not late:
            for worker in workers:
                worker.look()
        stalled = [worker for worker in workers if worker.state is State.STALLED]
        meant_to_run = sum(worker.state not in IDLE for worker in workers)
        before = self._guard
        host = Host(meant_to_run, len(stalled), late, self._database_away())
        self._guard, wait = guard(before, host, now, self._window)
        if wait is None:
            for worker in stalled:
                worker.replace()
        elif self._guard.until != before.until:
            self.log.warn(
                "no worker is replaced for {seconds} s, the host looks ill: {reason}",
                seconds=self._window,
                reason=wait,
                workers=meant_to_run,
                stalled=len(stalled),
            )
