"""What lies in the storages, looked at piece by piece: each call here blocks for one directory or a few, and belongs on a thread."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from datetime import tzinfo
from pathlib import Path

import attrs
import msgspec

from zmtwist.ingest.clips.placement import NO_SUCH_FILE
from zmtwist.ingest.clips.sidecar import Unreadable, read_json
from zmtwist.ingest.session.worker_filename import is_day, own_name
from zmtwist.zm.read.own_events import is_our_name

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

    @property
    def state(self) -> tuple[object, ...]:
        """All but its name: what changes with anything that is done about it."""
        return self.size, self.mtime_us, self.inode, self.finished

    def is_told_of(self, path: str, disk_bytes: int | None) -> bool:
        """Whether a closed row that names this path, and says how much there is (None: nothing), speaks of this clip. What is larger than
        all that it speaks of was given to its event when we were killed."""
        return self.path == path and (disk_bytes is None or self.size <= disk_bytes)


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
        found = _at(entry.path) if entry.name.startswith("event-Monitor-") else None
        named = own_name(entry.path, zone, found.mtime_us) if found is not None else None
        if found is None or named is None or named.monitor_id not in monitors:
            continue
        told = _sidecar(found.path) if found.finished else Sidecar()
        strays.append(
            Stray(
                **attrs.asdict(found),
                root=root,
                monitor_id=named.monitor_id,
                opened_us=named.opened_us,
                number=named.number,
                cause=told.cause or "",
                text=told.text or "",
            )
        )
    return sorted(strays, key=lambda stray: (stray.opened_us, stray.number, stray.path))


@attrs.frozen
class Clips:
    """What lies in the directories of events: files by event id, the largest first; and of directories that can't be looked at, why."""

    found: Mapping[int, tuple[Found, ...]] = attrs.field(factory=dict)
    unread: Mapping[int, str] = attrs.field(factory=dict)


def clips_in(directories: Mapping[int, str]) -> Clips:
    """For each event id the clips that lie in its directory under its name. Never raises: one directory says nothing about another."""
    found: dict[int, tuple[Found, ...]] = {}
    unread: dict[int, str] = {}
    for event_id, directory in directories.items():
        try:
            found[event_id] = clips_of(event_id, directory)
        except OSError as error:
            unread[event_id] = f"{directory} can't be looked at: {error.strerror or error}"
    return Clips(found, unread)


def clips_of(event_id: int, directory: str) -> tuple[Found, ...]:
    """The clips that lie in this event's directory under its name, the largest first. Raises OSError."""
    found = [_at(entry.path) for entry in _files(directory) if is_our_name(event_id, entry.name)]
    return tuple(sorted((one for one in found if one is not None), key=lambda one: (-one.size, one.path)))


def remove_past_days(root: str, before: str) -> None:
    """Remove workers' directories that are empty, of days before `before` (`YYYY-MM-DD`). Raises OSError.

    A directory of today may have been made a moment ago, by a worker that is about to open its clip in it.
    """
    for day in days(root):
        if day < before:
            with suppress(OSError):
                Path(root, day).rmdir()


def unchanged(found: Iterable[Found]) -> frozenset[str]:
    """The paths of those that are there still, as they were. Raises OSError."""
    return frozenset(one.path for one in found if (now := _at(one.path)) is not None and now.state == one.state)


def set_aside(path: str, root: str) -> str:
    """Move a file (and its sidecar) out of the way, within its storage; where to. Raises OSError."""
    source, target = Path(path), _free_name(path, root)
    target.parent.mkdir(mode=0o755, exist_ok=True)
    if target.parent.is_symlink():
        raise NotADirectoryError(errno.ENOTDIR, "it is a symbolic link", str(target.parent))
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
    except OSError as error:
        if error.errno in NO_SUCH_FILE:
            return []
        raise


def _at(path: str) -> Found | None:
    """The file there; None where it was renamed since the directory was read, or is no file. Raises OSError."""
    status = _status(path)
    if status is None:
        return None
    beside = _status(path + ".json")
    return Found(
        path=path,
        size=status.st_size,
        mtime_us=status.st_mtime_ns // 1000,
        inode=(status.st_dev, status.st_ino),
        finished=beside is not None,
    )


def _status(path: str) -> os.stat_result | None:
    try:
        status = os.lstat(path)
    except OSError as error:
        if error.errno in NO_SUCH_FILE:
            return None
        raise
    return status if stat.S_ISREG(status.st_mode) else None


class Sidecar(msgspec.Struct):
    """What a worker wrote beside a clip when it closed it, as far as it is looked at."""

    cause: str | None = None
    text: str | None = None


def _sidecar(path: str) -> Sidecar:
    """Nothing told where there is nothing that makes sense: the clip is worth no less for it."""
    try:
        return read_json(path + ".json", MAX_SIDECAR, Sidecar)
    except Unreadable:
        return Sidecar()
