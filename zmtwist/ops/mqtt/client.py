"""One connection to a broker, kept up by paho-mqtt on a thread of its own, and all of it told to the reactor's thread.

A thread rather than paho's loop on the reactor, since paho looks names up, connects and shakes hands for TLS with blocking calls.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
import sys
from typing import Any, Protocol

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from zmtwist.config.mqtt_url import Broker
from zmtwist.ops.mqtt.messages import Message

KEEPALIVE_SECONDS = 30
"""A broker that has gone without a word is noticed after at most twice this; one that we leave so tells our will as late."""

FIRST_DELAY_SECONDS = 1
LAST_DELAY_SECONDS = 30
CONNECT_SECONDS = 5.0


class Listener(Protocol):
    """Hears of one connection, on the reactor's thread."""

    def up(self) -> None:
        """Connected, and the broker has let us in."""

    def down(self, why: str) -> None:
        """Not connected any more, or not let in. It is tried again."""

    def sent(self) -> None:
        """The broker has taken one message."""

    def heard(self, topic: str) -> None:
        """The broker keeps something under a topic that was subscribed to."""


class BrokerConnection:
    """A connection to `broker`, with a `will` that the broker tells where we end without a word. Nothing here blocks, or raises for a
    broker's sake. Raises OSError where the host's TLS certificates can't be read."""

    def __init__(self, reactor: Any, broker: Broker, will: Message, listener: Listener) -> None:
        self._reactor = reactor
        self._broker = broker
        self._listener = listener
        self._stopped = False
        self._let_in = False
        # Always the same, so that the broker ends what is left of a connection of ours before it takes a new one: else the will of a dead
        # one would be told after the new one has said that we are there.
        mark = hashlib.blake2s(f"{socket.gethostname()} {will.topic}".encode(), digest_size=8).hexdigest()
        client = self._client = Client(
            CallbackAPIVersion.VERSION2, client_id=f"zmnext{mark}", protocol=MQTTProtocolVersion.MQTTv311
        )
        client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
        if broker.username:
            client.username_pw_set(broker.username, broker.password or None)
        if broker.tls:
            client.tls_set_context(ssl.create_default_context())
        client.connect_timeout = CONNECT_SECONDS
        client.max_inflight_messages_set(0)  # what is sent at once is bounded by who publishes
        client.reconnect_delay_set(FIRST_DELAY_SECONDS, LAST_DELAY_SECONDS)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message

    def start(self) -> None:
        """Connect, and go on trying."""
        self._client.connect_async(self._broker.host, self._broker.port, KEEPALIVE_SECONDS)
        self._client.loop_start()

    def publish(self, message: Message) -> None:
        """Hand a message over. It is sent again after a lost connection, until the broker has taken it: then `sent` is called."""
        self._client.publish(message.topic, message.payload, qos=1, retain=message.retain)

    def subscribe(self, topic: str) -> None:
        """Hear what the broker keeps under a topic filter."""
        self._client.subscribe(topic, qos=1)

    def stop(self) -> None:
        """Say goodbye, so that the will is not told. `down` is called when that has gone out. The thread ends by itself, and never keeps
        the process from ending."""
        self._stopped = True
        self._client.disconnect()

    # On paho's thread

    def _on_connect(self, client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if self._stopped:  # it was under way when we were told to stop
            client.disconnect()
        elif reason.is_failure:
            self._tell(self._listener.down, f"it refuses us: {reason}")
        else:
            self._let_in = True
            self._tell(self._listener.up)

    def _on_connect_fail(self, _client: Client, _data: Any) -> None:
        # paho calls this where it handles the exception, and does not pass it on.
        error = sys.exc_info()[1]
        self._tell(self._listener.down, getattr(error, "strerror", None) or str(error) or type(error).__name__)

    def _on_disconnect(self, _client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if self._let_in:  # else it was told why not
            self._let_in = False
            self._tell(self._listener.down, f"the connection is gone: {reason}")

    def _on_publish(self, _client: Client, _data: Any, _mid: int, _reason: Any, _properties: Any) -> None:
        self._tell(self._listener.sent)

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        if message.retain and message.payload:
            self._tell(self._listener.heard, message.topic)

    def _tell(self, what: Any, *args: str) -> None:
        self._reactor.callFromThread(what, *args)
