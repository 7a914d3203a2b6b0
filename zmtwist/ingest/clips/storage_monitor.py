"""Whether what is recorded can be kept: each storage that monitors record to is looked at now and then, and its trouble told.

Nothing is done about it here. Workers, and what follows a save, go on trying; so all is well again once the storage is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from zmtwist.ingest.clips.placement import RootState, root_state
from zmtwist.reactor.thread_pool import Disk

LOOK_SECONDS = 5.0
HANGS_SECONDS = 15.0
"""A storage that takes longer than this to answer hangs."""

FULL_BYTES = 32 << 20
"""With less than this left a storage counts as full: several cameras' next clips would not fit."""

MIB = 1 << 20


@attrs.frozen
class StorageTrouble:
    """`what` is wrong with a storage, and what an operator can do about it: `remedy`."""

    what: str
    remedy: str


@attrs.frozen
class Seen:
    """One look at a storage. `file_system` tells one from another: what the file system calls itself (0 unknown), and its device.

    `witness`: whether a clip is there that was seen there before.
    """

    state: RootState
    file_system: tuple[int, int] = (0, 0)
    writable: bool = True
    read_only: bool = False
    free_bytes: int = 0
    total_bytes: int = 0
    free_files: int | None = None
    witness: bool = False


@attrs.frozen
class Storage:
    """What is known of one storage: the latest look at it (None: none yet), and what is wrong with it, if anything is."""

    seen: Seen | None = None
    trouble: StorageTrouble | None = None
    first: tuple[int, int] | None = None
    """The file system that it was on when we came to know it."""


def look(root: str, witness: str = "") -> Seen:
    """Look at the storage at `root`. Blocks: call it on a thread. Raises OSError."""
    state = root_state(root)
    if state == "missing":
        return Seen(state)
    there = os.statvfs(root)
    return Seen(
        state=state,
        file_system=(there.f_fsid, Path(root).stat().st_dev),
        writable=os.access(root, os.W_OK | os.X_OK),
        read_only=bool(there.f_flag & os.ST_RDONLY),
        free_bytes=there.f_bavail * there.f_frsize,
        total_bytes=there.f_blocks * there.f_frsize,
        free_files=there.f_favail if there.f_files else None,
        witness=bool(witness) and Path(witness).exists(),
    )


def replaced(seen: Seen, first: tuple[int, int] | None) -> bool:
    """Whether another file system is there than `first`. A disk that is mounted again may have another number, but knows its name."""
    if first is None or seen.state == "missing" or seen.witness:
        return False
    name, device = seen.file_system
    return device != first[1] and (name != first[0] or not name)


def judge(root: str, seen: Seen, first: tuple[int, int] | None) -> StorageTrouble | None:
    """What is wrong with the storage at `root`, if anything is; `first` is the file system that it was on at first. Pure."""
    again = "recording there goes on by itself"
    if seen.state == "missing":
        return StorageTrouble(f"the storage {root} is not there", f"mount its disk; {again}")
    if replaced(seen, first):
        return StorageTrouble(
            f"another disk than before is mounted at the storage {root}, without the clips that were there",
            "mount the right one again; if this one is meant to be there, restart the service",
        )
    if seen.read_only:
        return StorageTrouble(
            f"the storage {root} is mounted read-only",
            f"see the kernel's log for errors of its disk, and mount it read-write; {again}",
        )
    if not seen.writable:
        return StorageTrouble(
            f"the storage {root} is not writable for the user of this service", f"give it the right to write; {again}"
        )
    if seen.free_bytes < FULL_BYTES or seen.free_files == 0:
        left = f"{seen.free_bytes / MIB:.0f} MiB are left" if seen.free_files != 0 else "no file can be added"
        return StorageTrouble(
            f"the storage {root} is full: {left}", f"free space, as ZoneMinder's filter PurgeWhenFull does; {again}"
        )
    return None


def unanswered(root: str, error: str) -> StorageTrouble:
    """What to tell of a storage that can't be looked at."""
    return StorageTrouble(
        f"the storage {root} can't be looked at: {error}", "see its disk or server, and the kernel's log"
    )


class StorageMonitor(Service):
    """Looks at every storage of `roots` (by monitor) in turn, each by itself: one that hangs keeps no other from being looked at."""

    name = "storages"
    log = Logger()

    def __init__(self, reactor: Any, disk: Disk, roots: Callable[[], Mapping[int, str]]) -> None:
        self._disk = disk
        self._roots = roots
        self._reactor = reactor
        self._known: dict[str, Storage] = {}
        self._witnesses: dict[str, str] = {}
        self._since: dict[str, float] = {}
        self._loop = LoopingCall(self._look_at_all)
        self._loop.clock = reactor

    def startService(self) -> None:
        """Begin to look."""
        Service.startService(self)
        self._loop.start(LOOK_SECONDS).addErrback(
            lambda failure: self.log.failure("storages: nobody looks at them any more", failure)
        )

    def stopService(self) -> None:
        """Look no more."""
        Service.stopService(self)
        if self._loop.running:
            self._loop.stop()

    @property
    def known(self) -> Mapping[str, Storage]:
        """Every storage that is recorded to, by its root."""
        return {root: self._known.get(root, Storage()) for root in sorted(set(self._roots().values()))}

    def trouble_of(self, monitor_id: int) -> StorageTrouble | None:
        """What is wrong with the storage that this monitor records to, if anything is."""
        return self._known.get(self._roots().get(monitor_id, ""), Storage()).trouble

    def holds(self, root: str, clip: str) -> None:
        """A clip was seen in its place: where it is, there the right file system is."""
        if not self._doubtful(root):
            self._witnesses[root] = clip

    async def doubted(self, root: str) -> bool:
        """Whether another file system is mounted at `root` by now than the one that was recorded to. Raises OSError."""
        await self.look_at(root)
        return self._doubtful(root)

    def look_at(self, root: str) -> Deferred[None]:
        """Look at one storage now. Fails with OSError."""
        return self._disk.run(look, root, self._witnesses.get(root, "")).addCallback(lambda seen: self._saw(root, seen))

    def _doubtful(self, root: str) -> bool:
        known = self._known.get(root, Storage())
        return known.seen is not None and replaced(known.seen, known.first)

    def _look_at_all(self) -> None:
        now = self._reactor.seconds()
        for root in set(self._roots().values()):
            since = self._since.setdefault(root, now)
            if since == now:
                looking = self.look_at(root)
                looking.addErrback(self._unseen, root)
                looking.addBoth(partial(self._looked, root))
            elif now - since >= HANGS_SECONDS:
                self._tell(root, unanswered(root, f"no answer for {now - since:.0f} s"))

    def _looked(self, root: str, _: object) -> None:
        del self._since[root]

    def _saw(self, root: str, seen: Seen) -> None:
        known = self._known.get(root, Storage())
        first = known.first
        if seen.state != "missing" and not replaced(seen, first):
            first = seen.file_system
        self._known[root] = attrs.evolve(known, seen=seen, first=first)
        self._tell(root, judge(root, seen, first))

    def _unseen(self, failure: Failure, root: str) -> None:
        error = failure.value
        if isinstance(error, OSError):
            self._tell(root, unanswered(root, error.strerror or str(error)))
        else:
            self.log.failure("storage {root}: looking at it failed", failure, root=root)

    def _tell(self, root: str, trouble: StorageTrouble | None) -> None:
        """Keep it, and log what is new: one line for each kind of trouble, not for each MiB."""
        known = self._known.get(root, Storage())
        self._known[root] = attrs.evolve(known, trouble=trouble)
        if trouble is None and known.trouble is not None:
            self.log.info("storage {root}: it is well again", root=root)
        elif trouble is not None and (known.trouble is None or known.trouble.remedy != trouble.remedy):
            self.log.error("{what}; {remedy}", what=trouble.what, remedy=trouble.remedy)
