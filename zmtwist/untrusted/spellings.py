"""How a secret may be spelled on its way: percent-encoded, as a JSON or C escape, as an HTML entity, in a Basic header; and finding it.

A text is searched as it stands, and as it reads with the escapes of each family undone, two families deep: any character may be spelled
either way. So what is looked for are plain strings, and a text without escapes costs next to nothing.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final
from urllib.parse import unquote

import attrs

DEPTH: Final = 2
"""Encodings on top of each other: JSON in JSON, a URL in a URL."""

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


def needles(secrets: Iterable[str], shortest: int) -> tuple[str, ...]:
    """What to look for, longest first: each secret as it is and decoded, with `+` for a space, and in base64."""
    found: set[str] = set()
    for secret in secrets:
        for text in (secret, unquote(secret, errors="replace")):
            octets = text.encode("utf-8", "replace")
            found |= {text, text.replace(" ", "+"), octets.decode()}
            if len(text) >= shortest:
                for encoded in (base64.b64encode(octets), base64.urlsafe_b64encode(octets)):
                    found.add(encoded.decode().rstrip("="))
    return tuple(sorted((text for text in found if len(text) >= shortest), key=lambda text: (-len(text), text)))


def found_in(text: str, wanted: Sequence[str]) -> list[tuple[int, int]]:
    """Where in `text` any of `wanted` stands, however spelled: begin and end, in order, none overlapping another."""
    spans: list[tuple[int, int]] = []
    for read in _readings(text, DEPTH):
        for needle in wanted:
            at = read.text.find(needle)
            while at >= 0:
                spans.append(read.span(at, at + len(needle)))
                at = read.text.find(needle, at + 1)
    return _merged(spans) if spans else spans


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    spans.sort()
    merged = [spans[0]]
    for begin, end in spans[1:]:
        if begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((begin, end))
    return merged


@attrs.frozen
class _Family:
    """One way to escape. `units` gives the characters that an escape stands for, each with the number of those it is written with."""

    mark: str
    pattern: re.Pattern[str]
    units: Callable[[str], Sequence[tuple[str, int]]]


@attrs.define
class _Reading:
    """A text as it reads with the escapes of `family` undone; `under` is what it was made of, None for the text itself."""

    text: str
    under: _Reading | None = None
    family: _Family | None = None
    _places: list[int] | None = None

    def span(self, begin: int, end: int) -> tuple[int, int]:
        """Where in the text itself this stretch stands."""
        if self.under is None or self.family is None:
            return begin, end
        if self._places is None:
            self._places = list(_places(self.under.text, self.family))
        return self.under.span(self._places[begin], self._places[end])


def _readings(text: str, depth: int) -> Iterator[_Reading]:
    layer = [_Reading(text)]
    seen = {text}
    for _ in range(depth + 1):
        yield from layer
        deeper = []
        for read in layer:
            for family in _FAMILIES:
                if family.mark not in read.text:
                    continue
                undone = family.pattern.sub(
                    lambda escape, units=family.units: "".join(unit for unit, _ in units(escape[0])),  # type: ignore[misc]
                    read.text,
                )
                if undone not in seen:
                    seen.add(undone)
                    deeper.append(_Reading(undone, read, family))
        layer = deeper


def _places(text: str, family: _Family) -> Iterator[int]:
    """For each character of the undone text where it begins in `text`, and the end of all."""
    at = 0
    for escape in family.pattern.finditer(text):
        yield from range(at, escape.start())
        at = escape.start()
        for _, width in family.units(escape[0]):
            yield at
            at += width
    yield from range(at, len(text) + 1)


def _octets(run: str, width: int) -> list[tuple[str, int]]:
    """A run of escaped octets of UTF-8, each written with `width` characters of which the last two are its digits."""
    octets = bytes(int(run[at + width - 2 : at + width], 16) for at in range(0, len(run), width))
    text = octets.decode("utf-8", "surrogateescape")
    return [(unit, width * len(unit.encode("utf-8", "surrogateescape"))) for unit in text]


def _percent(run: str) -> list[tuple[str, int]]:
    return _octets(run, 3)


def _backslash(escape: str) -> list[tuple[str, int]]:
    if escape[1] == "x":
        return _octets(escape, 4)
    if escape[1] == "u":
        units = b"".join(bytes.fromhex(escape[at + 2 : at + 6]) for at in range(0, len(escape), 6))
        text = units.decode("utf-16-be", "surrogatepass")
        return [(unit, 6 * (1 + (ord(unit) > 0xFFFF))) for unit in text]
    return [(_ESCAPES.get(escape[1], escape[1]), 2)]


def _entity(escape: str) -> list[tuple[str, int]]:
    name = escape[1:-1]
    if name[0] != "#":
        return [(_ENTITIES[name], len(escape))]
    number = int(name[2:], 16) if name[1] in "xX" else int(name[1:])
    return [(chr(number) if number < 0x110000 else "\ufffd", len(escape))]


_FAMILIES = (
    _Family("%", re.compile(r"(?:%[0-9A-Fa-f]{2})+"), _percent),
    _Family("\\", re.compile(r"(?s)(?:\\x[0-9A-Fa-f]{2})+|(?:\\u[0-9A-Fa-f]{4})+|\\[^ux]"), _backslash),
    _Family("&", re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|amp|lt|gt|quot|apos);"), _entity),
)
