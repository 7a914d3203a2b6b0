"""Which broker, from the one URL in the configuration."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import attrs

PORTS = {"mqtt": 1883, "mqtts": 8883}


@attrs.frozen
class Broker:
    """Where to connect. `str` gives it without credentials."""

    host: str
    port: int
    tls: bool = False
    username: str = ""
    password: str = attrs.field(default="", repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"


def broker_of(url: str) -> Broker:
    """`mqtt://user:password@host:port`, or `mqtts://` for TLS; all but the host may be left out.

    Raises `ValueError`, never quoting the URL, which may hold a password.
    """
    scheme = url.partition("://")[0].lower()
    if scheme not in PORTS:
        raise ValueError("must begin with mqtt:// or mqtts://")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        (host or "").encode("idna")
    except ValueError:
        raise ValueError("host and port make no sense; percent-encode @ : / ? # % in user and password") from None
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(
            "must end with host and port ([mqtt] topic is a key of its own); percent-encode @ : / ? # % in user and password"
        )
    if not host or port == 0:
        raise ValueError("needs a host, as in mqtt://localhost")
    if parts.password and not parts.username:
        raise ValueError("has a password without a user, which MQTT does not know")
    return Broker(
        host=host,
        port=PORTS[scheme] if port is None else port,
        tls=scheme == "mqtts",
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )
