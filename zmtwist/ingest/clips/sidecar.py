"""JSON that workers wrote beside their clips, read as what anybody may have put there: whatever is wrong with it is one kind of error."""

from __future__ import annotations

import errno
from typing import TypeVar

import msgspec

from zmtwist.ingest.clips.placement import NO_SUCH_FILE
from zmtwist.media.child_program import NoFile, open_regular

T = TypeVar("T")


class Unreadable(Exception):
    """There is no such file, or what it holds is nothing to rely on; the text says why."""


def read_whole(path: str, most: int) -> bytes:
    """All of a regular file of at most `most` bytes. Raises `Unreadable`; OSError only where the storage is at fault. Blocks."""
    try:
        with open_regular(path) as file:
            data = file.read(most + 1) or b""
    except NoFile as error:
        raise Unreadable(str(error)) from None
    except OSError as error:
        if error.errno in NO_SUCH_FILE or error.errno in (errno.ENXIO, errno.EACCES, errno.EPERM):
            raise Unreadable(f"{path}: {error.strerror}") from None
        raise
    if len(data) > most:
        raise Unreadable(f"{path} is longer than {most} bytes")
    return data


def decoded(data: bytes, path: str, form: type[T]) -> T:
    """What the JSON of the file at `path` says. Raises `Unreadable`."""
    try:
        return msgspec.json.decode(data, type=form)
    except RecursionError:
        raise Unreadable(f"{path} is not readable: nested too deeply") from None
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:  # UnicodeDecodeError is a ValueError
        raise Unreadable(f"{path} is not readable: {error}") from None


def read_json(path: str, most: int, form: type[T]) -> T:
    """Both."""
    return decoded(read_whole(path, most), path, form)
