"""Fragments of one camera's frames, made by a child process: a camera may send what takes the library down that makes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from zmtwist.media.child import ChildEnded
from zmtwist.ops.media.fmp4 import Fragment, Made, Unit
from zmtwist.ops.media.h26x import content_type
from zmtwist.ops.media.viewer import Backlog
from zmtwist.wire.messages import Hello

LARGEST_UNIT = 8 * 1024 * 1024
"""Bytes of one access unit. Workers give up at 1 MiB; a keyframe of 8K takes some more."""

MOST_WAITING = 16 * 1024 * 1024
"""Bytes that wait for the child. Beyond it frames are missed, up to a keyframe."""

FRAME_SECONDS = 8.0
"""For one frame; the first waits for the child's start, too."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Made).decode


class Asked(Protocol):
    """What is needed here of `media.child.ChildProcess`."""

    def ask(self, message: bytes, seconds: float) -> Deferred[bytes]:
        """The answer to a message. Fails with `ChildEnded`."""

    def kill(self) -> None:
        """End it."""


class Muxer:
    """Takes a stream's units from a keyframe on, however slow the child is. `made` gets each fragment; `head` goes before the first one.

    `over` is told once, if it fails, why nothing more is made.
    """

    log = Logger()

    def __init__(self, child: Asked, made: Callable[[Fragment], None], over: Callable[[Made], None]) -> None:
        self._child = child
        self._made = made
        self._over = over
        self._waiting: Backlog[Unit] = Backlog(MOST_WAITING, LARGEST_UNIT)
        self._begun = self._busy = self._closed = False
        self.kind = ""
        self.head = b""

    @property
    def missed(self) -> int:
        """Frames that were too large, or came too fast for the child."""
        return self._waiting.missed

    def add(self, unit: Unit, hello: Hello) -> None:
        """The next unit, of the stream that `hello` tells of."""
        if self._closed:
            return
        self._waiting.add(unit, len(unit.payload))
        if not self._busy and self._waiting:
            Deferred.fromCoroutine(self._catch_up(hello)).addErrback(self._failed)

    def close(self) -> None:
        """Nothing more is wanted."""
        self._closed = True
        self._waiting.clear()
        self._child.kill()

    async def _catch_up(self, hello: Hello) -> None:
        self._busy = True
        try:
            while self._waiting:
                unit, self._begun = replace(self._waiting.take(), hello=None if self._begun else hello), True
                told = _decode(await self._child.ask(_encode(unit), FRAME_SECONDS))
                if self._closed:
                    break
                if told.over:
                    self._end(told)
                elif told.head:
                    self.kind, self.head = content_type(told.codec), told.head
                elif told.data:
                    self._made(Fragment(told.data, told.key))
        except (ChildEnded, msgspec.MsgspecError, ValueError) as error:
            self._end(Made(over="failed", why=str(error)))
        finally:
            self._busy = False

    def _end(self, told: Made) -> None:
        if not self._closed:
            self.close()
            self._over(told)

    def _failed(self, failure: Failure) -> None:
        self.log.failure("live view: an error", failure)
        self._end(Made(over="failed", why="an internal error"))
