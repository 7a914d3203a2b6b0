"""A ZoneMinder on MariaDB with simulated cameras, and services for it that may be killed: for what takes processes and minutes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from tests.mariadb import Server
from tests.service_case import SIMULATOR
from tests.waiting import Deadline
from tests.zm.site import TABLES
from zmtwist.changes import AddFrame, Change, OpenEvent

ROOT = Path(__file__).parents[2]
TWISTD = SIMULATOR.with_name("twistd")
DATABASE = "zm138"
TUNING = "light,fps=15,gop=0.2,first=0.3,present=1.2,period=2.8,detect_rate=15"


class Host:
    """A ZoneMinder on MariaDB with simulated cameras in a directory of its own, and the services that were started for it.

    `noting`: the cameras are of real video and note what they record in `worker_log`, whoever listens to them.
    `server_id` makes it one of many, `beside` another one on the same database.
    """

    def __init__(
        self,
        server: Server,
        *,
        cameras: int = 3,
        tuning: str = TUNING,
        noting: bool = False,
        server_id: int | None = None,
        beside: Host | None = None,
    ) -> None:
        self.directory = directory = Path(tempfile.mkdtemp(prefix="zmt-"))  # Storage.Path has room for 64 characters
        self.server = server
        self.cameras = cameras
        self._log_begins = 0
        self.tuning = tuning
        self.worker_log = directory / "worker-log"
        self.worker = self._noting_worker() if noting else SIMULATOR
        self.storage = directory / "events"
        self.journal_path = directory / "journal"
        self.processes: list[subprocess.Popen[bytes]] = []
        for path in (self.storage, directory / "run"):
            path.mkdir()
        self.zm_conf = directory / "zm.conf"
        self.zm_conf.write_text("" if server_id is None else f"ZM_SERVER_ID={server_id}\n")
        self.storage_id = 3 if beside is None else beside.storage_id + 1
        if beside is None:
            for table in TABLES.split():
                self.execute(f"DELETE FROM {table}")
        self.execute(
            "INSERT INTO Storage (Id, Path, Name, Scheme, ServerId) VALUES (%s, %s, 'main', 'Medium', %s)",
            self.storage_id,
            str(self.storage),
            server_id,
        )
        for number in range(1, cameras + 1):
            self.execute(
                "INSERT INTO Monitors (Id, Name, Type, Path, Width, Height, StorageId, `Function`, SectionLength) "
                "VALUES (%s, 'm', 'File', 'sim:yard', 320, 240, 3, %s, 2)",
                number,
                "Record" if number % 4 == 1 else "Modect",
            )

    def _noting_worker(self) -> Path:
        """A program that is the simulator and its witness: one interpreter, so that it is found again by its command line."""
        program = self.directory / "zm-core-noting"
        program.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
            "from tests.endurance.noting_worker import main\nmain()\n"
        )
        program.chmod(0o755)
        return program

    @property
    def config(self) -> Path:
        return self.directory / "zmnext.toml"

    def configure(self, monitors: str = '"all"') -> None:
        self.config.write_text(f"""
            [zmnext]
            enabled = true
            monitors = {monitors}
            [zmnext.worker]
            binary = "{self.worker}"
            min_backoff_seconds = 0.2
            starts_per_second = 20
            environment = {{ZM_CORE_SIM = "{self.tuning}", SIM_LOG = "{self.worker_log}"}}
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

    def start(self, monitors: str = '"all"') -> subprocess.Popen[bytes]:
        """A service that writes down every change it decides on."""
        self.configure(monitors)
        return self._start(sys.executable, "-m", "tests.outage_service", str(self.config), str(self.journal_path))

    def start_plain(self) -> subprocess.Popen[bytes]:
        """The service as it is installed."""
        self.configure()
        return self._start(
            str(TWISTD), "-n", "--pidfile=", "zmnext", "--config", str(self.config), "--zm-conf", str(self.zm_conf)
        )

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.directory / "log").open("ab") as log:
            self._log_begins = log.tell()
            self.processes.append(subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT))
        return self.processes[-1]

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    @property
    def log_of_last(self) -> str:
        """What the service that was started last has logged."""
        return (self.directory / "log").read_bytes()[self._log_begins :].decode()

    @property
    def journal(self) -> list[tuple[float, int, Change]]:
        decode = msgspec.json.Decoder(tuple[float, int, Change]).decode
        lines = self.journal_path.read_bytes().splitlines() if self.journal_path.exists() else []
        return [decode(line) for line in lines]

    @property
    def noted(self) -> list[tuple[int, int, int, str]]:
        """What the cameras have saved: monitor, inode, frames, name. Only of those that were asked to note it."""
        lines = self.worker_log.read_bytes().splitlines() if self.worker_log.exists() else []
        return [tuple(json.loads(line)) for line in lines]

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 30.0) -> None:
        deadline = Deadline(seconds)
        while not condition():
            assert self.processes[-1].poll() is None, self.log[-3000:]
            assert not deadline.over, f"not within {seconds} s: {what}\n{self.log[-3000:]}"
            time.sleep(0.05)

    def heard(self, kind: type, count: int) -> None:
        """Wait until that many more changes of a kind were decided on."""
        before = sum(isinstance(change, kind) for _, _, change in self.journal)
        self.until(
            lambda: sum(isinstance(c, kind) for _, _, c in self.journal) >= before + count, f"{count} {kind.__name__}"
        )

    def status(self) -> str:
        """What the operator is told."""
        return self.ctl("status")

    def ctl(self, *arguments: str) -> str:
        """What `zmnextctl` says; it must succeed."""
        command = [SIMULATOR.with_name("zmnextctl"), "--api", f"unix:{self.directory}/run/api.sock", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout

    def running(self) -> bool:
        """Whether its service has come so far that it can say what it does."""
        try:
            return "RUNNING" in self.status()
        except subprocess.CalledProcessError:
            return False

    def end_workers(self) -> None:
        for pid in self._workers():
            os.kill(pid, signal.SIGKILL)

    @contextmanager
    def kept_on_failure(self) -> Iterator[Host]:
        """The directory, with what is in the database, is left and its name said if what is done here fails; else all of it is removed."""
        try:
            yield self
        except BaseException:
            self.stop()
            print(f"what was there is kept in {self.directory}", flush=True)
            rows = {table: self.rows(f"SELECT * FROM {table}") for table in ("Events", "Frames")}
            (self.directory / "rows.json").write_text(json.dumps(rows, default=str, indent=0))
            raise
        self.remove()

    @contextmanager
    def starved(self, seed: int) -> Iterator[None]:
        """Workers and the service get no time at all for up to a second and a half, again and again, as on a host with far too much to
        do."""
        over, chance = threading.Event(), Random(seed)

        def starve() -> None:
            while not over.wait(chance.uniform(0.1, 0.5)):
                stopped = [pid for pid in self._processes() if chance.random() < 0.5]
                for number, wait in ((signal.SIGSTOP, chance.choice([0.1, 0.3, 0.8, 1.5])), (signal.SIGCONT, 0.0)):
                    for pid in stopped:
                        with suppress(ProcessLookupError):
                            os.kill(pid, number)
                    time.sleep(wait)

        starving = threading.Thread(target=starve)
        starving.start()
        try:
            yield
        finally:
            over.set()
            starving.join()

    def _processes(self) -> Iterator[int]:
        """Its workers, and the services that run."""
        yield from (process.pid for process in self.processes if process.poll() is None)
        yield from self._workers()

    def _workers(self) -> Iterator[int]:
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with suppress(OSError):
                    argv = (entry / "cmdline").read_bytes()
                    if os.fsencode(self.directory / "run") in argv and b"--socket" in argv:
                        yield int(entry.name)

    def stop(self) -> None:
        """End everything that was started for it."""
        for process in self.processes:
            process.kill()
            process.wait()
        self.end_workers()

    def remove(self) -> None:
        """The same, and delete all it had."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def execute(self, statement: str, *values: object) -> None:
        with self.server.connect(DATABASE) as connection, connection.cursor() as cursor:
            cursor.execute("SET FOREIGN_KEY_CHECKS = 0")
            cursor.execute(statement, values)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with self.server.connect(DATABASE) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def check(self, until: float = float("inf")) -> None:
        """Everything decided on before `until` is in the database, and nothing is there twice."""
        must: dict[str, Counter[str]] = defaultdict(Counter)
        may: dict[str, Counter[str]] = defaultdict(Counter)
        openings: dict[tuple[int, datetime], list[str]] = defaultdict(list)
        for at, monitor_id, change in self.journal:
            if isinstance(change, OpenEvent):
                handles = openings[monitor_id, datetime.fromtimestamp(change.start_us // 1_000_000)]
                if change.handle not in handles:
                    handles.append(change.handle)
            kind = "Alarm" if isinstance(change, AddFrame) and change.kind == "Alarm" else type(change).__name__
            may[change.handle][kind] += 1
            if at < until:
                must[change.handle][kind] += 1
        events = self.rows(
            "SELECT Id, MonitorId, StartDateTime, EndDateTime, DefaultVideo, Frames FROM Events ORDER BY Id"
        )
        alarms = dict(self.rows("SELECT EventId, COUNT(*) FROM Frames WHERE Type = 'Alarm' GROUP BY EventId"))
        assert self.rows("SELECT EventId, FrameId FROM Frames GROUP BY EventId, FrameId HAVING COUNT(*) > 1") == []
        for event_id, monitor_id, start, end, video, frames in events:
            # A worker that could not run for a while may well open two clips in one second: they are told apart by their order.
            handles = openings[monitor_id, start]
            assert handles, f"event {event_id}: nobody opened it, or it is there twice"
            handle = handles.pop(0)
            # A clip may hold fewer frames than were spoken of: then the lowest alarms have no frame to be on.
            least = must[handle]["Alarm"] if end is None else min(must[handle]["Alarm"], frames - 1)
            found = alarms.get(event_id, 0)
            assert least <= found <= may[handle]["Alarm"], (
                f"event {event_id}, {handle}: {found} alarm frames, {must[handle]['Alarm']} to {may[handle]['Alarm']} were said"
            )
            if must[handle]["ClipSaved"]:
                assert end is not None, f"event {event_id}, {handle}: it is open"
                clip = self.storage / str(monitor_id) / f"{start:%Y-%m-%d}" / str(event_id) / video
                assert clip.stat().st_size > 0
        lost = [handle for handles in openings.values() for handle in handles if must[handle]["OpenEvent"]]
        assert lost == [], "events that were lost"
