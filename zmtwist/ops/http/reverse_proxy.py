"""Requests that come by way of a reverse proxy: who sends them, and to which origin, as far as the proxy may be believed. Pure.

Anybody can send `X-Forwarded-...`. They are heeded from trusted proxies only, and of several values the last one, which is what the
nearest proxy has set or appended; whatever a client sent stands before it. `Forwarded` (RFC 7239) is never heeded: a proxy that knows
nothing of it passes on what a client wrote there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import attrs

UNIX = "unix"
"""Stands among the trusted proxies for whatever connects to a UNIX socket."""

MOST_HOPS = 16
"""Proxies that are followed back from us."""

_SHARED_PREFIX = 64
"""Bits of an IPv6 address that one client does not choose: it may have all addresses with the same."""


@attrs.frozen
class Sender:
    """Who made a request: `address` None for a UNIX socket. `host` and `secure` as the sender sees them: Origin is held to that."""

    address: str | None
    host: str | None
    secure: bool = False


class Proxies:
    """Those that are trusted: addresses, networks, or `unix`. Raises ValueError for anything else."""

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        names = list(trusted)
        self._unix = UNIX in names
        self._networks = [ip_network(name, strict=False) for name in names if name != UNIX]

    def trust(self, address: str | None) -> bool:
        """Whether what comes from there is believed; None for a UNIX socket."""
        if address is None:
            return self._unix
        ip = _ip(address)
        return ip is not None and any(ip in network for network in self._networks)

    def sender(
        self, peer: Sender, forwarded_for: Sequence[str] = (), proto: Sequence[str] = (), host: Sequence[str] = ()
    ) -> Sender:
        """Who has sent what `peer` handed on, by the values of X-Forwarded-For, -Proto and -Host."""
        if not self.trust(peer.address):
            return peer
        protos, hosts = _values(proto), _values(host)
        secure = peer.secure
        if protos and protos[-1].lower() in ("http", "https"):
            secure = protos[-1].lower() == "https"
        address = peer.address
        for told in reversed(_values(forwarded_for)[-MOST_HOPS:]):
            ip = _ip(_without_port(told))
            if ip is None:
                break
            address = str(ip)
            if not self.trust(address):
                break
        return Sender(address, hosts[-1] if hosts else peer.host, secure)


def place_of(address: str) -> str:
    """What stands for one client when it is counted how much it takes: its address, or its network of IPv6."""
    ip = _ip(address)
    if isinstance(ip, IPv6Address):
        return str(IPv6Network((ip, _SHARED_PREFIX), strict=False))
    return address if ip is None else str(ip)


def below(base: str, path: bytes) -> bytes | None:
    """What a path is for us, where we are reached under `base`, and the proxy may or may not have taken that away; None for the base itself
    without its slash, from which the page's relative links would lead astray."""
    prefix = base.encode()
    if not prefix or not path.startswith(prefix):
        return path
    rest = path[len(prefix) :]
    if not rest:
        return None
    return rest if rest.startswith(b"/") else path


def _values(lines: Sequence[str]) -> list[str]:
    return [value.strip() for line in lines for value in line.split(",")]


def _ip(text: str) -> IPv4Address | IPv6Address | None:
    """An address; of IPv4 where it is one of those in IPv6's clothes."""
    if "%" in text:  # a zone, in which anything may stand
        return None
    try:
        ip = ip_address(text)
    except ValueError:
        return None
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip


def _without_port(text: str) -> str:
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
