"""How long a clip is, read off real files, broken ones included."""

from __future__ import annotations

import sys

import pytest

from tests.ingest.video import record
from zmtwist.ingest import measure as module
from zmtwist.ingest.measure import Measure, measure, measure_files


def test_a_finished_clip(tmp_path):
    assert measure(str(record(tmp_path / "a.mkv"))) == Measure(True, 2_900_000, 30, "h264")


@pytest.mark.parametrize("cut", [1, 40, 300])
def test_a_clip_that_was_cut_off_counts_as_far_as_it_goes(tmp_path, cut):
    """It has no duration in its header, and ends in the middle of something."""
    found = measure(str(record(tmp_path / "a.mkv", cut=cut)))
    assert found.readable
    assert 15 <= found.frames <= 30
    assert found.duration_us == (found.frames - 1) * 100_000


@pytest.mark.parametrize(
    "content", [b"", b"not matroska at all" * 50, b"\x1a\x45\xdf\xa3", b"\x1a\x45\xdf\xa3" + bytes(500)]
)
def test_what_holds_no_picture(tmp_path, content):
    (tmp_path / "a.mkv").write_bytes(content)
    assert not measure(str(tmp_path / "a.mkv")).readable


def test_the_child_goes_through_all_files_and_never_takes_one_it_can_not_open_for_empty(tmp_path):
    whole, gone, bad = str(record(tmp_path / "a\n b.mkv")), str(tmp_path / "gone.mkv"), str(tmp_path / "bad.mkv")
    (tmp_path / "bad.mkv").write_bytes(b"x")
    found = measure_files([whole, gone, bad])
    assert found[whole].frames == 30
    assert found[gone] == Measure()
    assert not found[bad].readable


def test_a_file_that_keeps_the_child_busy_is_left_unknown_and_the_others_are_measured(tmp_path, monkeypatch):
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import sys, time\n"
        "for line in sys.stdin:\n"
        "    if 'hang' in line: time.sleep(60)\n"
        "    print('{\"frames\": 5}', flush=True)\n"
    )
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} {slow}\n")
    program.chmod(0o755)
    monkeypatch.setattr(module.sys, "executable", str(program))
    assert measure_files(["a", "hang", "b"], 0.5) == {"a": Measure(frames=5), "hang": Measure(), "b": Measure(frames=5)}


def test_without_pyav_nothing_is_said_of_a_clip(tmp_path, monkeypatch):
    path = record(tmp_path / "a.mkv")
    monkeypatch.setitem(sys.modules, "av", None)
    assert measure(str(path)) == Measure()
