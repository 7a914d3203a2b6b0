"""Where the API listens, in Twisted's endpoint descriptions (`unix:/run/zmnext/api.sock:mode=660`), read without a reactor."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import attrs

from zmtwist.untrusted.integers import whole as number

LONGEST_SOCKET_PATH = 107
"""Bytes that the kernel takes as a UNIX socket's path (sun_path, less its end)."""

DEFAULT_PORT = 8095

LOCAL = "unix:/path/to/socket, or tcp:PORT:interface=127.0.0.1"

_COLON = re.compile(r"(?<!\\):")


class BadAddress(ValueError):
    """An address that can't be used; the text says what is wrong with it and what to write instead."""


@attrs.frozen
class Address:
    """Where a client connects: to `path`, a UNIX socket, or else by TCP to `host` and `port`, where the API is below `base`."""

    path: str | None = None
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    tls: bool = False
    base: str = ""

    def __str__(self) -> str:
        if self.path is not None:
            return self.path
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.base}"


def _parts(description: str) -> tuple[list[str], dict[str, str]]:
    """What stands between unescaped colons: plain values, and `name=value` by name."""
    plain: list[str] = []
    named: dict[str, str] = {}
    for part in _COLON.split(description):
        name, equals, value = part.partition("=")
        text = (value if equals else part).replace("\\:", ":").replace("\\\\", "\\")
        if equals:
            named[name] = text
        else:
            plain.append(text)
    return plain, named


def unix_path(description: str) -> str | None:
    """The path of a `unix:` endpoint, None for any other kind."""
    plain, named = _parts(description)
    if not plain or plain[0] != "unix":
        return None
    return named.get("address") or (plain[1] if len(plain) > 1 else None)


def local_endpoint(description: str) -> str:
    """A server's endpoint that nobody can reach from another host, ready for Twisted: a UNIX socket (for its owner alone, unless a mode
    is given), or TCP on a loopback address. Raises BadAddress for any other."""
    plain, named = _parts(description)
    kind = plain[0] if plain else ""
    if kind == "unix" and unix_path(description):
        if not re.fullmatch("[0-7]{3,4}", named.get("mode", "600")):
            raise BadAddress(f"mode={named['mode']} is no mode: write unix:/path/to/socket:mode=600")
        return description if "mode" in named else f"{description}:mode=600"
    if kind not in ("tcp", "tcp6"):
        raise BadAddress(f"must be {LOCAL}")
    if not _is_loopback(named.get("interface") or next(iter(plain[2:]), "")):
        raise BadAddress(f"must not be reachable from other hosts: write {LOCAL}")
    if not re.fullmatch("[0-9]{1,5}", named.get("port") or next(iter(plain[1:]), "")):
        raise BadAddress(f"names no port: write {LOCAL}")
    return description


def _is_loopback(interface: str) -> bool:
    try:
        return ip_address(interface).is_loopback
    except ValueError:
        return False


def check_socket_path(path: str) -> None:
    """Raises BadAddress where a UNIX socket can't be bound at `path` for its length."""
    length = len(str(Path(path).absolute()).encode())
    if length > LONGEST_SOCKET_PATH:
        raise BadAddress(
            f"{path}: {length} bytes are too long for a UNIX socket, which can have {LONGEST_SOCKET_PATH}: "
            "choose a shorter directory ([paths] run and socks)"
        )


def client_address(text: str) -> Address:
    """What a client is given: `/path`, `unix:/path`, `tcp:host:port`, `http://host:port`. Raises BadAddress."""
    if text.startswith(("/", "./")):
        return Address(path=text)
    if (path := unix_path(text)) is not None:
        return Address(path=path)
    if text.startswith(("http://", "https://")):
        return _by_url(text)
    plain, named = _parts(text)
    if plain and plain[0] in ("tcp", "tcp6", "ssl"):
        port = named.get("port") or next((part for part in reversed(plain) if number(part) is not None), "")
        host = named.get("host") or named.get("interface") or (plain[1] if len(plain) > 2 else "")
        return Address(host=host or "127.0.0.1", port=_port(port, text), tls=plain[0] == "ssl")
    raise BadAddress(f"{text!r} is no address: write /path/to/api.sock, unix:/path/to/api.sock or http://host:port")


def _by_url(text: str) -> Address:
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError:
        host, port = None, None
    if not host:
        raise BadAddress(f"{text!r} is no address: write http://host:port")
    return Address(
        host=host, port=DEFAULT_PORT if port is None else port, tls=url.scheme == "https", base=url.path.rstrip("/")
    )


def _port(text: str, whole: str) -> int:
    port = number(text, 5)
    if port is None or not 0 < port < 65536:
        raise BadAddress(f"{whole!r} names no port: write tcp:host:port")
    return port
