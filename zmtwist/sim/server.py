"""The worker's stream socket (doc/reference/worker.md, Blocking sends).

All sends block, as the real worker's do under its one lock: a client that does not read stops whoever sends, and with it everything.
What a client may leave unread is what the kernel holds for a UNIX socket, 208 KiB by default.
"""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from sched import scheduler
from typing import Any

import msgspec

from zmtwist.wire.encode import encode_bye, encode_event, encode_hello, encode_media, encode_response, encode_stats
from zmtwist.wire.event_details import LIFECYCLE_CODES
from zmtwist.wire.frames import FrameDecoder, UntrustedStream, encode_frame
from zmtwist.wire.messages import Command, Hello, Message, MessageType, Response, Stream, Subscribe

MAX_CLIENTS = 8
_READ = 65536


class NotBound(Exception):
    """The socket could not be bound (exit status 5)."""


class _Client:
    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.decoder = FrameDecoder()
        self.wants = Subscribe()
        self.sent = 0


class Server:
    """One socket and its clients. `poll` does all reading and accepting, every other method sends at once."""

    def __init__(
        self,
        path: str,
        schedule: scheduler,
        log: Callable[[str], None],
        *,
        monitor_id: int = 0,
        stats_seconds: float = 5.0,
    ) -> None:
        self._monitor_id = monitor_id
        self.muted = False
        self.on_command: Callable[[Command], None] = _ignore
        self._frames = self._events = self._generation = 0
        self._path = path
        self._schedule = schedule
        self._log = log
        self._stats_seconds = stats_seconds
        self._selector = selectors.DefaultSelector()
        self._clients: set[_Client] = set()
        self._parameters: Hello | None = None
        self._hello: bytes = b""
        self._health: bytes = b""
        self._keyframe: bytes = b""

    @property
    def attended(self) -> bool:
        """Whether any client is connected."""
        return bool(self._clients)

    def watch(self, readable: socket.socket, heard: Callable[[], object]) -> None:
        """Let `readable` end a `poll`, and call `heard` to read it."""
        self._selector.register(readable, selectors.EVENT_READ, heard)

    def forget(self, readable: socket.socket) -> None:
        """Watch it no more."""
        self._selector.unregister(readable)

    def bind(self) -> None:
        """Bind the socket with mode 0660 in place of whatever is there. Raises `NotBound`."""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        umask = os.umask(0o117)
        try:
            Path(self._path).unlink(missing_ok=True)
            self._listener.bind(self._path)
            self._listener.listen(MAX_CLIENTS)
        except OSError as error:
            raise NotBound(f"bind({self._path}) failed: {error.strerror or error}") from None
        finally:
            os.umask(umask)
        self._selector.register(self._listener, selectors.EVENT_READ, self._listener)
        self._log(f"listening on {self._path} (monitor {self._monitor_id})")

    def poll(self, timeout: float | None) -> None:
        """Wait for something to read, for at most `timeout` seconds (None: for ever), and deal with it."""
        for key, _ in self._selector.select(timeout):
            if key.data is self._listener:
                self._accept()
            elif not isinstance(key.data, _Client):
                key.data()
            elif key.data in self._clients:
                self._read(key.data)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        if len(self._clients) >= MAX_CLIENTS:
            connection.close()
            return
        client = _Client(connection)
        self._clients.add(client)
        self._selector.register(connection, selectors.EVENT_READ, client)
        for data in (self._hello, self._health, self._keyframe):
            if data:
                self._send(client, data)
        self._schedule.enter(self._stats_seconds, 0, self._stats, (client,))

    def _drop(self, client: _Client) -> None:
        if client in self._clients:
            self._clients.remove(client)
            self._selector.unregister(client.connection)
            client.connection.close()

    def _read(self, client: _Client) -> None:
        try:
            data = client.connection.recv(_READ)
            messages = client.decoder.feed(data)
        except (OSError, UntrustedStream):
            data, messages = b"", []
        if not data:
            self._drop(client)
            return
        if client.decoder.skipped["malformed"]:
            self._abort("a client's message has a wrong JSON type")
        for message in messages:
            self._handle(client, message)

    def _abort(self, reason: str) -> None:
        self._log(f"terminate called: {reason}")
        os.abort()

    def _handle(self, client: _Client, message: Message) -> None:
        if isinstance(message, Subscribe):
            client.wants = message
            if message.video and self._hello:
                self._send(client, self._hello)
        elif isinstance(message, Command):
            if message.request_id < 0:
                self._abort(f"request_id {message.request_id}")
            try:
                self.on_command(message)
            except (KeyError, TypeError, ValueError) as error:
                self._abort(f"{message.cmd}: {error!r}")
            self._send(client, encode_response(Response(message.request_id, True, "dispatched")))

    def _send(self, client: _Client, data: bytes) -> None:
        try:
            client.connection.sendall(data)
        except OSError:
            self._drop(client)
        else:
            client.sent += 1

    def _stats(self, client: _Client) -> None:
        if client not in self._clients:
            return
        if not self.muted:
            self._send(client, encode_stats(client.sent, 0))
        self._schedule.enter(self._stats_seconds, 0, self._stats, (client,))

    def hello(self, hello: Hello) -> None:
        """Tell the video's parameters, now and to every later client. There is one video stream on the wire, whatever the number of the
        camera's: parameters that differ from those before begin a new generation, with sequence numbers and a keyframe of its own."""
        if hello == self._parameters:
            return
        if self._parameters is not None:
            self._generation += 1
            self._frames, self._keyframe = 0, b""
        self._parameters = hello
        self._hello = encode_hello(msgspec.structs.replace(hello, generation=self._generation))
        for client in [client for client in self._clients if client.wants.video]:
            self._send(client, self._hello)

    def media(self, payload: bytes, *, pts_us: int, keyframe: bool) -> None:
        """Send the next frame to all who want video; the last keyframe is kept for those who come later."""
        sequence, generation = self._frames, self._generation
        self._frames += 1

        def encoded(cached: bool) -> bytes:
            return encode_media(
                int(Stream.VIDEO),
                payload,
                sequence=sequence,
                pts_us=pts_us,
                keyframe=keyframe,
                cached=cached,
                generation=generation,
            )

        if keyframe:
            self._keyframe = encoded(True)
        wanting = [client for client in self._clients if client.wants.video]
        data = encoded(False) if wanting else b""
        for client in wanting:
            self._send(client, data)

    def event(self, code: int, detail: Mapping[str, Any]) -> None:
        """Send an event to all who want events. Lifecycle and code-0 events carry their JSON as the message, as in the captures.

        The last lifecycle event is kept for clients that come later.
        """
        as_message = code == 0 or code in LIFECYCLE_CODES
        data = encode_event(
            code,
            sequence=self._events,
            wall_us=time.time_ns() // 1000,
            detail=None if as_message else detail,
            message=msgspec.json.encode(detail).decode() if as_message else None,
        )
        if code in LIFECYCLE_CODES:
            self._health = data
        self._events += 1
        self._to_events(data)

    def odd(self, kind: int, payload: bytes) -> None:
        """Send something framed on the monitor stream that the worker would not say."""
        self._to_events(encode_frame(kind, payload, stream=int(Stream.MONITOR), sequence=self._events))
        self._events += kind == MessageType.EVENT

    def garbage(self, data: bytes) -> None:
        """Send `data` as it is."""
        self._to_events(data)

    def _to_events(self, data: bytes) -> None:
        for client in [client for client in self._clients if client.wants.events]:
            self._send(client, data)

    def close(self, *, bye: bool = True) -> None:
        """Say BYE, close everything, and unlink the path: even where another worker has bound it since, as the real one does."""
        for client in list(self._clients):
            if bye:
                self._send(client, encode_bye())
            self._drop(client)
        self._listener.close()
        Path(self._path).unlink(missing_ok=True)


def _ignore(command: Command) -> None:
    """What is done with commands until someone takes them."""
