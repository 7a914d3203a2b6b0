"""A process slot: lock, record and socket of one supervised process, and what it is called, such as 'worker of monitor 3'."""

from __future__ import annotations

import attrs


@attrs.frozen
class Owner:
    """Whom a process serves, as the log tells it. `monitor_id` is None where all monitors share it."""

    name: str
    monitor_id: int | None = None

    def __str__(self) -> str:
        return self.name


def of_monitor(monitor_id: int) -> Owner:
    """The worker of this monitor."""
    return Owner(f"monitor {monitor_id}", monitor_id)


Guise = tuple[str, tuple[tuple[str, str], ...]]
"""A socket and other options, as a command line has them."""


@attrs.frozen
class Slot:
    """One slot. `lock` and `record` are files, `socket` is where its process listens.

    `options` are those that, besides `--socket`, its process has on its command line and no other slot's has. One that has come to this
    slot from another has kept the command line it was started with: `others` are the sockets and options it may have then.
    """

    owner: Owner
    lock: str
    record: str
    socket: str
    options: tuple[tuple[str, str], ...] = ()
    others: tuple[Guise, ...] = ()

    @property
    def guises(self) -> tuple[Guise, ...]:
        """All that its process may have on its command line."""
        return ((self.socket, self.options), *self.others)
