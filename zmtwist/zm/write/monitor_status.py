"""Monitor_Status: what the console shows of each camera. Rows that are not refreshed are deleted by newer ZoneMinders after a minute."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from twisted.internet.defer import Deferred

from zmtwist.zm.db.dialect import Sql
from zmtwist.zm.db.pool import Database
from zmtwist.zm.db.schema import Schema

MAX_FPS = 99_999_999.99
MAX_BANDWIDTH = 0x7FFF_FFFF


@attrs.frozen
class CameraStatus:
    """How one camera does: `connected` while its media moves, with frames and bytes per second."""

    monitor_id: int
    connected: bool
    frames_per_second: float = 0.0
    bytes_per_second: float = 0.0


class StatusWriter:
    """Writes the status of all cameras in one statement."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, cameras: Sequence[CameraStatus]) -> Deferred[None]:
        """Say how these cameras do. Fails with `zm.db.errors.Retryable`; the next refresh makes up for it."""
        return Deferred.fromCoroutine(self._write(cameras))

    async def _write(self, cameras: Sequence[CameraStatus]) -> None:
        if cameras:
            schema = await self._database.schema()
            await self._database.interact(write_status, schema, tuple(cameras))


def write_status(sql: Sql, schema: Schema, cameras: Sequence[CameraStatus]) -> None:
    """One upsert. A camera that is not connected shows zeros, since on 1.36 nothing else would ever clear them."""
    columns = ["Status", "CaptureFPS", "CaptureBandwidth"]
    if schema.has("Monitor_Status", "AnalysisFPS"):
        columns.append("AnalysisFPS")
    if schema.status_updated_on:
        columns.append("UpdatedOn")
    values = ", ".join(
        _values(camera, columns, sql.dialect.now) for camera in sorted(cameras, key=lambda c: c.monitor_id)
    )
    tail = sql.dialect.on_duplicate("MonitorId", ", ".join(f"{column} = new({column})" for column in columns))
    sql.begin()
    sql.run(f"INSERT INTO Monitor_Status (MonitorId, {', '.join(columns)}) VALUES {values} {tail}")


def _values(camera: CameraStatus, columns: Sequence[str], now: str) -> str:
    up = camera.connected
    value = {
        "Status": "'Connected'" if up else "'NotRunning'",
        "CaptureFPS": f"{min(max(camera.frames_per_second, 0.0), MAX_FPS):.2f}" if up else "0",
        "CaptureBandwidth": f"{min(max(camera.bytes_per_second, 0.0), MAX_BANDWIDTH):.0f}" if up else "0",
        "AnalysisFPS": "0",
        "UpdatedOn": now,
    }
    return f"({camera.monitor_id}, {', '.join(value[column] for column in columns)})"
