"""Which monitors an operator holds, kept on disk: a restart of ours must not start what someone has stopped on purpose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from zmtwist.durable import durable_write

FILE = "held.json"


class _Held(msgspec.Struct, frozen=True):
    held: tuple[int, ...]


class Holds:
    """The monitors that an operator holds; those that were held with `kept` outlive us.

    `in_thread` runs a function where it may block, and gives its result.
    """

    log = Logger()

    def __init__(self, directory: str, in_thread: Callable[[Callable[[], None]], Deferred[None]]) -> None:
        self._path = Path(directory) / FILE
        self._in_thread = in_thread
        self._one_at_a_time = DeferredLock()
        self._ids: set[int] = set()
        self._kept: set[int] = set()

    def load(self) -> None:
        """Know again what was kept. A file that makes no sense is put aside, and said."""
        try:
            self._kept = set(msgspec.json.decode(self._path.read_bytes(), type=_Held).held)
            self._ids |= self._kept
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.log.error(
                "which monitors are held can't be read from {path}, so none is: {error}",
                path=str(self._path),
                error=str(error),
            )
            self._put_aside()

    def __contains__(self, monitor_id: int) -> bool:
        return monitor_id in self._ids

    def add(self, monitor_id: int, *, kept: bool) -> None:
        """Hold it from now on: until `discard`, or, if it is not `kept`, our own end."""
        self._ids.add(monitor_id)
        if kept and monitor_id not in self._kept:
            self._kept.add(monitor_id)
            self._save()

    def discard(self, monitor_id: int) -> None:
        """Hold it no longer."""
        self._ids.discard(monitor_id)
        if monitor_id in self._kept:
            self._kept.discard(monitor_id)
            self._save()

    def saved(self) -> Deferred[None]:
        """Fires when all is on disk, or was said to be not."""
        return self._one_at_a_time.run(lambda: None)

    def _save(self) -> None:
        self._one_at_a_time.run(self._write).addErrback(
            lambda failure: self.log.error(
                "which monitors are held can't be written to {path}: it is forgotten at the next restart: {error}",
                path=str(self._path),
                error=failure.getErrorMessage(),
            )
        )

    def _write(self) -> Deferred[None]:
        data = msgspec.json.encode(_Held(tuple(sorted(self._kept))))
        return self._in_thread(lambda: durable_write(self._path, data))

    def _put_aside(self) -> None:
        try:
            self._path.replace(self._path.with_suffix(".bad"))
        except OSError as error:
            self.log.error("{path} can't be put aside: {error}", path=str(self._path), error=str(error))


def threads_of(reactor: Any) -> Callable[[Callable[[], None]], Deferred[None]]:
    """Runs a function on one of the reactor's own threads: what is kept must not wait for a storage that hangs."""
    return lambda what: deferToThreadPool(reactor, reactor.getThreadPool(), what)
