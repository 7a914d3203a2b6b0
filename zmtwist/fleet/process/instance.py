"""One process together with its link, from the spawn until both are gone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReactorProcess, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from zmtwist.fleet.process.policy import FROZEN_SECONDS, Exit, Phase, Signs, sample_interval
from zmtwist.fleet.process.preflight import FleetSettings, StorageChecks
from zmtwist.fleet.process.procfs import Processes
from zmtwist.fleet.process.state import Transition
from zmtwist.interfaces import IEventSink, ILinkObserver, ILinkSink
from zmtwist.pipeline.capture import MAIN_STREAM
from zmtwist.pipeline.document import Document
from zmtwist.untrusted.budget import Budgets, Together
from zmtwist.untrusted.guard import Guards
from zmtwist.wire.guarded import GuardedSink, guarded_response
from zmtwist.wire.link import LinkStatus
from zmtwist.wire.messages import Response

Address = tuple[str, int]
"""Host and TCP port."""


Connect = Callable[[Address], Deferred[None]]
"""Connects, and lets go at once. Fails where nobody answers."""


DRAIN_SECONDS = 2.0
"""How long after the reaping the rest of the socket is waited for. A dead worker's socket ends at once unless its child holds it."""


class Hears(Protocol):
    """What is told of a link: `machine.Life` above all."""

    def linked(self, reason: str) -> None:
        """Its socket answered."""

    def live(self, reason: str) -> None:
        """Media were seen to move."""

    def disconnected(self, reason: str) -> None:
        """The connection to the camera is lost."""


class Link(Protocol):
    """What is needed here of `wire.link.WorkerLink`."""

    def start(self) -> None:
        """Begin to watch for the socket."""

    def drain(self) -> Deferred[None]:
        """Reconnect no more, read to the end; fires when the connection is gone."""

    def abort(self) -> None:
        """Drop everything at once; no callbacks afterwards."""

    def command(self, name: str, /, **fields: Any) -> Deferred[Response]:
        """Send one COMMAND."""

    @property
    def status(self) -> LinkStatus:
        """What is known at this moment."""


class Process(Protocol):
    """What is needed here of a child (`child.ChildProcess`) or of an adopted worker (`adoption.Adopted`)."""

    @property
    def pid(self) -> int | None:
        """Its number."""

    def lines(self) -> tuple[str, ...]:
        """Its last lines of output, guarded, oldest first."""

    @property
    def unlogged(self) -> int:
        """Lines of output that were not logged."""

    def errors(self, ended: Exit) -> tuple[str, ...]:
        """Those of its last lines that tell why it ended so."""

    def send(self, number: signal.Signals) -> None:
        """Signal its group."""

    def stop(self, at_most: float = float("inf")) -> None:
        """See to it that it ends, killed after `at_most` seconds at the latest. Asked again, go on with the same stop."""

    def leave(self) -> None:
        """Have no more to do with it; it runs on."""


class MakeLink(Protocol):
    """Makes a link, as `wire.link.WorkerLink` does."""

    def __call__(
        self,
        reactor: Any,
        path: str,
        monitor_id: int,
        sink: ILinkSink,
        observer: ILinkObserver,
        *,
        wall: Callable[[], int],
        sample_seconds: float,
    ) -> Link:
        """A link to the worker that listens, or will, at `path`."""


@attrs.frozen
class Surroundings:
    """What all workers of a fleet share.

    `turn` reserves the next turn to spawn and says in how many seconds it is, `restart_turn` the next one to stop for a restart that
    can wait. `wall` gives microseconds since the epoch, `jitter`
    numbers evenly spread over 0 to 1. `connect` tries a camera's address. `heirs`: how many workers may be got ready at once, each beside
    the one it is to follow.
    """

    reactor: IReactorProcess
    settings: FleetSettings
    sink: IEventSink
    make_link: MakeLink
    announce: Callable[[Transition], None]
    turn: Callable[[], float]
    restart_turn: Callable[[], float]
    wall: Callable[[], int]
    jitter: Callable[[], float]
    processes: Processes
    storages: StorageChecks
    connect: Connect
    heirs: DeferredSemaphore
    budgets: Budgets
    kill_group: Callable[[int, int], None] = os.killpg
    together: Together = attrs.field(factory=Together)
    guards: Guards = attrs.field(factory=Guards)


@implementer(ILinkObserver)
class Run:
    """One process and its link. Making it calls `start` to have the process; where that raises, nothing is left of it.

    What its link hears is told to `life`, and remembered as its signs of life.
    `document` and `digest` are what the process runs with; of an adopted one the document may not be known. `socket` is the one it was told
    of. What it says goes to `sink`, or to everybody's.
    """

    log = Logger()

    def __init__(
        self,
        around: Surroundings,
        monitor_id: int,
        socket: str,
        life: Hears,
        start: Callable[[], Process],
        *,
        digest: str,
        document: Document | None = None,
        adopted: bool = False,
        sink: ILinkSink | None = None,
    ) -> None:
        clock = IReactorTime(around.reactor)
        config = around.settings.zmnext.worker
        self.socket = socket
        self.document = document
        self.digest = digest
        self.adopted = adopted
        self.spawned_at = clock.seconds()
        self.frames_per_second: float | None = None
        self._media_at: float | None = None
        self._stats_at: float | None = None
        self._drained: Deferred[None] | None = None
        self._linked = False
        self._monitor_id = monitor_id
        self._guard = around.guards.of(monitor_id)
        self._processes = around.processes
        self._life = life
        self._clock = clock
        self.link = around.make_link(
            around.reactor,
            socket,
            monitor_id,
            GuardedSink(sink or around.sink, self._guard),
            self,
            wall=around.wall,
            sample_seconds=sample_interval(config.watchdog_seconds),
        )
        # Before the spawn, so that the bind is not missed: the first clip opens milliseconds after it.
        self.link.start()
        try:
            self.child = start()
        except BaseException:
            self.link.abort()
            raise

    @property
    def how(self) -> str:
        """How it came to its process, for people."""
        return f"{'adopted' if self.adopted else 'spawned'} as process {self.child.pid}"

    def media_age(self) -> float | None:
        """Seconds since media moved; None where they never have."""
        return None if self._media_at is None else self._clock.seconds() - self._media_at

    def signs(self, phase: Phase, since: float) -> Signs:
        """Its signs of life."""
        start = self.spawned_at if phase == "spawned" else since
        return Signs(phase, start, self._media_at, self._stats_at, self.sends_video())

    def sends_video(self) -> bool:
        """Whether media can be waited for: not of a worker that announced audio only."""
        status = self.link.status
        return status.video is not None or status.audio is None

    def follow(self, life: Hears) -> None:
        """What its link hears is told to this life from now on, and what it has heard already, too."""
        self._life = life
        if self._linked:
            life.linked("its socket answered")
        if self._media_at is not None:
            life.live("media move")

    def stop(self, at_most: float = float("inf")) -> None:
        """See to it that the process ends, within `at_most` seconds; read on until it has. Asked again, go on with the same stop."""
        seen = self._processes.look(self.child.pid) if self.child.pid is not None else None
        self.child.stop(min(at_most, FROZEN_SECONDS) if seen is not None and seen.frozen else at_most)
        self._drain()

    def command(self, name: str, /, **fields: Any) -> Deferred[Response]:
        """Send one COMMAND; fails as the link's does."""
        return self.link.command(name, **fields).addCallback(guarded_response, self._guard)

    def leave(self) -> None:
        """Let the link go and have no more to do with the process, which runs on."""
        self.child.leave()
        self.link.abort()

    async def close(self) -> None:
        """The process was reaped: read what it still said to the end, then let the link go. Never fails."""
        try:
            await self._drain().addTimeout(DRAIN_SECONDS, self._clock)
        except Exception as error:
            self.log.warn(
                "monitor {monitor_id}: the socket of its ended worker was not read to its end: {error}",
                monitor_id=self._monitor_id,
                error=repr(error),
            )
        try:
            self.link.abort()
        except Exception:
            self.log.failure("monitor {monitor_id}: dropping its link failed", monitor_id=self._monitor_id)

    # What its link says.

    def linked(self) -> None:
        """See `ILinkObserver`."""
        self._linked = True
        self._life.linked("its socket answered")

    def media(self, frames_per_second: float | None) -> None:
        """See `ILinkObserver`."""
        self._media_at = self._clock.seconds()
        self.frames_per_second = frames_per_second
        self._life.live("media move")

    def stats(self) -> None:
        """See `ILinkObserver`."""
        self._stats_at = self._clock.seconds()
        if not self.sends_video():
            self._life.live("STATS come, and it sends no video")

    def stream(self, stream_id: int, connected: bool) -> None:
        """See `ILinkObserver`."""
        if not connected and stream_id == MAIN_STREAM:
            self._life.disconnected("the connection to its camera is lost")

    def bye(self) -> None:
        """See `ILinkObserver`."""
        self.log.debug("monitor {monitor_id}: its worker said BYE", monitor_id=self._monitor_id)

    def unlinked(self, reason: str) -> None:
        """See `ILinkObserver`. No change of state: its process may just have ended, and if not, the watchdog tells by the ages."""
        self.frames_per_second = None

    # Inside.

    def _drain(self) -> Deferred[None]:
        if self._drained is None:
            self._drained = self.link.drain()
        return self._drained
