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
from urllib.parse import quote, quote_plus, unquote

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
_QUERY = re.compile(r"""(?i)((?<=[?&;])(?:(?:access_|auth_)?token|sid|auth|pw)=)([^\s&;"'<>#]*)""")


def mask(text: str) -> str:
    """`text` without the userinfo of any URL (`rtsp://user:pass@host` becomes `rtsp://***@host`) and without the values of keys
    such as `password=`, `"pwd": "..."` and, in a query, `token=`."""
    text = _AUTHORITY.sub(lambda found: found[1] + _run(found[2]), text)
    text = _KEYS.sub(_value, text)
    return _QUERY.sub(rf"\1{MASK}", text)


def _run(run: str) -> str:
    """What follows `://`, up to the next space or quote: a URL, with others inside it perhaps (`?next=http://...`)."""
    return "://".join(map(_one, run.split("://")))


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
        forms = sorted({form for secret in kept for form in _spellings(secret)}, key=lambda form: (-len(form), form))
        self.__attrs_init__(kept, re.compile("|".join(map(re.escape, forms))) if forms else None)

    def adding(self, *secrets: str) -> Redactor:
        """One that knows `secrets` as well."""
        return Redactor(self.secrets.union(secrets))

    def replace(self, text: str) -> str:
        """`text` without the known secrets only."""
        return self._pattern.sub(MASK, text) if self._pattern is not None else text

    def redact(self, text: str) -> str:
        """`text` without the known secrets and without anything that has the shape of one."""
        return mask(self.replace(text))


def _spellings(secret: str) -> Iterator[str]:
    """The ways in which a secret may turn up: as it is, percent-encoded more or less, decoded, inside JSON, in a Basic header."""
    plain = {secret, unquote(secret, errors="replace")}
    for text in plain:
        encoded = [
            quote(text, safe=safe, errors="replace")
            for safe in ("", "~", "!$&'()*+,;=:", "!$&'()*+,;=:@/?%", ":", ":@")
        ]
        encoded.append(quote_plus(text, errors="replace"))
        quoted = [
            json.dumps(text)[1:-1],
            json.dumps(text, ensure_ascii=False)[1:-1],
            json.dumps(text)[1:-1].replace("/", "\\/"),
        ]
        wrapped = base64.b64encode(text.encode("utf-8", "replace")).decode()
        for form in (text, *encoded, *(_lower_hex(form) for form in encoded), *quoted, wrapped):
            if len(form) >= SHORTEST:
                yield form


def _lower_hex(text: str) -> str:
    return re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), text)
