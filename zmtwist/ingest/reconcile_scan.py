"""What lies in the storages, looked at piece by piece: each call here blocks for one directory or a few, and belongs on a thread."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import tzinfo
from pathlib import Path
from typing import Any

import attrs

from zmtwist.ingest.ownname import is_day, own_name
from zmtwist.zm.left import is_our_name

ASIDE = "zmnext-set-aside"
"""Where files go that no event can be made of: in the storage's root, under a name that ZoneMinder leaves alone."""

MAX_SIDECAR = 1 << 20


@attrs.frozen
class Found:
    """A clip's file. `finished`: its worker has closed it, for its sidecar is there."""

    path: str
    size: int
    mtime_us: int
    inode: tuple[int, int]
    finished: bool


@attrs.frozen
class Stray(Found):
    """A clip under the name that its worker gave it, in the storage at `root`. `cause` and `text` are the sidecar's."""

    root: str
    monitor_id: int
    opened_us: int
    number: int = 1
    cause: str = ""
    text: str = ""


def days(root: str) -> list[str]:
    """The directories in which workers open clips, the oldest first. Raises OSError."""
    with os.scandir(root) as entries:
        return sorted(entry.name for entry in entries if is_day(entry.name) and entry.is_dir(follow_symlinks=False))


def strays_of(root: str, day: str, monitors: Collection[int], zone: tzinfo | None) -> list[Stray]:
    """The clips of these monitors in one such directory, by opening; none where the directory has gone. Raises OSError."""
    strays = []
    for entry in _files(str(Path(root, day))):
        named = own_name(entry.path, zone)
        if named is None or named.monitor_id not in monitors:
            continue
        found = _found(entry)
        if found is not None:
            cause, text = _sidecar(found.path) if found.finished else ("", "")
            strays.append(
                Stray(
                    **attrs.asdict(found),
                    root=root,
                    monitor_id=named.monitor_id,
                    opened_us=named.opened_us,
                    number=named.number,
                    cause=cause,
                    text=text,
                )
            )
    return sorted(strays, key=lambda stray: (stray.opened_us, stray.number, stray.path))


def clips_in(directories: Mapping[int, str]) -> dict[int, tuple[Found, ...]]:
    """For each event id the clips that lie in its directory under its name, the largest first. Raises OSError."""
    return {event_id: _clips_of(event_id, directory) for event_id, directory in directories.items()}


def _clips_of(event_id: int, directory: str) -> tuple[Found, ...]:
    found = [_found(entry) for entry in _files(directory) if is_our_name(event_id, entry.name)]
    return tuple(sorted((one for one in found if one is not None), key=lambda one: (-one.size, one.path)))


def remove_past_days(root: str, before: str) -> None:
    """Remove workers' directories that are empty, of days before `before` (`YYYY-MM-DD`). Raises OSError.

    A directory of today may have been made a moment ago, by a worker that is about to open its clip in it.
    """
    for day in days(root):
        if day < before:
            with suppress(OSError):
                Path(root, day).rmdir()


def set_aside(path: str, root: str) -> str:
    """Move a file (and its sidecar) out of the way, within its storage; where to. Raises OSError."""
    source, target = Path(path), _free_name(path, root)
    target.parent.mkdir(mode=0o755, exist_ok=True)
    source.rename(target)
    with suppress(FileNotFoundError):
        Path(path + ".json").rename(f"{target}.json")
    return str(target)


def _free_name(path: str, root: str) -> Path:
    """A name in the storage's directory for such files that tells where the file was, and is not taken."""
    name = str(Path(path).relative_to(root)).replace("/", "_")
    target, number = Path(root, ASIDE, name), 1
    while target.exists():
        number += 1
        target = Path(root, ASIDE, f"{name}.{number}")
    return target


def _files(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return [entry for entry in entries if entry.is_file(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _found(entry: os.DirEntry[str]) -> Found | None:
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:  # renamed since the directory was read
        return None
    return Found(
        path=entry.path,
        size=status.st_size,
        mtime_us=status.st_mtime_ns // 1000,
        inode=(status.st_dev, status.st_ino),
        finished=Path(entry.path + ".json").is_file(),
    )


def _sidecar(path: str) -> tuple[str, str]:
    """Cause and text that the worker wrote beside the clip; empty where there is nothing that makes sense."""
    try:
        with Path(path + ".json").open("rb") as file:
            told: Any = json.loads(file.read(MAX_SIDECAR))
    except (OSError, ValueError):
        return "", ""
    if not isinstance(told, dict):
        return "", ""
    cause, text = told.get("cause"), told.get("text")
    return cause if isinstance(cause, str) else "", text if isinstance(text, str) else ""
