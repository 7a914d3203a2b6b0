"""Locks that die with their holders: one for the service, and one per worker, which the worker itself holds.

`flock` belongs to the open file, not to the process: a descriptor that a worker inherits keeps the lock after our end, and the kernel
lets it go with the last process that has it. So a lock that can be taken proves that no worker lives, whatever happened to us.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import attrs

from zmtwist.untrusted.integers import whole

SERVICE_LOCK = "zmnext.lock"

ENDS = "ends"
"""Stands behind the process's number in the service's lock from the beginning of its end on. The init script looks for it, too."""

LOOK_SECONDS = 0.1
"""Between two looks at the lock of a service that is ending."""


@attrs.frozen
class Held(Exception):
    """Some living process has this lock."""

    path: str

    def __str__(self) -> str:
        return f"the lock {self.path} is held"


@attrs.frozen
class AlreadyRunning(Exception):
    """Another service works in the same directory; `pid` is its process, as it said itself ('' if it has not yet). `ends`: it is ending."""

    run: str
    pid: str
    ends: bool = False

    def __str__(self) -> str:
        who = f"process {self.pid}" if self.pid else "a process that has only just begun"
        return (
            f"another zmnext service is running in [paths] run = {self.run} ({who}): "
            f"stop that one first, or hand over from it with 'zmnextctl handoff'"
        )


class LockFile:
    """A file with an exclusive lock, held from `take` until this descriptor and all that were inherited from it are closed."""

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self.fd = fd

    @classmethod
    def take(cls, path: str) -> LockFile:
        """Take the lock without waiting; makes the file, for its owner's eyes only. Raises Held or OSError."""
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                current = _is_current(path, fd)
            except BlockingIOError:
                os.close(fd)
                raise Held(path) from None
            except BaseException:
                os.close(fd)
                raise
            if current:
                return cls(path, fd)
            # Its last holder removed the file between our open and our lock: what we have is a lock on nothing.
            os.close(fd)

    def close(self) -> None:
        """Have it no longer. Whoever inherited it still does."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def remove(self) -> None:
        """Remove the file and have it no longer; for a lock that nobody inherited."""
        with suppress(FileNotFoundError):
            Path(self.path).unlink()
        self.close()

    def __enter__(self) -> LockFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def take_service_lock(run: str) -> LockFile:
    """Be the only service in this directory, which is made if need be. Raises AlreadyRunning or OSError."""
    Path(run).mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        lock = LockFile.take(str(Path(run) / SERVICE_LOCK))
    except Held as held:
        raise _running(run, held.path) from None
    _note(lock, f"{os.getpid()}")
    return lock


def say_that_it_ends(lock: LockFile | None) -> None:
    """Have whoever comes next know that it is worth waiting for this service's end; None for one that never began."""
    if lock is not None:
        _note(lock, f"{os.getpid()} {ENDS}")


def check_service_lock(run: str) -> None:
    """See that no other service is in this directory, and change nothing. Raises AlreadyRunning or OSError."""
    path = str(Path(run) / SERVICE_LOCK)
    if is_held(path):
        raise _running(run, path)


def wait_for_service_lock(
    run: str, seconds: float, *, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Iterator[AlreadyRunning]:
    """See that no other service is in this directory, and wait for one that is ending: gives it before each pause. Blocks.

    Raises AlreadyRunning for one that is not ending, or not within so many seconds, and OSError.
    """
    deadline = clock() + seconds
    while True:
        try:
            return check_service_lock(run)
        except AlreadyRunning as other:
            if not other.ends or clock() >= deadline:
                raise
            yield other
            sleep(LOOK_SECONDS)


def is_held(path: str) -> bool:
    """Whether some living process has this lock; not where there is no such file. Changes nothing. Raises OSError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _note(lock: LockFile, text: str) -> None:
    os.ftruncate(lock.fd, 0)
    os.pwrite(lock.fd, f"{text}\n".encode(), 0)


def _running(run: str, path: str) -> AlreadyRunning:
    with suppress(OSError, UnicodeDecodeError):
        pid, _, rest = Path(path).read_text(encoding="ascii").strip().partition(" ")
        if whole(pid) is not None:
            return AlreadyRunning(run, pid, rest == ENDS)
    return AlreadyRunning(run, "")


def _is_current(path: str, fd: int) -> bool:
    """Whether `path` still names the file that `fd` has open."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))  # noqa: PTH116 - beside fstat
    except FileNotFoundError:
        return False
