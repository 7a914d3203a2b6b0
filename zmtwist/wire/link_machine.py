"""When a link connects: a state machine that waits for the socket, tries, tries again with backoff, and ends or not with a connection.

A state is either without a connection, waiting for the socket or in the middle of an attempt, or with one. Rules of Automat kept here:
every input returns None, so that one called out of an output is postponed; outputs do not raise; what a state holds (a timer, an
attempt) is made by its data factory, which runs before the output does.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

import attrs
from automat import TypeMachineBuilder
from twisted.application.internet import backoffPolicy
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import IDelayedCall, IProtocol, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from zmtwist.interfaces import ILinkObserver
from zmtwist.wire.connection import Connection
from zmtwist.wire.protocol import carry_on
from zmtwist.wire.socket_watch import SocketWatch

CLOSE_STEP = 0.001
"""Seconds between attempts right after a bind: the file is there before `listen` is, and before its mode lets us in."""

CLOSE_SECONDS = 0.25
"""How long the attempts follow each other that closely."""

FORGIVEN_SECONDS = 60.0
"""A connection that could be trusted for so long makes up for those before it."""

CONNECT_TIMEOUT = 5.0
"""Seconds for one attempt."""

log = Logger()

_backoff = backoffPolicy(initialDelay=0.05, maxDelay=3.0, factor=1.7, jitter=lambda: 0.0)


class LinkState(StrEnum):
    """Where a link is."""

    IDLE = "IDLE"
    """Not started, or done."""
    WAITING = "WAITING"
    """For the socket to be bound, or for the next attempt."""
    CONNECTING = "CONNECTING"
    """In the middle of an attempt."""
    LINKED = "LINKED"
    """Connected."""
    DRAINING = "DRAINING"
    """Connected, reading what the worker still says; there will be no other connection."""


class _QuietFactory(Factory):
    """One that does not log each attempt."""

    noisy = False


class Inputs(Protocol):
    """All that can happen to a link; `reason` is for people."""

    def start(self, reason: str) -> None:
        """Connect, and stay connected."""

    def drain(self, reason: str) -> None:
        """No further connection after this one."""

    def abort(self, reason: str) -> None:
        """Let go of everything."""

    def bound(self, reason: str) -> None:
        """A socket was bound at our path."""

    def retry(self, reason: str) -> None:
        """It is time for another attempt."""

    def connected(self, connection: Connection) -> None:
        """The attempt made it."""

    def failed(self, reason: str) -> None:
        """The attempt did not."""

    def lost(self, reason: str) -> None:
        """The connection is gone."""


@attrs.define(eq=False)
class Core:
    """What the machine works with, and what it remembers beside its state.

    `connection` is there exactly while the state is one with a connection: from `connected` to `lost`. The socket is watched from `start`
    to the end, connected or not: a new worker may bind it before the old one's connection is seen to be gone, and giving up the last
    watch of a directory holds the reactor for some milliseconds.

    `untrusted` counts the connections that were dropped for what came over them; `distrust` those of them that make the next wait longer:
    a worker whose socket answers well and then talks nonsense is not connected to without a pause.
    """

    clock: IReactorTime
    path: str
    monitor_id: int
    observer: ILinkObserver
    make_connection: Callable[[], Connection]
    watch: SocketWatch = attrs.field(init=False)
    state: LinkState = LinkState.IDLE
    reason: str = "not started"
    connection: Connection | None = None
    failures: int = 0
    untrusted: int = 0
    distrust: int = 0
    close_until: float = 0.0
    drains: list[Deferred[None]] = attrs.field(factory=list)

    def enter(self, state: LinkState, reason: str) -> None:
        """Note where the link is now, for its status."""
        self.state, self.reason = state, reason

    def expect(self) -> None:
        """A socket was bound just now: it will let us in, if not at once then soon."""
        self.failures = 0
        self.close_until = self.clock.seconds() + CLOSE_SECONDS

    def next_delay(self) -> float:
        """Seconds until the next attempt; counts a failure unless the socket is so new that it may not listen yet."""
        if self.clock.seconds() < self.close_until:
            return CLOSE_STEP
        self.failures += 1
        return _backoff(max(self.failures, self.distrust))

    def taken_on(self) -> None:
        """The worker has spoken. Only now is the way there proven: a ninth client is let in, too, and then closed."""
        self.failures = 0
        log.info("monitor {monitor_id}: linked to its worker", monitor_id=self.monitor_id)
        with carry_on:
            self.observer.linked()

    def end(self, reason: str) -> None:
        """The connection, if there was one, is gone."""
        connection, self.connection = self.connection, None
        if connection is not None:
            if self.clock.seconds() - connection.since >= FORGIVEN_SECONDS:
                self.distrust = 0
            if connection.untrusted:
                self.untrusted += 1
                self.distrust += 1
        if connection is not None and connection.answered:
            log.info("monitor {monitor_id}: no longer linked: {reason}", monitor_id=self.monitor_id, reason=reason)
            with carry_on:
                self.observer.unlinked(reason)
        drains, self.drains = self.drains, []
        for drain in drains:
            drain.callback(None)

    def rest(self, reason: str) -> None:
        """Nothing is wanted any more."""
        self.watch.stop()
        self.enter(LinkState.IDLE, reason)
        self.end(reason)


def _make_machine() -> Callable[[Core], Inputs]:
    builder = TypeMachineBuilder(Inputs, Core)

    def wait(machine: Inputs, core: Core, reason: str) -> IDelayedCall:
        core.enter(LinkState.WAITING, reason)
        core.watch.start()
        return core.clock.callLater(core.next_delay(), machine.retry, "time for another attempt")

    def attempt(machine: Inputs, core: Core, reason: str) -> Deferred[None]:
        core.enter(LinkState.CONNECTING, reason)
        connection = core.make_connection()
        endpoint = UNIXClientEndpoint(core.clock, core.path, CONNECT_TIMEOUT)
        connecting: Deferred[IProtocol] = endpoint.connect(_QuietFactory.forProtocol(connection.make_protocol))
        return connecting.addCallbacks(
            lambda _: machine.connected(connection), lambda failure: machine.failed(failure.getErrorMessage())
        )

    idle = builder.state("idle")
    waiting = builder.state("waiting", wait)
    connecting = builder.state("connecting", attempt)
    linked = builder.state("linked")
    draining = builder.state("draining")
    reviving = builder.state("reviving")  # draining, but wanted again once this connection has ended

    idle.upon(Inputs.start).to(waiting).returns(None)
    idle.upon(Inputs.failed).loop().returns(None)  # a cancelled attempt
    idle.upon(Inputs.bound).loop().returns(None)  # one that was on its way when we stopped to watch
    waiting.upon(Inputs.start).loop().returns(None)
    waiting.upon(Inputs.retry).to(connecting).returns(None)
    connecting.upon(Inputs.start).loop().returns(None)
    connecting.upon(Inputs.failed).to(waiting).returns(None)
    linked.upon(Inputs.start).loop().returns(None)
    draining.upon(Inputs.drain).loop().returns(None)
    draining.upon(Inputs.start).to(reviving).returns(None)
    reviving.upon(Inputs.start).loop().returns(None)
    reviving.upon(Inputs.drain).to(draining).returns(None)

    @waiting.upon(Inputs.bound).to(connecting)
    def at_once(machine: Inputs, core: Core, timer: IDelayedCall, reason: str) -> None:
        timer.cancel()
        core.expect()

    @connecting.upon(Inputs.bound, nodata=True).loop()
    @linked.upon(Inputs.bound).loop()
    @draining.upon(Inputs.bound).loop()
    @reviving.upon(Inputs.bound).loop()
    def expect(machine: Inputs, core: Core, reason: str) -> None:
        core.expect()

    @connecting.upon(Inputs.connected).to(linked)
    def hold(machine: Inputs, core: Core, attempted: Deferred[None], connection: Connection) -> None:
        core.enter(LinkState.LINKED, "connected")
        core.close_until = 0.0
        core.connection = connection

    @linked.upon(Inputs.drain).to(draining)
    def drain(machine: Inputs, core: Core, reason: str) -> None:
        core.enter(LinkState.DRAINING, reason)
        if core.connection is not None:
            core.connection.quiet()

    @linked.upon(Inputs.lost).to(waiting)
    @reviving.upon(Inputs.lost).to(waiting)
    def try_again(machine: Inputs, core: Core, reason: str) -> None:
        core.end(reason)

    @draining.upon(Inputs.lost).to(idle)
    @idle.upon(Inputs.drain).loop()
    @idle.upon(Inputs.abort).loop()
    def rest(machine: Inputs, core: Core, reason: str) -> None:
        core.rest(reason)

    @waiting.upon(Inputs.drain).to(idle)
    @waiting.upon(Inputs.abort).to(idle)
    def wait_no_longer(machine: Inputs, core: Core, timer: IDelayedCall, reason: str) -> None:
        timer.cancel()
        core.rest(reason)

    @connecting.upon(Inputs.drain).to(idle)
    @connecting.upon(Inputs.abort).to(idle)
    def give_up(machine: Inputs, core: Core, attempted: Deferred[None], reason: str) -> None:
        attempted.cancel()
        core.rest(reason)

    @linked.upon(Inputs.abort).to(idle)
    @draining.upon(Inputs.abort).to(idle)
    @reviving.upon(Inputs.abort).to(idle)
    def cut(machine: Inputs, core: Core, reason: str) -> None:
        connection, core.connection = core.connection, None
        if connection is not None:
            connection.drop()
        core.rest(reason)

    return builder.build()


Machine = _make_machine()
"""Makes the machine of one link, in its first state: idle."""
