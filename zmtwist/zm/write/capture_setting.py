"""The one setting of ZoneMinder's that keeps its own capture daemon off a camera: `Monitors.Capturing`, on 1.36 `Function`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs
from twisted.internet.defer import Deferred

from zmtwist.zm.db.dialect import Sql
from zmtwist.zm.db.pool import Database

CaptureColumn = Literal["Capturing", "Function"]

COLUMNS = frozenset({"Capturing", "Function"})


@attrs.frozen
class CaptureChange:
    """Set `column` of one monitor from `before` to `after`; where it is not `before` any more, somebody else's word stands."""

    monitor_id: int
    column: CaptureColumn
    before: str
    after: str


class CaptureSwitch:
    """Writes the capture setting of monitors."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, changes: Sequence[CaptureChange]) -> Deferred[None]:
        """Make these changes, all or none. Fails with `zm.db.errors.DatabaseError`; made twice, they are made once."""
        return self._database.interact(write_capture, tuple(changes))


def write_capture(sql: Sql, changes: Sequence[CaptureChange]) -> None:
    """One UPDATE each, in the order of the monitors' ids: whoever locks several of these rows should do so in one order."""
    sql.begin()
    for change in sorted(changes, key=lambda change: change.monitor_id):
        if change.column not in COLUMNS:
            raise ValueError(f"not a capture setting: {change.column!r}")
        sql.run(
            f"UPDATE Monitors SET `{change.column}` = %s WHERE Id = %s AND `{change.column}` = %s",
            change.after,
            change.monitor_id,
            change.before,
        )
