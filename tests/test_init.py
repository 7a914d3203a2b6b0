"""The init script as an administrator meets it: each verb and its exit status, with the real service."""

from __future__ import annotations

import getpass
import grp
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.service_case import Installation
from tests.waiting import wait_for

SCRIPT = Path(__file__).parent.parent / "etc" / "init.d" / "zmnext"
GUIDE = SCRIPT.parents[2] / "doc/guide/service.md"
LOGROTATE = SCRIPT.parent.parent / "logrotate.d" / "zmnext"
AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]

pytestmark = pytest.mark.skipif(
    shutil.which(AS_ROOT[0] if AS_ROOT else "true") is None
    or subprocess.run([*AS_ROOT, "true"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode != 0,
    reason="an init script is root's: run these as root, or as somebody whose sudo asks for no password",
)


@attrs.define
class Host:
    """An installation with one camera, and the script with its defaults file."""

    zm: Installation

    @property
    def directory(self) -> Path:
        return self.zm.directory

    @property
    def config(self) -> Path:
        return self.directory / "zmnext.toml"

    @property
    def pid_file(self) -> Path:
        return self.directory / "zmnext.pid"

    @property
    def log(self) -> str:
        return (self.directory / "log" / "zmnext.log").read_text()

    def defaults(self, **changed: object) -> None:
        """Write the defaults file."""
        settings = {
            "VENV": Path(sys.executable).parent.parent,
            "CONFIG": self.config,
            "ZM_CONF": self.directory / "zm.conf",
            "RUN_AS": getpass.getuser(),
            "RUN_GROUP": grp.getgrgid(os.getgid()).gr_name,
            "LOG_FILE": self.directory / "log" / "zmnext.log",
            "PID_FILE": self.pid_file,
            "RUN_DIR": self.directory / "run",
            "STATE_DIR": self.directory / "state",
            **changed,
        }
        (self.directory / "default").write_text("".join(f"{name}='{value}'\n" for name, value in settings.items()))

    def run(self, *arguments: str, user: list[str] | None = None) -> tuple[int, str]:
        """The script's exit status and what it said."""
        command = [*(AS_ROOT if user is None else user), "env", f"ZMNEXT_DEFAULTS={self.directory / 'default'}"]
        done = subprocess.run(
            [*command, str(SCRIPT), *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
        )  # fmt: skip
        return done.returncode, done.stdout

    def root(self, *command: str) -> None:
        subprocess.run([*AS_ROOT, *command], check=True)

    def workers(self) -> set[int]:
        """The processes of this installation that look like workers."""
        found = set()
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    argv = (entry / "cmdline").read_bytes()
                    zombie = (entry / "stat").read_bytes().rpartition(b") ")[2].startswith(b"Z")
                except OSError:
                    continue
                if f"{self.directory}/run/stream_".encode() in argv and not zombie:
                    found.add(int(entry.name))
        return found


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(Installation.make(tmp_path))
    host.zm.monitor(1, "Record", SectionLength=600)
    host.zm.monitor(2, "Record", SectionLength=600)
    host.config.write_text(
        host.zm.config("[zmnext.pipeline]\ndetect = false").replace('monitors = "all"', "monitors = [1]")
    )
    host.defaults()
    (tmp_path / "log").mkdir()
    yield host
    if host.pid_file.exists():
        subprocess.run([*AS_ROOT, "kill", "-KILL", host.pid_file.read_text().strip()], check=False)
    for pid in host.workers():
        subprocess.run([*AS_ROOT, "kill", "-KILL", str(pid)], check=False)


def test_a_whole_life(host: Host) -> None:
    assert host.run("status")[0] == 3
    assert host.run("stop")[0] == 0
    assert host.run("reload")[0] == 7

    status, said = host.run("start")
    assert status == 0, said + host.log
    (first,) = wait_for(host.workers, "a worker")
    pid = int(host.pid_file.read_text())
    assert host.run("status") == (0, f"zmnext is running (process {pid}).\n")
    assert host.run("start")[0] == 0
    assert int(host.pid_file.read_text()) == pid
    assert (host.directory / "log" / "zmnext.log").stat().st_mode & 0o777 == 0o640

    # The log is emptied beneath the service, which writes on from its beginning.
    rotation = host.directory / "logrotate"
    rotation.write_text(LOGROTATE.read_text().replace("/var/log/zmnext/", f"{host.directory}/log/"))
    host.root("/usr/sbin/logrotate", "--force", "--state", str(host.directory / "rotated"), str(rotation))
    assert "starting up" in (host.directory / "log" / "zmnext.log.1").read_text()
    assert "starting up" not in host.log

    # Reload: what was opted in meanwhile starts, the rest goes on.
    host.config.write_text(host.config.read_text().replace("monitors = [1]", "monitors = [1, 2]"))
    assert host.run("force-reload")[0] == 0
    wait_for(lambda: len(host.workers()) == 2, "two workers")
    assert first in host.workers()
    assert host.log.startswith("20")
    assert "SIGHUP: reload" in host.log
    good = host.config.read_text()
    host.config.write_text("[zmnext]\nenabld = true\n")
    status, said = host.run("restart")
    assert (status, "did you mean" in said) == (6, True), said
    assert int(host.pid_file.read_text()) == pid
    host.config.write_text(good)

    # Killed, its workers record on, and the next start takes them back.
    before = host.workers()
    host.root("kill", "-KILL", str(pid))
    wait_for(lambda: host.run("status")[0] == 1, "it is dead")
    assert host.workers() == before
    assert host.run("restart")[0] == 0
    wait_for(lambda: host.log.count("adopted as process") == 2, "both are adopted")
    assert host.workers() == before

    assert host.run("stop")[0] == 0
    assert host.workers() == set()
    assert not host.pid_file.exists()
    assert all(event["EndDateTime"] for event in host.zm.events())
    assert host.run("status")[0] == 3


def test_the_documented_restart_leaves_no_gap(host: Host) -> None:
    lines = re.search(r"\n    (zmnextctl handoff)\n    /etc/init.d/zmnext (start)\n", GUIDE.read_text())
    assert lines is not None
    assert host.run("start")[0] == 0
    workers = wait_for(host.workers, "a worker")
    for round_ in (1, 2, 3, 4):
        pid = int(host.pid_file.read_text())
        # Only the first two do it by the book: whoever does not wait for the end of the old one gets a new one as well.
        wish = ["--wait", "0"] if round_ > 2 else []
        words = [
            str(Path(sys.executable).with_name("zmnextctl")),
            *lines[1].split()[1:],
            "--config",
            str(host.config),
            *wish,
        ]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        if not wish:
            assert "has ended" in done.stdout
            assert host.run("status")[0] == 1
        status, said = host.run(lines[2])
        assert status == 0, said + host.log
        assert int(host.pid_file.read_text()) != pid
        assert host.run("status")[0] == 0
        wait_for(lambda round_=round_: host.log.count("adopted as process") == round_, "it is adopted")
        assert host.workers() == workers
    assert host.run("stop")[0] == 0
    assert host.workers() == set()


def test_one_that_does_not_end_is_told(host: Host) -> None:
    """A service that says it is ending, and is not: nothing is started beside it, nor is that called a success."""
    assert host.run("start")[0] == 0
    pid = int(host.pid_file.read_text())
    host.defaults(STOP_SECONDS=1)
    (host.directory / "run" / "zmnext.lock").write_text(f"{pid} ends\n")
    status, said = host.run("start")
    assert (status, f"process {pid}" in said) == (1, True), said
    assert int(host.pid_file.read_text()) == pid
    host.defaults()
    assert host.run("stop")[0] == 0


def test_a_number_that_is_somebody_elses_by_now_is_left_alone(host: Host) -> None:
    with subprocess.Popen(["sleep", "600"]) as other:
        try:
            host.pid_file.write_text(f"{other.pid}\n")
            assert host.run("status")[0] == 1
            assert host.run("stop")[0] == 0
            assert other.poll() is None
        finally:
            other.send_signal(signal.SIGKILL)


def test_what_is_missing_is_told_with_the_status_of_the_standard(host: Host) -> None:
    assert host.run()[0] == 3
    assert host.run("begin")[0] == 3
    assert host.run("start", "now")[0] == 2
    # Somebody who may not even look into this checkout is given the script itself.
    nobody = ["setpriv", "--reuid=65534"] if os.geteuid() == 0 else []
    started = subprocess.run([*nobody, "sh", "-s", "start"], input=SCRIPT.read_text(), text=True, cwd="/", timeout=60)
    assert started.returncode == 4
    host.defaults(VENV="/nonexistent")
    assert host.run("start")[0] == 5
    host.defaults(CONFIG="/nonexistent.toml")
    assert host.run("start")[0] == 6


def test_a_start_that_comes_to_nothing_says_why_at_once(host: Host) -> None:
    host.defaults(START_SECONDS=600, ZM_CONF=host.directory)  # five times what `run` waits
    status, said = host.run("start")
    assert status == 1
    assert "Is a directory" in said
    assert host.run("status")[0] == 3
