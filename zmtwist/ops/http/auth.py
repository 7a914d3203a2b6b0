"""Who may ask for what: by token, Host and Origin over TCP; by the kernel's word on who is at the other end of a UNIX socket."""

from __future__ import annotations

import hmac
import socket
import struct
from collections.abc import Collection
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import attrs

from zmtwist.ops.http.errors import ApiError
from zmtwist.ops.http.signed_urls import Tickets

SO_PEERGROUPS = 59
"""Linux 4.13 and later; Python has no name for it."""

READS = frozenset({"GET", "HEAD"})


@attrs.frozen
class Peer:
    """The process at the other end of a UNIX socket, as it was when it connected."""

    pid: int
    uid: int
    gids: frozenset[int]

    def __str__(self) -> str:
        return f"uid {self.uid} (process {self.pid})"


@attrs.frozen
class Asked:
    """What of a request decides whether it is answered. Header values are None where the header is missing or given twice.

    `host` and `secure` are those that the client sees, which behind a trusted proxy are not those of our own connection.
    """

    method: str
    host: str | None
    origin: str | None
    authorization: str | None
    secure: bool = False
    path: str = ""
    ticket: str | None = None


@attrs.frozen
class TokenGuard:
    """For TCP. Every request needs the token; a browser's must come from our own pages, under a name that is ours.

    `hosts` are the names that Host may give beside addresses and localhost: a foreign name that leads here is a rebinding attack.
    `public` paths may be read without the token: the page itself, which holds no data. What `tickets` has opened a path for may read that.
    """

    token: str = attrs.field(repr=False)
    hosts: Collection[str] = ()
    public: Collection[str] = ()
    tickets: Tickets | None = None

    def check(self, asked: Asked) -> bool:
        """Whether it is signed, by the token or a ticket, and not just for what is public. Raises ApiError."""
        if asked.host is None or not self._ours(asked.host):
            raise ApiError(403, "wrong_host", "the Host header names none of this service; [api] hosts lists its names")
        if (
            asked.origin is not None
            and asked.origin.lower() != f"{'https' if asked.secure else 'http'}://{asked.host}".lower()
        ):
            raise ApiError(403, "foreign_origin", "pages of another origin may not use this API")
        if self._has_token(asked) or (asked.method in READS and self._has_ticket(asked)):
            return True
        if asked.method not in READS or asked.path not in self.public:
            raise ApiError(401, "unauthorized", "send the token of [api] token_file as `Authorization: Bearer TOKEN`")

        return False

    def _has_token(self, asked: Asked) -> bool:
        scheme, _, given = (asked.authorization or "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self.token.encode())

    def _has_ticket(self, asked: Asked) -> bool:
        return self.tickets is not None and asked.ticket is not None and self.tickets.opens(asked.path, asked.ticket)

    def _ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name == "localhost" or name in {own.lower() for own in self.hosts}:
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True


@attrs.frozen
class PeerGuard:
    """For the UNIX socket. Its mode decides who may connect and look; to change anything takes root, our own user, or its group."""

    uid: int
    gid: int | None

    def check(self, asked: Asked, peer: Peer | None) -> None:
        """Raises ApiError. A `peer` that the kernel does not tell of may only look."""
        if asked.method in READS:
            return
        if peer is None or not (peer.uid in (0, self.uid) or self.gid in peer.gids):
            raise ApiError(
                403, "forbidden", "only root, the service's user and members of the socket's group may change anything"
            )


def peer(sock: Any) -> Peer | None:
    """Who is at the other end of a connected UNIX socket; None where the kernel does not say."""
    size = struct.calcsize("3i")
    try:
        pid, uid, gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    except (OSError, AttributeError):
        return None
    try:
        groups = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 1024)
    except OSError:  # an old kernel, or more groups than Python makes room for
        groups = b""
    return Peer(pid, uid, frozenset({gid, *struct.unpack(f"{len(groups) // 4}I", groups)}))
