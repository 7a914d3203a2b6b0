"""Files are touched on threads of their own: a storage that hangs must stop neither the reactor nor the database's threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from zmtwist.reactor.deferreds import all_ended

P = ParamSpec("P")
T = TypeVar("T")

STOP_SECONDS = 10.0


class Disk(Service):
    """A small thread pool for what touches the storage."""

    name = "disk"
    log = Logger()

    def __init__(self, reactor: Any, threads: int = 4) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(0, threads, "zmtwist-disk")
        self._pool.threadFactory = daemon_thread  # type: ignore[assignment]
        self._under_way: set[Deferred[Any]] = set()

    def startService(self) -> None:
        """Start the pool; its threads come as they are needed."""
        Service.startService(self)
        self._pool.start()

    def stopService(self) -> Deferred[None]:
        """Wait for what is under way, but not for a storage that hangs: after `STOP_SECONDS` its threads are left to themselves."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Call `function` on a thread; its result or failure comes back on the reactor."""
        work: Deferred[T] = deferToThreadPool(self._reactor, self._pool, function, *args, **kwargs)
        self._under_way.add(work)

        def over(result: T | Failure) -> T | Failure:
            self._under_way.discard(work)
            return result

        return work.addBoth(over)

    async def _stop(self) -> None:
        if await all_ended(self._reactor, self._under_way, STOP_SECONDS):
            self._pool.stop()
        else:
            self.log.warn(
                "a storage does not answer: {count} calls on it are left to themselves", count=len(self._under_way)
            )


def daemon_thread(*args: Any, **kwargs: Any) -> threading.Thread:
    """A thread that never keeps the process from ending, whatever it waits for."""
    return threading.Thread(*args, **kwargs, daemon=True)
