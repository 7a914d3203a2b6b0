"""Tells when a UNIX socket is bound at a path, within milliseconds: by inotify, or by looking often where that is not to be had.

A kernel gives one user only so many inotify instances (128 by default), so all watches of one directory share one.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorTime
from twisted.logger import Logger
from twisted.python.filepath import FilePath

if TYPE_CHECKING:
    from twisted.internet.inotify import INotify

CLOSE_INTERVAL = 0.002
"""Seconds between two looks while a socket is awaited without inotify."""

CLOSE_SECONDS = 10.0
"""How long after the start of a watch the looks follow each other that closely."""

SLOW_INTERVAL = 0.1
"""Seconds between two looks after that."""

log = Logger()
_go_on = log.failureHandler("telling of a socket that was bound")


class SocketWatch:
    """Calls `on_bound` when a socket has been bound at `path`, and soon after `start` where one is there that was not told of yet.

    `bind` makes the file before `listen` lets anyone in, so a connection may be refused for an instant after the call. One binding may be
    told of twice. Without inotify, one that replaces another between two looks is still told of: it is another file. A kernel that has too
    much to tell may leave one out, so whoever must not miss any looks now and then, too.
    """

    def __init__(self, reactor: IReactorTime, path: str, on_bound: Callable[[], None]) -> None:
        self.path = Path(path)
        self._reactor = reactor
        self._on_bound = on_bound
        self._directory: _DirectoryWatch | None = None
        self._told: tuple[int, int, int] | None = None

    def start(self) -> None:
        """Begin to watch, or go on and look closely again; `on_bound` is not called before this has returned."""
        if self._directory is None:
            self._directory = _DirectoryWatch.of(self._reactor, self.path.parent)
        self._directory.add(self)

    def stop(self) -> None:
        """Watch no longer: `on_bound` is not called before the next `start`. Idempotent."""
        if self._directory is not None:
            self._directory.remove(self)
            self._directory = None

    def look(self, *, fresh: bool = False) -> None:
        """Tell of the socket at the path, if there is one; only if it is `fresh` or another one than the one told of last."""
        told, self._told = self._told, _socket_at(self.path)
        if self._told is not None and (fresh or self._told != told):
            with _go_on:
                self._on_bound()


def _socket_at(path: Path) -> tuple[int, int, int] | None:
    """What tells the socket at `path` from one that was bound there before; None where there is none, or none to be seen."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_mtime_ns) if stat.S_ISSOCK(status.st_mode) else None


class _DirectoryWatch:
    """All watches of one directory: one inotify instance, or one timer while there is no directory or no inotify."""

    _all: dict[tuple[IReactorTime, Path], _DirectoryWatch] = {}  # noqa: RUF012 - shared on purpose; empty when nothing is awaited

    @classmethod
    def of(cls, reactor: IReactorTime, directory: Path) -> _DirectoryWatch:
        """The one watch of `directory` under `reactor`."""
        key = (reactor, directory)
        if key not in cls._all:
            cls._all[key] = cls(reactor, directory)
        return cls._all[key]

    def __init__(self, reactor: IReactorTime, directory: Path) -> None:
        self._reactor = reactor
        self._directory = directory
        self._watches: list[SocketWatch] = []
        self._notifier: INotify | None = None
        self._gone = 0  # the events that tell that the directory is no longer what its path names
        self._timer: IDelayedCall | None = None
        self._close_until = 0.0

    def add(self, watch: SocketWatch) -> None:
        """Look soon (but not within this call), then whenever something happens."""
        if watch not in self._watches:
            self._watches.append(watch)
        self._close_until = self._reactor.seconds() + CLOSE_SECONDS
        self._look_in(0)

    def remove(self, watch: SocketWatch) -> None:
        """Forget it; with the last one all that was held is given back."""
        self._watches.remove(watch)
        if self._watches:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._let_go()
        del self._all[self._reactor, self._directory]

    def _look_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._reactor.callLater(seconds, self._look)

    def _look(self) -> None:
        """Look at every path, after the notifier is there, so that nothing slips in between; come back where there is none."""
        self._timer = None
        if self._notifier is None:
            self._notifier = self._notify()
        if self._notifier is None:
            closely = self._reactor.seconds() < self._close_until
            self._look_in(CLOSE_INTERVAL if closely else SLOW_INTERVAL)
        self._look_at(lambda _: True)

    def _look_at(self, wanted: Callable[[SocketWatch], bool], *, fresh: bool = False) -> None:
        for watch in [watch for watch in self._watches if wanted(watch)]:
            if watch in self._watches:  # the one told before may have stopped this one
                watch.look(fresh=fresh)

    def _notify(self) -> INotify | None:
        """An inotify instance on the directory; None without a directory, inotify, or an instance left for this user."""
        if not IReactorFDSet.providedBy(self._reactor) or not self._directory.is_dir():
            return None
        try:
            from twisted.internet import inotify  # fails where libc has none
        except ImportError:
            return None
        self._gone = inotify.IN_DELETE_SELF | inotify.IN_MOVE_SELF | inotify.IN_UNMOUNT | inotify.IN_IGNORED
        try:
            notifier = inotify.INotify(self._reactor)
        except inotify.INotifyError:
            return None
        notifier.startReading()
        mask = inotify.IN_CREATE | inotify.IN_MOVED_TO | inotify.IN_MOVE_SELF
        try:
            notifier.watch(FilePath(str(self._directory)), mask, callbacks=[self._happened])
        except inotify.INotifyError:
            notifier.loseConnection()
            return None
        return notifier

    def _happened(self, _: object, path: FilePath[bytes], mask: int) -> None:
        if mask & self._gone:
            # The instance watches what is no longer our directory: look out for a new one.
            self._let_go()
            if self._watches:
                self._close_until = self._reactor.seconds() + CLOSE_SECONDS
                self._look_in(0)
            return
        name = path.basename().decode("utf-8", "surrogateescape")
        self._look_at(lambda watch: watch.path.name == name, fresh=True)

    def _let_go(self) -> None:
        if self._notifier is not None:
            notifier, self._notifier = self._notifier, None
            notifier.loseConnection()


__all__ = ["CLOSE_INTERVAL", "CLOSE_SECONDS", "SLOW_INTERVAL", "SocketWatch"]
