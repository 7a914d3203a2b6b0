"""Clients that attack the API over real sockets: absurd numbers, connections that drip, floods. No camera is hostile here."""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.attack.target import Target
from tests.ops.served import free_port

SLOW = 320
LEGITIMATE = 40
NINES = "9" * 4301
"""One digit more than Python makes a number of."""

DRIP = b"GET /api/status HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: " + b"x" * 4000
BODY = b"POST /api/reconcile HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 16000\r\n\r\n" + b"x" * 4000
PAGE = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


class Api:
    """The API of a target over TCP. `source` is the address that a client has."""

    def __init__(self, target: Target, port: int) -> None:
        self.target, self.port = target, port
        self.directory: Path = target.zm.directory

    @property
    def socket_path(self) -> str:
        return str(self.directory / "run" / "api.sock")

    @property
    def token(self) -> str:
        return (self.directory / "state" / "api.token").read_text().strip()

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        """A connection; by the UNIX socket, where the source is one."""
        if source == "unix":
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(20)
            client.connect(self.socket_path)
            return client
        return socket.create_connection(("127.0.0.1", self.port), timeout=20, source_address=(source, 0))

    def ask(self, path: str, *, source: str = "127.0.0.1", headers: str = "", method: str = "GET") -> tuple[int, bytes]:
        """Status and the rest of an answer; 0 where there is none."""
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self.token}\r\nConnection: close\r\n{headers}\r\n"
        try:
            with self.connect(source) as client:
                client.sendall(head.encode())
                answer = b"".join(iter(lambda: client.recv(65536), b""))
        except OSError:
            return 0, b""
        status, _, rest = answer.partition(b"\r\n")
        return (int(status.split()[1]) if status else 0), rest

    def many(self, path: str, count: int = LEGITIMATE, source: str = "127.0.0.1") -> list[int]:
        """The statuses of so many legitimate requests, eight at a time."""
        with ThreadPoolExecutor(8) as pool:
            return [status for status, _ in pool.map(lambda _: self.ask(path, source=source), range(count))]


@contextlib.contextmanager
def dripping(connect: Callable[[], socket.socket], count: int, data: bytes) -> Iterator[Callable[[], int]]:
    """So many connections that send a byte of `data` now and then, and are opened anew when they are cut; how often that was."""
    over, cut = threading.Event(), [0]

    def drip() -> None:
        clients: dict[socket.socket, int] = {}
        while not over.is_set():
            while len(clients) < count:
                try:
                    client = connect()
                except OSError:
                    break
                client.setblocking(False)
                clients[client] = 0
            for client, sent in list(clients.items()):
                try:
                    clients[client] = sent + client.send(data[sent : sent + 1])
                    if client.recv(65536) == b"":
                        raise ConnectionResetError
                except BlockingIOError:
                    continue
                except OSError:
                    cut[0] += 1
                    client.close()
                    del clients[client]
            over.wait(0.2)
        for client in clients:
            client.close()

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield lambda: cut[0]
    finally:
        over.set()
        thread.join()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    port = free_port()
    target = Target(tmp_path, extra=f'[api]\nweb = "tcp:{port}"')
    target.until(target.status, "the API answers")
    target.calm()
    yield Api(target, port)
    target.remove()


@pytest.mark.parametrize(
    ("sources", "data"),
    [
        (["127.0.0.1"], DRIP),
        (["127.0.0.1"], BODY),
        (["127.0.0.1"], b"\r\n" * 4000),
        (["127.0.0.2", "127.0.0.3", "127.0.0.4"], DRIP),
        (["unix", "127.0.0.1"], DRIP),
    ],
    ids=["headers", "bodies", "nothing", "from-several-addresses", "at-both-doors"],
)
def test_slow_connections_keep_nobody_out(api: Api, sources: list[str], data: bytes) -> None:
    with contextlib.ExitStack() as stack:
        for source in sources:
            stack.enter_context(dripping(lambda source=source: api.connect(source), SLOW, data))
        api.target.until(lambda: open_connections(api) >= SLOW, "the slow ones are there")
        for _ in range(3):
            for source in ("127.0.0.1", "127.0.0.9", "unix"):
                assert api.many("/api/status", source=source) == LEGITIMATE * [200]
        listed = subprocess.run(
            [Path(sys.executable).with_name("zmnextctl"), "--api", api.socket_path, "--json", "monitors"],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert len(json.loads(listed.stdout)["monitors"]) == 4
        print(api.target.hold())
    assert api.target.process.poll() is None


def open_connections(api: Api) -> int:
    """File descriptors of the service."""
    return len(list(Path(f"/proc/{api.target.process.pid}/fd").iterdir()))


def test_a_flood_of_connections_and_of_requests_without_the_token(api: Api) -> None:
    over = threading.Event()

    def flood(number: int) -> None:
        request = PAGE * 50 if number % 2 else b"GET /api/status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 50
        while not over.is_set():
            with contextlib.suppress(OSError), api.connect(f"127.0.0.{2 + number}") as client:
                client.sendall(request)
                client.recv(65536)

    threads = [threading.Thread(target=flood, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    try:
        assert api.many("/api/status") == LEGITIMATE * [200]
        assert api.many("/api/monitors", source="unix") == LEGITIMATE * [200]
        print(api.target.hold())
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_numbers_of_thousands_of_digits(api: Api) -> None:
    well = api.connect("unix")
    well.sendall(b"GET /api/stream HTTP/1.1\r\nHost: x\r\n\r\n")
    heard = well.recv(65536)
    while b"id: " not in heard:
        heard += well.recv(65536)
    run = heard.split(b"id: ")[1].split(b"-")[0].decode()
    for _ in range(20):
        assert api.ask(f"/api/stream?after={run}-{NINES}")[0] == 400
        assert api.ask("/api/stream", headers=f"Last-Event-ID: {run}-{NINES}\r\n")[0] == 400
        assert api.ask(f"/api/events?limit={NINES}")[0] == 400
        assert api.ask(f"/api/events?since={NINES}")[0] == 400
        assert api.ask(f"/api/monitors/{NINES}")[0] == 404
        assert api.ask(f"/api/events/{NINES}/clip")[0] == 404
        assert api.ask("/api/reconcile", method="POST", headers=f"Content-Length: {NINES}\r\n")[0] == 400
    # The others' stream goes on.
    begun, at = len(heard), time.monotonic()
    while heard.count(b"event: ", begun) < 5:
        assert time.monotonic() < at + 30
        heard += well.recv(65536)
    well.close()
    print(api.target.hold())
    assert "Traceback" not in api.target.log.read_text()


def test_streams_that_nobody_reads(api: Api) -> None:
    """As many as one token gets: they take neither memory without bound, nor what is kept for the UNIX socket."""
    request = f"GET /api/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.token}\r\n\r\n".replace(
        "x", "127.0.0.1", 1
    )
    clients = []
    selector = selectors.DefaultSelector()
    try:
        for number in range(400):
            client = api.connect(f"127.0.0.{2 + number // 150}")
            client.sendall(request.encode())
            clients.append(client)
            selector.register(client, selectors.EVENT_READ)
        first = [client.recv(15) for client in clients]
        assert set(first) == {b"HTTP/1.1 200 OK", b"HTTP/1.1 503 Se"}
        assert first.count(b"HTTP/1.1 200 OK") == 288
        with api.connect("unix") as local:
            local.sendall(b"GET /api/stream HTTP/1.1\r\nHost: x\r\n\r\n")
            assert local.recv(15) == b"HTTP/1.1 200 OK"
        assert api.many("/api/status") == LEGITIMATE * [200]
        print(api.target.hold())
    finally:
        for client in clients:
            client.close()
