"""Keeping credentials out of everything that people and programs read: log lines, events, errors, documents shown to the operator.

Two nets. `Redactor` knows the secrets of one monitor and replaces them wherever they stand, in every spelling that they may have been
given on their way. `mask` knows none and hides what has the shape of a credential. Both take time linear in the text, whatever it holds.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import unquote

import attrs

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
_STRONG = r"(?:passw(?:or[dt]|d)|psw|pwd|loginpas|secret|credentials?|jwt|(?:access|auth|user|refresh|bearer)[_-]?token|api[_-]?key)"
_PARTS = (
    r"(?:pas(?!sive)|psw|pw|token|auth(?!or(?!i))|secret|cred|sess|jwt|hash|basic|key(?!frame|int|pad|board)|sid(?![a-z])"
    r"|sig(?:nature)?(?![a-z])|(?<![a-z])pin(?:code)?(?![a-z]))"
)
_LETTERS = r"[a-z0-9_.\-\[\]]"
_EQUALS = r"(?:%5d)?(?:=|%3d)"
# Only a name that does end in an equals sign is looked into: else each part found in a long word would read on to its end.
_NAMED = rf"(?<!{_LETTERS})(?={_LETTERS}++{_EQUALS})({_LETTERS}*?{_PARTS}{_LETTERS}*+{_EQUALS})"
_PLAIN = r"""([^\s&;"'<>#]*+)"""
_PAIR = re.compile(rf"(?i){_NAMED}{_PLAIN}")
"""A secret in the path or query of a URL, where cameras call it anything: `loginpas=`, `userpwd=`, `/user=admin_token=`."""
_QUERY = re.compile(rf"(?i)(?<=[?&;]){_NAMED}{_PLAIN}")
_PROSE = re.compile(rf"(?i)(?<!{_LETTERS})({_LETTERS}*?{_STRONG}[0-9]{{0,3}}=){_PLAIN}")
"""The same in free text, by names that mean nothing else: there, `token=` and `key=` are often no secrets (the worker's clips have one)."""
_NEXT = re.compile(r"(?i)[/?]|_[a-z]+=")


def mask(text: str) -> str:
    """`text` without the userinfo of any URL (`rtsp://user:pass@host` becomes `rtsp://***@host`) and without the values of keys
    such as `password=`, `"pwd": "..."` and, in a URL, of all whose name has to do with secrets (`token=`, `loginpas=`)."""
    text = _AUTHORITY.sub(lambda found: found[1] + _run(found[2]), text)
    text = _KEYS.sub(_value, text)
    text = _QUERY.sub(_pair, text)
    return _PROSE.sub(_pair, text)


def is_secret(name: str) -> bool:
    """Whether what a URL calls by this name is to be hidden."""
    return _PAIR.match(f"{name}=") is not None


def secrets_in(tail: str) -> Iterator[str]:
    """The secrets in a URL's path and query, as they stand there.

    Where one ends in a path nobody can tell: both what goes up to the next slash or `_name=` and the whole rest are given.
    """
    path = tail.find("?") if "?" in tail else len(tail)
    for found in _PAIR.finditer(tail):
        yield tail[found.end(1) :].partition("&")[0]  # with what ends it in free text only, such as ; and quotes
        yield found[2]
        if found.start() < path:
            yield _NEXT.split(found[2], maxsplit=1)[0]


def _pair(found: re.Match[str]) -> str:
    return found[1] + (MASK if found[2] else "")


def _run(run: str) -> str:
    """What follows `://`, up to the next space or quote: a URL, with others inside it perhaps (`?next=http://...`)."""
    return "://".join(_PAIR.sub(_pair, _one(rest)) for rest in run.split("://"))


def _one(rest: str) -> str:
    end = _AUTHORITY_END.search(rest)
    authority = rest[: end.start()] if end else rest
    if "@" in authority:
        at = authority.rfind("@")
    elif "@" in rest and ":" in authority:
        # A raw / ? or # in the password: `rtsp://user:pa/ss@host`. A port in front of a path with an @ in it looks the same; so be it.
        at = rest.rfind("@")
    else:
        return rest
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
    _pattern: re.Pattern[str] | None = attrs.field(repr=False, eq=False)

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        kept = frozenset(secret for secret in secrets if len(secret) >= SHORTEST)
        texts = {
            text for secret in kept for text in (secret, unquote(secret, errors="replace")) if len(text) >= SHORTEST
        }
        longest_first = sorted(texts, key=lambda text: (-len(text), text))
        patterns = [pattern for text in longest_first for pattern in _spellings(text)]
        self.__attrs_init__(kept, re.compile("|".join(patterns)) if patterns else None)

    def adding(self, *secrets: str) -> Redactor:
        """One that knows `secrets` as well."""
        return Redactor(self.secrets.union(secrets))

    def replace(self, text: str) -> str:
        """`text` without the known secrets only."""
        return self._pattern.sub(MASK, text) if self._pattern is not None else text

    def redact(self, text: str) -> str:
        """`text` without the known secrets and without anything that has the shape of one."""
        return mask(self.replace(text))


def _spellings(text: str) -> Iterator[str]:
    """Patterns of the ways in which a secret may turn up: as it is, percent-encoded character by character, in JSON, in a Basic header.

    The first one allows for a JSON escape of the slash too, as PHP writes a URL.
    """
    yield "".join(map(_character, text))
    quoted = {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    for form in sorted(quoted | {form.replace("/", "\\/") for form in quoted}, key=len, reverse=True):
        if form != text:
            yield re.escape(form)
    yield re.escape(base64.b64encode(text.encode("utf-8", "replace")).decode())


def _character(character: str) -> str:
    """Encoders differ in what they leave as it is, and in the case of their hex digits: each character may stand either way."""
    octets = "".join(f"%{octet:02x}" for octet in character.encode("utf-8", "replace"))
    more = {"/": r"|\\/", " ": r"|\+"}.get(character, "")
    return f"(?:{re.escape(character)}|(?i:{octets}){more})"
