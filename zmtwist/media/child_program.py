"""The child's side of `media.child`: a program that reads media for the service, one job after the other, and may be lost with any of them.

What a clip or a live picture holds comes from a camera. It may take the library that reads it down, keep it busy for ever, or have it fill
all memory; and many formats let it name other files and hosts to read. Hence a process of its own with bounded memory and time, which
ends by itself when a job takes too long, even if nobody is left to end it, and in which the library is given open files only.
"""

from __future__ import annotations

import os
import resource
import signal
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from struct import Struct
from typing import Any, BinaryIO

LENGTH = Struct("<I")
"""Goes before each message, either way."""

CLIP = 3
"""The descriptor under which a child finds the clip that it was given open, where it was."""

MEBIBYTE = 1 << 20

MATROSKA = "matroska"
_BUFFER = 256 * 1024
_DESCRIPTORS = 64


class NoFile(OSError):
    """What should be a clip is no file: a FIFO, say, whose opening might wait for ever."""


def framed(message: bytes) -> bytes:
    """A message as it goes through the pipe."""
    return LENGTH.pack(len(message)) + message


def open_regular(path: str) -> BinaryIO:
    """Open a file to read; nothing else, and no link. Raises `NoFile` and OSError; never waits for a writer."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NoFile(f"{path} is no file")
    return os.fdopen(descriptor, "rb", 0)


def opened(file: BinaryIO, kind: str = MATROSKA) -> Any:
    """PyAV's container of a clip, read as this format whatever it looks like, from `file` and from nowhere else: no protocol is allowed."""
    import av

    options = {"protocol_whitelist": "none"}
    return av.open(file, "r", format=kind, options=options, metadata_errors="ignore", buffer_size=_BUFFER)


def serve(answer: Callable[[bytes], bytes], *, niceness: int, memory_mib: int, seconds: int, file_mib: int = 0) -> None:
    """Answer what comes on standard input until it ends, each message within `seconds`.

    No job may write a file larger than `file_mib`, and the process has `memory_mib` of address space.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is meant for the service
    with suppress(OSError):
        os.nice(niceness)
    _limit(resource.RLIMIT_AS, memory_mib * MEBIBYTE)
    _limit(resource.RLIMIT_FSIZE, file_mib * MEBIBYTE)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, _DESCRIPTORS)
    asked, told = sys.stdin.buffer, sys.stdout.buffer
    while len(head := asked.read(LENGTH.size)) == LENGTH.size:
        message = asked.read(LENGTH.unpack(head)[0])
        # Both end the process by default, in the middle of a library's loop or not.
        signal.alarm(seconds)
        _allow_processor(seconds)
        said = answer(message)
        signal.alarm(0)
        told.write(framed(said))
        told.flush()


def _limit(what: int, most: int) -> None:
    with suppress(ValueError, OSError):  # the host allows less already
        resource.setrlimit(what, (most, most))


def _allow_processor(seconds: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + seconds + 1, most))
