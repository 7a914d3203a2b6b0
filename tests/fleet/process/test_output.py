from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zmtwist.fleet.process import output as lines
from zmtwist.fleet.process.output import KeptLines, LineSplitter, Opening
from zmtwist.untrusted.guard import Guard


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=8))
def test_lines_are_the_same_however_the_output_is_cut(output: bytes, cuts: list[int]) -> None:
    splitter, got, start = LineSplitter(limit=50), [], 0
    for cut in [*sorted(cuts), len(output)]:
        got += splitter.feed(output[start:cut])
        start = max(start, cut)
    expected = [line[:50] for line in output.split(b"\n")]
    assert got + (splitter.flush() or [b""]) == expected


def test_an_endless_line_is_held_to_its_limit_only() -> None:
    splitter = LineSplitter(limit=100)
    for _ in range(1000):
        assert splitter.feed(b"x" * 1000) == []
    assert splitter.feed(b"\nnext\n") == [b"x" * 100, b"next"]


def test_openings_are_recognised() -> None:
    told = lines.opening(b"[STORE][INFO] store: recording_opening token=3-1795338176-2 cause=zone motion")
    assert told == Opening("3-1795338176-2", "zone motion")
    assert lines.opening(b"store: recording_opening cause=x") is None


def test_levels() -> None:
    assert [lines.level(text) for text in (b"[A][ERROR] x", b"[A][WARN] x", b"[A][DEBUG] x", b"x")] == [
        "error",
        "warn",
        "debug",
        "info",
    ]


def test_what_comes_with_every_frame_counts_as_debug() -> None:
    """Said at INFO by real plugins, ten and more times a second and camera."""
    said = (
        b"[PLUGIN][INFO] decode_ffmpeg: created swscale 640x480 yuv420p -> 320x240 gray",
        "[PLUGIN][INFO] \N{POLICE CARS REVOLVING LIGHT} MOTION DETECTED! 951 pixels changed".encode(),
    )
    assert {lines.level(line) for line in said} == {"debug"}
    assert lines.level(b"[PLUGIN][INFO] decode_ffmpeg: started (codec=auto)") == "info"


def test_the_last_errors_are_those_that_tell_of_trouble() -> None:
    said = ["[A][INFO] up", "[A][ERROR] one", "could not load plugins/x.so", "[A][ERROR] two", "Error: three", "bye"]
    for by_itself in (True, False):
        told = lines.last_errors(said, by_itself)
        assert told == ("could not load plugins/x.so", "[A][ERROR] two", "Error: three")
    assert lines.last_errors([], True) == ()


def test_a_killed_process_is_told_of_with_errors_only() -> None:
    usual = ["[A][INFO] stream 0 failed over, 0 errors", "[A][WARN] slow", "[WorkerLink] client connected"]
    assert lines.last_errors(usual, by_itself=False) == ()
    assert lines.last_errors([*usual, "[A][ERROR] x"], by_itself=False) == ("[A][ERROR] x",)
    # Why it ended by itself it may have told in other words, but not in those that all is well.
    assert lines.last_errors([*usual, "usage: zm-core"], by_itself=True) == ("usage: zm-core",)
    assert lines.last_errors(["[A][INFO] stopping", "[A][DEBUG] x"], by_itself=True) == ()


def test_kept_lines_are_made_fit_to_be_shown_once_and_bounded() -> None:
    made: list[str | bytes] = []

    class Noting(Guard):
        def text(self, said: str | bytes, most: int = 10) -> str:
            made.append(said)
            return super().text(said, 10)

    kept = KeptLines(3, Noting())
    kept.add_raw(b"gone")
    kept.add("as it is")
    kept.add_raw(b"\x1b raw")
    assert made == []
    kept.add_raw(b"y" * 5000)
    assert made == [b"y" * 5000], "a long line is not held whole"
    assert kept.texts() == kept.texts() == ("as it is", "raw", "y" * 10)
    assert made == [b"y" * 5000, b"\x1b raw"]
    kept.add_raw(b"\x00")
    assert kept.texts() == ("raw", "y" * 10)
