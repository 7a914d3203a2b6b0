"""What dead workers leave behind, and its removal. That a worker is dead is known by its lock: while it lives, it holds it.

Only what a worker of this installation made (one whose lock or record is here) is looked at, and nothing that a living process uses.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path

from twisted.logger import Logger

from zmtwist.fleet.process.adoption import Survivor, find_survivor, runs
from zmtwist.fleet.process.child import CannotSpawn
from zmtwist.fleet.process.lockfile import Held, LockFile
from zmtwist.fleet.process.pidfile import heir_record_path, read_record, record_path, remove_record
from zmtwist.fleet.process.preflight import (
    FleetSettings,
    aliases,
    heir_slot,
    infer_slot,
    remove_dead_socket,
    remove_document,
    rings,
    worker_slot,
)
from zmtwist.fleet.process.procfs import Processes
from zmtwist.fleet.process.slot import Guise, Owner, Slot, of_monitor

RING = "zm_shmring_{}"
"""The name of a worker's shared memory; a worker that was killed leaves it there, with up to 256 MiB in it."""

_OURS = re.compile(r"worker_([0-9]+)\.(?:next\.)?(?:lock|json|json\.new)")

log = Logger()


def sweep(
    settings: FleetSettings, processes: Processes, kill_group: Callable[[int, int], None] = os.killpg
) -> dict[int, Survivor]:
    """Remove what is left of every dead worker of ours; gives those that live, by monitor id.

    One that was to follow another is killed by the kernel when its service ends (`leash`); should it live, it is killed here.
    """
    alive = {}
    for monitor_id in _known(settings.run):
        _end_heir(settings, monitor_id, processes, kill_group)
        slot = worker_slot(settings, monitor_id)
        found = survivor_at(slot, processes, partial(_clear_all, settings, slot, monitor_id, processes))
        if found is not None:
            alive[monitor_id] = found
    return alive


def survivor_at(slot: Slot, processes: Processes, clear_up: Callable[[], object]) -> Survivor | None:
    """The living process of an earlier run at this slot, if there is one; `clear_up` is called, under its lock, where it is dead."""
    try:
        lock = LockFile.take(slot.lock)
    except Held:
        found = find_survivor(slot, processes)
        if isinstance(found, Survivor):
            return found
        log.error("{owner}: {reason}", owner=slot.owner.name, monitor_id=slot.owner.monitor_id, reason=found.reason)
    except OSError as error:
        _not_done("its lock can't be taken", slot.owner, str(error))
    else:
        clear_up()
        lock.remove()
    return None


def infer_survivor(settings: FleetSettings, processes: Processes) -> Survivor | None:
    """The shared inference of an earlier run, if it lives; what is left of a dead one is removed."""
    slot = infer_slot(settings)
    # Without a lock there was none, and what has its name is not ours.
    return survivor_at(slot, processes, partial(clear_slot, slot)) if Path(slot.lock).exists() else None


def end_survivors(
    settings: FleetSettings, processes: Processes, kill_group: Callable[[int, int], None] = os.killpg
) -> None:
    """Tell every process of an earlier run to end, for a stop that comes before any was adopted. Does not wait for them."""
    for one in (*sweep(settings, processes, kill_group).values(), infer_survivor(settings, processes)):
        if one is None:
            continue
        log.info(
            "{owner}: ending process {pid} of an earlier run",
            owner=one.owner.name,
            monitor_id=one.owner.monitor_id,
            pid=one.pid,
        )
        with suppress(OSError):
            kill_group(one.pid, signal.SIGTERM)


def clear(settings: FleetSettings, monitor_id: int, processes: Processes) -> int | None:
    """Remove record, document and shared memory of a worker that is known to be dead. What can't be removed is logged.

    Gives the process that uses the shared memory, if one does: a worker that is none of ours.
    """
    try:
        remove_record(record_path(settings.run, monitor_id))
        remove_document(settings, monitor_id)
    except OSError as error:
        _not_done("its record or document stays", of_monitor(monitor_id), str(error))
    for path in aliases(settings, monitor_id):
        with suppress(CannotSpawn):  # somebody listens there, or it is in nobody's way
            remove_dead_socket(path)
    usual, _ = (_clear_ring(settings, monitor_id, ring, processes) for ring in rings(monitor_id))
    return usual


def clear_heir(settings: FleetSettings, monitor_id: int, guise: Guise | None, processes: Processes) -> int | None:
    """As `clear`, of a worker that was to follow another, which may live. `guise` is how it was started; None where nothing tells."""
    try:
        remove_record(heir_record_path(settings.run, monitor_id))
    except OSError as error:
        _not_done("the record of its heir stays", of_monitor(monitor_id), str(error))
    if guise is None:
        return None
    path, options = guise
    with suppress(CannotSpawn):
        remove_dead_socket(path)
    return _clear_ring(settings, monitor_id, int(dict(options)["--monitor-id"]), processes)


def heir_is_gone(
    settings: FleetSettings, monitor_id: int, guise: Guise | None, processes: Processes
) -> Survivor | None:
    """Remove what is left of a worker that was to follow another; gives it where it lives."""
    slot = heir_slot(settings, monitor_id, "")
    return survivor_at(slot, processes, partial(clear_heir, settings, monitor_id, guise, processes))


def _end_heir(
    settings: FleetSettings, monitor_id: int, processes: Processes, kill_group: Callable[[int, int], None]
) -> None:
    slot = heir_slot(settings, monitor_id, "")
    if not (Path(slot.lock).exists() or Path(slot.record).exists()):
        return  # as a rule there was none
    record = read_record(slot.record, monitor_id)
    guise = next((one for one in slot.guises if record is not None and runs(record.arguments, *one)), None)
    found = heir_is_gone(settings, monitor_id, guise, processes)
    if found is not None:
        log.warn("{owner}: killing process {pid}, a second worker", owner=found.owner.name, pid=found.pid)
        with suppress(OSError):
            kill_group(found.pid, signal.SIGKILL)


def _clear_ring(settings: FleetSettings, monitor_id: int, number: int, processes: Processes) -> int | None:
    ring = Path(settings.rings, RING.format(number))
    if not os.path.lexists(ring):
        return None
    if (user := _user(number, processes)) is not None:
        return user
    try:
        ring.unlink()
    except OSError as error:
        _not_done("its shared memory stays", of_monitor(monitor_id), str(error))
    else:
        log.info("monitor {monitor_id}: removed the shared memory that a dead worker left", monitor_id=monitor_id)
    return None


def clear_slot(slot: Slot) -> None:
    """Remove record and socket of a process that is known to be dead. What can't be removed is logged."""
    clear_socket(slot)
    try:
        remove_record(slot.record)
    except OSError as error:
        _not_done("its record stays", slot.owner, str(error))


def clear_socket(slot: Slot) -> None:
    """Remove the socket of a process that is known to be dead: a killed one leaves it, another took it along."""
    try:
        remove_dead_socket(slot.socket)
    except CannotSpawn as error:
        _not_done("its socket stays", slot.owner, error.reason)


def _clear_all(settings: FleetSettings, slot: Slot, monitor_id: int, processes: Processes) -> None:
    clear(settings, monitor_id, processes)
    clear_socket(slot)


def _user(monitor_id: int, processes: Processes) -> int | None:
    """A worker that is not ours (another ZoneMinder's, or one started by hand) and runs under this id: the name would be its, too."""
    wanted = ("--monitor-id", str(monitor_id))
    return next((seen.pid for seen in processes.everyone() if wanted in pairwise(seen.argv)), None)


def _known(run: str) -> list[int]:
    """The monitors of which something is left."""
    try:
        names = [_OURS.fullmatch(entry.name) for entry in Path(run).iterdir()]
    except FileNotFoundError:
        return []
    return sorted({int(name[1]) for name in names if name})


def _not_done(what: str, owner: Owner, error: str) -> None:
    log.warn("{owner}: {what}: {error}", owner=owner.name, monitor_id=owner.monitor_id, what=what, error=error)
