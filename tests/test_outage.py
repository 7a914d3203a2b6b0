"""The database goes away under load, and the service is killed in the middle of it: nothing heard is lost, and nothing doubled."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.mariadb import Server
from tests.service_case import SIMULATOR
from tests.zm.site import TABLES
from zmtwist.changes import AddFrame, Change, ClipSaved, OpenEvent

ROOT = Path(__file__).parent.parent
DATABASE = "zm138"
MONITORS = (1, 2, 3)
MOMENT = 1.5
"""Seconds within which the spool has what was heard: it is written every half second, and the machine may be busy."""

TUNING = "light,fps=15,gop=0.2,first=0.3,present=1.2,period=2.8,detect_rate=15"


class Host:
    """A ZoneMinder on MariaDB with three simulated cameras, and the services that were started for it."""

    def __init__(self, directory: Path, server: Server) -> None:
        self.directory = directory
        self.server = server
        self.storage = directory / "events"
        self.journal_path = directory / "journal"
        self.processes: list[subprocess.Popen[bytes]] = []
        for path in (self.storage, directory / "run"):
            path.mkdir()
        with server.connect(DATABASE) as connection, connection.cursor() as cursor:
            cursor.execute("SET FOREIGN_KEY_CHECKS = 0")
            for table in TABLES.split():
                cursor.execute(f"DELETE FROM {table}")
            cursor.execute(
                "INSERT INTO Storage (Id, Path, Name, Scheme) VALUES (3, %s, 'main', 'Medium')", (str(self.storage),)
            )
            for number in MONITORS:
                cursor.execute(
                    "INSERT INTO Monitors (Id, Name, Type, Path, Width, Height, StorageId, `Function`, SectionLength) "
                    "VALUES (%s, 'm', 'File', 'sim:yard', 320, 240, 3, %s, 2)",
                    (number, "Record" if number == 1 else "Modect"),
                )

    def start(self, monitors: str) -> subprocess.Popen[bytes]:
        config = self.directory / "zmnext.toml"
        config.write_text(f"""
            [zmnext]
            enabled = true
            monitors = {monitors}
            [zmnext.worker]
            binary = "{SIMULATOR}"
            environment = {{ZM_CORE_SIM = "{TUNING}"}}
            [zmnext.pipeline]
            pre_roll_sec = 1
            post_roll_sec = 1
            max_buffer_sec = 3
            [database]
            url = "{self.server.url(DATABASE)}"
            [paths]
            socks = "{self.directory}/run"
            run = "{self.directory}/run"
            state = "{self.directory}/state"
            [legacy]
            control = "none"
        """)
        with (self.directory / "log").open("ab") as log:
            command = [sys.executable, "-m", "tests.outage_service", str(config), str(self.journal_path)]
            self.processes.append(subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT))
        return self.processes[-1]

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    @property
    def journal(self) -> list[tuple[float, int, Change]]:
        decode = msgspec.json.Decoder(tuple[float, int, Change]).decode
        lines = self.journal_path.read_bytes().splitlines() if self.journal_path.exists() else []
        return [decode(line) for line in lines]

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.processes[-1].poll() is None, self.log[-3000:]
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}\n{self.log[-3000:]}"
            time.sleep(0.05)

    def heard(self, kind: type, count: int) -> None:
        """Wait until that many more changes of a kind were decided on."""
        before = sum(isinstance(change, kind) for _, _, change in self.journal)
        self.until(
            lambda: sum(isinstance(c, kind) for _, _, c in self.journal) >= before + count, f"{count} {kind.__name__}"
        )

    def status(self) -> str:
        """What the operator is told."""
        command = [SIMULATOR.with_name("zmnextctl"), "--api", f"unix:{self.directory}/run/api.sock", "status"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout

    def end_workers(self) -> None:
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    argv = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if os.fsencode(self.directory / "run") in argv and b"--socket" in argv:
                    os.kill(int(entry.name), signal.SIGKILL)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with self.server.connect(DATABASE) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def check(self, until: float = float("inf")) -> None:
        """Everything decided on before `until` is in the database, and nothing is there twice."""
        must: dict[str, Counter[str]] = defaultdict(Counter)
        may: dict[str, Counter[str]] = defaultdict(Counter)
        openings: dict[tuple[int, datetime], str] = {}
        for at, monitor_id, change in self.journal:
            if isinstance(change, OpenEvent):
                key = monitor_id, datetime.fromtimestamp(change.start_us // 1_000_000)
                assert openings.setdefault(key, change.handle) == change.handle, "two clips in one second"
            kind = "Alarm" if isinstance(change, AddFrame) and change.kind == "Alarm" else type(change).__name__
            may[change.handle][kind] += 1
            if at < until:
                must[change.handle][kind] += 1
        events = self.rows("SELECT Id, MonitorId, StartDateTime, EndDateTime, DefaultVideo FROM Events")
        alarms = dict(self.rows("SELECT EventId, COUNT(*) FROM Frames WHERE Type = 'Alarm' GROUP BY EventId"))
        assert self.rows("SELECT EventId, FrameId FROM Frames GROUP BY EventId, FrameId HAVING COUNT(*) > 1") == []
        seen = Counter((row[1], row[2]) for row in events)
        assert [key for key, count in seen.items() if count > 1] == []
        assert set(seen) <= set(openings), "events that nobody opened"
        for event_id, monitor_id, start, end, video in events:
            handle = openings.pop((monitor_id, start))
            assert must[handle]["Alarm"] <= alarms.get(event_id, 0) <= may[handle]["Alarm"]
            if must[handle]["ClipSaved"]:
                assert end is not None
                clip = self.storage / str(monitor_id) / f"{start:%Y-%m-%d}" / str(event_id) / video
                assert clip.stat().st_size > 0
        assert [handle for handle in openings.values() if must[handle]["OpenEvent"]] == [], "events that were lost"


@pytest.fixture
def host(mariadb: Server) -> Iterator[Host]:
    directory = Path(tempfile.mkdtemp(prefix="zmt-"))  # Storage.Path has room for 64 characters
    made = Host(directory, mariadb)
    yield made
    for process in made.processes:
        process.kill()
        process.wait()
    made.end_workers()
    shutil.rmtree(directory)


def hang(server: Server) -> Callable[[], None]:
    server.signal(signal.SIGSTOP)
    return lambda: server.signal(signal.SIGCONT)


def crash(server: Server) -> Callable[[], None]:
    server.stop(signal.SIGKILL)
    return server.start


@pytest.mark.parametrize("go", [hang, crash])
def test_an_outage_under_load_loses_nothing(host: Host, go: Callable[[Server], Callable[[], None]]) -> None:
    service = host.start('"all"')
    host.heard(ClipSaved, 3)
    back = go(host.server)
    try:
        host.until(lambda: "goes to the spool" in host.log, "the spool")
        host.heard(OpenEvent, 4)
        assert re.search(r"spool +\d+ changes on disk, \d+ KiB, 0 gave way: ok", host.status())
    finally:
        back()
    host.until(lambda: "the spool is empty" in host.log, "the backlog gone")
    host.heard(OpenEvent, 2)
    service.terminate()
    assert service.wait(40) == 0
    assert "the database refused a" not in host.log
    assert sum(isinstance(change, AddFrame) for _, _, change in host.journal) > 60
    host.check()
    assert host.rows("SELECT Id FROM Events WHERE EndDateTime IS NULL") == []
    assert list(host.storage.glob("2*/*.mkv")) == []


def test_a_kill_in_an_outage_loses_nothing(host: Host) -> None:
    service = host.start('"all"')
    host.heard(ClipSaved, 2)
    back = hang(host.server)  # what it was about to commit may be committed yet, long after we are dead
    try:
        host.until(lambda: "goes to the spool" in host.log, "the spool")
        host.heard(ClipSaved, 3)
        killed = time.time()
        service.kill()
        service.wait()
        host.end_workers()
    finally:
        back()
    service = host.start("[]")
    host.until(lambda: "the spool is empty" in host.log, "the backlog gone")
    service.terminate()
    assert service.wait(40) == 0
    host.check(until=killed - MOMENT)
    assert sum(at < killed - MOMENT and isinstance(c, ClipSaved) for at, _, c in host.journal) > 2
