"""How long a clip is, read off real files, broken ones included."""

from __future__ import annotations

import os
import sys

import pytest

from tests.media.clips import record
from tests.media.stand_ins import stand_in
from zmtwist.ingest.clips.probe import Measure, measure, measure_files
from zmtwist.media import child as media_child


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


def test_a_file_that_keeps_the_child_busy_or_has_it_talk_nonsense_is_left_unknown(tmp_path, monkeypatch):
    child = stand_in(
        """
if asked == b"hang":
    time.sleep(100)
elif asked == b"crash":
    os.kill(os.getpid(), signal.SIGSEGV)
elif asked == b"endless":
    os.write(1, bytes([255] * 1000))
    time.sleep(100)
say(b"\\xff" if asked == b"odd" else {"frames": 5})
"""
    )
    monkeypatch.setattr(media_child, "command", lambda _module: child)
    good = Measure(frames=5)
    assert measure_files(["a", "hang", "b", "crash", "odd", "endless", "c"], 1.5) == {
        "a": good, "hang": Measure(), "b": good, "crash": Measure(), "odd": Measure(), "endless": Measure(), "c": good
    }  # fmt: skip


def test_the_format_is_never_guessed_and_only_files_are_opened(tmp_path):
    """Of what FFmpeg knows, much names other files and hosts to read."""
    record(tmp_path / "other.mkv")
    (tmp_path / "list.mkv").write_text(f"ffconcat version 1.0\nfile {tmp_path}/other.mkv\n")
    os.mkfifo(tmp_path / "fifo.mkv")
    (tmp_path / "link.mkv").symlink_to(tmp_path / "other.mkv")
    found = measure_files([str(tmp_path / name) for name in ("list.mkv", "fifo.mkv", "link.mkv")])
    assert list(found.values()) == [Measure(readable=False), Measure(readable=False), Measure()]


def test_without_pyav_nothing_is_said_of_a_clip(tmp_path, monkeypatch):
    path = record(tmp_path / "a.mkv")
    monkeypatch.setitem(sys.modules, "av", None)
    assert measure(str(path)) == Measure()
