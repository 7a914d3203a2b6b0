from __future__ import annotations

import pytest

from zmtwist.ops.cli.format import findings_lines, happening_line, short, span
from zmtwist.ops.cli.table import table


def test_a_table():
    assert table(("Id", "Name"), [(1, "a"), (12, None), (3, "evil\x1b[2J")]) == [
        "Id  Name",
        "--  --------",
        " 1  a",
        "12  -",
        " 3  evil [2J",
    ]
    assert table(("Id", "Name"), []) == ["Id  Name", "--  ----"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59.4, "59s"), (61, "1m01s"), (3600, "1h00m"), (90061, "1d01h"), (-3, "0s")]
)
def test_spans(seconds, text):
    assert span(seconds) == text


def test_lines():
    told = {"monitor_id": 1, "from": "LIVE", "to": "STALLED", "reason": "no media\n", "at": None}
    assert happening_line("transition", told) == "--:--:--  monitor 1: LIVE -> STALLED: no media"
    assert happening_line("resync", {}) == "--:--:--  resync"
    assert len(short("x" * 100)) == 60
    found = {"verdict": "FAIL", "what": "zmdc", "found": "gone", "fix": "start it"}
    assert findings_lines([found]) == ["FAIL  zmdc  gone", "            fix: start it"]
