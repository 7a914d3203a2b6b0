"""A worker's output, as lines: split, cleaned, bounded and understood. No I/O; bytes in, text out."""

from __future__ import annotations

import re
from collections.abc import Iterable

import attrs

LINE_BYTES = 16_384
"""The longest line that is looked at. Longer than what is shown, so that a cut never leaves half a secret that nothing recognises."""

SHOWN_CHARACTERS = 1_000
"""The longest line that is logged or kept."""

_OPENING = re.compile(r"store: recording_opening token=(?P<token>\S+) cause=(?P<cause>.*)")
_LEVEL = re.compile(r"\[(DEBUG|TRACE|INFO|WARN|WARNING|ERROR|FATAL)\]")
_TROUBLE = re.compile(r"\[(ERROR|FATAL)\]|\b(error|failed|cannot|could not|unable)\b", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class LineSplitter:
    """Bytes as they come, lines as they end. Of a line beyond `limit` bytes the rest is skipped, and no more than that is held."""

    def __init__(self, limit: int = LINE_BYTES) -> None:
        self._limit = limit
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take more output; the lines which that completes, without their ends."""
        *complete, rest = data.split(b"\n")
        lines = []
        for part in complete:
            self._keep(part)
            lines.append(bytes(self._rest))
            self._rest.clear()
        self._keep(rest)
        return lines

    def flush(self) -> list[bytes]:
        """The last line, if it had no end."""
        lines = [bytes(self._rest)] if self._rest else []
        self._rest.clear()
        return lines

    def _keep(self, part: bytes) -> None:
        self._rest += part[: self._limit - len(self._rest)]


def clean(line: bytes) -> str:
    """A line as one line of text: control characters, which could forge log lines or drive a terminal, become spaces."""
    return _CONTROL.sub(" ", line.decode("utf-8", "replace")).strip()


def shown(line: str) -> str:
    """A line no longer than is logged; redact it before."""
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[:SHOWN_CHARACTERS]}…"


@attrs.frozen
class Opening:
    """A clip's opening, as a worker's log tells it (worker.md, 1)."""

    token: str
    cause: str


def opening(line: str) -> Opening | None:
    """The opening that this line tells of, if it does."""
    found = _OPENING.search(line)
    return Opening(found["token"], found["cause"].strip()) if found else None


def level(line: str) -> str:
    """The level that a worker's line claims, as twisted.logger names it; info where it claims none."""
    found = _LEVEL.search(line)
    word = found[1] if found else "INFO"
    return {
        "DEBUG": "debug",
        "TRACE": "debug",
        "WARN": "warn",
        "WARNING": "warn",
        "ERROR": "error",
        "FATAL": "error",
    }.get(word, "info")


def last_errors(lines: Iterable[str], most: int = 3) -> tuple[str, ...]:
    """The last lines that tell of trouble, oldest first; the last line at all where none does."""
    every = tuple(lines)
    return tuple(line for line in every if _TROUBLE.search(line))[-most:] or every[-1:]


@attrs.frozen
class Allowance:
    """How many lines may still be logged: `burst` at once, `per_second` in the long run. Times in seconds of one clock."""

    per_second: float = 20.0
    burst: float = 200.0
    left: float = 200.0
    at: float = 0.0
    refused: int = 0

    def take(self, now: float) -> tuple[Allowance, bool, int]:
        """Ask for one line: what is left, whether it may be logged, and how many were refused before it since the last that was."""
        left = min(self.burst, self.left + max(0.0, now - self.at) * self.per_second)
        if left < 1.0:
            return attrs.evolve(self, left=left, at=now, refused=self.refused + 1), False, 0
        return attrs.evolve(self, left=left - 1.0, at=now, refused=0), True, self.refused
