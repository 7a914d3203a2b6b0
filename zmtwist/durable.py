"""Files that are replaced whole or not at all, and are still there after a power cut. Blocks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

ENDING = ".new"
"""What the name of a file that is not whole yet ends in: it lies beside the file that it will replace."""


def durable_write(path: Path, data: bytes, *, mode: int = 0o600, synced: bool = True) -> None:
    """Have exactly `data` at `path`. Raises OSError, and then what was there is there still. See `durable_file`."""
    with durable_file(path, mode=mode, synced=synced) as file:
        file.write(data)


@contextmanager
def durable_file(path: Path, *, mode: int = 0o600, synced: bool = True) -> Iterator[BinaryIO]:
    """A new file to write to, which takes its place at `path` when the context ends without an exception.

    It never follows a symbolic link, neither beside `path` nor at it, and nobody but those whom `mode` names can open it at any moment.
    Not `synced` it need not outlive a power cut, and nothing is waited for. One writer of a path at a time.
    """
    aside = path.with_name(path.name + ENDING)
    aside.unlink(missing_ok=True)  # of a writer that was killed
    file = os.fdopen(os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode), "wb")
    try:
        with file:
            yield file
            file.flush()
            if synced:
                os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        with suppress(OSError):
            aside.unlink()
        raise
    if synced:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """See that the names in this directory outlive a power cut. Raises OSError."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
