"""How a process and its group are made to end: SIGTERM, a time to be polite in, SIGKILL."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from zmtwist.fleet.process.slot import Owner


class Ending:
    """The end of one process that leads, or is about to lead, a process group.

    `kill_group(pid, number)` signals the group, `signal_alone(number)` the process itself; both raise ProcessLookupError where
    there is none. Children and adopted processes differ in the latter only.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        owner: Owner,
        pid: int,
        seconds: float,
        kill_group: Callable[[int, int], None],
        signal_alone: Callable[[signal.Signals], None],
    ) -> None:
        self._clock = clock
        self._owner = owner
        self._pid = pid
        self._seconds = seconds
        self._kill_group = kill_group
        self._signal_alone = signal_alone
        self._deadline: IDelayedCall | None = None
        self._begun = False

    def begin(self, at_most: float = float("inf")) -> None:
        """SIGTERM now, SIGKILL when the time is over, or `at_most` seconds. Asked again, go on with what was begun."""
        if self._begun:
            return
        self._begun = True
        self._seconds = min(self._seconds, at_most)
        self.send(signal.SIGTERM)
        self._deadline = self._clock.callLater(self._seconds, self._kill)

    def over(self) -> None:
        """The process has ended: so must what it left behind in its group."""
        self.forget()
        self._signal_group(signal.SIGKILL)

    def forget(self) -> None:
        """Do nothing more about it, and never begin."""
        self._begun = True
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    def _kill(self) -> None:
        self.log.warn(
            "{owner}: process {pid} did not end within {seconds} s, killing it",
            owner=self._owner.name,
            monitor_id=self._owner.monitor_id,
            pid=self._pid,
            seconds=self._seconds,
        )
        self.send(signal.SIGKILL)
        self._deadline = self._clock.callLater(self._seconds, self._still_there)

    def _still_there(self) -> None:
        self.log.error(
            "{owner}: process {pid} outlives SIGKILL (a hung disk or driver?); no other is started before it is gone",
            owner=self._owner.name,
            monitor_id=self._owner.monitor_id,
            pid=self._pid,
        )

    def send(self, number: signal.Signals) -> None:
        """To the group; to the process alone while it has not become one yet."""
        if self._signal_group(number):
            return
        try:
            self._signal_alone(number)
        except ProcessLookupError:
            return
        except OSError as error:
            self._not_signalled(number, error)

    def _signal_group(self, number: signal.Signals) -> bool:
        try:
            self._kill_group(self._pid, number)
        except ProcessLookupError:
            return False
        except OSError as error:
            self._not_signalled(number, error)
            return False
        return True

    def _not_signalled(self, number: signal.Signals, error: OSError) -> None:
        self.log.error(
            "{owner}: cannot send {signal} to process {pid}: {error}",
            owner=self._owner.name,
            monitor_id=self._owner.monitor_id,
            signal=number.name,
            pid=self._pid,
            error=error.strerror or str(error),
        )


LEASH_FD = 4
"""The descriptor under which a process on a leash has its end of it."""


class Leash:
    """One leash. `fd` is for the process to inherit; until `hold` it does nothing. `let_go` or `cut` ends it."""

    def __init__(self) -> None:
        self.fd, self._ours = os.pipe()

    def hold(self, pid: int) -> None:
        """From now on this process is killed when we end. Raises OSError."""
        fcntl.fcntl(self.fd, fcntl.F_SETOWN, pid)
        fcntl.fcntl(self.fd, fcntl.F_SETSIG, signal.SIGKILL)
        self._set(os.O_ASYNC)

    def let_go(self) -> None:
        """It outlives us."""
        if self.fd >= 0:
            self._set(0)
            self.cut()

    def cut(self) -> None:
        """Kill it, if it was held."""
        if self.fd >= 0:
            os.close(self._ours)
            os.close(self.fd)
            self.fd = self._ours = -1

    def _set(self, flags: int) -> None:
        fcntl.fcntl(self.fd, fcntl.F_SETFL, fcntl.fcntl(self.fd, fcntl.F_GETFL) & ~os.O_ASYNC | flags)
