"""A private MariaDB server for tests, with ZoneMinder's own schema: `zm136` as Debian ships it, `zm138` with what is newer.

It listens on a UNIX socket in a directory of its own and is gone with it. `tests/setup_debian.sh` installs what this needs. Loading the
schema takes seconds, so the data directory is kept in `.cache/` as it was then, and copied from there the next time.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pymysql

from tests.waiting import Deadline

ROOT = Path(__file__).parent.parent
SCHEMA = ROOT / ".cache" / "zoneminder" / "usr" / "share" / "zoneminder" / "db"
NEWER = ROOT / "tests" / "data" / "schema_newer.sql"
DATABASES = {"zm136": "latin1", "zm138": "utf8mb4"}
USER, PASSWORD = "zmuser", "s3cret/pass"
START_SECONDS = 60.0


class Server:
    """One server in one temporary directory. `time_zone` is that of the process, as a host's would be."""

    def __init__(self, time_zone: str | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="zmtwist-mariadb-"))
        self.socket = self.directory / "sock"
        self._data = self.directory / "data"
        self._environment = {
            **os.environ,
            "PATH": f"{os.environ['PATH']}:/usr/sbin",
            **({"TZ": time_zone} if time_zone else {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def create(self) -> Server:
        """Make the data directory with all databases, and start."""
        if not (SCHEMA / "zm_create.sql").is_file():
            raise RuntimeError("no ZoneMinder schema in .cache: run tests/setup_debian.sh")
        kept = ROOT / ".cache" / f"mariadb-{self._fingerprint()}"
        if not kept.is_dir():
            self._make_data()
            aside = Path(tempfile.mkdtemp(prefix="mariadb-", dir=kept.parent))
            shutil.copytree(self._data, aside, dirs_exist_ok=True)
            try:
                aside.rename(kept)
            except OSError:  # another run was quicker
                shutil.rmtree(aside)
        else:
            shutil.copytree(kept, self._data)
        self.start()
        return self

    def _make_data(self) -> None:
        self._run(
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={self._data}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
            f"--user={getpass.getuser()}",
        )
        self.start()
        for database in DATABASES:
            self._create_database(database)
        self.stop()

    def _fingerprint(self) -> str:
        """Changes with anything that the data directory is made from."""
        version = subprocess.run(
            ["mariadbd", "--no-defaults", "--version"], env=self._environment, capture_output=True, check=True
        ).stdout
        parts = [
            version,
            getpass.getuser().encode(),
            *(p.read_bytes() for p in (*sorted(SCHEMA.iterdir()), NEWER, Path(__file__))),
        ]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]

    def start(self) -> None:
        """Start the server and wait until it answers."""
        log = (self.directory / "log").open("ab")
        self._process = subprocess.Popen(
            [
                "mariadbd",
                "--no-defaults",
                f"--datadir={self._data}",
                f"--socket={self.socket}",
                f"--pid-file={self.directory / 'pid'}",
                # A server that starts removes what it takes for an earlier one's in here.
                f"--tmpdir={self.directory}",
                f"--user={getpass.getuser()}",
                "--skip-networking",
                "--skip-log-bin",
                "--innodb-buffer-pool-size=64M",
                "--innodb-log-file-size=16M",
                "--innodb-flush-log-at-trx-commit=1",
                "--performance-schema=OFF",
            ],
            env=self._environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        log.close()
        deadline = Deadline(START_SECONDS)
        while True:
            try:
                self.connect().close()
                return
            except pymysql.err.OperationalError:
                if self._process.poll() is not None or deadline.over:
                    raise RuntimeError(f"mariadbd did not start:\n{(self.directory / 'log').read_text()}") from None
                time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the server: orderly, or at once with SIGKILL."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(how)
            self._process.wait(START_SECONDS)
            self._process = None

    def signal(self, how: signal.Signals) -> None:
        """Send the server a signal (SIGSTOP makes it hang)."""
        assert self._process is not None
        self._process.send_signal(how)

    def remove(self) -> None:
        """End the server and delete all it had."""
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def url(self, database: str) -> str:
        """The contract's URL for a database, as ZoneMinder's own user."""
        return f"mysql://{USER}:{PASSWORD.replace('/', '%2F')}@localhost/{database}?unix_socket={self.socket}"

    def connect(self, database: str | None = None) -> pymysql.connections.Connection[pymysql.cursors.Cursor]:
        """A connection as root, in autocommit."""
        return pymysql.connect(
            unix_socket=str(self.socket),
            user="root",
            database=database,
            charset="utf8mb4",
            autocommit=True,
            ssl_disabled=True,
        )

    def _create_database(self, name: str) -> None:
        create = (SCHEMA / "zm_create.sql").read_text().replace("`zm`", f"`{name}`")
        create = create.replace("source /usr/share/zoneminder/db/triggers.sql", "")
        # Plain settings of a bare server: what the schema does not say itself is latin1 on one, utf8mb4 on the other.
        head = f"CREATE DATABASE `{name}` CHARACTER SET {DATABASES[name]};\n"
        self._script(head + create)
        self._script((SCHEMA / "triggers.sql").read_text(), name)
        if name == "zm138":
            self._script(NEWER.read_text(), name)
        self._script(
            f"CREATE USER IF NOT EXISTS {USER}@localhost IDENTIFIED BY '{PASSWORD}';"
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{name}`.* TO {USER}@localhost;"
        )

    def _script(self, text: str, database: str | None = None) -> None:
        self._run(
            "mariadb",
            "--no-defaults",
            f"--socket={self.socket}",
            "--user=root",
            *([database] if database else []),
            text=text,
        )

    def _run(self, *command: str, text: str = "") -> None:
        done = subprocess.run(command, input=text.encode(), env=self._environment, capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed:\n{done.stdout.decode()}\n{done.stderr.decode()}")
