"""How a run begins: a worker is spawned with its lock, or one that lives already is adopted. Never both."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from zmtwist.fleet.adopt import Adopted, Stranger, Survivor, find_survivor
from zmtwist.fleet.debris import clear
from zmtwist.fleet.launch import prepare, socket_path
from zmtwist.fleet.lock import Held, LockFile
from zmtwist.fleet.process import CannotSpawn, Child, Command, Reports
from zmtwist.fleet.record import Record, lock_path, write_record
from zmtwist.fleet.run import Run, Surroundings
from zmtwist.interfaces import ILinkObserver
from zmtwist.pipeline.document import Document
from zmtwist.redact import Redactor

log = Logger()


def begin(around: Surroundings, monitor_id: int, document: Document, reports: Reports, observer: ILinkObserver) -> Run:
    """Spawn a worker; where its lock is held, adopt the one that holds it. Raises CannotSpawn."""
    settings = around.settings
    path = lock_path(settings.run, monitor_id)
    try:
        lock = LockFile.take(path)
    except Held:
        found = find_survivor(settings.run, socket_path(settings, monitor_id), monitor_id, around.processes)
        if isinstance(found, Stranger):
            raise CannotSpawn(found.reason) from None
        try:
            return adopt(around, found, reports, observer)
        except ProcessLookupError:
            raise CannotSpawn(f"its former worker, process {found.pid}, is just ending") from None
    except OSError as error:
        raise CannotSpawn(f"[paths] run: cannot take the lock {path}: {error.strerror}") from error
    with lock:
        try:
            return _spawn(around, monitor_id, document, reports, observer, lock)
        except BaseException:
            clear(settings, monitor_id, around.processes)
            raise


def adopt(around: Surroundings, survivor: Survivor, reports: Reports, observer: ILinkObserver) -> Run:
    """Take on a living worker as it is. Raises ProcessLookupError where it has ended since it was found."""

    def start() -> Adopted:
        child = Adopted(
            IReactorTime(around.reactor),
            survivor,
            reports,
            around.processes,
            around.settings.zmnext.worker.stop_timeout_seconds,
            around.kill_group,
        )
        # The link connects in a later turn, so the sink knows before it hears anything.
        around.sink.adopted(survivor.monitor_id)
        return child

    return Run(around, survivor.monitor_id, survivor.socket, observer, start, digest=survivor.digest, adopted=True)


def _spawn(
    around: Surroundings,
    monitor_id: int,
    document: Document,
    reports: Reports,
    observer: ILinkObserver,
    lock: LockFile,
) -> Run:
    clear(around.settings, monitor_id, around.processes)
    command = prepare(around.settings, monitor_id, document)

    def start() -> Child:
        child = Child(
            IReactorTime(around.reactor),
            monitor_id,
            reports,
            Redactor(document.secrets).redact,
            around.settings.zmnext.worker.stop_timeout_seconds,
            around.kill_group,
        )
        child.spawn(around.reactor, command, lock.fd)
        return child

    socket = socket_path(around.settings, monitor_id)
    run = Run(around, monitor_id, socket, observer, start, digest=document.digest, document=document)
    _write_down(around, run, monitor_id, command, socket)
    return run


def _write_down(around: Surroundings, run: Run, monitor_id: int, command: Command, socket: str) -> None:
    """Note which process it is. Without that it is found by its lock and command line, only with more trouble."""
    pid = run.child.pid
    seen = None if pid is None else around.processes.look(pid)
    if seen is None:
        return
    record = Record(
        monitor_id=monitor_id,
        pid=seen.pid,
        started=seen.started,
        boot=around.processes.boot,
        program=command.program,
        arguments=command.arguments,
        socket=socket,
        digest=run.digest,
        at_us=around.wall(),
    )
    try:
        write_record(around.settings.run, record)
    except OSError as error:
        log.warn(
            "monitor {monitor_id}: its worker can't be noted down in [paths] run: {error}",
            monitor_id=monitor_id,
            error=str(error),
        )
