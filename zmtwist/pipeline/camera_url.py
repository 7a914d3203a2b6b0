"""A camera's URL, made from a monitor's columns and spelled so that the worker's scanner reads it as it is meant.

The scanner (doc/reference/worker.md, Plugins) knows no escapes and ends at the first `}`: no quote, backslash, brace, control character
or anything beyond ASCII (which JSON would write with a backslash) may be left in a value. All of them can be percent-encoded but in a
host name.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import attrs

from zmtwist.pipeline.document import Unfit
from zmtwist.untrusted.redact import is_secret, secrets_in

SCHEMES: Final = frozenset(
    {"rtsp", "rtsps", "rtspu", "http", "https", "rtmp", "rtmps", "rtp", "udp", "tcp", "srt", "mms"}
)

_UNSAFE = re.compile(r"[^!#-\[\]-z|~]")
_HOST = re.compile(r"[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+(?:%25[A-Za-z0-9._~-]+)?\]")
_FLAGS = frozenset({"true", "false", "yes", "off", "none", "null", "basic", "digest", "bearer"})
"""Values that say how to log in. As secrets they would blank out common words of the log."""
_UNTOLD = "percent-encode @ : / ? # % in its user and password, or put them into User and Pass"


PORTS: Final = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935, "rtmps": 443, "mms": 1755}
"""Where cameras listen by default, by scheme; of those that are reached by TCP."""


@attrs.frozen
class CameraUrl:
    """`bare` has no credentials. `user` and `password` are decoded; None where there are none."""

    bare: str
    user: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    in_query: tuple[str, ...] = attrs.field(default=(), repr=False)
    """Secrets that stand in the path or the query string."""

    @property
    def full(self) -> str:
        """With the credentials as userinfo."""
        if self.user is None:
            return self.bare
        scheme, _, rest = self.bare.partition("://")
        password = "" if self.password is None else ":" + _quote(self.password)
        return f"{scheme}://{_quote(self.user)}{password}@{rest}"

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and TCP port that the camera must answer at; None where it is not reached by TCP."""
        parts = urlsplit(self.bare)
        port = PORTS.get(parts.scheme)
        return None if port is None else (unquote(parts.hostname or ""), parts.port or port)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be seen: the password, the pair, both plain and as `full` spells them, and those of the query."""
        found = list(self.in_query)
        if self.user is not None and self.password:
            found += [self.password, f"{self.user}:{self.password}", f"{_quote(self.user)}:{_quote(self.password)}"]
        return tuple(found)


def safe(text: str) -> bool:
    """Whether the scanner reads `text` as it is."""
    return _UNSAFE.search(text.replace(" ", "")) is None


def parse_camera_url(text: str, user: str = "", password: str = "") -> CameraUrl:
    """The URL in `text` with `user` and `password` as its credentials; without a password, those of its userinfo. Raises `Unfit`.

    The query is left as it is, but for characters that the scanner can't take.
    """
    scheme, separator, rest = text.strip().partition("://")
    if not separator:
        raise Unfit("its Path is no URL")
    if scheme.lower() not in SCHEMES:
        raise Unfit("the scheme of its URL is not one that the worker can open")
    end = min((place for mark in "/?#" if (place := rest.find(mark)) >= 0), default=len(rest))
    userinfo, at, hostport = rest[:end].rpartition("@")
    if hostport.endswith(":") and "@" in rest[end:]:
        # No port at all is fine, but this is more likely a password that begins with a slash: what follows would be shown as a path.
        raise Unfit(f"the host and port of its URL make no sense; {_UNTOLD}")
    host, port = _host_port(hostport)
    tail = rest[end:].partition("#")[0]
    if at:
        name, _, word = (unquote(part, errors="replace") for part in userinfo.partition(":"))
        user, password = (user or name, password) if password else (name or user, word)
    bare = f"{scheme.lower()}://{host}{port}{_UNSAFE.sub(_encode, tail)}"
    known = bool(user or password)
    return CameraUrl(
        bare=bare,
        user=user if known else None,
        password=(password or None) if known else None,
        in_query=_in_query(tail),
    )


def _in_query(tail: str) -> tuple[str, ...]:
    """The secrets of a URL's path and query, decoded; those of the query also as a parser of forms reads it (`;` in a value)."""
    found = [unquote(value, errors="replace") for value in secrets_in(tail)]
    for key, value in parse_qsl(tail.partition("?")[2], errors="replace"):
        if is_secret(key):
            found.append(value)
    return tuple(dict.fromkeys(value for value in found if value and value.lower() not in _FLAGS))


def _host_port(hostport: str) -> tuple[str, str]:
    """Host and `:port` (or nothing), both fit for the scanner."""
    found = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]{0,5}))?", hostport)
    if found is None:
        raise Unfit(f"the host and port of its URL make no sense; {_UNTOLD}")
    host, port = found[1], found[2] or ""
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            raise Unfit("the host name of its URL can't be written in ASCII") from None
    if not _HOST.fullmatch(host):
        raise Unfit(f"the host name of its URL is missing or makes no sense; {_UNTOLD}")
    if port and not 0 < int(port) < 65536:
        raise Unfit("the port of its URL is not between 1 and 65535")
    return host, f":{port}" if port else ""


def _quote(text: str) -> str:
    return quote(text, safe="", errors="replace")


def _encode(found: re.Match[str]) -> str:
    return _quote(found[0])
