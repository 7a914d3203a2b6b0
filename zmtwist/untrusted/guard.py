"""What every text of a monitor's worker, camera and files passes, once, where it enters: bounded, redacted, cleaned, cut.

Behind it nothing is kept that may not be shown. `leaving` is one more net, at the other end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import attrs
import msgspec

from zmtwist.untrusted.redact import MASK, UNSEEN, Redactor, clean, mask

LINE: Final = 1_000
"""Characters of a worker's log line, or of a sentence of its plugins."""

MESSAGE: Final = 300
"""Characters of what a worker answers, or says of its camera's health."""

NAME: Final = 200
"""Characters of a label, a track, a cause, a kind of event."""

PATH: Final = 4_096

_TAIL = 256
"""So much of a text that is too long to be looked at goes besides: half a secret or URL is recognised by nothing."""

_ROUNDS = 4
_REMEMBERED = 1_024
_DOCUMENTS = 4
_MOST_VALUES = 4_000
_DEEPEST = 20

_PLAIN_NAME = re.compile(r"(?:event-Monitor-)?[0-9.-]*(?:-video)?(?:\.[a-z0-9]{1,5}){0,3}")
"""What ZoneMinder, a worker and we ourselves call files, directories and clips. Short passwords are found in such by chance."""


class Guard:
    """What every text of one monitor's worker, camera and files passes, once, where it enters: what comes out may be kept and shown.

    It knows the secrets of the monitor's latest documents: a worker may still run with the one before. May be used in any thread.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._documents: dict[tuple[str, ...], None] = {tuple(secrets): None}
        self._roots: dict[str, None] = {}
        self._redactor: Redactor | None = None
        self._harmless: set[str] = set()

    def learn(self, secrets: Iterable[str], root: str | None = None) -> None:
        """The secrets of a document, and the directory under which its clips are written, if any."""
        told = tuple(secrets)
        if root:
            self._roots[root.rstrip("/") + "/"] = None
        if told not in self._documents:
            self._redactor = None
            self._harmless.clear()
        self._documents[told] = self._documents.pop(told, None)
        while len(self._documents) > _DOCUMENTS:
            del self._documents[next(iter(self._documents))]

    def text(self, said: str | bytes, most: int = LINE) -> str:
        """`said` as one line of at most `most` characters, fit for log, answers and rows."""
        if isinstance(said, bytes):
            said = said[: 4 * self._room(most)].decode("utf-8", "replace")
        if said in self._harmless and len(said) <= most:
            return said
        guarded = self._guarded(said, most)
        if guarded == said and len(said) <= NAME:
            if len(self._harmless) >= _REMEMBERED:
                self._harmless.clear()
            self._harmless.add(said)
        return guarded

    def name(self, said: str, most: int = NAME) -> str:
        """`said`, by which something is known to the worker too and which is of no use but as it is: unchanged, or '' where it can't be."""
        if len(said) > most or UNSEEN.search(said) is not None:
            return ""
        rest = next((said[len(root) :] for root in tuple(self._roots) if said.startswith(root)), said)
        parts = [part for part in rest.split("/") if not _PLAIN_NAME.fullmatch(part)]
        return said if all(self._redacting.redact(part) == part for part in ("/".join(parts), *parts)) else ""

    def value(self, said: Any) -> Any:
        """A value of JSON whose form is not known, with all texts guarded. What is too much or too deep is None."""
        return self._value(said, [_MOST_VALUES], 0)

    @property
    def _redacting(self) -> Redactor:
        redactor = self._redactor
        if redactor is None:
            self._redactor = redactor = Redactor(secret for told in tuple(self._documents) for secret in told)
        return redactor

    def _room(self, most: int) -> int:
        """Characters that are looked at, of which four times as many as are shown are kept and the rest shows what is cut."""
        return 4 * most + self._redacting.longest

    def _guarded(self, said: str, most: int) -> str:
        redactor = self._redacting
        text = said if len(said) <= 4 * most else said[: self._whole(said, 4 * most, redactor)]
        for _ in range(_ROUNDS):
            # What was cleaned away or replaced may have parted a secret, or part of one may be left beside another.
            before, text = text, clean(redactor.redact(text))
            if text == before:
                return text[:most].rstrip()
        return MASK

    def _whole(self, said: str, most: int, redactor: Redactor) -> int:
        """Where at most `most` characters of `said` end without cutting a secret, or a word if it is no longer than usual."""
        end = min(
            (begin for begin, end in redactor.spans(said[: self._room(most // 4)]) if begin < most < end), default=most
        )
        space = said.rfind(" ", end - _TAIL, end)
        return end if space < 0 else space

    def _value(self, said: Any, left: list[int], depth: int) -> Any:
        left[0] -= 1
        if left[0] < 0 or depth > _DEEPEST:
            return None
        if isinstance(said, str):
            return self.text(said)
        if isinstance(said, dict):
            return {self.text(str(key), NAME): self._value(inner, left, depth + 1) for key, inner in said.items()}
        if isinstance(said, (list, tuple)):
            return type(said)(self._value(inner, left, depth + 1) for inner in said)
        return said


@attrs.define
class Guards:
    """The guards of all monitors."""

    _guards: dict[int, Guard] = attrs.field(factory=dict, repr=False)

    def of(self, monitor_id: int) -> Guard:
        """The guard of this monitor."""
        return self._guards.setdefault(monitor_id, Guard())


def leaving(answer: Any) -> bytes:
    """`answer` as JSON: the last net, where it leaves this process, for whatever has the shape of a credential."""
    return msgspec.json.encode(_masked(answer))


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {key: _masked(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_masked(inner) for inner in value]
    return value
