"""The `output_mqtt` node."""

from __future__ import annotations

from typing import Any

from zmtwist.config.mqtt_url import WorkerBroker


def mqtt_node(broker: WorkerBroker, monitor_id: int) -> dict[str, Any]:
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
