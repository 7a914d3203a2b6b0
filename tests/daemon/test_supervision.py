"""What a service manager hears of `twistd zmnext`, and what SIGHUP does: a process of its own, on a socket as systemd's."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import pytest_twisted

from tests.service_case import Installation
from tests.waiting import Deadline, until
from zmtwist.daemon.sd_notify import standing

TWISTD = Path(sys.executable).with_name("twistd")
NO_DETECTOR = "[zmnext.pipeline]\ndetect = false"


class Unit:
    """A service under a manager that waits half a second at most for signs of life."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "zmnext.toml"
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(directory / "notify"))
        self._socket.settimeout(0.1)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "NOTIFY_SOCKET": str(self.directory / "notify"), "WATCHDOG_USEC": "500000"}
        with (self.directory / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [str(TWISTD), "-n", "--pidfile=", "zmnext", "--config", str(self.config)],
                cwd=self.directory, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        return self.process

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    def hears(self, what: str, seconds: float = 30.0) -> None:
        """Wait until this was said, and forget all that was said up to then."""
        self.until(lambda: any(what in line for line in self.heard), what, seconds)
        self.heard.clear()

    def until(self, condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
        deadline = Deadline(seconds)
        while not condition():
            assert not deadline.over, f"not within {seconds} s: {what}: {self.heard}\n{self.log[-2000:]}"
            with contextlib.suppress(TimeoutError):
                self.heard += self._socket.recv(4096).decode().split("\n")

    def silent(self, seconds: float) -> None:
        """Nothing is said for so long, but for what was under way."""
        with contextlib.suppress(TimeoutError):
            while True:
                self._socket.recv(4096)
        self._socket.settimeout(seconds)
        with pytest.raises(TimeoutError):
            self._socket.recv(4096)
        self._socket.settimeout(0.1)

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self._socket.close()


@pytest.fixture
def unit(tmp_path: Path) -> Iterator[Unit]:
    unit = Unit(tmp_path)
    yield unit
    unit.end()


def test_a_life_under_a_manager(unit: Unit) -> None:
    zm = Installation.make(unit.directory)
    for number in (1, 2):
        zm.monitor(number, "Record", SectionLength=600)
    unit.config.write_text(zm.config(NO_DETECTOR).replace('monitors = "all"', "monitors = [1]"))
    process = unit.start()
    unit.until(lambda: "READY=1" in unit.heard, "READY")
    assert any(line.startswith("STATUS=1 camera: 1 ") for line in unit.heard)
    unit.hears("WATCHDOG=1")

    # A camera more, and keys that have to wait.
    unit.config.write_text(unit.config.read_text().replace("[1]", "[1, 2]").replace("= 0.2", "= 0.3"))
    process.send_signal(signal.SIGHUP)
    unit.hears("RELOADING=1")
    unit.until(lambda: "READY=1" in unit.heard, "READY")
    assert any(line.startswith("STATUS=2 cameras: ") for line in unit.heard)
    assert "waits for the next start: zmnext.worker.min_backoff_seconds" in unit.log

    # A file that makes no sense changes nothing, but the database is looked at.
    unit.config.write_text("[zmnext]\nenabld = true\n")
    zm.execute("DELETE FROM Monitors WHERE Id = 2")
    process.send_signal(signal.SIGHUP)
    unit.hears("RELOADING=1")
    unit.hears("READY=1")
    unit.until(lambda: "no monitor of this server any more" in unit.log, "its worker is ended")
    assert "the configuration is not taken, the old one stays: " in unit.log
    assert 'did you mean "enabled"?' in unit.log

    # The reactor stands still: no signs of life.
    process.send_signal(signal.SIGSTOP)
    unit.until(lambda: process_state(process.pid) == "T", "it stands still")
    unit.silent(0.6)
    process.send_signal(signal.SIGCONT)

    process.send_signal(signal.SIGTERM)
    unit.hears("STOPPING=1")
    assert process.wait(30) == -signal.SIGTERM
    assert "Traceback" not in unit.log
    assert all(event["EndDateTime"] for event in zm.events())


def process_state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


@pytest_twisted.ensureDeferred
async def test_one_that_waits_for_its_database_is_up_and_says_so(tmp_path: Path) -> None:
    zm = Installation.make(tmp_path)
    url = "mysql://u:hushhush@localhost/zm?unix_socket=/nonexistent"
    service = zm.service_of(zm.config().replace(f"sqlite:///{tmp_path}/zm.db", url))
    assert not standing(service).ready
    service.startService()
    try:
        await until(lambda: standing(service).ready)
        assert standing(service).text.startswith("waiting for the database: ")
        assert "hushhush" not in standing(service).text
        await service.reload(None)
    finally:
        await service.stopService()
