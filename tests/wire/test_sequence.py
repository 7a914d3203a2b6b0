"""What sequence numbers tell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmtwist.wire.sequence import EventCount, Implausible, MediaSample, steps

U32 = 2**32


@given(earlier=st.integers(0, U32 - 1), ahead=st.integers(0, U32 - 1))
def test_steps_count_forward_across_the_wrap(earlier: int, ahead: int) -> None:
    assert steps(earlier, (earlier + ahead) % U32) == (ahead if ahead < U32 // 2 else None)


def test_a_rate_needs_two_headers_of_one_run() -> None:
    first = MediaSample(at=10.0, sequence=U32 - 25, generation=0)
    assert first.frames_per_second(None) is None
    assert MediaSample(at=15.0, sequence=50, generation=0).frames_per_second(first) == 15.0
    assert MediaSample(at=15.0, sequence=50, generation=1).frames_per_second(first) is None
    assert MediaSample(at=15.0, sequence=U32 - 30, generation=0).frames_per_second(first) is None
    assert MediaSample(at=15.0, sequence=U32 - 25, generation=0).frames_per_second(first) is None
    assert MediaSample(at=10.0, sequence=50, generation=0).frames_per_second(first) is None
    assert MediaSample(at=9.0, sequence=50, generation=0).frames_per_second(first) is None, "the clock was set back"


def test_a_rate_that_no_camera_reaches_is_none() -> None:
    first = MediaSample(at=10.0, sequence=0, generation=0)
    assert MediaSample(at=11.0, sequence=1000, generation=0).frames_per_second(first) == 1000.0
    for sequence in (1001, 100_000_000, 2**31 - 1):
        with pytest.raises(Implausible):
            MediaSample(at=11.0, sequence=sequence, generation=0).frames_per_second(first)


@given(received=st.lists(st.booleans(), max_size=60), start=st.sampled_from([0, U32 - 20]))
def test_what_is_not_received_is_missed(received: list[bool], start: int) -> None:
    count = EventCount(expected=start)
    for offset, came in enumerate(received):
        if came:
            count = count.after((start + offset) % U32)
    until_last = len(received) - received[::-1].index(True) if True in received else 0
    assert count.received == received.count(True)
    assert count.missed == until_last - count.received


@pytest.mark.parametrize(("replay", "expected", "missed"), [(True, 9, 0), (False, 4, 3)])
def test_a_number_that_lies_behind(replay: bool, expected: int, missed: int) -> None:
    count = EventCount(expected=9, received=9).after(3, replay=replay)
    assert (count.expected, count.missed) == (expected, missed)
