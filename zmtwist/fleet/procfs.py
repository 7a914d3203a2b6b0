"""Processes that are not our children: looked at through /proc, watched and signalled through a pidfd."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import attrs
from twisted.internet.interfaces import IReactorFDSet

from zmtwist.fleet.pidfd import PidWatch

LOCK_FD = 3
"""The descriptor under which a worker holds its lock."""


@attrs.frozen
class Seen:
    """A living process: its kernel start time, in clock ticks since the boot, and its command line. `since_us` is its start by the wall
    clock as it goes now, in microseconds since the epoch, where it is told."""

    pid: int
    started: int
    argv: tuple[str, ...]
    since_us: int | None = attrs.field(default=None, eq=False)


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

    def resident_kb(self, pid: int) -> int | None:
        """Its resident memory in KiB; None where that can't be told."""

    def watch(self, pid: int, on_exit: Callable[[], None]) -> Watch:
        """Hear of its end, never before this has returned. Raises ProcessLookupError where there is none."""


class Linux:
    """`Processes` as they really are. `reactor` must be one that takes readers (`IReactorFDSet`) before anything is watched."""

    def __init__(self, reactor: object, proc: str = "/proc") -> None:
        self._reactor = reactor
        self._proc = Path(proc)
        self._ticks = os.sysconf("SC_CLK_TCK")
        self._page_kb = os.sysconf("SC_PAGESIZE") // 1024
        self.boot = _read(self._proc / "sys/kernel/random/boot_id").decode("ascii", "replace").strip()

    def look(self, pid: int) -> Seen | None:
        """See `Processes`."""
        # The program's name stands in brackets and may hold anything, brackets and blanks included: what follows the last one counts.
        fields = _read(self._proc / str(pid) / "stat").rpartition(b")")[2].split()
        if len(fields) < 20 or fields[0] in (b"Z", b"X"):
            return None
        argv = _read(self._proc / str(pid) / "cmdline").split(b"\0")
        started = int(fields[19])
        age_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - started * 1_000_000_000 // self._ticks
        return Seen(
            pid, started, tuple(os.fsdecode(part) for part in argv[:-1]), since_us=(time.time_ns() - age_ns) // 1000
        )

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

    def resident_kb(self, pid: int) -> int | None:
        """See `Processes`."""
        fields = _read(self._proc / str(pid) / "statm").split()
        return int(fields[1]) * self._page_kb if len(fields) > 1 else None

    def watch(self, pid: int, on_exit: Callable[[], None]) -> Watch:
        """See `Processes`."""
        return PidWatch(IReactorFDSet(self._reactor), pid, on_exit)

    def _pids(self) -> list[int]:
        return sorted(int(name) for name in os.listdir(self._proc) if name.isdecimal())  # noqa: PTH208 - names are all it takes


def _read(path: Path) -> bytes:
    """What the file says; nothing where its process has gone."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
