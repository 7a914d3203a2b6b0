"""What is too much of a worker's JSON is known at little cost."""

from __future__ import annotations

import json
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zmtwist.wire.bounds import DEEPEST, LONGEST, MOST_PARTS, too_much

VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=5), inner, max_size=6),
    max_leaves=60,
)


@given(value=VALUES)
@settings(deadline=None)
def test_no_ordinary_value_is_too_much(value: object) -> None:
    assert not too_much(json.dumps(value).encode())


@pytest.mark.parametrize("pair", [b"[]", b"{}"])
def test_levels_and_parts_are_counted(pair: bytes) -> None:
    opening, closing = pair[:1], pair[1:]
    assert not too_much(opening * DEEPEST + closing * DEEPEST)
    assert too_much(opening * 2 * DEEPEST + closing * 2 * DEEPEST)
    assert not too_much(b"[" + pair * (MOST_PARTS - 1) + b"]")
    assert too_much(b"[" + pair * MOST_PARTS + b"]")
    assert too_much(bytes(LONGEST + 1))


def test_brackets_in_texts_are_none() -> None:
    texts = ["{[" * 20, '"[' * 20, "\\[" * 20]
    assert not too_much(json.dumps([texts] * 40).encode())
    assert not too_much(json.dumps([texts] * 40).encode()[:-30])


@pytest.mark.parametrize(
    "worst",
    [
        b"[" * 40 + b'"' + b'\\"' * 32_000,
        b"[" * 40 + b'"' + b'\\"' * 32_000 + b"\\",
        b"[" * 40 + b'"' * 65_000,
        b"[{" * 4_000 + b'"' * 50_000,
        b"[" * 4_000 + b"]" * 4_000,
        b"[]{}" * 2_000 + b"[" * 4_000,
        b"[" * 40 + b'"\\' * 20_000,
    ],
    ids=lambda data: repr(data[38:46]),
)
def test_the_worst_of_them_cost_no_time(worst: bytes) -> None:
    began = process_time()
    too_much(worst)
    assert process_time() - began < 0.1
