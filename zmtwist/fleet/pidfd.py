"""A process that is not our child, watched by the reactor through a pidfd: its number may be given to another, the descriptor never is."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IReadDescriptor)
class PidWatch:
    """Calls `on_exit` once, when the process has ended. Raises ProcessLookupError where there is none with that number."""

    def __init__(self, reactor: IReactorFDSet, pid: int, on_exit: Callable[[], None]) -> None:
        self._reactor = reactor
        self._on_exit = on_exit
        self._fd = os.pidfd_open(pid)
        reactor.addReader(self)

    def signal(self, number: int) -> None:
        """Signal the process. Raises ProcessLookupError once it has ended, OSError where that is not allowed."""
        if self._fd < 0:
            raise ProcessLookupError
        signal.pidfd_send_signal(self._fd, number)

    def stop(self) -> None:
        """Watch no longer. Idempotent."""
        if self._fd >= 0:
            self._reactor.removeReader(self)
            os.close(self._fd)
            self._fd = -1

    # What the reactor calls.

    def fileno(self) -> int:
        """See `IReadDescriptor`."""
        return self._fd

    def logPrefix(self) -> str:
        """See `ILoggingContext`."""
        return "worker"

    def doRead(self) -> None:
        """The process has ended: that is what makes a pidfd readable."""
        self.stop()
        self._on_exit()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has given the descriptor up."""
        self.stop()
