"""What the kernel tells of the pretended workers, and how they are started."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.simulation.host import Host
from tests.simulation.workers import Orphan, Worker
from zmtwist.fleet.process.procfs import LOCK_FD, Seen

if TYPE_CHECKING:
    from tests.simulation.machine import Machine


class Processes:
    """`fleet.process.procfs.Processes` of the workers of a machine."""

    def __init__(self, machine: Machine, host: Host) -> None:
        self._machine, self._host, self._world = machine, host, host.world

    @property
    def boot(self) -> str:
        return f"boot {self._machine.boots}"

    def look(self, pid: int) -> Seen | None:
        return next((seen for seen in self.everyone() if seen.pid == pid), None)

    def everyone(self) -> Iterator[Seen]:
        for one in self._alive():
            yield Seen(one.pid, one.started, tuple(one.argv))

    def holders(self, lock: str) -> list[int]:
        wanted = Path(lock).stat()
        return [one.pid for one in self._alive() if os.path.samestat(os.fstat(one.lock), wanted)]

    def _alive(self) -> list[Worker | Orphan]:
        everyone = (*self._world.living(), *self._world.orphans)
        return [one for one in everyone if one.machine == self._host.machine]

    def open_files(self, groups: Collection[int]) -> dict[int, frozenset[str] | None]:
        recording = {one.pid: str(one.clip.path) for one in self._world.living() if one.clip is not None}
        return {group: frozenset({recording[group]} if group in recording else ()) for group in groups}

    def resident_kb(self, pid: int) -> int | None:
        return None

    def watch(self, pid: int, on_exit: Callable[[], None]) -> Watch:
        worker = next((worker for worker in self._world.living() if worker.pid == pid), None)
        if worker is None:
            raise ProcessLookupError
        worker.watched = lambda: self._host.callLater(0, on_exit) and None
        return Watch(worker)


class Watch:
    """A pretended pidfd."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def signal(self, number: int) -> None:
        if not self.worker.alive:
            raise ProcessLookupError
        self.worker.take(number)

    def stop(self) -> None:
        self.worker.watched = None


def spawn(host: Host, protocol: Any, args: list[str], fds: dict[int, Any]) -> Worker:
    """What `spawnProcess` does here."""
    world = host.world
    if world.troubles.forks:
        world.tell("a fork fails")
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
    worker = Worker(host, protocol, args, fds[LOCK_FD])
    if world.living(worker.monitor_id):
        world.never(f"a second worker for monitor {worker.monitor_id} while the first one lives")
    world.workers.append(worker)
    world.tell(f"worker {worker.monitor_id}/{worker.pid} is spawned")
    protocol.makeConnection(worker)
    return worker
