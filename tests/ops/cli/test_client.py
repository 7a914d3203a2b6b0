"""The end of a service, as the command line waits for it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from zmtwist.config.endpoints import Address, client_address
from zmtwist.ops.cli.client import Client, Ending, Unreachable

LISTEN = """
import socket, sys, time
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
listening.listen()
print(flush=True)
sys.stdin.read()
listening.close()
time.sleep(0.5)
"""


def test_it_is_over_when_the_process_has_ended(tmp_path: Path) -> None:
    """Not when it listens no more, half a second before."""
    path = str(tmp_path / "api.sock")
    with subprocess.Popen(
        [sys.executable, "-c", LISTEN, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        with Client(Address(path=path)).ending() as ending:
            assert ending.pid == process.pid
            assert not ending.wait(0.1)
            process.stdin.close()
            assert ending.wait(20)
            assert process.poll() == 0


def test_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="is the service running"):
        Client(Address(path=str(tmp_path / "api.sock"))).ending()


class Told(BaseHTTPRequestHandler):
    """A service that tells when it was started, or a proxy before one that has ended (None)."""

    started: str | None = "2026-11-28T07:00:00Z"
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        body = json.dumps({"started": self.started}).encode() if self.started else b"<h1>Bad Gateway"
        self.send_response(200 if self.started else 502)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("then", [None, "2026-11-28T07:00:09Z"], ids=["none", "the next"])
def test_over_tcp_it_is_over_when_another_or_none_answers(monkeypatch: pytest.MonkeyPatch, then: str | None) -> None:
    with HTTPServer(("127.0.0.1", 0), Told) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = Client(client_address(f"http://127.0.0.1:{server.server_port}/zmnext/"))
        with client.ending() as ending:
            assert (ending.pid, ending.wait(0.2)) == (None, False)
            monkeypatch.setattr(Told, "started", then)
            assert ending.wait(20)
        server.shutdown()
    with client.ending() as ending:
        assert not ending.wait(0)  # nobody was there to begin with
    assert set(Told.asked) == {"/zmnext/api/status"}


def test_a_process_out_of_our_sight_is_over_when_its_run_is() -> None:
    runs = iter(["one", "one", "one", None])
    with Ending(lambda: next(runs), 0) as ending:
        assert ending.wait(20)
    assert next(runs, "none left") == "none left"
