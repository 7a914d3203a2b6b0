"""SIGHUP: the service manager's and the init script's way to ask for a reload."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from zmtwist.daemon.sd_notify import Notify


class Hangup(Service):
    """Calls `reload` at each SIGHUP, one at a time, and tells the manager. Start it in the main thread.

    Where stdin is a terminal, SIGHUP means that this terminal has gone: then the service ends in order.
    """

    name = "hangup"
    log = Logger()

    def __init__(self, reactor: Any, notify: Notify, reload: Callable[[], Deferred[None]]) -> None:
        self._reactor = reactor
        self._notify = notify
        self._reload = reload
        self._one_at_a_time = DeferredLock()

    def startService(self) -> None:
        """Hear of SIGHUP from now on. Once stopped it still comes here, and does nothing: an orderly end must not be cut short by it."""
        Service.startService(self)
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.heard))

    def heard(self) -> None:
        """A SIGHUP has come."""
        if not self.running:
            return
        if os.isatty(0):
            self.log.info("zmnext: the terminal has gone; the service ends")
            self._reactor.stop()
            return
        self._one_at_a_time.run(lambda: Deferred.fromCoroutine(self._do())).addErrback(
            lambda failure: self.log.failure("zmnext: the reload has failed; all goes on as it was", failure)
        )

    async def _do(self) -> None:
        self.log.info("zmnext: SIGHUP: reload")
        self._notify.reloading()
        try:
            await self._reload()
        finally:
            self._notify.reloaded()
