"""The manhole as a service. What keeps it from opening is logged, with what to do, and everything else goes on."""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from zmtwist.config.endpoints import BadAddress, check_socket_path, local_endpoint, unix_path
from zmtwist.config.model import ManholeConfig
from zmtwist.ops.api.service import remove_stale_listener
from zmtwist.ops.manhole.keys import AuthorizedKeys, BadKeys, fingerprint, host_key
from zmtwist.ops.manhole.namespace import namespace
from zmtwist.ops.manhole.ssh import ManholeFactory
from zmtwist.ops.service_view import Running
from zmtwist.reactor.deferreds import ended


class ManholeService(Service):
    """Opens the manhole into `running` at the endpoint of `config`; the host's key is kept in the directory `state`."""

    name = "manhole"
    log = Logger()

    def __init__(self, reactor: Any, config: ManholeConfig, state: str, running: Running) -> None:
        self._reactor = reactor
        self._config = config
        self._state = state
        self._running = running
        self._factory: ManholeFactory | None = None
        self._port: IListeningPort | None = None
        self._opening: Deferred[None] = succeed(None)

    def announce(self, happening: object) -> None:
        """Nothing that happens concerns the manhole."""

    def startService(self) -> None:
        """Listen."""
        Service.startService(self)
        self._opening = Deferred.fromCoroutine(self._open())
        self._opening.addErrback(lambda failure: self.log.failure("the manhole can't be opened", failure))

    def stopService(self) -> Deferred[None]:
        """Listen no more and end all connections."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _open(self) -> None:
        endpoint = self._config.endpoint or ""
        try:
            description = local_endpoint(endpoint)
            path = unix_path(description)
            if path is not None:
                check_socket_path(path)
                remove_stale_listener(path)
            allowed = AuthorizedKeys(self._config.authorized_keys or "")
            count = len(allowed.read())
            host = host_key(self._state)
            factory = ManholeFactory(self._reactor, host, allowed, lambda: namespace(self._running))
            self._port = await serverFromString(self._reactor, description).listen(factory)
        except (BadAddress, BadKeys) as error:
            self.log.error("the manhole stays closed: {error}", error=str(error))
        except Exception as error:
            text = str(error) or type(error).__name__
            self.log.error("the manhole stays closed: {endpoint}: {error}", endpoint=endpoint, error=text)
        else:
            self._factory = factory
            self.log.warn(
                "the manhole is open on {endpoint} for {count} keys; its host key is {fingerprint}",
                endpoint=description,
                count=count,
                fingerprint=fingerprint(host),
            )

    async def _stop(self) -> None:
        await ended(self._opening)
        if self._port is not None:
            port, self._port = self._port, None
            await maybeDeferred(port.stopListening)
        if self._factory is not None:
            self._factory.cut()
