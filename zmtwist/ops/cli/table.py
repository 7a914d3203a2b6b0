"""Tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from zmtwist.untrusted.redact import clean


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Rows under heads, in columns as wide as need be; numbers to the right, None as a dash. Nothing in them steers a terminal."""
    cells = [["-" if cell is None else clean(str(cell)) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(heads), *cells]) for i in range(len(heads))]
    numeric = [
        bool(rows) and all(row[i] is None or isinstance(row[i], int | float) for row in rows) for i in range(len(heads))
    ]

    def fit(line: Sequence[str]) -> str:
        return "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()

    return [fit(heads), "  ".join("-" * width for width in widths), *(fit(line) for line in cells)]
