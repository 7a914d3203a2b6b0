"""One connection to a worker, from the first SUBSCRIBE to the end: hands on what comes, samples the video, matches answers to commands.

The link (`wire.link`) makes the connections, one after another; what outlives a connection is in the `Tally` that it passes along.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable
from struct import Struct
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from zmtwist.interfaces import ILinkObserver, ILinkSink
from zmtwist.wire.encode import encode_command, encode_subscribe
from zmtwist.wire.event_details import EVENT_SNAPSHOT, LIFECYCLE_CODES, StreamState
from zmtwist.wire.frames import MediaSeen
from zmtwist.wire.messages import Bye, Event, Hello, Message, Response, Stats, Stream, Subscribe
from zmtwist.wire.protocol import StreamSocketProtocol, carry_on
from zmtwist.wire.read_budget import Turns
from zmtwist.wire.sequence import EventCount, Implausible, MediaSample

FIRST_SAMPLE_SECONDS = 1.0
"""When the first sample is asked for: late enough to leave a busy start alone, early enough to tell soon that a camera is live."""

_CREDENTIALS = Struct("3i")


class NotLinked(Exception):
    """There is no connection to the worker, or it went away before the answer came."""


class CommandTimeout(Exception):
    """The worker did not answer in time."""


@attrs.define
class Tally:
    """What is known of one monitor's worker over all its connections. Times are seconds of the reactor's clock."""

    events: EventCount = attrs.field(factory=EventCount)
    skipped: Counter[str] = attrs.field(factory=Counter)
    hellos: dict[int, Hello] = attrs.field(factory=dict)
    worker_pid: int | None = None
    last_request_id: int = 0
    connections: int = 0
    last_message_at: float | None = None
    last_stats_at: float | None = None
    last_media_at: float | None = None
    frames_per_second: float | None = None
    bytes_per_second: float | None = None


@attrs.define(eq=False)
class Connection:
    """One connection: the receiver of a `StreamSocketProtocol`, in step with it from `connected` to `lost`.

    `on_first_message` is called once, when the worker is seen to have taken us on (a ninth client is let in and closed at once);
    `on_lost` at the end, unless the end was our own `drop`.
    """

    monitor_id: int
    clock: IReactorTime
    sink: ILinkSink
    observer: ILinkObserver
    wall: Callable[[], int]
    sample_seconds: float
    command_timeout: float
    tally: Tally
    on_first_message: Callable[[], None]
    on_lost: Callable[[str], None]
    turns: Turns | None = None
    since: float = attrs.field(init=False)
    answered: bool = attrs.field(default=False, init=False)
    _protocol: StreamSocketProtocol = attrs.field(init=False)
    _pending: dict[int, Deferred[Response]] = attrs.field(factory=dict, init=False)
    _sample: MediaSample | None = attrs.field(default=None, init=False)
    _sampling: bool = attrs.field(default=False, init=False)
    _next_sample: IDelayedCall | None = attrs.field(default=None, init=False)

    log = Logger()

    def make_protocol(self) -> StreamSocketProtocol:
        """The protocol of this connection, for a factory."""
        self._protocol = StreamSocketProtocol(self, skip_media=True, skipped=self.tally.skipped, turns=self.turns)
        return self._protocol

    @property
    def untrusted(self) -> bool:
        """Whether it was dropped because of what came over it."""
        return self._protocol.untrusted

    @property
    def commands_in_flight(self) -> int:
        """Commands that wait for their answer."""
        return len(self._pending)

    # What the protocol tells.

    def connected(self, protocol: StreamSocketProtocol) -> None:
        """Ask for events only, before anything else: a worker must never wait for us to read media (doc/reference/wire.md)."""
        self._subscribe(video=False)
        self.since = self.clock.seconds()
        self.tally.connections += 1
        self.tally.hellos.clear()
        self._meet(_peer_pid(protocol.transport))
        self._next_sample = self.clock.callLater(min(FIRST_SAMPLE_SECONDS, self.sample_seconds), self._ask_for_sample)

    def message(self, message: Message) -> None:
        """One message of the worker, or of a stock producer of this protocol."""
        self._hear()
        match message:
            case Event():
                self._take_event(message)
            case Stats():
                self.tally.last_stats_at = self.clock.seconds()
                self.observer.stats()
            case Hello():
                self._take_hello(message)
            case Response():
                self._take_response(message)
            case Bye():
                self.observer.bye()
            case _:
                pass  # of no use to an events client; the decoder has counted what it does not know

    def video_passed(self, seen: MediaSeen) -> None:
        """Video came and was passed over: a sign of life, and a sample where one is wanted."""
        self._hear()
        self.tally.last_media_at = self.clock.seconds()
        if self._sample is not None and not self._sampling:
            return
        if self._sampling:
            self._sampling = False
            self._subscribe(video=False)
        self._take_sample(seen)

    def lost(self, reason: str) -> None:
        """The end: everything that waits here ends with it."""
        self._end(reason)
        self.on_lost(reason)

    # What the link asks for.

    def command(self, name: str, fields: dict[str, Any]) -> Deferred[Response]:
        """Send one command. Raises `ValueError` for what may not be sent; fails with `CommandTimeout` or `NotLinked`."""
        request_id = self.tally.last_request_id + 1
        frame = encode_command(name, request_id, fields)
        self.tally.last_request_id = request_id
        answer: Deferred[Response] = Deferred()
        self._pending[request_id] = answer
        answer.addTimeout(self.command_timeout, self.clock, onTimeoutCancel=self._timed_out(name))
        answer.addBoth(self._answered, request_id)
        self._protocol.send(frame)
        return answer

    def quiet(self) -> None:
        """Write nothing of our own accord any more: a write to a worker that has closed could cost us what it said last."""
        self._stop_asking()
        if self._sampling:
            self._sampling = False
            self._subscribe(video=False)

    def drop(self) -> None:
        """Cut it at once; nobody is told but those who wait for answers."""
        self._protocol.drop()
        self._end("the link was aborted")

    # Within.

    def _stop_asking(self) -> None:
        if self._next_sample is not None:
            self._next_sample.cancel()
            self._next_sample = None

    def _end(self, reason: str) -> None:
        self._stop_asking()
        self.tally.frames_per_second = self.tally.bytes_per_second = None
        for answer in list(self._pending.values()):
            answer.errback(
                NotLinked(f"monitor {self.monitor_id}: the connection went away before the answer: {reason}")
            )

    def _meet(self, pid: int | None) -> None:
        """A worker of another pid counts its events anew."""
        if pid is not None and pid != self.tally.worker_pid:
            self.tally.worker_pid = pid
            self.tally.events = attrs.evolve(self.tally.events, expected=0)

    def _hear(self) -> None:
        self.tally.last_message_at = self.clock.seconds()
        if not self.answered:
            self.answered = True
            self.on_first_message()

    def _subscribe(self, *, video: bool) -> None:
        self._protocol.send(encode_subscribe(Subscribe(video=video, audio=False, events=True)))

    def _ask_for_sample(self) -> None:
        self._next_sample = self.clock.callLater(self.sample_seconds, self._ask_for_sample)
        if not self._sampling:
            self._sampling = True
            self._subscribe(video=True)

    def _take_sample(self, seen: MediaSeen) -> None:
        sample = MediaSample(self.clock.seconds(), seen.sequence, seen.generation)
        try:
            frames = sample.frames_per_second(self._sample)
        except Implausible:
            self.tally.skipped["sample"] += 1
            frames = None
        self._sample = sample
        if frames is not None:
            # Few frames are seen, so the bytes are an estimate: all frames at the mean size of those seen on this connection.
            size = frames * seen.payload_bytes / seen.messages
            self.tally.frames_per_second, self.tally.bytes_per_second = frames, size
            with carry_on:
                self.sink.rate(self.monitor_id, frames, size)
        self.observer.media(frames)

    def _take_event(self, message: Event) -> None:
        before = self.tally.events.missed
        if message.code != EVENT_SNAPSHOT:
            replay = message.code in LIFECYCLE_CODES
            self.tally.events = self.tally.events.after(message.sequence, replay=replay)
        if (missed := self.tally.events.missed - before) > 0:
            with carry_on:
                self.sink.gap(self.monitor_id, missed)
        self.sink.event(self.monitor_id, message, self.wall())
        if isinstance(message.detail, StreamState):
            self.observer.stream(message.detail.stream_id, message.detail.event == "StreamConnected")

    def _take_hello(self, message: Hello) -> None:
        """Each SUBSCRIBE brings the HELLOs again: only what is new is handed on."""
        if message.stream in (Stream.VIDEO, Stream.AUDIO) and self.tally.hellos.get(message.stream) != message:
            self.tally.hellos[message.stream] = message
            self.sink.hello(self.monitor_id, message)

    def _take_response(self, message: Response) -> None:
        answer = self._pending.get(message.request_id)
        if answer is None:
            self.log.debug(
                "monitor {monitor_id}: an answer to no command of ours, or one too late: request {request_id}",
                monitor_id=self.monitor_id,
                request_id=message.request_id,
            )
        else:
            answer.callback(message)

    def _timed_out(self, name: str) -> Callable[[object, float], Failure]:
        def fail(_: object, seconds: float) -> Failure:
            return Failure(CommandTimeout(f"monitor {self.monitor_id}: no answer to {name} within {seconds:g} s"))

        return fail

    def _answered(self, result: Response | Failure, request_id: int) -> Response | Failure:
        del self._pending[request_id]
        return result


def _peer_pid(transport: object) -> int | None:
    """The worker's process id, as the kernel knows it of a UNIX socket; None where it does not."""
    handle = transport.getHandle() if hasattr(transport, "getHandle") else None
    if handle is None or not hasattr(socket, "SO_PEERCRED"):
        return None
    pid, _, _ = _CREDENTIALS.unpack(handle.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid or None
