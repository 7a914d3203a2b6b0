"""Keeps ZoneMinder's console told of our cameras: their rows of `Monitor_Status`, refreshed before anything takes them for stale."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from zmtwist.fleet.process.state import State, Transition
from zmtwist.fleet.status import WorkerStatus
from zmtwist.zm.write.monitor_status import CameraStatus, StatusWriter

REFRESH_SECONDS = 20.0
"""Newer ZoneMinders delete rows that are a minute old (doc/reference/zoneminder.md, Monitor_Status)."""


class Console(Service):
    """Writes how each camera does: every 20 s, and soon after one has come up or gone down.

    `workers` gives every worker there is, `rates` frames and bytes per second by monitor. A camera that is none of ours (any more) is left
    to whoever runs it: it is told to be down once, and then not touched again.
    """

    name = "console"
    log = Logger()

    def __init__(
        self,
        reactor: Any,
        writer: StatusWriter,
        workers: Callable[[], Sequence[WorkerStatus]],
        rates: Callable[[], Mapping[int, tuple[float, float]]],
    ) -> None:
        self._writer = writer
        self._workers = workers
        self._rates = rates
        self._ours: frozenset[int] = frozenset()
        self._under_way: Deferred[None] | None = None
        self._again = False
        self._failing = False
        self._loop = LoopingCall(self.refresh)
        self._loop.clock = reactor

    def startService(self) -> None:
        """Begin to refresh."""
        Service.startService(self)
        self._loop.start(REFRESH_SECONDS, now=False).addErrback(
            lambda failure: self.log.failure("console: the refresh stopped", failure)
        )

    def stopService(self) -> Deferred[None]:
        """Fires when all our cameras were told to be down. Call it once the workers are gone."""
        Service.stopService(self)
        if self._loop.running:
            self._loop.stop()
        self._again = False
        return Deferred.fromCoroutine(self._write())

    def announce(self, happening: object) -> None:
        """A worker's transition: what the console shows of it may have changed."""
        if (
            isinstance(happening, Transition)
            and self.running
            and State.LIVE in (happening.from_state, happening.to_state)
        ):
            self.refresh()

    def refresh(self) -> None:
        """Write now, or once more after the write under way."""
        if self._under_way is not None:
            self._again = True
            return
        self._again = False
        self._under_way = Deferred.fromCoroutine(self._write())
        self._under_way.addBoth(self._written)

    def _written(self, _result: object) -> None:
        self._under_way = None
        if self._again and self.running:
            self.refresh()

    async def _write(self) -> None:
        rates = self._rates()
        # A STOPPED one was refused, or is about to go: it may already be the legacy daemon's.
        workers = {w.monitor_id: w for w in self._workers() if w.state is not State.STOPPED}
        cameras = [
            CameraStatus(monitor_id, worker.state is State.LIVE, *rates.get(monitor_id, (0.0, 0.0)))
            for monitor_id, worker in workers.items()
        ]
        cameras += [CameraStatus(monitor_id, False) for monitor_id in sorted(self._ours - workers.keys())]
        try:
            await self._writer.write(cameras)
        except Exception as error:
            if not self._failing:
                self.log.warn("console: Monitor_Status can't be refreshed: {error}", error=str(error))
            self._failing = True
            return
        self._failing = False
        self._ours = frozenset(workers)
