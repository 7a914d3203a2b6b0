"""Publishes until it is killed: `python -m tests.ops.mqtt.killed URL`."""

from __future__ import annotations

import sys

from twisted.internet import reactor

from tests.ops.mqtt.world import START, Running, worker
from zmtwist.config.model import MqttConfig
from zmtwist.ops.mqtt.service import MqttService

MqttService(reactor, MqttConfig(url=sys.argv[1]), Running([worker(3)]), wall=lambda: START).startService()
reactor.run()
