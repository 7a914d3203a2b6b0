"""Keeping credentials out of everything that people and programs read: log lines, events, errors, documents shown to the operator.

Two nets. `Redactor` knows the secrets of one monitor and replaces them wherever they stand, in every spelling that they may have been
given on their way. `mask` knows none and hides what has the shape of a credential. Both take time linear in the text, whatever it holds.
`untrusted.guard` says which texts pass them, and where.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Final

import attrs

from zmtwist.untrusted.spellings import found_in, needles

MASK: Final = "***"

SHORTEST: Final = 3
"""Shorter secrets are not replaced where they stand alone, since they would blank out half of every line; `mask` hides them in URLs."""

_AUTHORITY = re.compile(r"""(:(?://|\\/\\/))([^\s"<>]*)""")
_AUTHORITY_END = re.compile(r"[/?#\\]")

_NAMES = r"(?:pass(?:word|wd|phrase)?|pwd|secret|api_?key|auth_header|authorization)"
_VALUE = r"""(?:"(?:[^"\\]|\\.)*+"?|'[^']*+'?|[^\s&;,"'<>]*+)"""
_KEYS = re.compile(
    rf"""(?i)(?<![a-z0-9])({_NAMES}["']?\s{{0,4}}[=:]\s{{0,4}}(?:(?:basic|digest|bearer)\s{{1,4}})?)({_VALUE})"""
)
_KEY_PARTS = ("pass", "pwd", "secret", "api", "auth")
"""One of these is in whatever `_KEYS` finds."""

_STRONG = re.compile(
    r"(?i)(?:passw(?:or[dt]|d)|psw|pwd|loginpas|secret|credentials?|jwt|(?:access|auth|user|refresh|bearer)[_-]?token|api[_-]?key)"
    r"[0-9]{0,3}\Z"
)
"""Ends of names that mean nothing else in free text: there, `token=` and `key=` are often no secrets (the worker's clips have one)."""
_PARTS = re.compile(
    r"(?i)pas(?!sive)|psw|pw|token|auth(?!or(?!i))|secret|cred|sess|jwt|hash|basic|key(?!frame|int|pad|board)|sid(?![a-z])"
    r"|sig(?:nature)?(?![a-z])|(?<![a-z])pin(?:code)?(?![a-z])"
)
"""Parts of names in the path or query of a URL, where cameras call a secret anything: `loginpas=`, `userpwd=`, `/user=admin_token=`."""
_NAME = re.compile(r"(?i)(?<![a-z0-9_.\-\[\]])([a-z0-9_.\-\[\]]++)(?:%5d)?(=|%3d)")
_PLAIN = re.compile(r"""[^\s&;"'<>#]*+""")
_NEXT = re.compile(r"(?i)[/?]|_[a-z]+=")


def mask(text: str) -> str:
    """`text` without the userinfo of any URL (`rtsp://user:pass@host` becomes `rtsp://***@host`) and without the values of keys
    such as `password=`, `"pwd": "..."` and, in a URL, of all whose name has to do with secrets (`token=`, `loginpas=`)."""
    if ":" in text:
        text = _AUTHORITY.sub(lambda found: found[1] + _run(found[2]), text)
    lowered = text.lower()
    if any(part in lowered for part in _KEY_PARTS):
        text = _KEYS.sub(_value, text)
    return _without(text, _told_in_prose)


def is_secret(name: str) -> bool:
    """Whether what a URL calls by this name is to be hidden."""
    found = _NAME.match(f"{name}=")
    return found is not None and _means_secret(found[1])


def secrets_in(tail: str) -> Iterator[str]:
    """The secrets in a URL's path and query, as they stand there.

    Where one ends in a path nobody can tell: both what goes up to the next slash or `_name=` and the whole rest are given.
    """
    path = tail.find("?") if "?" in tail else len(tail)
    for name, begin, end in _pairs(tail, _told_in_url):
        value = tail[begin:end]
        yield tail[begin:].partition("&")[0]  # with what ends it in free text only, such as ; and quotes
        yield value
        if name < path:
            yield _NEXT.split(value, maxsplit=1)[0]


@lru_cache(maxsize=1024)
def _means_secret(name: str) -> bool:
    return _PARTS.search(name) is not None


@lru_cache(maxsize=1024)
def _always_means_secret(name: str) -> bool:
    return _STRONG.search(name) is not None


def _told_in_url(found: re.Match[str]) -> bool:
    return _means_secret(found[1])


def _told_in_prose(found: re.Match[str]) -> bool:
    if found.string[found.start() - 1 : found.start()] in ("?", "&", ";"):
        return _means_secret(found[1]) or _always_means_secret(found[1])
    return found[2] == "=" and _always_means_secret(found[1])


def _pairs(text: str, told: Any) -> Iterator[tuple[int, int, int]]:
    """Where a name begins whose value is a secret, and where that value begins and ends."""
    after = 0
    for found in _NAME.finditer(text):
        if found.start() >= after and told(found):
            plain = _PLAIN.match(text, found.end())
            after = plain.end() if plain else found.end()
            yield found.start(), found.end(), after


def _without(text: str, told: Any) -> str:
    if "=" not in text and "%3" not in text:
        return text
    parts, at = [], 0
    for _, begin, end in _pairs(text, told):
        if end > begin:
            parts += [text[at:begin], MASK]
            at = end
    return "".join((*parts, text[at:])) if parts else text


def _run(run: str) -> str:
    """What follows `://`, up to the next space or quote: a URL, with others inside it perhaps (`?next=http://...`)."""
    return "://".join(_without(_one(rest), _told_in_url) for rest in run.split("://"))


def _one(rest: str) -> str:
    end = _AUTHORITY_END.search(rest)
    authority = rest[: end.start()] if end else rest
    at = rest.rfind("@")
    if at < 0:
        return rest
    if "@" in authority and "=" in rest[len(authority) : at]:
        # A parameter with an @ in it: `rtsp://user:pass@host/a?b=c@d`.
        at = authority.rfind("@")
    elif ":" not in authority and "@" not in authority:
        return rest
    # Else a raw / ? or # in the password: `rtsp://user:pa/ss@host`, `rtsp://user:p@a/ss@host`. A path with an @ in it, behind a port or
    # userinfo, looks the same; so be it.
    return MASK + rest[at:]


def _value(found: re.Match[str]) -> str:
    value = found[2]
    if not value or value[0] not in "\"'":
        return found[1] + MASK if value else found[0]
    closed = len(value) > 1 and value[-1] == value[0]
    return f"{found[1]}{value[0]}{MASK}{value[0] if closed else ''}"


@attrs.frozen(init=False)
class Redactor:
    """Replaces a fixed set of secrets, and masks what looks like one. Its `repr` tells nothing."""

    secrets: frozenset[str] = attrs.field(repr=False)
    _needles: tuple[str, ...] = attrs.field(repr=False, eq=False)

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        kept = frozenset(secret for secret in secrets if len(secret) >= SHORTEST)
        cleaned = (clean(secret) for secret in kept)
        self.__attrs_init__(kept, needles({*kept, *cleaned}, SHORTEST))

    @property
    def longest(self) -> int:
        """Characters of a secret in the longest spelling that is looked for."""
        return _WIDEST * max(map(len, self._needles), default=0)

    def adding(self, *secrets: str) -> Redactor:
        """One that knows `secrets` as well."""
        return Redactor(self.secrets.union(secrets))

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where the known secrets stand: begin and end of each, in order."""
        return found_in(text, self._needles) if self._needles else []

    def replace(self, text: str) -> str:
        """`text` without the known secrets only."""
        spans = self.spans(text)
        if not spans:
            return text
        parts, at = [], 0
        for begin, end in spans:
            parts += [text[at:begin], MASK]
            at = end
        return "".join((*parts, text[at:]))

    def redact(self, text: str) -> str:
        """`text` without the known secrets and without anything that has the shape of one."""
        return mask(self.replace(text))


_WIDEST = 12
"""Characters that one of a secret is written with at most: an emoji, percent-encoded."""

UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]+"
)


def clean(text: str) -> str:
    """`text` on one line, without what could forge another, drive a terminal or turn the order of letters: each stretch becomes a space."""
    return UNSEEN.sub(" ", text).strip()
