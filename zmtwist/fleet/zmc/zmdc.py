"""The control socket of ZoneMinder's daemon keeper: `zmdc.pl`, or zm-api in its place.

Source: doc/reference/zoneminder.md, The control socket of zmdc.pl.

One request per connection: the fields with semicolons between them and no newline (zmdc.pl would take it for part of the last field),
then our side is closed at once. zmdc.pl serves one client at a time and reads without a time-out, so a connection that is held open
would freeze all of ZoneMinder's supervision.
"""

from __future__ import annotations

import enum
import errno
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from zmtwist.untrusted.integers import whole

REPLY_SECONDS = 10.0
"""How long an answer is waited for. zmdc.pl looks at its socket about once a second, and longer only while its database is away."""

MAX_REPLY = 1 << 20

MAX_PATH = 107
"""Bytes of a socket's path that the kernel takes."""

_LINE = re.compile(r"'(?P<key>[^']+)' (?P<what>running|pending|stopped|not running)\b(?:.*?\bpid = (?P<pid>\d+))?")
_STARTED = re.compile(r"' (?:starting|started|already running) at | was told to term at |is already running")
_STOPPING = re.compile(r"' sending stop to pid | removed from pending list at ")


class NoAnswer(Exception):
    """There was no answer. `absent`: nobody listens there, so ZoneMinder is not running."""

    def __init__(self, reason: str, *, absent: bool = False) -> None:
        super().__init__(reason)
        self.absent = absent


class Condition(enum.Enum):
    """What is said of one daemon."""

    RUNNING = "running"
    PENDING = "pending"
    """Crashed, and started again at a known time."""
    STOPPED = "stopped"


@attrs.frozen
class Daemon:
    """One daemon in a list. `pid` None where it has none, or that is not told."""

    condition: Condition
    pid: int | None = None


NOT_LISTED = Daemon(Condition.STOPPED)


@attrs.frozen
class Listing:
    """All that is kept, by key (`zmc -m 3`)."""

    daemons: Mapping[str, Daemon]

    def of(self, key: str) -> Daemon:
        """That one; one that is not in the list does not run."""
        return self.daemons.get(key, NOT_LISTED)


def request_for(words: Sequence[str]) -> bytes:
    """The request of these fields."""
    return ";".join(words).encode()


def parse_listing(reply: str) -> Listing | None:
    """What `status` answered, or None where that says nothing of any daemon, as an older zm-api's `OK;Status retrieved`."""
    daemons: dict[str, Daemon] = {}
    for line in reply.splitlines():
        told = _LINE.match(line.strip())
        if told is None:
            continue
        condition = Condition.STOPPED if told["what"] == "not running" else Condition(told["what"])
        if told["key"] not in daemons:  # 1.36 calls a pending one running as well, but second
            daemons[told["key"]] = Daemon(condition, whole(told["pid"] or ""))
    return Listing(daemons) if daemons or not reply.strip() else None


def started(reply: str) -> bool:
    """Whether `start` answered that it runs, or will: in zmdc.pl's words or zm-api's."""
    return reply.startswith("OK;") or _STARTED.search(reply) is not None


def stopping(reply: str) -> bool:
    """Whether `stop` answered that it will end. Where nothing was known of it, it did not."""
    return reply.startswith("OK;") or _STOPPING.search(reply) is not None


class Zmdc:
    """A client for the control socket at `path`."""

    def __init__(self, reactor: Any, path: str, *, reply_seconds: float = REPLY_SECONDS) -> None:
        self._reactor = reactor
        self._path = path
        self._seconds = reply_seconds

    async def status(self) -> Listing | None:
        """All daemons in one request; None where the answer does not list them. Raises NoAnswer."""
        reply, whole = await self._ask("status")
        if not whole:
            raise NoAnswer(f"zmdc began an answer at {self._path} and did not end it within {self._seconds:g} s")
        return parse_listing(reply)

    async def start(self, words: Sequence[str]) -> str:
        """Have a daemon started; the answer, to be read by `started`. Raises NoAnswer."""
        return (await self._ask("start", *words))[0]

    async def stop(self, words: Sequence[str]) -> str:
        """Have a daemon told to end; the answer, to be read by `stopping`. That it is gone, only `status` tells. Raises NoAnswer."""
        return (await self._ask("stop", *words))[0]

    async def _ask(self, *words: str) -> tuple[str, bool]:
        """The answer, and whether it is whole: a daemon that was just started may hold the connection open."""
        if len(os.fsencode(self._path)) > MAX_PATH:
            raise NoAnswer(
                f"[legacy] socket {self._path}: longer than the {MAX_PATH} bytes that a socket's path may have"
            )
        answer: Deferred[tuple[bytes, bool]] = Deferred(lambda _: self._drop(protocols))
        protocols: list[_Question] = []

        def build() -> _Question:
            protocols.append(_Question(IReactorTime(self._reactor), request_for(words), self._seconds, answer))
            return protocols[-1]

        endpoint = UNIXClientEndpoint(self._reactor, self._path, timeout=self._seconds)
        try:
            await endpoint.connect(_Questions(build))
        except ConnectError as error:
            raise self._unreachable(error) from error
        reply, whole = await answer
        if not (reply or whole):
            raise NoAnswer(f"zmdc does not answer at {self._path} within {self._seconds:g} s")
        return reply.decode("utf-8", "replace"), whole

    @staticmethod
    def _drop(protocols: Sequence[_Question]) -> None:
        for protocol in protocols:
            protocol.drop()

    def _unreachable(self, error: ConnectError) -> NoAnswer:
        number = error.osError if isinstance(error.osError, int) else None
        absent = number in (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR)
        why = os.strerror(number) if number is not None else str(error)
        return NoAnswer(f"zmdc cannot be reached at {self._path}: {why}", absent=absent)


class _Question(Protocol):
    """Sends one request, half-closes, and gives what came until the other side closed or the time was up."""

    def __init__(
        self, clock: IReactorTime, request: bytes, seconds: float, answer: Deferred[tuple[bytes, bool]]
    ) -> None:
        self._clock, self._request, self._seconds, self._answer = clock, request, seconds, answer
        self._reply = bytearray()
        self._timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.write(self._request)
        transport.loseWriteConnection()
        self._timer = self._clock.callLater(self._seconds, self._give, whole=False)

    def dataReceived(self, data: bytes) -> None:
        self._reply += data
        if len(self._reply) > MAX_REPLY:
            self._give(whole=False)

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._give(whole=True)

    def drop(self) -> None:
        """Nobody waits any more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()

    def _give(self, *, whole: bool) -> None:
        self.drop()
        if not self._answer.called:
            self._answer.callback((bytes(self._reply[:MAX_REPLY]), whole))


class _Questions(Factory):
    noisy = False

    def __init__(self, build: Callable[[], _Question]) -> None:
        self._build = build

    def buildProtocol(self, addr: object) -> _Question:
        return self._build()
