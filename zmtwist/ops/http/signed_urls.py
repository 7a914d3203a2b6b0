"""Tickets: for what a browser fetches by itself, as `<video>` does, and can't send a token with."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable

import attrs

VALID_SECONDS = 900


@attrs.frozen
class Tickets:
    """Each opens one path to reading, for `VALID_SECONDS`. The key lives as long as this run of the service; `wall` is microseconds."""

    wall: Callable[[], int]
    _key: bytes = attrs.field(factory=lambda: secrets.token_bytes(32), repr=False)

    def issue(self, path: str) -> str:
        """A ticket for exactly this path, as it stands in the request line."""
        until = f"{self.wall() // 1_000_000 + VALID_SECONDS:x}"
        return f"{until}.{self._sign(path, until)}"

    def opens(self, path: str, ticket: str) -> bool:
        """Whether this is such a ticket, and still valid."""
        until, _, signature = ticket.partition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(path, until).encode()):
            return False
        return int(until, 16) > self.wall() // 1_000_000

    def _sign(self, path: str, until: str) -> str:
        return hmac.new(self._key, f"{until} {path}".encode(), hashlib.sha256).hexdigest()
