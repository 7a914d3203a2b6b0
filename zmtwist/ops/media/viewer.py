"""One viewer of a live picture: gets what it can take, and misses the rest up to a keyframe."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.web.server import Request
from zope.interface import implementer

from zmtwist.ops.http.protocol import connection_of
from zmtwist.ops.media.fmp4 import Fragment

MOST_WAITING = 4 * 1024 * 1024
"""Bytes that wait for one viewer beside what its socket holds; a larger keyframe waits alone."""

STUCK_SECONDS = 30.0
"""A viewer that takes nothing for so long is cut."""


FRAME_BYTES = 512
"""Reckoned for each frame beside what it holds: many that hold nothing take memory too."""


class Frame(Protocol):
    """What is needed here of a frame. Without a `key` one, those behind it can't be decoded."""

    @property
    def key(self) -> bool:
        """Whether decoding can begin with it."""


F = TypeVar("F", bound=Frame)


class Backlog(Generic[F]):
    """Frames that wait for somebody who is slow. What can't wait any more is missed, up to a keyframe: the rest could not be decoded."""

    def __init__(self, most: int, largest: int | None = None) -> None:
        self._most = most
        self._largest = largest
        self._waiting: deque[tuple[F, int]] = deque()
        self._bytes = 0
        self._skipping = True  # until there is a keyframe to begin with
        self.missed = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, frame: F, size: int) -> None:
        """The next one. The largest that fits waits alone if it must."""
        size += FRAME_BYTES
        if self._waiting and self._bytes + size > self._most:
            self.missed += len(self._waiting)
            self.clear()
        if (self._skipping and not frame.key) or (self._largest is not None and size > self._largest):
            self.missed += 1
            self._skipping = True
        else:
            self._skipping = False
            self._waiting.append((frame, size))
            self._bytes += size

    def take(self) -> F:
        """The oldest of those that wait."""
        frame, size = self._waiting.popleft()
        self._bytes -= size
        return frame

    def clear(self) -> None:
        """Begin again, with the next keyframe."""
        self._waiting.clear()
        self._bytes = 0
        self._skipping = True


@implementer(IPushProducer)
class Viewer:
    """Writes fragments to one request. `ended` fires when it is over; `left` is called once, when it wants no more."""

    def __init__(self, request: Request, clock: IReactorTime, left: Callable[[Viewer], None]) -> None:
        self._request = request
        self._clock = clock
        self._left = left
        self._waiting: Backlog[Fragment] = Backlog(MOST_WAITING)
        self._paused_at: float | None = None
        self._over = False
        self.ended: Deferred[bytes] = Deferred(lambda _: self._let_go())

    def begin(self, kind: str, head: bytes, fragments: Iterable[Fragment]) -> None:
        """Send the headers, and what is there already."""
        self._request.setHeader(b"content-type", kind.encode())
        self._request.setHeader(b"x-accel-buffering", b"no")
        self._request.registerProducer(self, True)
        self._request.write(head)
        for fragment in fragments:
            self.offer(fragment)

    def offer(self, fragment: Fragment) -> None:
        """The next frame."""
        self._waiting.add(fragment, len(fragment.data))
        if self._paused_at is None:
            self._flush()
        elif self._clock.seconds() - self._paused_at >= STUCK_SECONDS:
            connection_of(self._request).cut()

    @property
    def missed(self) -> int:
        """Frames that it did not get."""
        return self._waiting.missed

    def end(self) -> None:
        """There is nothing more to see."""
        self._let_go()
        if not self.ended.called:
            self.ended.callback(b"")

    def pauseProducing(self) -> None:
        """The client does not read as fast as we write."""
        if self._paused_at is None:
            self._paused_at = self._clock.seconds()

    def resumeProducing(self) -> None:
        """It has caught up."""
        self._paused_at = None
        self._flush()

    def stopProducing(self) -> None:
        """The client is gone."""
        self._let_go()

    def _flush(self) -> None:
        while self._waiting and self._paused_at is None:
            self._request.write(self._waiting.take().data)

    def _let_go(self) -> None:
        if self._over:
            return
        self._over = True
        self._waiting.clear()
        if self._request.producer is self:
            self._request.unregisterProducer()
        self._left(self)
