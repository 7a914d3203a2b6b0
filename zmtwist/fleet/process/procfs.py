"""Processes that are not our children: looked at through /proc, watched and signalled through a pidfd.

A process's number may be given to another, its pidfd never is.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import attrs
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from zmtwist.fleet.process.termination import Leash

LOCK_FD = 3
"""The descriptor under which a worker holds its lock."""


@attrs.frozen
class Seen:
    """A living process: its kernel start time, in clock ticks since the boot, its command line, and whether a signal has stopped it."""

    pid: int
    started: int
    argv: tuple[str, ...]
    frozen: bool = attrs.field(default=False, eq=False)


class Watch(Protocol):
    """A process that is watched for its end."""

    def signal(self, number: int) -> None:
        """Signal this process and no other, whoever has its number now. Raises ProcessLookupError once it has ended."""

    def stop(self) -> None:
        """Watch no longer."""


class Processes(Protocol):
    """What the fleet asks of the kernel."""

    boot: str
    """Tells this boot's processes from those of any other."""

    def look(self, pid: int) -> Seen | None:
        """The process with this number; None where there is none, or only a dead one that nobody has reaped."""

    def everyone(self) -> Iterator[Seen]:
        """All living processes."""

    def holders(self, lock: str) -> Sequence[int]:
        """Those that have this file open where a worker has its lock, but not ourselves."""

    def open_files(self, groups: Collection[int]) -> Mapping[int, frozenset[str] | None]:
        """The files that the processes of each of these process groups have open, by the group's number; None where that can't be told."""

    def resident_kb(self, pid: int) -> int | None:
        """Its resident memory in KiB; None where that can't be told."""

    def watch(self, pid: int, on_exit: Callable[[], None]) -> Watch:
        """Hear of its end, never before this has returned. Raises ProcessLookupError where there is none."""

    def leash(self) -> Leash:
        """A leash for a process to come. Raises OSError."""


class Linux:
    """`Processes` as they really are. `reactor` must be one that takes readers (`IReactorFDSet`) before anything is watched."""

    def __init__(self, reactor: object, proc: str = "/proc") -> None:
        self._reactor = reactor
        self._proc = Path(proc)
        self._page_kb = os.sysconf("SC_PAGESIZE") // 1024
        self.boot = _read(self._proc / "sys/kernel/random/boot_id").decode("ascii", "replace").strip()

    def look(self, pid: int) -> Seen | None:
        """See `Processes`."""
        # The program's name stands in brackets and may hold anything, brackets and blanks included: what follows the last one counts.
        fields = _read(self._proc / str(pid) / "stat").rpartition(b")")[2].split()
        if len(fields) < 20 or fields[0] in (b"Z", b"X"):
            return None
        argv = _read(self._proc / str(pid) / "cmdline").split(b"\0")
        return Seen(pid, int(fields[19]), tuple(os.fsdecode(part) for part in argv[:-1]), fields[0] in (b"T", b"t"))

    def everyone(self) -> Iterator[Seen]:
        """See `Processes`."""
        for pid in self._pids():
            seen = self.look(pid)
            if seen is not None:
                yield seen

    def holders(self, lock: str) -> Sequence[int]:
        """See `Processes`."""
        wanted = os.stat(lock)  # noqa: PTH116 - for samestat
        found = []
        for pid in self._pids():
            try:
                held = os.stat(self._proc / str(pid) / "fd" / str(LOCK_FD))  # noqa: PTH116 - the file behind the link
            except OSError:
                continue
            if os.path.samestat(wanted, held) and pid != os.getpid():
                found.append(pid)
        return found

    def open_files(self, groups: Collection[int]) -> Mapping[int, frozenset[str] | None]:
        """See `Processes`. The links alone are read: a storage that hangs makes nobody wait."""
        found: dict[int, frozenset[str] | None] = {group: frozenset() for group in groups}
        for pid in self._pids() if groups else ():
            fields = _read(self._proc / str(pid) / "stat").rpartition(b")")[2].split()
            group = int(fields[2]) if len(fields) > 2 else 0
            if (files := found.get(group)) is not None:
                mine = self._open_files(pid)
                found[group] = None if mine is None else files | mine
        return found

    def _open_files(self, pid: int) -> frozenset[str] | None:
        directory = self._proc / str(pid) / "fd"
        found = set()
        try:
            for name in os.listdir(directory):  # noqa: PTH208 - names are all it takes
                with suppress(FileNotFoundError):  # closed since
                    found.add(os.readlink(directory / name))  # noqa: PTH115 - a text, to be compared
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            return frozenset()
        except OSError:
            return None
        return frozenset(path for path in found if path.startswith("/"))

    def resident_kb(self, pid: int) -> int | None:
        """See `Processes`."""
        fields = _read(self._proc / str(pid) / "statm").split()
        return int(fields[1]) * self._page_kb if len(fields) > 1 else None

    def watch(self, pid: int, on_exit: Callable[[], None]) -> Watch:
        """See `Processes`."""
        return PidWatch(IReactorFDSet(self._reactor), pid, on_exit)

    def leash(self) -> Leash:
        """See `Processes`."""
        return Leash()

    def _pids(self) -> list[int]:
        return sorted(int(name) for name in os.listdir(self._proc) if name.isdecimal())  # noqa: PTH208 - names are all it takes


def _read(path: Path) -> bytes:
    """What the file says; nothing where its process has gone."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


@implementer(IReadDescriptor)
class PidWatch:
    """Calls `on_exit` once, when the process has ended. Raises ProcessLookupError where there is none with that number."""

    def __init__(self, reactor: IReactorFDSet, pid: int, on_exit: Callable[[], None]) -> None:
        self._reactor = reactor
        self._on_exit = on_exit
        self._fd = os.pidfd_open(pid)
        reactor.addReader(self)

    def signal(self, number: int) -> None:
        """Signal the process. Raises ProcessLookupError once it has ended, OSError where that is not allowed."""
        if self._fd < 0:
            raise ProcessLookupError
        signal.pidfd_send_signal(self._fd, number)

    def stop(self) -> None:
        """Watch no longer. Idempotent."""
        if self._fd >= 0:
            self._reactor.removeReader(self)
            os.close(self._fd)
            self._fd = -1

    # What the reactor calls.

    def fileno(self) -> int:
        """See `IReadDescriptor`."""
        return self._fd

    def logPrefix(self) -> str:
        """See `ILoggingContext`."""
        return "worker"

    def doRead(self) -> None:
        """The process has ended: that is what makes a pidfd readable."""
        self.stop()
        self._on_exit()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has given the descriptor up."""
        self.stop()
