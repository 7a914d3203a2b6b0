"""What operators are shown of a recovery, and of what it left alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from zmtwist.ops.api.views import recovery_view
from zmtwist.ops.cli.format import status_lines
from zmtwist.recovery.service import RecoveryFigures
from zmtwist.untrusted.guard import leaving


def lines(figures: RecoveryFigures | None) -> list[str]:
    """What `zmnextctl status` says of it, by way of the API's JSON."""
    answer: dict[str, Any] = {
        "state": "RUNNING", "uptime_seconds": 1, "version": "1", "monitors": {"total": 0, "by_state": {}, "not_recording": 0},
        "database": {"url": "sqlite:///x", "error": None}, "inference": None, "ingest": None, "storages": [],
        "recovery": None if figures is None else recovery_view(figures),
        "reactor_lag_seconds": {"last": 0, "longest_of_last_minute": 0},
    }  # fmt: skip
    return [line for line in status_lines(json.loads(leaving(answer))) if line.startswith("recovery")]


@pytest.mark.parametrize("figures", [None, RecoveryFigures(), RecoveryFigures(failed=3)])
def test_nothing_is_said_of_a_recovery_that_is_well(figures: RecoveryFigures | None) -> None:
    assert lines(figures) == []


def test_a_recovery_that_failed_is_told_with_what_to_do_and_without_passwords() -> None:
    (line,) = lines(RecoveryFigures(trouble="OSError: mysql://zm:wombat@db is\x1b[2J odd", stopped=1))
    assert line.startswith("recovery  the latest look at rows and clips failed: OSError: ")
    assert "`zmnextctl recover`" in line
    assert "wombat" not in line and "\x1b" not in line


def test_storages_that_were_left_alone_are_told() -> None:
    (line,) = lines(RecoveryFigures(stopped=2))
    assert line.startswith("recovery  2 storages were left alone")
    assert "--dry-run" in line
