"""What has to be right before a process is spawned, and what is left to clear up after it.

Quick looks at the file system; each thing that is wrong is one `CannotSpawn` that says what to do. Storages are looked at from
threads: one that hangs must stop neither the reactor nor the cameras of others.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from zmtwist.config.model import ZmNextConfig
from zmtwist.durable import ENDING, durable_write
from zmtwist.executables import INFER, Program, environment_for, find_worker
from zmtwist.fleet.process.child import CannotSpawn, Command
from zmtwist.fleet.process.pidfile import (
    heir_lock_path,
    heir_record_path,
    infer_lock_path,
    infer_record_path,
    lock_path,
    record_path,
)
from zmtwist.fleet.process.slot import Guise, Owner, Slot, of_monitor
from zmtwist.pipeline.document import Document


@attrs.frozen
class FleetSettings:
    """What the fleet is told: `[zmnext]`, the directories of `[paths]`, where workers keep their rings, and our own environment."""

    zmnext: ZmNextConfig
    socks: str
    run: str
    state: str
    environment: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    rings: str = "/dev/shm"  # noqa: S108 - the worker's own choice


ANOTHER_RING = 1_000_000_000
"""Far beyond any monitor's id. A worker reads its number as a signed integer of 32 bits."""

Fingerprint = tuple[str, int, int, int]
"""A binary as it is now: path, inode, size, time of change; another one is another build."""


def socket_path(settings: FleetSettings, monitor_id: int) -> str:
    """Where the worker of this monitor listens."""
    return str(Path(settings.socks) / f"stream_{monitor_id}.sock")


def worker_slot(settings: FleetSettings, monitor_id: int) -> Slot:
    """The slot of this monitor's worker."""
    return Slot(
        of_monitor(monitor_id),
        lock_path(settings.run, monitor_id),
        record_path(settings.run, monitor_id),
        socket_path(settings, monitor_id),
        _options(monitor_id),
        _heirs(settings, monitor_id),
    )


def heir_slot(settings: FleetSettings, monitor_id: int, socket: str) -> Slot:
    """The slot of the worker that is to follow the one of this monitor that was told to listen at `socket`.

    The two share neither socket nor shared memory: a worker removes the socket it was told of when it ends, and would read the frames of
    any other that has its number.
    """
    even, odd = _heirs(settings, monitor_id)
    return Slot(
        of_monitor(monitor_id),
        heir_lock_path(settings.run, monitor_id),
        heir_record_path(settings.run, monitor_id),
        *(even if socket == odd[0] else odd),
        (even, odd),
    )


def aliases(settings: FleetSettings, monitor_id: int) -> tuple[str, str]:
    """Where those of this monitor's workers listen that were started to follow another, by turns. The one that has followed listens at
    `socket_path` as well."""
    even, odd = (str(Path(settings.socks) / f"stream_{monitor_id}.{which}.sock") for which in ("even", "odd"))
    return even, odd


def rings(monitor_id: int) -> tuple[int, int]:
    """The numbers by which this monitor's workers are told apart in shared memory, by turns."""
    return monitor_id, monitor_id + ANOTHER_RING


def _heirs(settings: FleetSettings, monitor_id: int) -> tuple[Guise, Guise]:
    even, odd = zip(aliases(settings, monitor_id), map(_options, rings(monitor_id)), strict=True)
    return even, odd


def _options(ring: int) -> tuple[tuple[str, str], ...]:
    return (("--monitor-id", str(ring)),)


def infer_slot(settings: FleetSettings) -> Slot:
    """The slot of the inference that all workers share."""
    run, share = settings.run, settings.zmnext.share_inference
    return Slot(Owner(INFER), infer_lock_path(run), infer_record_path(run), share.socket_in(settings.socks))


def fingerprint(program: Program | None) -> Fingerprint | None:
    """What a program is now, or None where there is none."""
    try:
        found = Path(program.path).stat() if program is not None else None
    except OSError:
        return None
    return (program.path, found.st_ino, found.st_size, found.st_mtime_ns) if program and found else None


def worker_fingerprint(settings: FleetSettings) -> Fingerprint | None:
    """What the workers' program is now."""
    return fingerprint(find_worker(settings.zmnext.worker, settings.environment))


def prepare(settings: FleetSettings, slot: Slot, document: Document, storage: BaseException | None) -> Command:
    """Look at everything the worker of a slot needs, write its document where that goes by file, remove a dead socket.

    Raises CannotSpawn. `storage`: what a look at its storage came to, from a thread (`StorageChecks`); None where all is well there.
    """
    worker = settings.zmnext.worker
    program = find_worker(worker, settings.environment)
    if program is None:
        raise CannotSpawn(
            f"[zmnext.worker] binary {worker.binary!r}: no such program, or it can't be executed", fatal=True
        )
    check_directory(program)
    if storage is not None:
        raise storage
    remove_dead_socket(slot.socket)
    stdin, pipeline = document.text.encode(), "/dev/stdin"
    if settings.zmnext.pipeline.delivery == "file":
        stdin, pipeline = b"", write_document(settings, document.monitor_id, document)
    return Command(
        program=program.path,
        arguments=("--pipeline", pipeline, "--socket", slot.socket, *chain.from_iterable(slot.options)),
        environment=environment_for(worker, settings.environment),
        directory=program.directory,
        stdin=stdin,
        ends_with_us=not worker.survive_restart,
    )


def check_directory(program: Program) -> None:
    """Its working directory has to be there. Raises CannotSpawn."""
    if not Path(program.directory).is_dir():
        raise CannotSpawn(f"[zmnext.worker] working_directory {program.directory}: no such directory", fatal=True)


def check_store_root(root: str) -> None:
    """The place for recordings has to be there already: a disk that is not mounted must not be filled beneath. Raises CannotSpawn.

    On a storage that hangs this never returns: call it from a thread only.
    """
    if not Path(root).is_dir():
        raise CannotSpawn(f"the storage {root} is not there: is its disk mounted?")
    if not os.access(root, os.W_OK | os.X_OK):
        raise CannotSpawn(f"the storage {root} is not writable for the user of this service")


def remove_dead_socket(path: str) -> None:
    """Remove what a killed worker left, so that the next one's bind is seen as new; not one that is listened at. Raises CannotSpawn."""
    found = Path(path)
    if not found.parent.is_dir():
        raise CannotSpawn(f"[paths] socks {found.parent}: no such directory")
    try:
        if not stat.S_ISSOCK(found.lstat().st_mode):
            raise CannotSpawn(f"{path} is in the way: it is no socket; move it away")
        if answers(path):
            raise CannotSpawn(
                f"a process that is not ours listens at {path} ('fuser {path}' names it): end it; none is started beside it"
            )
        found.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise CannotSpawn(f"cannot remove the old socket {path}: {error.strerror}") from error


def answers(path: str) -> bool:
    """Whether a living process listens at this socket. Never waits."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError as error:
            return (
                error.errno is not None
            )  # a backlog that is full, or a mode that keeps us out; without errno: no such path can be bound
        return True


def write_document(settings: FleetSettings, monitor_id: int, document: Document) -> str:
    """Write the document for its owner's eyes only, whole or not at all; its path. Raises CannotSpawn."""
    path = _document_path(settings, monitor_id)
    try:
        durable_write(path, document.text.encode(), synced=False)
    except OSError as error:
        raise CannotSpawn(f"[zmnext.pipeline] dir: cannot write {path}: {error.strerror}") from error
    return str(path)


def remove_document(settings: FleetSettings, monitor_id: int) -> None:
    """Remove what `write_document` wrote, if it did; a document may hold credentials. Raises OSError."""
    if settings.zmnext.pipeline.delivery == "file" and settings.zmnext.pipeline.dir is not None:
        path = _document_path(settings, monitor_id)
        for each in (path, path.with_name(path.name + ENDING)):
            each.unlink(missing_ok=True)


def _document_path(settings: FleetSettings, monitor_id: int) -> Path:
    directory = settings.zmnext.pipeline.dir
    if directory is None:
        raise CannotSpawn('[zmnext.pipeline] dir is not set, which delivery = "file" needs', fatal=True)
    return Path(directory) / f"pipeline_{monitor_id}.json"


LOOK_SECONDS = 5.0
"""How long a storage may take to answer."""

OnDisk = Callable[[Callable[[], None]], Deferred[None]]
"""Runs a function on a thread that may hang for as long as it likes, and says when it is over."""


@attrs.frozen
class _Look:
    """A look that is under way: till when it is waited for, and by whom."""

    until: float
    waiting: list[Deferred[None]] = attrs.field(factory=list)


class StorageChecks:
    """One look at a time at each of them: what hangs holds one thread, however many workers ask for it and however often."""

    def __init__(self, clock: IReactorTime, on_disk: OnDisk) -> None:
        self._clock = clock
        self._on_disk = on_disk
        self._under_way: dict[str, _Look] = {}

    def look(self, root: str | None) -> Deferred[None]:
        """Fires when clips can be written below `root`, or are not to be written at all. Fails with CannotSpawn."""
        if not root:
            return succeed(None)
        now, look, answer = self._clock.seconds(), self._under_way.get(root), Deferred[None]()
        if look is not None:
            if look.until <= now:
                return fail(_hangs(root))
            look.waiting.append(answer)
        else:
            look = self._under_way[root] = _Look(now + LOOK_SECONDS, [answer])
            self._on_disk(lambda: check_store_root(root)).addBoth(self._over, root)

        def hangs(_result: object, _seconds: float) -> None:
            raise _hangs(root)

        return answer.addTimeout(look.until - now, self._clock, hangs)

    def _over(self, found: Failure | None, root: str) -> None:
        if isinstance(found, Failure) and isinstance(error := found.value, OSError):
            found = Failure(CannotSpawn(f"the storage {root} can't be looked at: {error.strerror or error}"))
        for answer in self._under_way.pop(root).waiting:
            if isinstance(found, Failure):
                answer.errback(found)
            else:
                answer.callback(None)


def _hangs(root: str) -> CannotSpawn:
    return CannotSpawn(f"the storage {root} does not answer: is its server or disk gone?")
