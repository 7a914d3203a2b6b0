"""A restart without a gap: another worker is got ready first, where the host and the camera can do with two for some seconds."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from zmtwist.fleet.host_limits import no_room_for_another
from zmtwist.fleet.process.child import CannotSpawn, Reports
from zmtwist.fleet.process.instance import Hears, Run, Surroundings
from zmtwist.fleet.process.state import State
from zmtwist.fleet.restart.standby import Heir
from zmtwist.pipeline.document import Document

_SUCCEEDING = frozenset({State.STARTING, State.LINKED, State.LIVE, State.STOPPING})
"""Where another worker may be got ready, or wait."""


class Succession:
    """Of one monitor's worker. `restart` stops it for a reason and starts it again; by then somebody may wait to follow it."""

    log = Logger()

    def __init__(self, monitor_id: int, around: Surroundings, restart: Callable[[str], None]) -> None:
        self._monitor_id = monitor_id
        self._around = around
        self._restart = restart
        self._getting_ready: Deferred[None] | None = None
        self._heir: Heir | None = None
        self._alone = False
        self.reason: str | None = None
        """Why there is to be another worker soon; None where there is not."""

    @property
    def waits(self) -> bool:
        """Whether the next worker waits for the end of the one there is."""
        return self._heir is not None and self._heir.waits

    def begin(self, document: Document, socket: str, reason: str) -> None:
        """Restart the worker that was told to listen at `socket`: when its successor is ready, or when none will be."""
        if self.reason is not None:
            return
        if (why := self._why_alone()) is not None:
            self.log.debug("monitor {monitor_id}: {why}", monitor_id=self._monitor_id, why=why)
            self._restart(reason)
            return
        self.reason = reason
        self._getting_ready = self._around.heirs.run(lambda: Deferred.fromCoroutine(self._get_ready(document, socket)))
        # What comes of the restart may be its end, which cancels what is still under way.
        self._getting_ready.addCallback(lambda _: self._restart(reason))
        self._getting_ready.addErrback(lambda failure: failure.trap(CancelledError) and None)
        self._getting_ready.addErrback(
            lambda failure: self.log.failure("a restart with a successor has failed", failure)
        )

    def take(self, reports: Reports) -> Run | None:
        """The successor, if one waits and can follow: it goes on now. `speak` is to come next."""
        if self._heir is None or not self._heir.waits:
            return None
        try:
            return self._heir.take(reports)
        except CannotSpawn as error:
            self.log.warn("monitor {monitor_id}: {error}", monitor_id=self._monitor_id, error=error.reason)
            return None

    def speak(self, life: Hears) -> None:
        """What the successor has said until now is told."""
        heir, self._heir, self.reason = self._heir, None, None
        if heir is not None:
            heir.speak(life)

    def entered(self, state: State) -> None:
        """The worker has come into this state."""
        if state not in _SUCCEEDING:
            self.end()

    def end(self, *, lost: bool = False) -> None:
        """There will be no successor. `lost`: because the worker lost its camera, meanwhile; so there won't be any later on either: some
        cameras have one connection only, and the last to come has it."""
        if self.reason is None:
            return
        heir, self._heir, self.reason = self._heir, None, None
        self._alone = self._alone or (lost and heir is not None)
        if self._getting_ready is not None:
            self._getting_ready.cancel()
        if heir is not None:
            heir.end()

    def withdraw(self, reason: str) -> None:
        """There is no need of a successor any more, if it was for this reason and none waits yet."""
        if self.reason == reason and not self.waits:
            self.end()

    def _why_alone(self) -> str | None:
        settings = self._around.settings
        if not settings.zmnext.worker.overlap:
            return "[zmnext.worker] overlap is false"
        if settings.zmnext.pipeline.delivery == "file":
            return "two workers can't have the one file of their document"
        if self._alone:
            return "its camera serves one worker only"
        return no_room_for_another(settings.rings)

    async def _get_ready(self, document: Document, socket: str) -> None:
        try:
            await self._around.storages.look(document.store_root)
            self._heir = Heir(self._around, document, socket)
            await self._heir.ready
        except (CannotSpawn, OSError) as error:
            self.log.info(
                "monitor {monitor_id}: its worker is restarted without a successor: {error}",
                monitor_id=self._monitor_id,
                error=str(error),
            )
            self._heir, self.reason = None, None
