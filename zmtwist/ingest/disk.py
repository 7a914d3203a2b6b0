"""Files are touched on threads of their own: a storage that hangs must stop neither the reactor nor the database's threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

P = ParamSpec("P")
T = TypeVar("T")


class Disk(Service):
    """A small thread pool for what touches the storage."""

    name = "disk"

    def __init__(self, reactor: Any, threads: int = 4) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(0, threads, "zmtwist-disk")

    def startService(self) -> None:
        """Start the pool; its threads come as they are needed."""
        Service.startService(self)
        self._pool.start()

    def stopService(self) -> None:
        """Wait for what is under way."""
        Service.stopService(self)
        self._pool.stop()

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Call `function` on a thread; its result or failure comes back on the reactor."""
        return deferToThreadPool(self._reactor, self._pool, function, *args, **kwargs)
