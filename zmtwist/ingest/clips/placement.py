"""A finished clip's file: look at it where ZoneMinder will look for it, and bring it there if it lies elsewhere.

The functions here block (they stat, move and read files) and are called through `reactor.thread_pool.Disk`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Literal

import attrs

from zmtwist.durable import durable_file
from zmtwist.zm.event_paths import EventPlace

DIRECTORY_MODE = 0o755

NO_SUCH_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
"""What tells that a path leads nowhere, as against a storage that can't be read."""

RootState = Literal["there", "empty", "missing"]


class ClipMissing(Exception):
    """There is no such file, or it is empty: nothing for a row to point at."""


class ClipForeign(Exception):
    """The file is not under the storage's root, so it is not ours to move."""


@attrs.frozen
class SettledClip:
    """A clip seen in its place: `disk_bytes` is the event directory's size as ZoneMinder counts it. `other`: the file that was told of is
    another one, which is there as well; it was left where it is."""

    path: str
    disk_bytes: int
    moved: bool = False
    other: bool = False


def settle_clip(place: EventPlace, told: str, roots: Collection[str] = (), only_finished: bool = False) -> SettledClip:
    """See that the clip of `place` is where ZoneMinder looks for it; `told` is where the worker says it is ("" if it said nothing).

    A file elsewhere under the storage's root, or another one of `roots`, is moved in, with its sidecar. Never overwrites a file, never
    touches one outside of them. Raises `ClipMissing`, `ClipForeign` or `OSError`, the latter also where the storage does not look mounted.
    With `only_finished` another clip, which is being recorded, may have that name: then a sidecar must be beside it.
    """
    wanted = Path(place.video_path)
    moved = False
    if not _has_content(wanted):
        source = Path(told) if told else wanted
        if source == wanted or not _has_content(source):
            for root in {place.root, *_roots_of(told, roots)}:
                see_root(root)
            raise ClipMissing(f"no clip at {wanted}" + (f" nor at {source}" if source != wanted else ""))
        if not _lies_in(source, place.root, *roots):
            raise ClipForeign(f"{source} is not under the storage {place.root}")
        if only_finished and not Path(told + ".json").exists():
            raise OSError(errno.EBUSY, "it may be the next clip, which is being recorded", told)
        make_directories(Path(place.root), Path(place.directory))
        move(source, wanted)
        moved = True
    if told and Path(told) != wanted and not Path(told).exists():
        # The sidecar lies beside the name that the clip had when it was closed; where there is a clip of that name, it is that one's.
        sidecar = Path(told + ".json")
        if sidecar.is_file() and _lies_in(sidecar, place.root, *roots):
            with contextlib.suppress(FileExistsError):  # the clip has one, and a second try would find no other
                move(sidecar, Path(str(wanted) + ".json"))
    mark_directory(place)
    other = bool(told) and _has_content(Path(told)) and not wanted.samefile(told)
    return SettledClip(str(wanted), directory_bytes(Path(place.directory)), moved, other)


def _roots_of(told: str, roots: Collection[str]) -> list[str]:
    return [root for root in roots if told and Path(told).is_relative_to(root)]


def _lies_in(path: Path, *roots: str) -> bool:
    """Whether a file really lies in one of these storages, wherever links lead."""
    return any(path.resolve().is_relative_to(Path(root).resolve()) for root in roots)


def root_state(root: str) -> RootState:
    """Whether a storage's root is there and holds anything. Raises OSError where that can't be told."""
    try:
        with os.scandir(root) as entries:
            return "there" if any(True for _ in entries) else "empty"
    except (FileNotFoundError, NotADirectoryError):
        return "missing"


def see_root(root: str) -> None:
    """Raises OSError for a root that is missing or empty: a storage that is not mounted, rather than one that has lost its clips."""
    if (state := root_state(root)) != "there":
        raise OSError(errno.ENOENT, f"the storage's root is {state}: is it mounted?", root)


def _has_content(path: Path) -> bool:
    try:
        status = path.stat()
    except OSError as error:
        if error.errno in NO_SUCH_FILE:
            return False
        raise
    return stat.S_ISREG(status.st_mode) and status.st_size > 0


def make_directories(root: Path, directory: Path) -> None:
    """Make `directory` and what is missing of the way to it from `root`, which must exist (a storage that is not mounted must not
    be made up). Raises `FileNotFoundError` for a missing root."""
    if not root.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the storage's root is not there", str(root))
    missing = []
    while not directory.exists():
        missing.append(directory)
        directory = directory.parent
    for path in reversed(missing):
        path.mkdir(mode=DIRECTORY_MODE, exist_ok=True)


def move(source: Path, target: Path) -> None:
    """Rename, or across file systems copy; the source goes when the copy would outlive a power cut. Raises `FileExistsError` rather
    than overwrite."""
    try:
        os.link(source, target)  # unlike rename, this never replaces a file
    except OSError as error:
        if error.errno == errno.EEXIST and _has_content(target):
            raise
        _carry(source, target)
    else:
        source.unlink()


def _carry(source: Path, target: Path) -> None:
    """As `move`, where there are no hard links, where an empty file is in the way, or to another file system."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, target)
        source.unlink()


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reading:
        told = os.fstat(reading.fileno())
        mode = stat.S_IMODE(told.st_mode)
        with durable_file(target, mode=mode) as writing:
            shutil.copyfileobj(reading, writing, 1 << 20)
            writing.flush()
            os.fchmod(writing.fileno(), mode)  # whatever our umask is
            os.utime(writing.fileno(), ns=(told.st_atime_ns, told.st_mtime_ns))


def mark_directory(place: EventPlace) -> None:
    """What ZoneMinder finds an event's directory by: Deep's symlink, Shallow's marker file; Medium needs none."""
    if place.link is not None:
        with contextlib.suppress(FileExistsError):
            Path(place.link.path).symlink_to(place.link.target)
    if place.marker is not None:
        Path(place.marker).touch(exist_ok=True)


def directory_bytes(directory: Path) -> int:
    """`Events.DiskSpace`: regular files directly in the directory, each inode once (doc/reference/zoneminder.md, The life of an event)."""
    sizes: dict[tuple[int, int], int] = {}
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                sizes[status.st_dev, status.st_ino] = status.st_size
    return sum(sizes.values())
