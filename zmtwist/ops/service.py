"""Everything that operators and their programs meet: the API, and where they are switched on, the manhole and MQTT.

One service in the eyes of the rest. What is off is not even imported, and none of them stops another, or a camera.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.logger import Logger

from zmtwist.config.settings import Settings
from zmtwist.ops.api.service import ApiService
from zmtwist.ops.service_view import Running


class Part(Protocol):
    """One of them."""

    name: str

    def startService(self) -> None:
        """Begin."""

    def stopService(self) -> Deferred[None]:
        """End; fires when that is done."""

    def announce(self, happening: object) -> None:
        """Something has happened; see `notifications`."""


class Operators(Service):
    """The parts of `settings`, for the service `running`. Tell it what happens by `announce`."""

    name = "operators"
    log = Logger()

    def __init__(self, reactor: Any, settings: Settings, running: Running, *, wall: Callable[[], int]) -> None:
        self.api = ApiService(reactor, settings, running, wall=wall)
        self._parts: list[Part] = [self.api]
        manhole, mqtt = settings.config.manhole, settings.config.mqtt

        def make_manhole() -> Part:
            from zmtwist.ops.manhole.service import ManholeService

            return ManholeService(reactor, manhole, settings.state, running)

        def make_mqtt() -> Part:
            from zmtwist.ops.mqtt.service import MqttService

            return MqttService(reactor, mqtt, running, wall=wall)

        if manhole.endpoint is not None:
            self._add("manhole", "conch", make_manhole)
        if mqtt.url is not None:
            self._add("MQTT", "mqtt", make_mqtt)

    def announce(self, happening: object) -> None:
        """Tell each of them."""
        for part in self._parts:
            try:
                part.announce(happening)
            except Exception:
                self.log.failure("{part}: can't tell of {happening}", part=part.name, happening=happening)

    def startService(self) -> None:
        """Start them all."""
        Service.startService(self)
        for part in self._parts:
            part.startService()

    def stopService(self) -> Deferred[None]:
        """Fires when all have stopped."""
        Service.stopService(self)
        return DeferredList([self._end(part) for part in self._parts]).addCallback(lambda _: None)

    def _end(self, part: Part) -> Deferred[None]:
        return maybeDeferred(part.stopService).addErrback(
            lambda failure: self.log.failure("{part}: no orderly stop", failure, part=part.name)
        )

    def _add(self, what: str, extra: str, make: Callable[[], Part]) -> None:
        try:
            self._parts.append(make())
        except ImportError as error:
            self.log.error(
                "{what} is off: {error}; install it with: pip install 'zmtwist[{extra}]'",
                what=what,
                error=str(error),
                extra=extra,
            )
        except Exception:
            self.log.failure("{what} is off: it can't be set up", what=what)
