"""`make demo`: two simulated cameras on an embedded database, and a plain account of what happens, on stdout.

The service that runs is the real one, with its real configuration file; only the cameras are made up, by `zm-core-sim`.
"""

from __future__ import annotations

import socket
import sqlite3
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from zmtwist.config.endpoints import DEFAULT_PORT, BadAddress, check_socket_path, client_address
from zmtwist.config.toml import ConfigError
from zmtwist.extras import VIDEO, missing
from zmtwist.fleet.process.state import State, Transition
from zmtwist.notifications import EventClosed, EventOpened
from zmtwist.ops.cli.table import table
from zmtwist.zm.db.embedded import connect

DATABASE = "zmnext.db"
CONFIG = "zmnext.toml"

# Two cameras as an operator would have them in ZoneMinder: id, name, function, where the pictures come from, SectionLength.
CAMERAS = (
    (1, "Front door", "Record", "File", "sim:front-door", 10),
    (2, "Garden", "Modect", "Ffmpeg", "rtsp://127.0.0.1:8554/garden", 600),
)

_CONFIG = """\
# Written by the demo at each start. The same keys serve a real installation: see etc/zmnext.toml.
[zmnext]
enabled = true
monitors = "all"

[zmnext.worker]
binary = "{binary}"
environment = {{{environment}}}

[zmnext.pipeline]
pre_roll_sec = 1
post_roll_sec = 2
max_buffer_sec = 4

[database]
url = "sqlite:///{directory}/zmnext.db"

[paths]
socks = "{directory}/run"
run = "{directory}/run"
state = "{directory}/state"

[legacy]
control = "none"

[api]
web = "tcp:{port}:interface=127.0.0.1"
"""


def prepare(directory: Path) -> Path:
    """Make what the demo needs under `directory`: database, cameras, storage, configuration. Gives the configuration's path.

    A database that is there already keeps its events. Raises `ConfigError`, `OSError` or `sqlite3.Error` where that can't be done.
    """
    directory = directory.resolve()
    try:
        check_socket_path(f"{directory}/run/stream_{CAMERAS[-1][0]}.sock")
    except BadAddress as error:
        raise ConfigError((f"demo: {error}",)) from None
    for name in ("events", "run", "state"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    database = directory / DATABASE
    connection = connect(str(database))
    try:
        connection.execute(
            "INSERT OR REPLACE INTO Storage (Id, Path, Name, Type, Scheme) VALUES (1, ?, 'Demo', 'local', 'Medium')",
            (str(directory / "events"),),
        )
        connection.executemany(
            "INSERT OR REPLACE INTO Monitors (Id, Name, Function, Type, Path, SectionLength, StorageId, Width, Height)"
            " VALUES (?, ?, ?, ?, ?, ?, 1, 320, 240)",
            CAMERAS,
        )
    finally:
        connection.close()
    config = directory / CONFIG
    binary = Path(sys.executable).with_name("zm-core-sim")
    environment = 'ZM_CORE_SIM = "light"' if VIDEO in missing() else ""
    config.write_text(_CONFIG.format(binary=binary, environment=environment, directory=directory, port=_free_port()))
    return config


def _free_port() -> int:
    """The usual port of the page, or any that is free."""
    for port in (DEFAULT_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return DEFAULT_PORT


class Account:
    """Tells what happens, a line each, and at the end what was written. `tell` gets each line."""

    def __init__(self, directory: Path, tell: Callable[[str], None]) -> None:
        self._database = directory.resolve() / DATABASE
        self._directory = directory
        self._tell = tell
        self._names = {camera[0]: camera[1] for camera in CAMERAS}
        self._events: list[int] = []

    def begin(self, seconds: float | None, web: str | None = None) -> None:
        """Say what is about to happen; `web` is the endpoint of the page."""
        ending = f"for {seconds:g} seconds" if seconds else "until Ctrl-C"
        self._line(f"zmtwist demo: two simulated cameras, {ending}")
        self._line(f"database {self._relative(self._database)}, log {self._directory / 'zmnext.log'}")
        if VIDEO in missing():
            self._line(f"their pictures are made up, for want of PyAV: {VIDEO.remedy}")
        if web is not None:
            self._line(f"page {client_address(web)}/ with the token in {self._directory / 'state' / 'api.token'}")
        self._line(
            f"look at it with: {Path(sys.executable).with_name('zmnextctl')} --config {self._directory / CONFIG} monitors"
        )

    def announce(self, happening: object) -> None:
        """One thing that happened in the service."""
        if isinstance(happening, Transition):
            name = self._names.get(happening.monitor_id, "?")
            if happening.to_state in (State.LIVE, State.BACKOFF, State.FATAL, State.STALLED):
                up = (
                    "worker is up, pictures are coming"
                    if happening.to_state is State.LIVE
                    else happening.to_state.value
                )
                self._line(f"{name}: {up}" + ("" if happening.to_state is State.LIVE else f": {happening.reason}"))
        elif isinstance(happening, EventOpened):
            self._events.append(happening.event_id)
            name = self._names.get(happening.monitor_id, "?")
            self._line(f"{name}: clip opened as event {happening.event_id} ({happening.cause})")
        elif isinstance(happening, EventClosed):
            name = self._names.get(happening.monitor_id, "?")
            length = happening.length_us / 1_000_000
            where = self._relative(Path(happening.path)) if happening.path else "none"
            self._line(f"{name}: event {happening.event_id} closed: {length:.1f} s, file {where}")

    def end(self) -> None:
        """A table of the events that this run has written, as they stand in the database."""
        with sqlite3.connect(self._database) as connection:
            rows = connection.execute(
                "SELECT E.Id, M.Name, E.Cause, E.StartDateTime, E.EndDateTime, E.Length, E.Frames, E.AlarmFrames, E.MaxScore"
                " FROM Events AS E JOIN Monitors AS M ON M.Id = E.MonitorId ORDER BY E.Id"
            ).fetchall()
        connection.close()
        mine = [tuple("open" if v is None else v for v in row) for row in rows if row[0] in set(self._events)]
        self._tell("")
        self._tell(f"{len(mine)} events were written:")
        heads = ("Id", "Camera", "Cause", "Start", "End", "Length", "Frames", "Alarm", "Max")
        for line in table(heads, mine):
            self._tell(line)

    def _line(self, text: str) -> None:
        self._tell(f"{datetime.now():%H:%M:%S}  {text}")

    def _relative(self, path: Path) -> Path:
        root = self._directory.resolve()
        return self._directory / path.relative_to(root) if path.is_relative_to(root) else path
