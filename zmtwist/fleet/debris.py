"""What dead workers leave behind, and its removal. That a worker is dead is known by its lock: while it lives, it holds it.

Only what a worker of this installation made (one whose lock or record is here) is looked at, and nothing that a living process uses.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from twisted.logger import Logger

from zmtwist.fleet.adopt import Stranger, Survivor, find_survivor
from zmtwist.fleet.launch import FleetSettings, remove_dead_socket, remove_document, socket_path
from zmtwist.fleet.lock import Held, LockFile
from zmtwist.fleet.process import CannotSpawn
from zmtwist.fleet.procfs import Processes
from zmtwist.fleet.record import lock_path, remove_record

RING = "zm_shmring_{}"
"""The name of a worker's shared memory; a worker that was killed leaves it there, with up to 256 MiB in it."""

_OURS = re.compile(r"worker_([0-9]+)\.(?:lock|json|json\.new)")

log = Logger()


def sweep(settings: FleetSettings, processes: Processes) -> tuple[Survivor, ...]:
    """Remove what is left of every dead worker of ours; gives those that live, by monitor id."""
    alive: list[Survivor] = []
    for monitor_id in _known(settings.run):
        try:
            lock = LockFile.take(lock_path(settings.run, monitor_id))
        except Held:
            found = find_survivor(settings.run, socket_path(settings, monitor_id), monitor_id, processes)
            if isinstance(found, Stranger):
                log.error("monitor {monitor_id}: {reason}", monitor_id=monitor_id, reason=found.reason)
            else:
                alive.append(found)
            continue
        except OSError as error:
            _not_done("its lock can't be taken", monitor_id, str(error))
            continue
        clear(settings, monitor_id, processes)
        clear_socket(settings, monitor_id)
        lock.remove()
    return tuple(alive)


def end_survivors(
    settings: FleetSettings, processes: Processes, kill_group: Callable[[int, int], None] = os.killpg
) -> None:
    """Tell every worker of an earlier run to end, for a stop that comes before any was adopted. Does not wait for them."""
    for one in sweep(settings, processes):
        log.info(
            "monitor {monitor_id}: ending process {pid}, its worker of an earlier run",
            monitor_id=one.monitor_id,
            pid=one.pid,
        )
        with suppress(OSError):
            kill_group(one.pid, signal.SIGTERM)


def clear(settings: FleetSettings, monitor_id: int, processes: Processes) -> None:
    """Remove record, document and shared memory of a worker that is known to be dead. What can't be removed is logged."""
    try:
        remove_record(settings.run, monitor_id)
        remove_document(settings, monitor_id)
    except OSError as error:
        _not_done("its record or document stays", monitor_id, str(error))
    ring = Path(settings.rings, RING.format(monitor_id))
    if not os.path.lexists(ring) or _in_use(monitor_id, processes):
        return
    try:
        ring.unlink()
    except OSError as error:
        _not_done("its shared memory stays", monitor_id, str(error))
    else:
        log.info("monitor {monitor_id}: removed the shared memory that a dead worker left", monitor_id=monitor_id)


def clear_socket(settings: FleetSettings, monitor_id: int) -> None:
    """Remove the socket of a worker that is known to be dead: a killed one leaves it, another took it along."""
    try:
        remove_dead_socket(socket_path(settings, monitor_id))
    except CannotSpawn as error:
        _not_done("its socket stays", monitor_id, error.reason)


def _in_use(monitor_id: int, processes: Processes) -> bool:
    """Whether a worker that is not ours (another ZoneMinder's, or one started by hand) runs under this id: the name would be its, too."""
    wanted = ("--monitor-id", str(monitor_id))
    return any(wanted in pairwise(seen.argv) for seen in processes.everyone())


def _known(run: str) -> list[int]:
    """The monitors of which something is left."""
    try:
        names = [_OURS.fullmatch(entry.name) for entry in Path(run).iterdir()]
    except FileNotFoundError:
        return []
    return sorted({int(name[1]) for name in names if name})


def _not_done(what: str, monitor_id: int, error: str) -> None:
    log.warn("monitor {monitor_id}: {what}: {error}", monitor_id=monitor_id, what=what, error=error)
