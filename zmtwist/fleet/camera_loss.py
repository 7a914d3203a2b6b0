"""A camera that is away: its worker is ended at once, and started again when the camera answers at its address.

A worker connects again by itself, after 1, 2, 4 and 8 s and then never more, but its times begin anew then, and its recorder refuses every
frame for as long as the old connection had lasted. A connection attempt that nobody answers holds it for as long as the kernel's time-out.
A TCP connection from here costs next to nothing and can be made every second.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from zmtwist.fleet.process.instance import Address, Connect
from zmtwist.fleet.process.lifecycle import Core, Life
from zmtwist.fleet.process.state import State

EVERY_SECONDS = 1.0
ANSWER_SECONDS = 2.0
"""How long one answer is waited for; a camera is in the same building as a rule."""


class _LetGo(Protocol):
    """Hangs up as soon as somebody has answered."""

    def connectionMade(self) -> None:
        """Twisted calls this when the connection is there."""
        self.transport.loseConnection()  # type: ignore[union-attr]


def connect_by(reactor: object) -> Connect:
    """The way to connect that `reactor` has."""

    def connect(address: Address) -> Deferred[None]:
        host, port = address
        endpoint = HostnameEndpoint(reactor, host.encode(), port, timeout=ANSWER_SECONDS)
        return endpoint.connect(Factory.forProtocol(_LetGo)).addCallback(lambda _: None)

    return connect


class CameraProbe:
    """Asks one camera again and again, from `begin` to `end`; `answered` hears the outcome of each try."""

    log = Logger()

    def __init__(self, clock: IReactorTime, connect: Connect, answered: Callable[[bool], None]) -> None:
        self._clock = clock
        self._connect = connect
        self._answered = answered
        self._address: Address | None = None
        self._trying: Deferred[None] | None = None
        self._next: IDelayedCall | None = None

    def begin(self, address: Address) -> None:
        """Ask now, and every second from then on. Where that is done already, go on."""
        if self._address != address:
            self.end()
            self._address = address
            self._try(address)

    def end(self) -> None:
        """Ask no more; nothing is heard after that."""
        self._address = None
        trying, self._trying = self._trying, None
        if trying is not None:
            trying.cancel()
        if self._next is not None and self._next.active():
            self._next.cancel()

    def _try(self, address: Address) -> None:
        self._trying = this = self._connect(address)

        def over(result: object) -> None:
            if self._trying is this:
                self._trying = None
                self._next = self._clock.callLater(EVERY_SECONDS, self._try, address)
                # Whatever the failure is (a name that is not known, no route, a refused port, no answer): the camera is not there.
                self._answered(not isinstance(result, Failure))

        this.addTimeout(ANSWER_SECONDS + 1, self._clock)  # a name server may be slower than the camera
        this.addBoth(over).addErrback(
            lambda failure: self.log.failure("asking whether a camera answers has failed", failure)
        )


class CameraLoss:
    """What is done about one worker's camera while that is away.

    `address` gives the camera's, None where it has none: then the worker comes back at the pace of its backoff only.
    """

    def __init__(self, core: Core, life: Life, connect: Connect, address: Callable[[], Address | None]) -> None:
        self._core = core
        self._life = life
        self._address = address
        self._probe = CameraProbe(core.clock, connect, self._heard)
        self._silent: bool | None = None
        self._tried = False

    @property
    def waits(self) -> str | None:
        """Why there is no use in a start now; None where there is some."""
        if not self._core.camera_lost or self._address() is None or self._silent is False:
            return None
        return f"{self._camera()} does not answer; its worker is started when it does"

    def entered(self, state: State) -> None:
        """The worker has come into this state."""
        address = self._address()
        if state is State.LIVE:
            self._tried = False
        if address is not None and (state is State.STALLED or (self._core.camera_lost and state in _AWAY)):
            self._probe.begin(address)
        else:
            self.end()

    def end(self) -> None:
        """There is no more to be done."""
        self._probe.end()
        self._silent = None

    def _heard(self, answers: bool) -> None:
        state, was_silent = self._core.state, self._silent is True
        self._silent = not answers
        if answers:
            # Of a camera that answers, and yet gives no picture, only the first answer counts: else its worker would come and go at once.
            if state is State.BACKOFF and (was_silent or not self._tried):
                self._tried = True
                self._life.start(f"{self._camera()} answers")
        elif state is State.STALLED or (state in (State.STARTING, State.LINKED) and was_silent):
            self._life.disconnected(f"{self._camera()} does not answer")
        elif state is State.BACKOFF and self.waits is not None:
            self._core.reason = self.waits

    def _camera(self) -> str:
        host, port = self._address() or ("", 0)
        return f"the camera at {host}:{port}"


_AWAY = frozenset({State.STARTING, State.LINKED, State.STOPPING, State.BACKOFF})
