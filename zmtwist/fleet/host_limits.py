"""What a worker inherits from this process and has to be right there: file modes, limits; and what the host must have for a fleet."""

from __future__ import annotations

import os
import re
import resource
from contextlib import suppress
from pathlib import Path

from twisted.logger import Logger

RING_BYTES = 256 * 1024 * 1024
"""The shared memory of one worker: that much address, used as frames come."""

ANOTHER_BYTES = 2 * RING_BYTES
"""What has to be free before a second worker of a monitor is started: its shared memory, and as much for all else."""

OPEN_FILES = 16_384
"""The descriptors that are asked for. We need about six for each worker, and distributions begin with 1,024."""

CLOSED_UMASK, OPEN_UMASK = 0o077, 0o022


def prepare_process(*, core_files: bool) -> None:
    """Set right what workers inherit, once, before the first is spawned."""
    open_umask()
    raise_file_limit()
    if not core_files:
        forbid_core_files()


def open_umask() -> None:
    """Undo the umask 0077 that twistd sets where it becomes a daemon: ZoneMinder's web user could not read a single recording.

    ZoneMinder makes its directories 0755. Any other umask is the operator's choice (`twistd --umask`) and stays.
    """
    before = os.umask(OPEN_UMASK)
    if before != CLOSED_UMASK:
        os.umask(before)


def raise_file_limit() -> int:
    """Allow this process, and so its workers, many open files, as far as the hard limit goes; gives the limit there is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return OPEN_FILES
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(soft, wanted)


def forbid_core_files(filter_file: str = "/proc/self/coredump_filter") -> None:
    """Have no crash of this process or of its workers leave the cameras' passwords on disk.

    The limit does for the kernel's own files and for systemd-coredump. A handler that takes no notice of it is given no memory: that is
    inherited by workers too.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    with suppress(OSError):  # a kernel without such a file
        Path(filter_file).write_text("0")


class SharedMemory:
    """Says it, once, where the host has too little shared memory for its workers."""

    log = Logger()

    def __init__(self, rings: str) -> None:
        self._rings = rings
        self._said = False

    def look(self, workers: int) -> None:
        """So many are to run."""
        warning = shm_warning(workers, self._rings)
        if warning is not None and not self._said:
            self._said = True
            self.log.warn("{warning}", warning=warning)


def no_room_for_another(rings: str, meminfo: str = "/proc/meminfo") -> str | None:
    """Why the host can't hold a second worker of a monitor for some seconds; None where it can, or nothing tells."""
    try:
        found = os.statvfs(rings)
        available = re.search(r"^MemAvailable: *([0-9]+) kB", Path(meminfo).read_text(), re.MULTILINE)
    except OSError:
        return None
    if found.f_bavail * found.f_frsize < RING_BYTES:
        return f"{rings} has no room for the frames of a second worker"
    if available is not None and int(available[1]) * 1024 < ANOTHER_BYTES:
        return "there is too little memory for a second worker"
    return None


def shm_warning(workers: int, rings: str) -> str | None:
    """What to say where the shared memory file system can't hold the rings of so many workers, or None."""
    try:
        found = os.statvfs(rings)
    except OSError as error:
        return f"{rings} can't be looked at ({error.strerror}): workers need it for their frames"
    size, needed = found.f_blocks * found.f_frsize, workers * RING_BYTES
    if size >= needed:
        return None
    gib = -(-needed // 1024**3)
    return (
        f"{rings} has {size // 1024**2} MiB, and {workers} workers may come to use {needed // 1024**2} MiB of it as frames come: "
        f"'mount -o remount,size={gib}G {rings}', and the same in /etc/fstab, makes room"
    )
