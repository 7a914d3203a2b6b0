"""Whole numbers in text that others wrote: a request, another daemon, a database, a configuration.

`int` takes more than is meant (blanks, signs, underscores, the digits of other scripts), and raises where there are thousands of digits.
"""

from __future__ import annotations

MOST_DIGITS = 18
"""What 64 bits hold, whichever the digits."""


def whole(text: str, digits: int = MOST_DIGITS) -> int | None:
    """The number that stands there, of so many decimal digits at most and nothing else; None for any other text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= digits else None
