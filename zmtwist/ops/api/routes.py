"""The HTTP API's routes. What they answer is the desk's; who may ask is the door's (`service`)."""

from __future__ import annotations

from typing import Any, cast

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.server import Request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from zmtwist.ops.api.controller import Desk, unavailable
from zmtwist.ops.api.openapi import openapi
from zmtwist.ops.api.sse import Streams
from zmtwist.ops.api.status_page import Pages
from zmtwist.ops.commands import ORDERS
from zmtwist.ops.http.client_limits import Limits
from zmtwist.ops.http.errors import ApiError
from zmtwist.ops.http.protocol import argument, error_answer, header, json_answer, occupy
from zmtwist.ops.media.service import Gallery
from zmtwist.ops.metrics.prometheus import CONTENT_TYPE, Metrics
from zmtwist.recovery.service import USUAL_DAYS
from zmtwist.untrusted.integers import whole
from zmtwist.zm.db.errors import DatabaseError
from zmtwist.zm.read.event_list import USUAL

LONGEST_MARK = 64
"""Characters of an id in the stream, and some to spare."""

_VERBS = f"<any({', '.join(ORDERS)}):verb>"


class Api:
    """Routes, and how errors become answers."""

    app = Klein()
    log = Logger()

    def __init__(
        self,
        desk: Desk,
        metrics: Metrics,
        streams: Streams,
        gallery: Gallery,
        pages: Pages,
        limits: Limits,
        base: str = "",
    ) -> None:
        self._desk = desk
        self._metrics = metrics
        self._streams = streams
        self._gallery = gallery
        self._pages = pages
        self._limits = limits
        self._base = base

    @app.route("/", methods=["GET"])
    def page(self, request: Request) -> bytes:
        """The status page."""
        return self._pages.index(request)

    @app.route("/page/<digest>/<name>", methods=["GET"])
    def page_file(self, request: Request, digest: str, name: str) -> bytes:
        """What belongs to it."""
        return self._pages.file(request, digest, name)

    @app.route("/api/status", methods=["GET"])
    def status(self, request: Request) -> bytes:
        """The service as a whole."""
        return json_answer(request, self._desk.status())

    @app.route("/api/monitors", methods=["GET"])
    def monitors(self, request: Request) -> bytes:
        """All monitors."""
        return json_answer(request, self._desk.monitors())

    @app.route("/api/monitors/<int:monitor_id>", methods=["GET"])
    def monitor(self, request: Request, monitor_id: int) -> bytes:
        """One monitor."""
        return json_answer(request, self._desk.monitor(monitor_id))

    @app.route("/api/monitors/<int:monitor_id>/pipeline", methods=["GET"])
    async def pipeline(self, request: Request, monitor_id: int) -> bytes:
        """Its document, redacted."""
        return json_answer(request, await self._desk.pipeline(monitor_id, diff=_flag(request, "diff")))

    @app.route("/api/monitors/<int:monitor_id>/why", methods=["GET"])
    def why(self, request: Request, monitor_id: int) -> bytes:
        """What is wrong with it, and what to do."""
        return json_answer(request, self._desk.why(monitor_id))

    @app.route("/api/monitors/<int:monitor_id>/live.mp4", methods=["GET"])
    async def live(self, request: Request, monitor_id: int) -> bytes:
        """Its picture as it comes."""
        occupy(request, self._limits.viewers)
        request.setHeader(b"x-accel-buffering", b"no")  # a proxy that collects before it sends would be seconds behind
        return await self._gallery.watch(request, monitor_id)

    @app.route(f"/api/monitors/<int:monitor_id>/{_VERBS}", methods=["POST"])
    async def order(self, request: Request, monitor_id: int, verb: str) -> bytes:
        """Start it, stop it, and so on."""
        return json_answer(request, await self._desk.order(verb, monitor_id))

    @app.route("/api/reconcile", methods=["POST"])
    async def reconcile(self, request: Request) -> bytes:
        """Look at the database now."""
        return json_answer(request, await self._desk.reconcile())

    @app.route("/api/recover", methods=["POST"])
    async def recover(self, request: Request) -> bytes:
        """Bring rows and clips together."""
        days = _number(request, "days")
        found = await self._desk.recover(
            USUAL_DAYS if days is None else days, dry_run=_flag(request, "dry_run"), force=_flag(request, "force")
        )
        return json_answer(request, found)

    @app.route("/api/handoff", methods=["POST"])
    async def handoff(self, request: Request) -> bytes:
        """End, and leave the workers recording."""
        return json_answer(request, await self._desk.hand_off(), status=202)

    @app.route("/api/events", methods=["GET"])
    async def events(self, request: Request) -> bytes:
        """Events as they stand in the database."""
        limit = _number(request, "limit")
        found = await self._desk.events(
            _number(request, "monitor"), argument(request, "since"), USUAL if limit is None else limit
        )
        return json_answer(request, found)

    @app.route("/api/events/<int:event_id>/clip", methods=["GET"])
    async def clip(self, request: Request, event_id: int) -> bytes:
        """Its clip."""
        occupy(request, self._limits.files)
        return await self._gallery.clip(request, event_id)

    @app.route("/api/events/<int:event_id>/clip.mp4", methods=["GET"])
    async def clip_as_mp4(self, request: Request, event_id: int) -> bytes:
        """Its clip's video as MP4."""
        occupy(request, self._limits.files)
        return await self._gallery.clip_as_mp4(request, event_id)

    @app.route("/api/events/<int:event_id>/ticket", methods=["GET"])
    def ticket(self, request: Request, event_id: int) -> bytes:
        """A URL for its clip that needs no token."""
        ticket = self._gallery.ticket(event_id)
        return json_answer(request, {**ticket, "url": f"{self._base}{ticket['url']}"})

    @app.route("/api/events/<int:event_id>/<name>.jpg", methods=["GET"])
    async def picture(self, request: Request, event_id: int, name: str) -> bytes:
        """One of its pictures."""
        occupy(request, self._limits.files)
        return await self._gallery.picture(request, event_id, f"{name}.jpg")

    @app.route("/api/stream", methods=["GET"])
    def stream(self, request: Request) -> Deferred[bytes]:
        """What happens, as server-sent events."""
        after = header(request, "last-event-id") or argument(request, "after")
        if after is not None and len(after) > LONGEST_MARK:
            raise ApiError(400, "bad_request", "after: is no id of this stream")
        monitor_id = _number(request, "monitor")
        occupy(request, self._limits.streams)
        return self._streams.open(request, monitor_id, after)

    @app.route("/api/openapi.json", methods=["GET"])
    def openapi(self, request: Request) -> bytes:
        """This API's description."""
        return json_answer(request, openapi(self._base))

    @app.route("/metrics", methods=["GET"])
    async def metrics(self, request: Request) -> bytes:
        """For Prometheus."""
        request.setHeader(b"content-type", CONTENT_TYPE.encode())
        return await self._metrics.text()

    @app.handle_errors(ApiError)
    def _told(self, request: IRequest, failure: Failure) -> bytes:
        error: Any = failure.value
        return _refused(request, error)

    @app.handle_errors(DatabaseError)
    def _database_away(self, request: IRequest, failure: Failure) -> bytes:
        error: Any = failure.value
        return _refused(request, unavailable(error))

    @app.handle_errors(MethodNotAllowed)
    def _wrong_method(self, request: IRequest, failure: Failure) -> bytes:
        error: Any = failure.value
        allowed = ", ".join(sorted(error.valid_methods or ()))
        request.setHeader(b"allow", allowed.encode())
        return _refused(request, ApiError(405, "method_not_allowed", f"use {allowed}"))

    @app.handle_errors(HTTPException)
    def _no_route(self, request: IRequest, failure: Failure) -> bytes:
        return _refused(
            request, ApiError(404, "not_found", "there is nothing here; /api/openapi.json lists what there is")
        )

    @app.handle_errors(Exception)
    def _unforeseen(self, request: IRequest, failure: Failure) -> bytes:
        self.log.failure("{method} {path} has failed", failure, method=request.method, path=request.path)
        return _refused(request, ApiError(500, "internal_error", "an internal error; the service's log tells more"))


def _refused(request: IRequest, error: ApiError) -> bytes:
    return error_answer(cast(Request, request), error)


def _flag(request: Request, name: str) -> bool:
    return argument(request, name) not in (None, "0", "false")


def _number(request: Request, name: str) -> int | None:
    text = argument(request, name)
    if text is None:
        return None
    number = whole(text, 9)
    if number is None:
        raise ApiError(400, "bad_request", f"{name} must be a whole number")
    return number
