"""Deadlines of tests: what a busy machine does to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.waiting import MOST_CROWDED, Deadline, crowd, wait_for


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0.00 0.00 0.00 1/150 9", 1.0),
        ("0.50 9.00 9.00 2/150 9", 1.0),
        ("0.50 0.00 0.00 9/150 9", 4.5),  # these have just been started
        ("6.00 0.00 0.00 1/150 9", 3.0),  # these wait for the disk
        ("900.00 0.00 0.00 900/999 9", MOST_CROWDED),
    ],
)
def test_how_crowded_a_machine_of_two_cores_is(tmp_path: Path, line: str, expected: float) -> None:
    file = tmp_path / "loadavg"
    file.write_text(line + "\n")
    assert crowd(2, file) == expected


def test_a_deadline_goes_by_how_crowded_it_is() -> None:
    now, share = 100.0, 1.0
    deadline = Deadline(10, lambda: now, lambda: share)
    now = 106.0
    assert not deadline.over
    now, share = 114.0, 4.0  # 8 s that are worth 2
    assert not deadline.over
    now, share = 116.5, 1.0
    assert deadline.over


def test_what_never_comes_is_told() -> None:
    with pytest.raises(AssertionError, match=r"not within 0.01 s: snow"):
        wait_for(lambda: False, "snow", 0.01)
    assert wait_for(lambda: "rain", "rain", 0) == "rain"
