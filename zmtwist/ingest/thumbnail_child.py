"""The child process that makes pictures (`thumbnail_maker`): asked one thing at a time, it answers or it ends."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from zmtwist.programs import BASE_ENVIRONMENT

LONGEST_ANSWER = 1 << 16
LAST_WORDS = 300


class ChildEnded(Exception):
    """The child has ended without an answer; the text says how."""


def command() -> list[str]:
    """How the child is started: with its disk work idle, where the host can."""
    ionice = shutil.which("ionice")
    idle = [ionice, "-c", "3", "-t"] if ionice is not None else []  # -t: even if that can't be had
    return [*idle, sys.executable, "-P", "-m", "zmtwist.ingest.thumbnail_maker"]


def spawn(reactor: Any, argv: Sequence[str]) -> Child:
    """Start one. Raises OSError where that can't be done."""
    environment = {name: os.environ[name] for name in (*BASE_ENVIRONMENT, "PYTHONPATH") if name in os.environ}
    child = Child()
    reactor.spawnProcess(child, argv[0], list(argv), env=environment)
    return child


class Child(ProcessProtocol):
    """One process. `gone` fires when it was reaped; wait for it by `waiting.ended`."""

    transport: Any

    def __init__(self) -> None:
        self.gone: Deferred[None] = Deferred()
        self._asked: Deferred[bytes] | None = None
        self._heard = bytearray()
        self._words = b""

    @property
    def lives(self) -> bool:
        """It was not reaped yet."""
        return not self.gone.called

    def ask(self, line: bytes) -> Deferred[bytes]:
        """Send a line; fires with the line that it answers. Fails with `ChildEnded`."""
        asked: Deferred[bytes] = Deferred()
        self._asked = asked
        self._heard.clear()
        self.transport.write(line + b"\n")
        return asked

    def dismiss(self) -> None:
        """Let it end: nothing more will be asked."""
        if self.lives:
            self.transport.closeStdin()

    def kill(self) -> None:
        """End it, whatever it does."""
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")

    # What Twisted calls

    def outReceived(self, data: bytes) -> None:
        """An answer, or a part of one."""
        self._heard += data
        line, newline, _ = self._heard.partition(b"\n")
        if newline:
            self._answer(bytes(line))
        elif len(self._heard) > LONGEST_ANSWER:
            self.kill()

    def errReceived(self, data: bytes) -> None:
        """What it says before it ends may tell why."""
        self._words = (self._words + data)[-LAST_WORDS:]

    def processExited(self, reason: Failure) -> None:
        """It was reaped."""
        words = " ".join(self._words.decode(errors="replace").split())
        said = f": {words}" if words else ""
        self.gone.callback(None)
        self._answer(Failure(ChildEnded(f"{reason.getErrorMessage()}{said}")))

    def _answer(self, answer: bytes | Failure) -> None:
        asked, self._asked = self._asked, None
        if asked is not None and not asked.called:
            asked.callback(answer) if isinstance(answer, bytes) else asked.errback(answer)
