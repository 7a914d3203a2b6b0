"""The worker that is to follow another one of the same monitor: it connects to the camera while that one still records, and waits, frozen,
for its end.

Never do two of a monitor record. The one to come is stopped (SIGSTOP) in the moment in which it opens its first clip, and goes on when the
other has been reaped; what the camera sends meanwhile waits in the connection. Should this service end in between, however that happens,
the kernel kills it (`leash`). What it says before its turn is kept, and told when the other's end is.
"""

from __future__ import annotations

import enum
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from zmtwist.fleet.process.child import CannotSpawn, Reports
from zmtwist.fleet.process.cleanup import heir_is_gone
from zmtwist.fleet.process.instance import Hears, Run, Surroundings
from zmtwist.fleet.process.lockfile import Held, LockFile
from zmtwist.fleet.process.output import Opening, Sign
from zmtwist.fleet.process.policy import Exit
from zmtwist.fleet.process.preflight import heir_slot, remove_dead_socket, worker_slot
from zmtwist.fleet.process.slot import Slot
from zmtwist.fleet.process.spawn import begin_heir
from zmtwist.interfaces import ILinkSink
from zmtwist.pipeline.document import Document
from zmtwist.wire.event_details import RecordingOpening
from zmtwist.wire.messages import Event, Hello

READY_SECONDS = 30.0
"""How long it may take to come to its first clip, or picture. Connecting takes as long as two keyframes are apart, and until the next."""

MOST_KEPT = 1_000
"""So much of what it says is kept until its turn. A handful comes."""


class _Phase(enum.Enum):
    CONNECTING = enum.auto()
    WAITING = enum.auto()
    TAKEN = enum.auto()
    OVER = enum.auto()


@implementer(ILinkSink)
class _Kept:
    """What one worker says, kept for `sink` until `tell`. `opened` is called at the first opening."""

    def __init__(self, sink: ILinkSink, opened: Callable[[], None]) -> None:
        self._sink = sink
        self._opened = opened
        self._kept: list[Callable[[], None]] | None = []

    def hello(self, monitor_id: int, hello: Hello) -> None:
        """See `ILinkSink`."""
        self.say(partial(self._sink.hello, monitor_id, hello))

    def event(self, monitor_id: int, event: Event, at_us: int) -> None:
        """See `ILinkSink`."""
        self.say(partial(self._sink.event, monitor_id, event, at_us))
        if isinstance(event.detail, RecordingOpening):
            self._opened()

    def rate(self, monitor_id: int, frames_per_second: float, bytes_per_second: float) -> None:
        """See `ILinkSink`."""
        self.say(partial(self._sink.rate, monitor_id, frames_per_second, bytes_per_second))

    def gap(self, monitor_id: int, missed: int) -> None:
        """See `ILinkSink`."""
        self.say(partial(self._sink.gap, monitor_id, missed))

    def say(self, telling: Callable[[], None]) -> None:
        """Now, or at `tell`."""
        if self._kept is None:
            telling()
        elif len(self._kept) < MOST_KEPT:
            self._kept.append(telling)

    def tell(self) -> None:
        """What has been kept, and from now on everything at once."""
        kept, self._kept = self._kept or [], None
        for telling in kept:
            telling()


class Heir:
    """One such worker, for the one that was told to listen at `socket`.

    Making it spawns it, and raises CannotSpawn where that can't be done. `ready` fires when it waits frozen, and fails with CannotSpawn
    where it does not come to that.
    """

    log = Logger()

    def __init__(self, around: Surroundings, document: Document, socket: str) -> None:
        self.ready: Deferred[None] = Deferred()
        self._around = around
        self._document = document
        self._clock = IReactorTime(around.reactor)
        self._phase = _Phase.CONNECTING
        self._heard: Reports | None = None
        self._lead: IDelayedCall | None = None
        self._kept = _Kept(around.sink, self._opened)
        self._slot: Slot = heir_slot(around.settings, document.monitor_id, socket)
        self._leash = around.processes.leash()
        try:
            self._run: Run = begin_heir(around, self._slot, document, self, self, self._kept, self._leash)
        except BaseException:
            self._leash.cut()
            raise
        self._deadline = self._clock.callLater(
            READY_SECONDS, self._fail, f"it has not come to record within {READY_SECONDS:.0f} s"
        )

    @property
    def waits(self) -> bool:
        """Whether it is ready, and its turn has not come yet."""
        return self._phase is _Phase.WAITING

    def take(self, reports: Reports) -> Run:
        """The other has been reaped: have it go on, as the monitor's worker. `reports` hears of its process from now on.

        Raises CannotSpawn; then there is no use in it any more.
        """
        try:
            self._inherit()
        except BaseException:
            self.end()
            raise
        self._phase = _Phase.TAKEN
        self._heard = reports
        self._run.child.send(signal.SIGCONT)
        self._leash.let_go()
        return self._run

    def speak(self, life: Hears) -> None:
        """What it has said is told, and from now on what it says."""
        self._run.follow(life)
        self._kept.tell()

    def end(self) -> None:
        """It is not needed: kill it. Not after `take`."""
        if self._phase in (_Phase.CONNECTING, _Phase.WAITING):
            self._phase = _Phase.OVER
            self._no_more_waiting()
            self._leash.cut()

    # What its link hears.

    def linked(self, reason: str) -> None:
        """See `run.Hears`."""

    def live(self, reason: str) -> None:
        """See `run.Hears`. A worker that records without a break opens its clip a moment later; any other gets time for its pre-roll."""
        if self._document.mode in ("event", "none") and self._lead is None and self._phase is _Phase.CONNECTING:
            self._lead = self._clock.callLater(self._document.lead_sec, self._opened)

    def disconnected(self, reason: str) -> None:
        """See `run.Hears`."""
        self._fail(reason)

    # What its process says.

    def opening_logged(self, told: Opening) -> None:
        """See `child.Reports`."""
        self._kept.say(lambda: self._heard.opening_logged(told) if self._heard is not None else None)
        self._opened()

    def sign_logged(self, sign: Sign) -> None:
        """See `child.Reports`."""
        if self._heard is not None:
            self._heard.sign_logged(sign)
        elif sign == "unconnected":
            self._fail("it can't connect to the camera")

    def child_exited(self, ended: Exit) -> None:
        """See `child.Reports`."""
        if self._heard is not None:
            self._heard.child_exited(ended)
            return
        self._fail(str(ended))
        Deferred.fromCoroutine(self._clear_up()).addErrback(
            lambda failure: self.log.failure("clearing up after a worker that was to follow another failed", failure)
        )

    # Inside.

    def _opened(self) -> None:
        if self._phase is _Phase.CONNECTING:
            self._run.child.send(signal.SIGSTOP)
            self._phase = _Phase.WAITING
            self._no_more_waiting()
            self.ready.callback(None)

    def _fail(self, reason: str) -> None:
        if self._phase is _Phase.CONNECTING:
            self.end()
            self.ready.errback(CannotSpawn(reason))
        else:
            self.end()

    def _no_more_waiting(self) -> None:
        for call in (self._deadline, self._lead):
            if call is not None and call.active():
                call.cancel()

    def _inherit(self) -> None:
        """Make it the one that has the monitor's lock, record and socket. Raises CannotSpawn."""
        slot = worker_slot(self._around.settings, self._document.monitor_id)
        try:
            with LockFile.take(slot.lock):  # nothing of the other lives any more
                Path(self._slot.lock).rename(slot.lock)
            with suppress(FileNotFoundError):
                Path(self._slot.record).rename(slot.record)
            remove_dead_socket(slot.socket)
            os.link(self._slot.socket, slot.socket)
        except (Held, OSError) as error:
            raise CannotSpawn(f"the worker that was to follow can't take over: {error}") from error

    async def _clear_up(self) -> None:
        await self._run.close()
        heir_is_gone(self._around.settings, self._document.monitor_id, self._slot.guises[0], self._around.processes)
