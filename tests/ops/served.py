"""The API alone, with nothing behind it, and plain clients for it (in threads, as the reactor serves in this one)."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.waiting import until
from zmtwist.config.settings import settle
from zmtwist.config.toml import parse
from zmtwist.fleet.process.state import State, Transition
from zmtwist.ops.api.service import ApiService
from zmtwist.untrusted.budget import Budgets


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=20)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(self.path)


@attrs.frozen
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return self.json["error"]["code"]


def ask(
    where: str | tuple[str, int], path: str, method: str = "GET", body: Any = None, **headers: str
) -> Deferred[Answer]:
    """One request, by the path of a UNIX socket or to a TCP address."""

    def run() -> Answer:
        connection = UnixConnection(where) if isinstance(where, str) else http.client.HTTPConnection(*where, timeout=20)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    return deferToThread(run)


def free_port() -> int:
    """A port that nobody has now, nor gets for a connection of its own: the kernel gives those from 32768 on."""
    while True:
        port = random.randrange(20_000, 32_768)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("", port))
            return port


def transition(number: int, monitor_id: int = 1, reason: str = "because") -> Transition:
    return Transition(monitor_id, State.LIVE, State.STALLED, reason, number)


class Nothing:
    """A service that has not got beyond waiting for its database."""

    fleet = None
    ingest = None
    recovery = None
    names: ClassVar[dict[int, str]] = {}
    budgets = Budgets(lambda: 0.0)
    waiting_for = "mysql://zm@db:3306/zm: connection refused (2003)"
    database = SimpleNamespace(url="mysql://zm@db:3306/zm")


@attrs.define
class Served:
    """An `ApiService` on a UNIX socket under a directory, and on TCP where there is a `port`."""

    service: ApiService
    path: str
    port: int | None
    token_file: Path

    @classmethod
    async def on(cls, directory: Path, *, web: bool = False, extra: str = "", running: Any = None) -> Served:
        port = free_port() if web else None
        text = f"""
            [database]
            url = "sqlite:///{directory}/zm.db"
            [paths]
            run = "{directory}"
            state = "{directory}"
            [api]
            {f'web = "tcp:{port}:interface=127.0.0.1"' if web else ""}
            {extra}
        """
        settings = settle(parse(text), {})
        service = ApiService(reactor, settings, running or Nothing(), wall=lambda: 1_700_000_000_000_000)
        service.startService()
        await until(lambda: service._listening.called)
        return cls(service, f"{directory}/api.sock", port, directory / "api.token")

    @property
    def tcp(self) -> tuple[str, int]:
        assert self.port is not None
        return "127.0.0.1", self.port

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token_file.read_text().strip()}"}
