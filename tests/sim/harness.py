"""A simulator process and plain-socket clients of it; whatever is waited for has a deadline."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Any, TypeVar

from tests.waiting import wait_for
from zmtwist.wire.encode import encode_command, encode_subscribe
from zmtwist.wire.frames import HEADER, FrameDecoder
from zmtwist.wire.messages import Bye, Event, Media, Message, MessageType, Response, Subscribe

COMMAND = [sys.executable, "-m", "zmtwist.sim.main"]
DEADLINE = 60.0

T = TypeVar("T")


def node(kind: str, *children: dict[str, Any], **cfg: Any) -> dict[str, Any]:
    return {"id": kind, "kind": kind, "cfg": cfg, "children": list(children)}


def document(*nodes: dict[str, Any], path: str = "sim:yard", **cfg: Any) -> dict[str, Any]:
    return {"name": "monitor_3", "root": True, "plugins": [node("capture_file", *nodes, path=path, **cfg)]}


class Client:
    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.decoder = FrameDecoder()
        self.raw = bytearray()
        self.messages: list[Message] = []
        self.looked_at = 0

    def _read(self, seconds: float) -> bool:
        self.connection.settimeout(max(seconds, 0.001))
        data = self.connection.recv(1 << 16)
        self.raw += data
        self.messages += self.decoder.feed(data)
        return bool(data)

    def until(self, wanted: Callable[[Message], bool], what: str = "", seconds: float = DEADLINE) -> Any:
        """The next message that is `wanted`; each message is looked at once."""
        end = time.monotonic() + seconds
        while True:
            while self.looked_at < len(self.messages):
                message = self.messages[self.looked_at]
                self.looked_at += 1
                if wanted(message):
                    return message
            try:
                assert self._read(end - time.monotonic()), f"end of file instead of {what}: {self.messages[-3:]}"
            except TimeoutError:
                raise AssertionError(f"not within {seconds} s: {what}") from None

    def next(self, kind: type[T], seconds: float = DEADLINE) -> T:
        found: T = self.until(lambda message: isinstance(message, kind), kind.__name__, seconds)
        return found

    def event(self, code: int, kind: str | None = None) -> Any:
        return self.until(
            lambda message: (
                isinstance(message, Event)
                and message.code == code
                and (kind is None or message.detail.__struct_config__.tag == kind)
            ),
            f"event {code:#06x} {kind or ''}",
        )

    def to_the_end(self, seconds: float = DEADLINE) -> list[Message]:
        """Everything that has not been looked at, to the end of file."""
        end = time.monotonic() + seconds
        while self._read(end - time.monotonic()):
            pass
        return self.messages[self.looked_at :]

    def subscribe(self, *, video: bool, events: bool) -> None:
        self.connection.sendall(encode_subscribe(Subscribe(video=video, audio=False, events=events)))

    def assign(self, token: str, event_id: int, directory: Path, name: str, request_id: int = 1) -> None:
        fields = {"clip_token": token, "event_id": event_id, "dir": str(directory), "video_name": name}
        self.connection.sendall(encode_command("assign_recording", request_id, fields))

    def send_json(self, kind: MessageType, value: Any) -> None:
        payload = json.dumps(value).encode()
        self.connection.sendall(HEADER.pack(20 + len(payload), 1, kind, 2, 0, 0, 0, 0) + payload)

    def answered(self) -> Response:
        return self.next(Response)


class Sim:
    """A process with its own folder, socket and log."""

    def __init__(
        self,
        folder: Path,
        pipeline: dict[str, Any] | bytes,
        tuning: str = "",
        *,
        awaits: bool = True,
        monitor_id: int = 3,
        socket_path: Path | None = None,
    ) -> None:
        self.folder = folder
        number = len(list(folder.glob("log-*")))
        self.path = socket_path or folder / f"stream-{number}.sock"
        self.log_path = folder / f"log-{number}"
        if awaits:  # else what it says first may be over before anybody is connected
            tuning = f"{tuning},awaited"
        data = pipeline if isinstance(pipeline, bytes) else json.dumps(pipeline).encode()
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "--pipeline", "/dev/stdin", "--socket", str(self.path), "--monitor-id", str(monitor_id)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "ZM_CORE_SIM": tuning},
            )
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.close()
        self.clients: list[socket.socket] = []

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def connect(self) -> Client:
        """A client, connected as soon as the socket is there."""

        def attempt() -> socket.socket | None:
            assert self.process.poll() is None, self.log
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self.path))
            except OSError:
                connection.close()
                return None
            return connection

        connection = wait_for(attempt, "a connection")
        self.clients.append(connection)
        return Client(connection)

    def connected(self) -> int:
        """How many clients it has: its sockets but for the listening one, and the pair that signals come by."""
        count = -3
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                count += str(link.readlink()).startswith("socket:")
        return count

    def wait_log(self, text: str) -> str:
        return wait_for(lambda: self.log if text in self.log else "", f"{text!r} in the log")

    def terminate(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def ended(self, seconds: float = DEADLINE) -> int:
        return self.process.wait(seconds)

    def clean_up(self) -> None:
        self.process.kill()
        self.process.wait()
        for connection in self.clients:
            connection.close()


def frames_of(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, stream and payload of each framed message, without the package's decoder."""
    at = 0
    while at + HEADER.size <= len(data):
        length, _, kind, stream, *_ = HEADER.unpack_from(data, at)
        yield kind, stream, data[at + HEADER.size : at + 4 + length]
        at += 4 + length


def tlvs_of(payload: bytes) -> Iterator[tuple[int, bytes]]:
    header = Struct("<BH")
    at = 0
    while at < len(payload):
        tag, size = header.unpack_from(payload, at)
        yield tag, payload[at + 3 : at + 3 + size]
        at += 3 + size


def is_media(message: Message) -> bool:
    return isinstance(message, Media)


def is_bye(message: Message) -> bool:
    return isinstance(message, Bye)
