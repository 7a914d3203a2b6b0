from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zmtwist.fleet import lines
from zmtwist.fleet.lines import Allowance, LineSplitter, Opening


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


def test_a_line_can_not_forge_another_or_drive_a_terminal() -> None:
    assert lines.clean(b"\x1b[31mred\r\x00\xe2\x80\xa8end\xff\n") == "[31mred end\ufffd"


def test_openings_are_recognised() -> None:
    told = lines.opening("[STORE][INFO] store: recording_opening token=3-1795338176-2 cause=zone motion")
    assert told == Opening("3-1795338176-2", "zone motion")
    assert lines.opening("store: recording_opening cause=x") is None


def test_levels() -> None:
    assert [lines.level(text) for text in ("[A][ERROR] x", "[A][WARN] x", "[A][DEBUG] x", "x")] == [
        "error",
        "warn",
        "debug",
        "info",
    ]


def test_the_last_errors_are_those_that_tell_of_trouble() -> None:
    said = ["[A][INFO] up", "[A][ERROR] one", "could not load plugins/x.so", "[A][ERROR] two", "Error: three", "bye"]
    assert lines.last_errors(said) == ("could not load plugins/x.so", "[A][ERROR] two", "Error: three")
    assert lines.last_errors(["only this"]) == ("only this",)
    assert lines.last_errors([]) == ()


def test_a_flood_is_held_back_and_counted() -> None:
    allowance, logged = Allowance(per_second=10, burst=5, left=5), 0
    for _ in range(100):
        allowance, allowed, _ = allowance.take(50.0)
        logged += allowed
    assert logged == 5
    allowance, allowed, refused = allowance.take(50.1)
    assert (allowed, refused) == (True, 95)
    assert Allowance(at=100).take(50.0)[1], "a clock set back refuses nothing"
