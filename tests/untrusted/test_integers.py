from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmtwist.untrusted.integers import MOST_DIGITS, whole


@given(st.integers(0, 10**MOST_DIGITS - 1))
def test_a_number_is_what_stands_there(number: int) -> None:
    assert whole(str(number)) == number


@given(st.text())
def test_any_other_text_is_none(text: str) -> None:
    found = whole(text)
    assert found is None or str(found) == (text.lstrip("0") or "0")


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "+1", "-1", "1_0", "1.0", "0x1", "\u0661", "\u00b2", "1" * 19, "9" * 5000]
)
def test_what_int_would_take_or_raise_at(text: str) -> None:
    assert whole(text) is None


def test_fewer_digits() -> None:
    assert (whole("65535", 5), whole("165535", 5), whole("000001", 5)) == (65535, None, None)
