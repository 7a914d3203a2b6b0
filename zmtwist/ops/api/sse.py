"""Server-sent events: the feed over HTTP, at the pace of each client, without ever waiting for a slow one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.web.server import Request
from zope.interface import implementer

from zmtwist.ops.api.feed import Entry, Feed, Listener
from zmtwist.ops.http.protocol import connection_of

BEAT_SECONDS = 15.0
"""How often an idle stream says that it is still there: shows dead clients, and keeps proxies from giving up."""

STUCK_BEATS = 4
"""A client that has read nothing for so many beats is cut."""

RETRY_MS = 3000


@implementer(IPushProducer)
class EventStream:
    """One client's stream. While the client does not read, entries wait in its bounded backlog; when that is full it is cut."""

    def __init__(self, request: Request, feed: Feed, monitor_id: int | None) -> None:
        self._request = request
        self._feed = feed
        self._listener: Listener = feed.listen(self._flush, monitor_id)
        self._paused = False
        self._missed_beats = 0
        self.ended: Deferred[bytes] = Deferred(lambda _: self._let_go())

    def begin(self, missed: Iterable[Entry] | None) -> None:
        """Send the headers and what the client missed; None tells it to read everything anew."""
        self._request.setHeader(b"content-type", b"text/event-stream; charset=utf-8")
        self._request.setHeader(b"x-accel-buffering", b"no")
        self._request.registerProducer(self, True)
        self._request.write(b"retry: %d\n\n" % RETRY_MS)
        if missed is None:
            self._request.write(b"event: resync\ndata: {}\n\n")
        else:
            self._send(missed)

    def beat(self) -> None:
        """Say that the stream is alive; cut a client that does not read even that."""
        if not self._paused:
            self._request.write(b":\n\n")
            return
        self._missed_beats += 1
        if self._missed_beats >= STUCK_BEATS:
            connection_of(self._request).cut()

    def pauseProducing(self) -> None:
        """The client does not read as fast as we write."""
        self._paused = True

    def resumeProducing(self) -> None:
        """It has caught up."""
        self._paused, self._missed_beats = False, 0
        self._flush()

    def stopProducing(self) -> None:
        """The client is gone."""
        self._let_go()

    def end(self) -> None:
        """Finish it from our side."""
        self._let_go()
        if not self.ended.called:
            self.ended.callback(b"")

    def _flush(self) -> None:
        if self._listener.lost:
            connection_of(self._request).cut()
        elif not self._paused:
            self._send(self._listener.take())

    def _send(self, entries: Iterable[Entry]) -> None:
        text = b"".join(
            b"id: %s\nevent: %s\ndata: %s\n\n" % (self._feed.mark(e).encode(), e.name.encode(), e.data) for e in entries
        )
        if text:
            self._request.write(text)

    def _let_go(self) -> None:
        self._listener.close()
        if self._request.producer is self:
            self._request.unregisterProducer()


class Streams:
    """All streams, with one heartbeat for them together."""

    log = Logger()

    def __init__(self, clock: IReactorTime, feed: Feed) -> None:
        self._feed = feed
        self._streams: set[EventStream] = set()
        self._beating = LoopingCall(self._beat)
        self._beating.clock = clock

    def __len__(self) -> int:
        return len(self._streams)

    def start(self) -> None:
        """Begin to beat."""
        self._beating.start(BEAT_SECONDS, now=False).addErrback(
            lambda failure: self.log.failure("the heartbeat of the event streams has ended by an error", failure)
        )

    def stop(self) -> None:
        """End all streams."""
        if self._beating.running:
            self._beating.stop()
        for stream in list(self._streams):
            stream.end()

    def open(self, request: Request, monitor_id: int | None, after: str | None) -> Deferred[bytes]:
        """Stream to this client what comes, and what it missed `after` the id it heard last. Fires when it is over."""
        missed = self._feed.since(after, monitor_id) if after is not None else ()
        stream = EventStream(request, self._feed, monitor_id)
        self._streams.add(stream)

        def over(result: Any) -> Any:
            self._streams.discard(stream)
            return result

        stream.ended.addBoth(over)
        stream.begin(missed)
        return stream.ended

    def _beat(self) -> None:
        for stream in list(self._streams):
            stream.beat()
