"""Files, touched after a simulated wait: in production by threads. They are real; the faults of their disks are not."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tests.simulation.host import Host
from tests.simulation.storage import Storage
from zmtwist.fleet.liveness import left_running, living
from zmtwist.ingest.clips.placement import settle_clip
from zmtwist.ingest.clips.scan import set_aside
from zmtwist.ingest.clips.storage_monitor import look
from zmtwist.ingest.writer.spool_file import SpoolFile, SpoolTrouble
from zmtwist.reactor.thread_pool import Disk

NEEDS_ROOM = {settle_clip: 0, set_aside: 1}
"""What makes files or directories, with the place of its storage's root among its arguments."""

MOST_PAGES = 1 << 30

ELSEWHERE = (left_running, living, SpoolFile.close)
"""What touches neither a storage nor what the spool has written."""


class SimulatedDisk(Disk):
    """`reactor.thread_pool.Disk` whose threads take simulated time. What may be wrong with disks is in `World.troubles`."""

    def __init__(self, host: Host, threads: int) -> None:
        self._host = host
        self._world = host.world
        self._free_at = [0.0] * threads
        self._spools: list[SpoolFile] = []
        host.at_death.append(self._die)

    def startService(self) -> None:
        Service.startService(self)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        over: Deferred[None] = Deferred()
        # What is under way is waited for; nothing takes as long as the real one waits at most.
        self._host.callLater(max(self._free_at) - self._host.seconds() + 0.001, over.callback, None)
        return over

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        owner = getattr(function, "__self__", None)
        if isinstance(owner, SpoolFile) and owner not in self._spools:
            self._spools.append(owner)
        answer: Deferred[Any] = Deferred()

        def work() -> None:
            try:
                result = self._carry_out(function, args, kwargs)
            except Exception as error:
                result = Failure(error)
            self._host.callLater(0.0001, answer.callback, result)

        now = self._host.seconds()
        thread = self._free_at.index(min(self._free_at))
        over = max(now, self._free_at[thread]) + self._seconds()
        self._free_at[thread] = over
        self._host.callLater(over - now, work)
        return answer

    def _carry_out(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Do it, unless the disk fails before; it may fail afterwards as well."""
        troubles = self._world.troubles
        owner = getattr(function, "__self__", None)
        spool = isinstance(owner, SpoolFile)
        if spool:
            _bound(owner, full=troubles.spool == "full")
        elif function in NEEDS_ROOM and self._storage_of(function, args).full:
            self._world.tell(f"no room for {_name(function)}")
            raise OSError(errno.ENOSPC, "No space left on device", "x")
        elif function is look:
            return attrs.evolve(look(*args), file_system=self._storage_of(function, args).file_system)
        fails = troubles.spool if spool else "both" if troubles.storage else ""
        if not fails or getattr(function, "__func__", function) in ELSEWHERE:
            return function(*args, **kwargs)
        error = SpoolTrouble("disk I/O error") if spool else OSError(errno.EIO, "Input/output error", "x")
        fate = self._world.chance.random()
        if fails in ("before", "both") and fate < 0.3:
            self._world.tell(f"the disk fails before {_name(function)}")
            raise error
        result = function(*args, **kwargs)
        if fails in ("after", "both") and fate > 0.7:
            self._world.tell(f"the disk fails after {_name(function)}")
            raise error
        return result

    def _storage_of(self, function: Callable[..., Any], args: Any) -> Storage:
        """On which storage this is done."""
        root = Path(args[0].root) if function is settle_clip else Path(args[NEEDS_ROOM.get(function, 0)])
        return next(one for one in self._world.storages.values() if one.root == root)

    def _seconds(self) -> float:
        """How long one thing takes."""
        chance = self._world.chance
        return chance.uniform(0.2, 2.0) if self._world.troubles.slow_storage else chance.uniform(0.0005, 0.003)

    def _die(self) -> None:
        for spool in self._spools:
            spool.close()


def _bound(spool: SpoolFile, *, full: bool) -> None:
    """Let the spool's file grow, or not."""
    if (db := spool._file._connection) is not None:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages if full else MOST_PAGES}")


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function)).removeprefix("<locals>")
