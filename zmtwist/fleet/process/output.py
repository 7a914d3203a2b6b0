"""A worker's output, as lines: split, cleaned, bounded and understood. No I/O; bytes in, text out."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Literal

import attrs

from zmtwist.config.model import Level
from zmtwist.untrusted.guard import LINE, Guard

LINE_BYTES = 16_384
"""The longest line that is looked at: the guard wants to see more than it shows, so that a cut never leaves half a secret."""

_OPENING_MARK = b"recording_opening"
_OPENING = re.compile(r"store: recording_opening token=(?P<token>\S+) cause=(?P<cause>.*)")
_LEVEL = re.compile(rb"\[(DEBUG|TRACE|INFO|WARN|WARNING|ERROR|FATAL)\]")
_LEVELS: Mapping[bytes, Level] = {
    b"DEBUG": "debug",
    b"TRACE": "debug",
    b"WARN": "warn",
    b"WARNING": "warn",
    b"ERROR": "error",
    b"FATAL": "error",
}
_WELL = re.compile(r"\[(DEBUG|TRACE|INFO)\]")
_TROUBLE = re.compile(r"\[(ERROR|FATAL)\]|\b(error|failed|cannot|could not|unable)\b", re.IGNORECASE)


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


@attrs.frozen
class Opening:
    """A clip's opening, as a worker's log tells it (doc/reference/worker.md, The log). Not guarded yet."""

    token: str
    cause: str


def may_tell_opening(raw: bytes) -> bool:
    """Whether it is worth the trouble to ask `opening`."""
    return _OPENING_MARK in raw


def opening(raw: bytes) -> Opening | None:
    """The opening that this line tells of, if it does."""
    found = _OPENING.search(raw.decode("utf-8", "replace"))
    return Opening(found["token"], found["cause"].strip()) if found else None


_SIGN = re.compile(
    rb"store: write_frame failed"
    rb"|\[Stream 0\] (?:(Max retry attempts reached)|Connection failed, retrying in \d{1,9} ms \(attempt (\d{1,9})\))"
)
Sign = Literal["refused", "unconnected"]
_FUTILE_ATTEMPTS = 3
"""After so many failed connection attempts the worker's next one is 4 s or more away: it is better ended, and started in time."""


def sign(raw: bytes) -> Sign | None:
    """What a line says of the recording: `refused`, the recorder could not write a frame; `unconnected`, there is no connection to the main
    stream's camera, and none can be expected soon."""
    found = _SIGN.search(raw)
    if found is None:
        return None
    if found[1] is None and found[2] is None:
        return "refused"
    return "unconnected" if found[1] or int(found[2]) >= _FUTILE_ATTEMPTS else None


_OF_EVERY_FRAME = (b"decode_ffmpeg: created swscale", b"MOTION DETECTED!")
"""What plugins write at INFO for each frame that they scale, or in which something moves."""


def level(raw: bytes) -> Level:
    """The level that a line claims, as twisted.logger names it; info where it claims none, debug where it comes with every frame."""
    if any(words in raw for words in _OF_EVERY_FRAME):
        return "debug"
    found = _LEVEL.search(raw)
    return _LEVELS.get(found[1], "info") if found else "info"


def last_errors(lines: Iterable[str], by_itself: bool, most: int = 3) -> tuple[str, ...]:
    """The last lines that tell of trouble, oldest first.

    A process that has ended `by_itself` may have told why in other words: then it is the last line, unless that says that all is well.
    One that was killed had no time to tell.
    """
    every = [line for line in lines if _TROUBLE.search(line) or not _WELL.search(line)]
    return tuple(line for line in every if _TROUBLE.search(line) and not _WELL.search(line))[-most:] or (
        tuple(every[-1:]) if by_itself else ()
    )


class KeptLines:
    """The last lines. Those that come in too fast pass `guard` only when somebody wants to see them."""

    def __init__(self, most: int, guard: Guard) -> None:
        self._guard = guard
        self._lines: deque[str | bytes] = deque(maxlen=most)

    def add(self, line: str) -> None:
        """Keep a line that may be shown as it is."""
        self._lines.append(line)

    def add_raw(self, raw: bytes) -> None:
        """Keep a line that may not. A long one is made fit at once, which bounds what is held."""
        self._lines.append(raw if len(raw) <= LINE else self._guard.text(raw, LINE))

    def texts(self) -> tuple[str, ...]:
        """All of them, fit to be shown, oldest first. Each is made so only once."""
        texts = [self._guard.text(line, LINE) if isinstance(line, bytes) else line for line in self._lines]
        self._lines.clear()
        self._lines.extend(texts)
        return tuple(filter(None, texts))
