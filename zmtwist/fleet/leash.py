"""A process that is not to outlive us: the kernel kills it at our end, however that comes about, until it is let go.

It inherits the reading end of a pipe of which we alone have the other one. The pipe breaks with our end, and who set a descriptor to
`O_ASYNC` decides which signal its owner gets then. The flag belongs to the open file that both of us have, so it can be taken back from
here; what the kernel offers for children (`PR_SET_PDEATHSIG`) can't.
"""

from __future__ import annotations

import fcntl
import os
import signal

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
