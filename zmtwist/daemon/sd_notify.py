"""What the service manager is told (sd_notify), where there is one: that we are ready, how it goes, that we live, that we end.

One datagram each to the socket that `NOTIFY_SOCKET` names. systemd listens there for a unit with Type=notify, and `start-stop-daemon
--notify-await` for our init script.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Mapping

import attrs
from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from zmtwist.fleet.process.state import State
from zmtwist.ops.service_view import Running
from zmtwist.untrusted.integers import whole
from zmtwist.untrusted.redact import mask

LOOK_SECONDS = 2.0
"""Between two looks at what there is to tell."""

COMING_UP_SECONDS = 0.25
"""The same until the service is up: somebody waits for that."""

START_SECONDS = 30.0
"""While we are starting, each look asks for so much more time: a start may take long, a reactor that stands still may not."""

LONGEST = 200
"""Characters of a status: it is one line of `systemctl status`."""


@attrs.frozen
class Notifier:
    """Sends to the manager's socket. Never waits: a datagram that can't be sent now was not sent."""

    address: str | None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Notifier:
        """The manager that this environment names. Only UNIX sockets are known, by path or (`@...`) abstract."""
        named = environment.get("NOTIFY_SOCKET", "")
        if named.startswith("@"):
            return cls(f"\0{named[1:]}")
        return cls(named if named.startswith("/") else None)

    def send(self, *lines: str) -> bool:
        """Send some assignments (`READY=1`) in one datagram; whether that was done."""
        if self.address is None:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as to:
                to.sendto("\n".join(lines).encode(), self.address)
        except OSError:
            return False
        return True


@attrs.frozen
class Standing:
    """How it goes: whether the service is up, and a line for people."""

    ready: bool
    text: str


def standing(running: Running) -> Standing:
    """How the service goes.

    One that waits for its database is up: that is a state which it is made for, cameras of an earlier run record through it, and a
    manager that gave up on it, or a boot that hung on it, would make things only worse.
    """
    fleet, ingest = running.fleet, running.ingest
    if running.waiting_for is not None:
        return Standing(True, f"waiting for the database: {mask(running.waiting_for)}")
    if fleet is None or not fleet.running:
        return Standing(False, "starting")
    states = [worker.state for worker in fleet.status()]
    counts = ", ".join(f"{count} {state}" for state in State if (count := states.count(state)))
    told = [f"{len(states)} {'camera' if len(states) == 1 else 'cameras'}{f': {counts}' if counts else ''}"]
    if fleet.catalog_error is not None:
        told.append(f"the database can't be read: {mask(fleet.catalog_error)}")
    if ingest is not None and (waiting := ingest.writer.figures.spool.now):
        told.append(f"{waiting} changes wait in the spool")
    return Standing(True, "; ".join(told))


def watchdog_seconds(environment: Mapping[str, str], pid: int) -> float | None:
    """How long the manager waits for a sign of life of process `pid`; None where it does not."""
    value, whose = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", str(pid))
    microseconds = whole(value)
    return microseconds / 1e6 if microseconds and whose == str(pid) else None


class Notify(Service):
    """Tells the manager how `look` finds the service, when that has changed, and from the reactor that the reactor turns.

    `stop_seconds` is how long an orderly end may take.
    """

    name = "notify"
    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        environment: Mapping[str, str],
        look: Callable[[], Standing],
        *,
        stop_seconds: float = 0.0,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._clock = clock
        self._notifier = Notifier.of(environment)
        self._watchdog = watchdog_seconds(environment, os.getpid())
        self._look = look
        self._stop_seconds = stop_seconds
        self._monotonic_ns = monotonic_ns
        self._ready = False
        self._said = ""
        self._loops: list[LoopingCall] = []
        self._coming_up: LoopingCall | None = None

    def startService(self) -> None:
        """Begin to tell, where there is somebody to tell."""
        Service.startService(self)
        if self._notifier.address is None:
            return
        self._every(LOOK_SECONDS, self._tell)
        self._coming_up = self._every(COMING_UP_SECONDS, self._come_up)
        if self._watchdog is not None:
            self._every(self._watchdog / 2, self._alive)

    def stopService(self) -> None:
        """Tell that the service ends, and nothing more. Call it when the end begins."""
        Service.stopService(self)
        for loop in self._loops:
            if loop.running:
                loop.stop()
        lines = ["STOPPING=1", "STATUS=stopping", f"EXTEND_TIMEOUT_USEC={round(self._stop_seconds * 1e6)}"]
        if not self._ready:  # start-stop-daemon gives up on this alone
            lines.append(f"ERRNO={errno.ECANCELED}")
        self._notifier.send(*lines)

    def reloading(self) -> None:
        """Tell that what the operator has set is being read anew."""
        if self._ready and self.running:
            self._notifier.send("RELOADING=1", f"MONOTONIC_USEC={self._monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        """Tell that this is done. A refusal to tell now is made good at the next look."""
        if self._ready and self.running:
            self._ready, self._said = False, ""
            self._tell()

    def _every(self, seconds: float, what: Callable[[], None]) -> LoopingCall:
        loop = LoopingCall(what)
        loop.clock = self._clock
        self._loops.append(loop)
        loop.start(seconds, now=True).addErrback(
            lambda failure: self.log.failure("the service manager is told nothing more", failure)
        )
        return loop

    def _come_up(self) -> None:
        """Tell that it is up as soon as it is."""
        if self._ready and self._coming_up is not None:
            self._coming_up.stop()
        elif self._look().ready:
            self._tell()

    def _tell(self) -> None:
        now = self._look()
        text = " ".join(now.text.split())[:LONGEST]
        lines = [f"STATUS={text}"] if text != self._said else []
        if now.ready and not self._ready:
            lines.append("READY=1")
        elif not now.ready and not self._ready:
            lines.append(f"EXTEND_TIMEOUT_USEC={round(START_SECONDS * 1e6)}")
        if lines and self._notifier.send(*lines):
            self._said = text
            self._ready = self._ready or now.ready

    def _alive(self) -> None:
        self._notifier.send("WATCHDOG=1")
