"""The end of a service, as the command line waits for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zmtwist.ops.address import Address
from zmtwist.ops.client import Client, Ending, Unreachable

LISTEN = """
import socket, sys, time
listening = socket.socket(socket.AF_UNIX if sys.argv[1] == "unix" else socket.AF_INET)
listening.bind(sys.argv[2] if sys.argv[1] == "unix" else ("127.0.0.1", 0))
listening.listen()
print(0 if sys.argv[1] == "unix" else listening.getsockname()[1], flush=True)
sys.stdin.read()
listening.close()
if sys.argv[1] == "unix":
    time.sleep(0.5)
"""


@pytest.fixture(params=["unix", "tcp"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Client]]:
    """A process that listens until its stdin ends; by UNIX socket it goes on for a while after that."""
    path = str(tmp_path / "api.sock")
    with subprocess.Popen(
        [sys.executable, "-c", LISTEN, request.param, path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield process, Client(Address(path=path) if not port else Address(host="127.0.0.1", port=port))
        process.kill()


def test_it_is_over_when_the_process_has_ended(service: tuple[subprocess.Popen[str], Client]) -> None:
    process, client = service
    with client.ending() as ending:
        assert not ending.wait(0.2)
        assert process.stdin is not None
        process.stdin.close()
        assert ending.wait(20)
        if client.address.path is not None:
            assert ending.pid == process.pid
            assert process.poll() is not None or process.wait(1) == 0


def test_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="is the service running"):
        Client(Address(path=str(tmp_path / "api.sock"))).ending()


def test_a_process_out_of_our_sight_is_over_when_it_answers_no_more() -> None:
    answers = iter([True, True, False])
    with Ending(lambda: next(answers), 0) as ending:
        assert ending.wait(20)
    assert next(answers, None) is None
