"""MQTT as a service: hears what happens, looks how the monitors are, and sends it in the order in which it came about.

Nothing waits for it: what a broker does not take goes into an `Outbox`, and beyond its bound is dropped and counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from zmtwist.config.model import MqttConfig
from zmtwist.config.mqtt_url import Broker, broker_of
from zmtwist.fleet.process.state import Transition
from zmtwist.notifications import EventClosed, EventOpened
from zmtwist.ops.mqtt.client import BrokerConnection, Listener
from zmtwist.ops.mqtt.messages import OFFLINE, ONLINE, Message, Topics
from zmtwist.ops.mqtt.outbox import Outbox
from zmtwist.ops.mqtt.publisher import Teller, discovering
from zmtwist.ops.service_view import Running

LOOK_SECONDS = 1.0
"""Between two looks at how the monitors are."""

SOON_SECONDS = 0.1
"""From something that happened to the look at what it has changed: what happens together is looked at once."""

WINDOW = 50
"""Messages under way that the broker has not taken yet."""

STOP_SECONDS = 3.0
"""How long a stop waits for the broker to take what is left, and again for the goodbye to go out."""


class Connection(Protocol):
    """What is asked of a `BrokerConnection`."""

    def start(self) -> None:
        """Connect, and go on trying."""

    def publish(self, message: Message) -> None:
        """Send; the listener's `sent` tells when it was taken."""

    def subscribe(self, topic: str) -> None:
        """Hear what the broker keeps."""

    def stop(self) -> None:
        """Disconnect; the listener's `down` tells when."""


Connect = Callable[[Any, Broker, Message, Listener], Connection]


class MqttService(Service):
    """Publishes to the broker of `config`. Tell it what happens by `announce`."""

    name = "mqtt"
    log = Logger()

    def __init__(
        self,
        reactor: Any,
        config: MqttConfig,
        running: Running,
        *,
        wall: Callable[[], int],
        connect: Connect = BrokerConnection,
    ) -> None:
        self._reactor = reactor
        self._running = running
        self._wall = wall
        self._broker = broker_of(config.url or "")
        self._topics = topics = Topics(config.topic)
        self._teller = Teller(topics, discovering(topics, config.discovery_prefix, on=config.discovery))
        self._outbox = Outbox()
        self._unacked = 0
        self._up = False
        self._troubles: set[str] = set()
        self._dropped_told = 0
        self._soon: IDelayedCall | None = None
        self._waiting: tuple[Callable[[], bool], Deferred[None]] | None = None
        self._loop = LoopingCall(self._look)
        self._loop.clock = reactor
        self._connection = connect(reactor, self._broker, self._availability(OFFLINE), self)

    @property
    def dropped(self) -> int:
        """Messages that were never sent, since the broker was away or slow for too long."""
        return self._outbox.dropped

    def startService(self) -> None:
        """Connect, and begin to look."""
        Service.startService(self)
        self._connection.start()
        self._loop.start(LOOK_SECONDS, now=False).addErrback(
            lambda failure: self.log.failure("MQTT: the monitors are not looked at any more", failure)
        )

    def stopService(self) -> Deferred[None]:
        """Send what is left, say that we are gone, and disconnect; all within some seconds."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    def announce(self, happening: object) -> None:
        """Something has happened; see `notifications`."""
        message = self._teller.hear(happening, self._running.names, self._wall())
        if message is not None:
            self._outbox.put(message)
            self._send()
        if self._up and self._soon is None and isinstance(happening, Transition | EventOpened | EventClosed):
            self._soon = self._reactor.callLater(SOON_SECONDS, self._look_soon)

    # What the connection tells

    def up(self) -> None:
        """Connected: tell everything anew, since the broker may have been started anew, or told our will."""
        self._up = True
        self._troubles.clear()
        self.log.info("MQTT: connected to {broker}", broker=str(self._broker))
        if self.dropped > self._dropped_told:
            count, self._dropped_told = self.dropped - self._dropped_told, self.dropped
            self.log.warn(
                "MQTT: {count} messages were dropped while {broker} was away", count=count, broker=str(self._broker)
            )
        self._teller.connected()
        self._outbox.forget_retained()
        self._outbox.put(self._availability(ONLINE))
        self._connection.subscribe(self._topics.every_state)
        self._look()

    def down(self, why: str) -> None:
        """Not connected. Each reason is logged once, until the connection was there again."""
        self._up = False
        if self.running and why not in self._troubles:
            self._troubles.add(why)
            self.log.warn(
                "MQTT: {broker} can't be told anything: {why}; it is tried again", broker=str(self._broker), why=why
            )
        self._check_waiting()

    def sent(self) -> None:
        """There is room for another one."""
        self._unacked -= 1
        self._send()
        self._check_waiting()

    def heard(self, topic: str) -> None:
        """The broker keeps a state, perhaps an earlier run's."""
        self._teller.kept(topic)

    # Inside

    def _look_soon(self) -> None:
        self._soon = None
        self._look()

    def _look(self) -> None:
        """Tell how the monitors are. One look that fails must not be the last."""
        try:
            self._compare()
        except Exception:
            self.log.failure("MQTT: a look at the monitors failed")
        self._send()

    def _compare(self) -> None:
        """Put what is new into the outbox. Until the database has told which monitors there are, nothing is known of any."""
        running = self._running
        fleet, ingest = running.fleet, running.ingest
        if not self._up or fleet is None or ingest is None:
            return
        workers = fleet.status()
        # One that stops, or hands over, forgets its workers one by one, or all at once: they are not gone for that.
        complete = bool(fleet.running and (workers or fleet.unwanted))
        for message in self._teller.look(workers, ingest.under_way, running.names, self._wall(), complete=complete):
            self._outbox.put(message)

    def _send(self) -> None:
        while self._up and self._unacked < WINDOW and (message := self._outbox.take()) is not None:
            self._unacked += 1
            self._connection.publish(message)

    def _availability(self, payload: bytes) -> Message:
        return Message(self._topics.available, payload, retain=True)

    async def _stop(self) -> None:
        if self._loop.running:
            self._loop.stop()
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if self._up:
            self._look()
            await self._until(lambda: not self._up or not (self._unacked or self._outbox))
        if not self._up:
            self._connection.stop()
            return
        # Whatever is still under way: it is on the wire before the goodbye, after which the broker does not tell our will.
        self._connection.publish(self._availability(OFFLINE))
        self._connection.stop()
        await self._until(lambda: not self._up)

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds, at most `STOP_SECONDS`."""
        if condition():
            return
        waiting: Deferred[None] = Deferred()
        self._waiting = condition, waiting
        timeout = self._reactor.callLater(STOP_SECONDS, waiting.callback, None)
        await waiting
        self._waiting = None
        if timeout.active():
            timeout.cancel()

    def _check_waiting(self) -> None:
        if self._waiting is not None and self._waiting[0]():
            waiting, self._waiting = self._waiting[1], None
            waiting.callback(None)
