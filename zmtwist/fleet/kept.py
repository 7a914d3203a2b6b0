"""What must outlive us of a hand-over: which monitors were taken from ZoneMinder, and what their capture setting was before.

A small JSON file, replaced as a whole, so that a crash leaves the old one or the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from zmtwist.durable import durable_write
from zmtwist.zm.write.capture_setting import CaptureColumn

FILE = "legacy.json"


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """One monitor that was taken. `previous`: what `column` held before we set it to None; both None where we have not."""

    column: CaptureColumn | None = None
    previous: str | None = None


class _File(msgspec.Struct):
    monitors: dict[int, Kept]


class Unkept(Exception):
    """The file can't be read or written; the text says which, and why."""


def load(path: Path) -> dict[int, Kept]:
    """What was kept, by monitor id; nothing where there is no file yet. Raises Unkept."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File, strict=False).monitors
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Unkept(f"cannot read {path}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unkept(f"{path} makes no sense: {error}") from error


def save(path: Path, kept: Mapping[int, Kept]) -> None:
    """Replace the file; on return it is on disk for good. Raises Unkept."""
    text = msgspec.json.format(msgspec.json.encode(_File(dict(sorted(kept.items())))))
    try:
        durable_write(path, text + b"\n")
    except OSError as error:
        raise Unkept(f"cannot write {path}: {error.strerror}") from error
