"""The API as a service: listens, guards the doors, and ends with everything it opened. Nothing that fails here stops a camera."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes
from zoneinfo import ZoneInfo

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.logger import Logger
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request

from zmtwist.config.endpoints import BadAddress, check_socket_path, unix_path
from zmtwist.config.settings import Settings
from zmtwist.config.site import site_of
from zmtwist.ops.api.controller import Desk
from zmtwist.ops.api.feed import Feed
from zmtwist.ops.api.routes import Api
from zmtwist.ops.api.sse import Streams
from zmtwist.ops.api.status_page import Pages
from zmtwist.ops.http.auth import READS, Asked, PeerGuard, TokenGuard, peer
from zmtwist.ops.http.client_limits import Caller, Limits
from zmtwist.ops.http.connections import LimitedFactory
from zmtwist.ops.http.errors import ApiError
from zmtwist.ops.http.protocol import ApiSite, argument, came_from, connection_of, header, occupy, refuse
from zmtwist.ops.http.reverse_proxy import Proxies, Sender, below, place_of
from zmtwist.ops.http.signed_urls import Tickets
from zmtwist.ops.http.token_file import BadToken, token
from zmtwist.ops.media.event_media import Library
from zmtwist.ops.media.service import Gallery
from zmtwist.ops.metrics.counters import Figures
from zmtwist.ops.metrics.prometheus import Metrics
from zmtwist.ops.service_view import Running
from zmtwist.reactor.deferreds import ended
from zmtwist.reactor.lag import Lag

Guard = Callable[[Request], Caller]
"""Lets a request in, and says who makes it; or raises ApiError."""


class Door(Resource):
    """Lets in who may come in; what changes anything is logged with who asked for it."""

    isLeaf = True
    log = Logger()

    def __init__(self, guard: Guard, behind: IResource, limits: Limits, base: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._guard = guard
        self._behind = behind
        self._limits = limits
        self._base = base

    def render(self, request: Request) -> Any:
        """Check, then go on."""
        request.setHeader(b"server", b"zmtwist")
        path = below(self._base, request.path)
        if path is None:
            request.setResponseCode(308)
            request.setHeader(b"location", b"%s/" % request.path.rpartition(b"/")[2])
            return b""
        request.path, request.postpath = path, [unquote_to_bytes(part) for part in path[1:].split(b"/")]
        try:
            caller = self._guard(request)
            came_from(request, caller)
            occupy(request, self._limits.requests)
        except ApiError as error:
            refuse(request, error)
            return NOT_DONE_YET
        method = request.method.decode("ascii", "replace")
        if method not in READS:
            asked = path.decode("ascii", "replace")
            self.log.info("{who} asks for {method} {path}", who=caller.who, method=method, path=asked)
        return self._behind.render(request)


class ApiService(Service):
    """Serves the API on `settings.api_endpoint`, and on `[api] web` where that is set. Tell it what happens by `announce`."""

    name = "api"
    log = Logger()

    def __init__(self, reactor: Any, settings: Settings, running: Running, *, wall: Callable[[], int]) -> None:
        started_us = wall()
        zone = settings.config.zmnext.ingest.timezone
        self._reactor = reactor
        self._settings = settings
        self._figures = Figures()
        self._lag = Lag(reactor)
        self._feed = Feed(f"{started_us:x}", wall)
        self._streams = Streams(reactor, self._feed)
        desk = Desk(running, self._figures, self._lag, wall, started_us, None if zone is None else ZoneInfo(zone))
        metrics = Metrics(reactor, running, self._figures, self._lag, self, started_us)
        self._tickets = Tickets(wall)
        self.gallery = Gallery(
            reactor,
            desk.see_that_it_runs,
            Library(running, site_of(settings)),
            self._tickets,
            lambda n: f"{settings.socks}/stream_{n}.sock",
        )
        self._pages = Pages.read()
        api = settings.config.api
        self._limits = Limits()
        self._proxies = Proxies(api.trusted_proxies)
        self._base = (api.base_path or "").rstrip("/")
        self._root: IResource = Api(
            desk, metrics, self._streams, self.gallery, self._pages, self._limits, self._base
        ).app.resource()
        self._factories: list[LimitedFactory] = []
        self._ports: list[IListeningPort] = []
        self._listening: Deferred[None] = succeed(None)

    def announce(self, happening: object) -> None:
        """Tell the feed and count; see `notifications`."""
        self._figures.hear(happening)
        self._feed.publish(happening)

    # For the metrics.

    @property
    def streams(self) -> int:
        """Clients of the event stream."""
        return len(self._streams)

    @property
    def refused(self) -> Mapping[str, int]:
        """What there was no place for since the start, by kind."""
        places = {name: one.refused for name, one in attrs.asdict(self._limits, recurse=False).items()}
        return {**places, "connections": sum(factory.refused for factory in self._factories)}

    @property
    def cuts(self) -> int:
        """Connections that were ended from here since the start."""
        return sum(factory.cuts for factory in self._factories)

    @property
    def live_missed(self) -> Mapping[str, int]:
        """Frames of live views that were left out since the start, by who could not take them."""
        return self.gallery.live.missed

    def startService(self) -> None:
        """Listen. What can't be listened on is logged, with what to do about it."""
        Service.startService(self)
        self._lag.start()
        self._streams.start()
        self.gallery.startService()
        self._listening = Deferred.fromCoroutine(self._listen())
        self._listening.addErrback(lambda failure: self.log.failure("the API can't be started", failure))

    def stopService(self) -> Deferred[None]:
        """Listen no more and end all connections."""
        Service.stopService(self)
        self._lag.stop()
        self._streams.stop()
        return Deferred.fromCoroutine(self._stop())

    async def _listen(self) -> None:
        endpoint, web = self._settings.api_endpoint, self._settings.config.api.web
        path = unix_path(endpoint)
        if path is not None:
            await self._open(endpoint, lambda: self._at_the_socket(path))
        else:
            await self._open(endpoint, self._with_token)
        if web:
            await self._open(web, self._with_token)

    async def _open(self, description: str, make_guard: Callable[[], Guard]) -> None:
        try:
            path = unix_path(description)
            if path is not None:
                check_socket_path(path)
                remove_stale_listener(path)
            door = Door(make_guard(), self._root, self._limits, self._base)
            factory = LimitedFactory(ApiSite(door, self._reactor), self._reactor, self._place_of)
            port = await serverFromString(self._reactor, description).listen(factory)
        except (BadAddress, BadToken) as error:
            self.log.error("the API is not served on {endpoint}: {error}", endpoint=description, error=str(error))
        except Exception as error:
            text = str(error) or type(error).__name__
            self.log.error("the API is not served on {endpoint}: {error}", endpoint=description, error=text)
        else:
            self._factories.append(factory)
            self._ports.append(port)
            self.log.info("the API is served on {endpoint}", endpoint=description)

    async def _stop(self) -> None:
        await ended(self._listening)
        ports, self._ports = self._ports, []
        await DeferredList([maybeDeferred(port.stopListening) for port in ports], consumeErrors=True)
        for factory in self._factories:
            factory.cut()
        self.gallery.stopService()

    def _place_of(self, address: IAddress | None) -> str | None:
        """What stands for a client where its connections are counted: not a proxy's, which come from many, nor those by a UNIX socket."""
        host = getattr(address, "host", None)
        return None if host is None or self._proxies.trust(host) else place_of(host)

    # Doors

    def _at_the_socket(self, path: str) -> Guard:
        def check(request: Request) -> Caller:
            transport: Any = connection_of(request).transport
            who = peer(transport.getHandle())
            try:
                group = Path(path).stat().st_gid
            except OSError:  # removed since the client connected: it may still look
                group = None
            PeerGuard(os.geteuid(), group).check(_asked(request, _peer(request)), who)
            return Caller("" if who is None else str(who.uid), "somebody" if who is None else str(who), local=True)

        return check

    def _with_token(self) -> Guard:
        names = {socket.gethostname(), *self._settings.config.api.hosts}
        secret = token(self._settings.token_file)
        guard = TokenGuard(secret, frozenset(names), self._pages.paths, self._tickets)

        def check(request: Request) -> Caller:
            told = (_lines(request, f"x-forwarded-{name}") for name in ("for", "proto", "host"))
            sender = self._proxies.sender(_peer(request), *told)
            signed_in = guard.check(_asked(request, sender))
            address = sender.address or "somebody"
            # The page and tickets only read: what is logged had the token.
            return Caller(place_of(address), f"{address} with the token", signed_in=signed_in)

        return check


def remove_stale_listener(path: str) -> None:
    """Remove the socket, and Twisted's lock beside it, of a service that was killed: where nobody answers, nobody listens.

    The lock names a process id, which by now may be somebody else's.
    """
    try:
        if not stat.S_ISSOCK(Path(path).lstat().st_mode):
            return
    except OSError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
            Path(f"{path}.lock").unlink(missing_ok=True)
        except OSError:
            return


def _peer(request: Request) -> Sender:
    """Whoever is at the other end of the connection."""
    address = getattr(request.getClientAddress(), "host", None)
    return Sender(address, header(request, "host"), request.isSecure())


def _lines(request: Request, name: str) -> list[str]:
    """All values of a header, as they came."""
    return [value.decode("latin-1") for value in request.requestHeaders.getRawHeaders(name.encode()) or ()]


def _asked(request: Request, sender: Sender) -> Asked:
    return Asked(
        method=request.method.decode("ascii", "replace"),
        host=sender.host,
        origin=", ".join(_lines(request, "origin")) or None,
        authorization=header(request, "authorization"),
        secure=sender.secure,
        path=request.path.decode("latin-1"),
        ticket=argument(request, "ticket"),
    )
