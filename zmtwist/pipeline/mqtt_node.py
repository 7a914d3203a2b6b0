"""The `output_mqtt` node, from one URL in the config."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import attrs

BASE_TOPIC = "zm-next"
PORT = 1883


@attrs.frozen
class Broker:
    """Where the worker publishes its events. `client_id` is a prefix: each monitor adds its own id."""

    host: str
    port: int = PORT
    base_topic: str = BASE_TOPIC
    client_id: str = "zmnext"
    username: str = ""
    password: str = attrs.field(default="", repr=False)


def parse_broker(url: str) -> Broker:
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
    return Broker(
        host=host,
        port=PORT if port is None else port,
        base_topic=unquote(parts.path).strip("/") or BASE_TOPIC,
        client_id=query.get("client_id", [""])[-1] or "zmnext",
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )


def mqtt_node(broker: Broker, monitor_id: int) -> dict[str, Any]:
    """The node that publishes one monitor's events."""
    cfg: dict[str, Any] = {
        "host": broker.host,
        "port": broker.port,
        "base_topic": broker.base_topic,
        "client_id": f"{broker.client_id}-{monitor_id}",
    }
    if broker.username:
        cfg |= {"username": broker.username, "password": broker.password}
    return {"id": "mqtt", "kind": "output_mqtt", "cfg": cfg}
