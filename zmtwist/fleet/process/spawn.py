"""How a run begins: a process is spawned with its slot's lock, or one that has it already is adopted. Never both."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from zmtwist.fleet.process.adoption import Adopted, Stranger, Survivor, find_survivor
from zmtwist.fleet.process.child import CannotSpawn, ChildProcess, Command, Reports
from zmtwist.fleet.process.cleanup import clear, clear_heir
from zmtwist.fleet.process.instance import Hears, Run, Surroundings
from zmtwist.fleet.process.lifecycle import Life
from zmtwist.fleet.process.lockfile import Held, LockFile
from zmtwist.fleet.process.pidfile import Record, write_record
from zmtwist.fleet.process.preflight import prepare, worker_slot
from zmtwist.fleet.process.slot import Slot
from zmtwist.fleet.process.termination import Leash
from zmtwist.interfaces import ILinkSink
from zmtwist.pipeline.document import Document
from zmtwist.untrusted.budget import Budget
from zmtwist.untrusted.guard import Guard

T = TypeVar("T")

log = Logger()


def fill(slot: Slot, around: Surroundings, spawn: Callable[[LockFile], T], adopt_one: Callable[[Survivor], T]) -> T:
    """Have one process at this slot: `spawn` it with the lock; where that is held, adopt the one that holds it. Raises CannotSpawn.

    `adopt_one` raises ProcessLookupError where that process has ended since it was found.
    """
    try:
        lock = LockFile.take(slot.lock)
    except Held:
        found = find_survivor(slot, around.processes)
        if isinstance(found, Stranger):
            raise CannotSpawn(found.reason) from None
        try:
            return adopt_one(found)
        except ProcessLookupError:
            raise CannotSpawn(f"its former process {found.pid} is just ending") from None
    except OSError as error:
        raise CannotSpawn(f"[paths] run: cannot take the lock {slot.lock}: {error.strerror}") from error
    with lock:
        return spawn(lock)


def spawn_child(
    around: Surroundings,
    slot: Slot,
    command: Command,
    lock: LockFile,
    reports: Reports,
    guard: Guard,
    budget: Budget,
    leash: Leash | None = None,
) -> ChildProcess:
    """Spawn the process of a slot. Raises CannotSpawn."""
    child = ChildProcess(
        IReactorTime(around.reactor),
        slot.owner,
        reports,
        guard,
        budget,
        around.settings.zmnext.worker.stop_timeout_seconds,
        around.kill_group,
        around.together,
        around.settings.zmnext.worker.log_level,
    )
    child.spawn(around.reactor, command, lock.fd, leash)
    return child


def adopt_process(around: Surroundings, survivor: Survivor, reports: Reports) -> Adopted:
    """Watch over a living process. Raises ProcessLookupError where it has ended since it was found."""
    return Adopted(
        IReactorTime(around.reactor),
        survivor,
        reports,
        around.processes,
        around.settings.zmnext.worker.stop_timeout_seconds,
        around.kill_group,
    )


def write_down(around: Surroundings, slot: Slot, pid: int | None, command: Command, digest: str) -> None:
    """Note which process it is. Without that it is found by its lock and command line, only with more trouble."""
    seen = None if pid is None else around.processes.look(pid)
    if seen is None:
        return
    record = Record(
        monitor_id=slot.owner.monitor_id,
        pid=seen.pid,
        started=seen.started,
        boot=around.processes.boot,
        program=command.program,
        arguments=command.arguments,
        socket=slot.socket,
        digest=digest,
        at_us=around.wall(),
    )
    try:
        write_record(slot.record, record)
    except OSError as error:
        log.warn(
            "{owner}: its process can't be noted down in [paths] run: {error}",
            owner=slot.owner.name,
            monitor_id=slot.owner.monitor_id,
            error=str(error),
        )


def begin(
    around: Surroundings,
    monitor_id: int,
    document: Document,
    reports: Reports,
    life: Life,
    storage: BaseException | None,
) -> Run:
    """Spawn a worker; where its lock is held, adopt the one that holds it. Raises CannotSpawn. `storage`: see `preflight.prepare`."""
    slot = worker_slot(around.settings, monitor_id)

    def spawn(lock: LockFile) -> Run:
        try:
            user = clear(around.settings, monitor_id, around.processes)
            return _spawn(around, slot, document, reports, life, lock, storage, user)
        except BaseException:
            clear(around.settings, monitor_id, around.processes)
            raise

    return fill(slot, around, spawn, lambda found: adopt(around, monitor_id, found, reports, life))


def begin_heir(
    around: Surroundings,
    slot: Slot,
    document: Document,
    reports: Reports,
    hears: Hears,
    sink: ILinkSink,
    leash: Leash,
) -> Run:
    """Spawn the worker that is to follow another one, on a leash. Raises CannotSpawn."""
    try:
        lock = LockFile.take(slot.lock)
    except (Held, OSError) as error:
        raise CannotSpawn(f"it can't have its lock: {error}") from error
    with lock:
        user = clear_heir(around.settings, document.monitor_id, slot.guises[0], around.processes)
        return _spawn(around, slot, document, reports, hears, lock, None, user, sink, leash)


def adopt(around: Surroundings, monitor_id: int, survivor: Survivor, reports: Reports, life: Life) -> Run:
    """Take on a living worker as it is. Raises ProcessLookupError where it has ended since it was found."""

    def start() -> Adopted:
        child = adopt_process(around, survivor, reports)
        # The link connects in a later turn, so the sink knows before it hears anything.
        around.sink.adopted(monitor_id)
        return child

    return Run(around, monitor_id, survivor.socket, life, start, digest=survivor.digest, adopted=True)


def _spawn(
    around: Surroundings,
    slot: Slot,
    document: Document,
    reports: Reports,
    life: Hears,
    lock: LockFile,
    storage: BaseException | None,
    user: int | None,
    sink: ILinkSink | None = None,
    leash: Leash | None = None,
) -> Run:
    monitor_id = document.monitor_id
    if user is not None:
        # The name of the shared memory is the same on the whole host: each would read the other's frames.
        raise CannotSpawn(
            f"process {user} is a worker of the same number, and shares its memory with it: end that first"
        )
    command = prepare(around.settings, slot, document, storage)
    run = Run(
        around,
        monitor_id,
        slot.socket,
        life,
        lambda: spawn_child(
            around, slot, command, lock, reports, around.guards.of(monitor_id), around.budgets.of(monitor_id), leash
        ),
        digest=document.digest,
        document=document,
        sink=sink,
    )
    write_down(around, slot, run.child.pid, command, run.digest)
    return run
