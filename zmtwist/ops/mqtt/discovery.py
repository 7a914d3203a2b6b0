"""What Home Assistant's MQTT discovery is told: for each monitor one device, with its worker's state, whether it records, and alarms.

https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from zmtwist._version import __version__
from zmtwist.fleet.process.state import State
from zmtwist.ops.mqtt.messages import OFFLINE, ONLINE, Topics

_NOT_IN_ID = re.compile(r"[^a-zA-Z0-9_-]")


def discovery(topics: Topics, prefix: str, monitor_id: int, name: str) -> Mapping[str, bytes]:
    """The retained payloads that make a monitor known, by topic."""
    node = f"{_NOT_IN_ID.sub('_', topics.base)}_{monitor_id}"
    shared = {
        "state_topic": topics.state(monitor_id),
        "availability_topic": topics.available,
        "payload_available": ONLINE.decode(),
        "payload_not_available": OFFLINE.decode(),
        "qos": 1,
        "device": {
            "identifiers": [node],
            "name": name or f"Monitor {monitor_id}",
            "manufacturer": "ZoneMinder",
            "model": "zm-next camera",
        },
        "origin": {"name": "zmtwist", "sw_version": __version__},
    }
    return {
        f"{prefix}/{component}/{node}/{part}/config": msgspec.json.encode(
            {**shared, **own, "unique_id": f"{node}_{part}"}
        )
        for component, part, own in _parts(topics, monitor_id)
    }


def _parts(topics: Topics, monitor_id: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each entity: which kind, its part of the ids, and what only it has."""
    yield (
        "sensor",
        "state",
        {
            "name": "State",
            "device_class": "enum",
            "options": [state.value for state in State],
            "value_template": "{{ value_json.state }}",
            "json_attributes_topic": topics.state(monitor_id),
            "entity_category": "diagnostic",
        },
    )
    for part, name, device_class in (
        ("recording", "Recording", "running"),
        ("alarm", "Alarm", "motion"),
        ("not_recording", "Not recording", "problem"),
    ):
        own = {
            "name": name,
            "device_class": device_class,
            "value_template": f"{{{{ 'ON' if value_json.{part} else 'OFF' }}}}",
        }
        yield "binary_sensor", part, own
