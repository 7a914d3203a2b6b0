from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmtwist.ops.http.ranges import Part, Unsatisfiable, part_of


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-0", Part(0, 1)),
        ("bytes=10-", Part(10, 90)),
        ("Bytes=90-500", Part(90, 10)),
        ("bytes=-7", Part(93, 7)),
        ("bytes=-500", Part(0, 100)),
        (None, None),
        ("bytes=5-3", None),
        ("bytes=0-1,5-6", None),
        ("bytes=-", None),
        ("bytes=x-", None),
        ("bytes=٣-", None),
        ("items=0-1", None),
        ("bytes=0-" + 30 * "9", None),
    ],
)
def test_what_is_asked_for(asked, part):
    assert part_of(100, asked) == part


@pytest.mark.parametrize(("size", "asked"), [(100, "bytes=100-"), (100, "bytes=-0"), (0, "bytes=0-"), (0, "bytes=-5")])
def test_what_is_not_there(size, asked):
    with pytest.raises(Unsatisfiable):
        part_of(size, asked)


@given(st.integers(0, 2000), st.integers(0, 3000), st.one_of(st.none(), st.integers(0, 3000)))
def test_a_part_is_what_a_slice_is(size, first, last):
    whole = bytes(n % 251 for n in range(size))
    try:
        part = part_of(size, f"bytes={first}-{'' if last is None else last}")
    except Unsatisfiable:
        assert first >= size
    else:
        if part is None:
            assert last is not None and last < first
        else:
            expected = whole[first:] if last is None else whole[first : last + 1]
            assert whole[part.first : part.first + part.length] == expected
            assert part.told(size) == f"bytes {first}-{first + len(expected) - 1}/{size}"
