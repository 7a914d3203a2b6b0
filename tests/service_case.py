"""The whole service in this process, on an embedded database in a temporary directory, with real worker processes."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor

from zmtwist.config.settings import settle
from zmtwist.config.toml import parse
from zmtwist.service import ZmNext
from zmtwist.zm.db.embedded import connect

SIMULATOR = Path(sys.executable).with_name("zm-core-sim")
DEFAULT_TUNING = {"ZM_CORE_SIM": "fps=10"}


@attrs.define
class Installation:
    """A ZoneMinder with an embedded database under `directory`, and a service that may be started for it."""

    directory: Path
    storage: Path
    told: list[object] = attrs.field(factory=list)

    @classmethod
    def make(cls, directory: Path, storage: Path | None = None) -> Installation:
        made = cls(directory, storage or directory / "events")
        for path in (made.storage, directory / "run", directory / "state"):
            path.mkdir(exist_ok=True)
        connect(str(directory / "zm.db")).close()
        made.execute(
            "INSERT INTO Storage (Id, Path, Name, Type, Scheme) VALUES (1, ?, 'S', 'local', 'Medium')",
            str(made.storage),
        )
        return made

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.directory / "zm.db", timeout=10) as connection:
            rows = connection.execute(statement, values).fetchall()
        connection.close()
        return rows

    def monitor(self, monitor_id: int, function: str = "Record", **columns: object) -> None:
        row = {
            "Id": monitor_id, "Name": f"Camera {monitor_id}", "Function": function, "Type": "File", "Path": "sim:yard",
            "StorageId": 1, "Width": 160, "Height": 120, **columns,
        }  # fmt: skip
        marks = ", ".join("?" * len(row))
        self.execute(f"INSERT INTO Monitors ({', '.join(row)}) VALUES ({marks})", *row.values())

    def config(self, extra: str = "", *, binary: Path = SIMULATOR, tuning: Mapping[str, str] = DEFAULT_TUNING) -> str:
        """A configuration file. `tuning` is the simulator's environment: `ZM_CORE_SIM`, or `ZM_CORE_SIM_2` for monitor 2 alone.

        No pictures are made unless `extra` wishes for them: they take time, and a size that changes once more.
        """
        if "thumbnails =" not in extra:
            table = "[zmnext.ingest]"
            extra = extra if table in extra else f"{extra}\n{table}"
            extra = extra.replace(table, f"{table}\nthumbnails = false")
        environment = ", ".join(f'{name} = "{value}"' for name, value in tuning.items())
        return f"""
            [zmnext]
            enabled = true
            monitors = "all"
            [zmnext.worker]
            binary = "{binary}"
            min_backoff_seconds = 0.2
            environment = {{{environment}}}
            [database]
            url = "sqlite:///{self.directory}/zm.db"
            [paths]
            socks = "{self.directory}/run"
            run = "{self.directory}/run"
            state = "{self.directory}/state"
            [legacy]
            control = "none"
            {extra}
        """

    def service(
        self, extra: str = "", *, binary: Path = SIMULATOR, tuning: Mapping[str, str] = DEFAULT_TUNING, **options: Any
    ) -> ZmNext:
        """A service for it, to be started."""
        return self.service_of(self.config(extra, binary=binary, tuning=tuning), **options)

    def service_of(self, text: str, **options: Any) -> ZmNext:
        """A service for this configuration file, to be started."""
        return ZmNext(reactor, settle(parse(text), {}), announce=self.told.append, **options)

    def events(self) -> list[dict[str, Any]]:
        """All event rows as dicts, by id."""
        with sqlite3.connect(self.directory / "zm.db", timeout=10) as connection:
            connection.row_factory = sqlite3.Row
            rows = [dict(row) for row in connection.execute("SELECT * FROM Events ORDER BY Id")]
        connection.close()
        return rows

    def frames(self, event_id: int) -> list[tuple[Any, ...]]:
        return self.execute("SELECT FrameId, Type, Delta, Score FROM Frames WHERE EventId = ? ORDER BY Id", event_id)

    def clip(self, event: dict[str, Any]) -> Path:
        day = event["StartDateTime"][:10]
        return self.storage / str(event["MonitorId"]) / day / str(event["Id"]) / event["DefaultVideo"]

    def told_of(self, kind: type) -> list[Any]:
        return [happening for happening in self.told if isinstance(happening, kind)]
