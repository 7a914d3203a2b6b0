"""The service's side of the child processes that read media (`media.child_program`): asked one thing at a time, they answer or they end.

A child costs some 35 MiB, of which 15 are its own. Nothing that it says is trusted, nor that it says anything.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from zmtwist.executables import BASE_ENVIRONMENT
from zmtwist.media.child_program import CLIP, LENGTH, framed
from zmtwist.untrusted.guard import MESSAGE, Guard

LONGEST_ANSWER = 32 << 20
LAST_WORDS = 1000
MOST_WORDS = 1 << 20
"""Of a child's standard error, in all: one that says more is ended."""


class ChildEnded(Exception):
    """The child has ended without an answer; the text says how."""


def command(module: str, *, idle: bool = False) -> list[str]:
    """How a module's program is started; `idle`: with its disk work idle, where the host can."""
    ionice = shutil.which("ionice") if idle else None
    prefix = [ionice, "-c", "3", "-t"] if ionice is not None else []  # -t: even if that can't be had
    return [*prefix, sys.executable, "-P", "-m", module]


def environment() -> dict[str, str]:
    """What children get of ours."""
    return {name: os.environ[name] for name in (*BASE_ENVIRONMENT, "PYTHONPATH") if name in os.environ}


def spawn(reactor: Any, argv: Sequence[str], clip: int | None = None) -> MediaChild:
    """Start one, with the descriptor of an open `clip` if it is about one. Raises `ChildEnded` where that can't be done."""
    child = MediaChild(reactor)
    descriptors: dict[int, Any] = {0: "w", 1: "r", 2: "r"} | ({} if clip is None else {CLIP: clip})
    try:
        reactor.spawnProcess(child, argv[0], list(argv), env=environment(), childFDs=descriptors)
    except OSError as error:
        raise ChildEnded(f"it can't be started: {error.strerror}") from None
    return child


def answers(argv: Sequence[str], messages: Iterable[bytes], seconds: float) -> Iterator[bytes]:
    """A child's answers to `messages`, in turn, as far as it gives any within `seconds` each. Blocks."""
    with subprocess.Popen(
        argv, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment()
    ) as child:
        try:
            for message in messages:
                answer = _asked(child, message, time.monotonic() + seconds)
                if answer is None:
                    return
                yield answer
        finally:
            child.kill()


def _asked(child: subprocess.Popen[bytes], message: bytes, deadline: float) -> bytes | None:
    assert child.stdin is not None and child.stdout is not None  # noqa: S101 - they are pipes
    try:
        child.stdin.write(framed(message))
    except BrokenPipeError:
        return None
    heard = bytearray()
    ready = select.poll()
    ready.register(child.stdout, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0 and ready.poll(1000 * left):
        data = child.stdout.read(1 << 16)
        if not data:
            break
        heard += data
        if len(heard) >= LENGTH.size:
            length = LENGTH.unpack_from(heard)[0]
            if length > LONGEST_ANSWER:
                break
            if len(heard) >= LENGTH.size + length:
                return bytes(heard[LENGTH.size : LENGTH.size + length])
    return None


class MediaChild(ProcessProtocol):
    """One process. `gone` fires when it was reaped; wait for it by `reactor.deferreds.ended`."""

    transport: Any

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self.gone: Deferred[None] = Deferred()
        self._asked: Deferred[bytes] | None = None
        self._heard = bytearray()
        self._words = b""
        self._said = 0

    @property
    def lives(self) -> bool:
        """It was not reaped yet."""
        return not self.gone.called

    def ask(self, message: bytes, seconds: float) -> Deferred[bytes]:
        """Send a message; fires with the answer. Fails with `ChildEnded`, also once that takes too long: then the child is ended."""
        if not self.lives:
            return fail(ChildEnded("it has ended"))
        asked: Deferred[bytes] = Deferred()
        self._asked = asked

        def late(_: object, seconds: float) -> bytes:
            self.kill()
            raise ChildEnded(f"it took longer than {seconds:g} s")

        self.transport.write(framed(message))
        return asked.addTimeout(seconds, self._clock, late)

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
        length = LENGTH.unpack_from(self._heard)[0] if len(self._heard) >= LENGTH.size else LONGEST_ANSWER
        missing = LENGTH.size + length - len(self._heard)
        if self._asked is None or length > LONGEST_ANSWER or missing < 0:
            self._heard.clear()
            self.kill()  # it says what nobody asked for
        elif missing == 0:
            answer = bytes(memoryview(self._heard)[LENGTH.size :])
            self._heard = bytearray()
            self._answer(answer)

    def errReceived(self, data: bytes) -> None:
        """What it says before it ends may tell why."""
        self._words = (self._words + data)[-LAST_WORDS:]
        self._said += len(data)
        if self._said > MOST_WORDS:
            self.kill()

    def processExited(self, reason: Failure) -> None:
        """It was reaped."""
        words = Guard().text(self._words, MESSAGE)
        said = f": {words}" if words else ""
        self.gone.callback(None)
        self._answer(Failure(ChildEnded(f"{reason.getErrorMessage()}{said}")))

    def _answer(self, answer: bytes | Failure) -> None:
        asked, self._asked = self._asked, None
        if asked is not None and not asked.called:
            asked.callback(answer) if isinstance(answer, bytes) else asked.errback(answer)
