"""The capture setting, written to each kind of database."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted

from zmtwist.zm.write.capture_setting import CaptureChange, CaptureSwitch, write_capture


@pytest_twisted.ensureDeferred
async def test_the_setting_changes_where_it_is_what_it_was_taken_for(site: Any) -> None:
    column = "Capturing" if site.flavour == "zm138" else "Function"
    before = "Always" if column == "Capturing" else "Modect"
    site.run(f"UPDATE Monitors SET {column} = %s", before)
    switch = CaptureSwitch(site.database)

    def settings() -> list[str]:
        return [value for (value,) in site.query(f"SELECT {column} FROM Monitors ORDER BY Id")]

    await switch.write([CaptureChange(2, column, before, "None"), CaptureChange(1, column, "Monitor", "None")])
    assert settings() == [before, "None"], "somebody has changed the first one since it was read"
    await switch.write([CaptureChange(2, column, before, "None")])
    await switch.write([CaptureChange(2, column, "None", before), CaptureChange(99, column, "None", before)])
    assert settings() == [before, before]
    (monitor, _) = await site.catalog.monitors()
    assert (monitor.capturing if column == "Capturing" else monitor.function) == before


def test_no_other_column_is_written() -> None:
    class Sql:
        def begin(self) -> None: ...

    change: Any = CaptureChange(1, "Path", "a", "b")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Path"):
        write_capture(Sql(), [change])  # type: ignore[arg-type]
