"""MQTT brokers, each read from one URL of the configuration: the service's own, and that of the workers' `output_mqtt` nodes."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

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


BASE_TOPIC = "zm-next"


@attrs.frozen
class WorkerBroker:
    """Where the worker publishes its events. `client_id` is a prefix: each monitor adds its own id."""

    host: str
    port: int = PORTS["mqtt"]
    base_topic: str = BASE_TOPIC
    client_id: str = "zmnext"
    username: str = ""
    password: str = attrs.field(default="", repr=False)


def worker_broker_of(url: str) -> WorkerBroker:
    """`mqtt://user:password@host:port/base/topic?client_id=...`; all but the host may be left out.

    Raises `ValueError`, never quoting the URL, which may hold a password.
    """
    scheme = url.partition("://")[0].lower()
    if scheme != "mqtt":
        why = "; the worker's plugin speaks no TLS" if scheme == "mqtts" else ""
        raise ValueError(f"must begin with mqtt://{why}")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        query = parse_qs(parts.query, keep_blank_values=True)
    except ValueError:
        raise ValueError("host and port make no sense; percent-encode @ : / ? # % in user and password") from None
    if "@" in parts.path or parts.fragment:
        raise ValueError("topic must hold no @ or #; percent-encode @ : / ? # % in user and password")
    if not host or port == 0:
        raise ValueError("needs a host, as in mqtt://localhost")
    if set(query) - {"client_id"}:
        raise ValueError("has an option that is not known; known is client_id")
    return WorkerBroker(
        host=host,
        port=PORTS["mqtt"] if port is None else port,
        base_topic=unquote(parts.path).strip("/") or BASE_TOPIC,
        client_id=query.get("client_id", [""])[-1] or "zmnext",
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )
