"""The API's client for the command line: plain and synchronous, over a UNIX socket or TCP."""

from __future__ import annotations

import http.client
import json
import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any

import attrs

from zmtwist.config.endpoints import Address
from zmtwist.ops.http.auth import peer
from zmtwist.ops.http.token_file import BadToken, read_token

ANSWER_SECONDS = 30.0
ORDER_SECONDS = 90.0
"""An order may read the database, which may take its time."""

STREAM_TIMEOUT = 60.0
"""A stream says something at least every 15 s."""


LOOK_SECONDS = 0.1
"""Between two looks whether a service still answers."""


class Unreachable(Exception):
    """Nobody answers there; the text says what to look at."""


@attrs.frozen
class RequestRefused(Exception):
    """The service answered with an error."""

    status: int
    code: str
    message: str

    def __str__(self) -> str:
        return self.message


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket at the path."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Ending:
    """The end of a process: of `pid` where the kernel tells of it, else of the `run` that the service itself tells."""

    def __init__(self, run: Callable[[], object], pid: int | None = None) -> None:
        self.pid = pid
        self._run = run
        self._fd = -1
        # Before anything is asked of it: afterwards the number may be another's. 0 is a process out of our sight.
        with suppress(OSError):
            self._fd = os.pidfd_open(pid) if pid else -1
        self._first = run() if self._fd < 0 else None

    def wait(self, seconds: float) -> bool:
        """Whether it came within so many seconds."""
        if self._fd >= 0:
            ended = select.poll()  # which takes descriptors above 1,023 as well
            ended.register(self._fd, select.POLLIN)
            return bool(ended.poll(1000 * seconds))
        deadline = time.monotonic() + seconds
        while self._run() == self._first:
            if time.monotonic() >= deadline:
                return False
            time.sleep(LOOK_SECONDS)
        return True

    def __enter__(self) -> Ending:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._fd >= 0:
            os.close(self._fd)


@attrs.frozen
class Client:
    """Asks one service. `token_file` is needed over TCP."""

    address: Address
    token_file: str | None = None

    def get(self, path: str) -> Any:
        """The JSON that is at `path`. Raises Unreachable or Refused."""
        return self._ask("GET", path, ANSWER_SECONDS)

    def post(self, path: str, seconds: float | None = None) -> Any:
        """The JSON answer to an order, which may take so long. Raises as `get`."""
        return self._ask("POST", path, ORDER_SECONDS if seconds is None else seconds)

    def stream(self, path: str) -> Iterator[tuple[str, Any]]:
        """Name and JSON of each entry of an event stream, until it ends. Raises as `get`."""
        connection, answer = self._send("GET", path, STREAM_TIMEOUT)
        try:
            name, data = "", ""
            for raw in answer:
                line = raw.decode().rstrip("\r\n")
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    data = value
                elif not line and name:
                    yield name, json.loads(data)
                    name, data = "", ""
        except (OSError, http.client.HTTPException):
            raise Unreachable(f"the service at {self.address} has gone away") from None
        finally:
            connection.close()

    def ending(self) -> Ending:
        """The end of the process that answers now, to be waited for. Raises as `get`."""
        if self.address.path is None:
            return Ending(self._run)
        connection = self._connection(ANSWER_SECONDS)
        try:
            connection.connect()
            there = peer(connection.sock)
        except OSError as error:
            raise self._unreachable(error) from None
        finally:
            connection.close()
        return Ending(self._run, there.pid if there is not None else None)

    def _run(self) -> object:
        """When the service that answers was started; None where none does, as when only a proxy is there."""
        try:
            return self.get("/api/status")["started"]
        except (Unreachable, RequestRefused, KeyError, TypeError):
            return None

    def _ask(self, method: str, path: str, seconds: float) -> Any:
        connection, answer = self._send(method, path, seconds)
        try:
            return json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unreachable(f"the answer from {self.address} makes no sense: {_text(error)}") from None
        finally:
            connection.close()

    def _send(
        self, method: str, path: str, timeout: float
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = self._connection(timeout)
        try:
            connection.request(method, f"{self.address.base}{path}", headers=self._headers())
            answer = connection.getresponse()
            if answer.status >= 400:
                raise _refusal(answer)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._unreachable(error) from None
        except RequestRefused:
            connection.close()
            raise
        return connection, answer

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        address = self.address
        if address.path is not None:
            return _UnixConnection(address.path, timeout)
        kind = http.client.HTTPSConnection if address.tls else http.client.HTTPConnection
        return kind(address.host, address.port, timeout=timeout)

    def _headers(self) -> dict[str, str]:
        if self.address.path is not None or self.token_file is None:
            return {}
        try:
            return {"Authorization": f"Bearer {read_token(self.token_file)}"}
        except BadToken as error:
            raise RequestRefused(401, "no_token", str(error)) from None

    def _unreachable(self, error: Exception) -> Unreachable:
        return Unreachable(f"no service answers at {self.address}: {self._hint(error)}")

    def _hint(self, error: Exception) -> str:
        if isinstance(error, PermissionError):
            return "permission denied: run this as root, or as a member of the socket's group"
        if isinstance(error, FileNotFoundError):
            return "there is no such socket: is the service running? --config FILE or --api ENDPOINT say where"
        if isinstance(error, ConnectionRefusedError):
            return "connection refused: is the service running?"
        return _text(error)


def _refusal(answer: http.client.HTTPResponse) -> RequestRefused:
    try:
        told = json.loads(answer.read(65536))["error"]
        return RequestRefused(answer.status, str(told["code"]), str(told["message"]))
    except (ValueError, KeyError, TypeError):
        return RequestRefused(answer.status, "no_api", f"what answers there is no zmtwist (status {answer.status})")


def _text(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
