"""One viewer of a live picture: gets what it can take, and misses the rest up to a keyframe."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.web.server import Request
from zope.interface import implementer

from zmtwist.ops.fragments import Fragment
from zmtwist.ops.http import connection_of

MOST_WAITING = 4 * 1024 * 1024
"""Bytes that wait for one viewer beside what its socket holds; a larger keyframe waits alone."""

STUCK_SECONDS = 30.0
"""A viewer that takes nothing for so long is cut."""


@implementer(IPushProducer)
class Viewer:
    """Writes fragments to one request. `ended` fires when it is over; `left` is called once, when it wants no more."""

    def __init__(self, request: Request, clock: IReactorTime, left: Callable[[Viewer], None]) -> None:
        self._request = request
        self._clock = clock
        self._left = left
        self._waiting: deque[Fragment] = deque()
        self._bytes = 0
        self._paused_at: float | None = None
        self._skipping = True  # until there is a keyframe to begin with
        self._over = False
        self.missed = 0
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
        """The next frame. What can't wait any more is missed, up to a keyframe: the rest could not be decoded."""
        size = len(fragment.data)
        if self._waiting and self._bytes + size > MOST_WAITING:
            self.missed += len(self._waiting)
            self._waiting.clear()
            self._bytes = 0
            self._skipping = True
        if self._skipping and not fragment.key:
            self.missed += 1
        else:
            self._skipping = False
            self._waiting.append(fragment)
            self._bytes += size
        if self._paused_at is None:
            self._flush()
        elif self._clock.seconds() - self._paused_at >= STUCK_SECONDS:
            connection_of(self._request).cut()

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
            fragment = self._waiting.popleft()
            self._bytes -= len(fragment.data)
            self._request.write(fragment.data)

    def _let_go(self) -> None:
        if self._over:
            return
        self._over = True
        self._waiting.clear()
        if self._request.producer is self:
            self._request.unregisterProducer()
        self._left(self)
