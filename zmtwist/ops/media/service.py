"""Pictures for operators: clips, their thumbnails, live view. Everything here blocks on threads of its own, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.web.server import Request

from zmtwist.ops.http.errors import ApiError
from zmtwist.ops.http.signed_urls import VALID_SECONDS, Tickets
from zmtwist.ops.media.event_media import PICTURES, Library, kind_of
from zmtwist.ops.media.file_response import NO_FILE, Files
from zmtwist.ops.media.live import Live, see_that_there_is_pyav
from zmtwist.reactor.thread_pool import Disk
from zmtwist.zm.db.errors import DatabaseError

THREADS = 2

CHECK_SECONDS = 15.0
"""How often it is looked whether what is watched may be watched."""


class Gallery(Service):
    """Answers with pictures. An event's files are found by its id alone; their paths come from the database, never from a request.

    `see_that_it_runs` raises ApiError for a monitor without a worker, `socket_of` says where its worker listens.
    """

    name = "gallery"
    log = Logger()

    def __init__(
        self,
        reactor: Any,
        see_that_it_runs: Callable[[int], None],
        library: Library,
        tickets: Tickets,
        socket_of: Callable[[int], str],
    ) -> None:
        self._see_that_it_runs = see_that_it_runs
        self._library = library
        self._tickets = tickets
        self._disk = Disk(reactor, THREADS)
        self._files = Files(reactor, self._disk)
        self.live = Live(reactor, socket_of)
        self._checking = LoopingCall(lambda: Deferred.fromCoroutine(self._check_what_is_watched()))
        self._checking.clock = reactor

    def startService(self) -> None:
        """Have threads."""
        Service.startService(self)
        self._disk.startService()
        self._checking.start(CHECK_SECONDS, now=False).addErrback(
            lambda failure: self.log.failure("what is watched is not looked at any more: an error", failure)
        )

    def stopService(self) -> None:
        """End what is being shown."""
        Service.stopService(self)
        if self._checking.running:
            self._checking.stop()
        self.live.stop()
        self._disk.stopService()

    async def clip(self, request: Request, event_id: int) -> bytes:
        """The event's clip, or a part of it. Raises ApiError."""
        root, clip, kind = await self._clip(event_id)
        return await self._files.send(request, root, clip, kind)

    async def clip_as_mp4(self, request: Request, event_id: int) -> bytes:
        """The video of the event's clip in what every browser knows. Raises ApiError."""
        see_that_there_is_pyav()
        root, clip, _ = await self._clip(event_id)
        return await self._files.remux(request, root, clip)

    async def _clip(self, event_id: int) -> tuple[str, str, str]:
        files = await self._library.files(event_id)
        kind = None if files.clip is None else kind_of(files.clip)
        if files.clip is None or kind is None:
            raise ApiError(404, NO_FILE, f"event {event_id} has no clip")
        return files.root, files.clip, kind

    async def picture(self, request: Request, event_id: int, name: str) -> bytes:
        """One of the event's pictures, named as in `PICTURES`; status 204 where it was not made, or not yet. Raises ApiError."""
        if name not in PICTURES:
            raise ApiError(404, NO_FILE, f"pictures are called {' and '.join(PICTURES)}")
        files = await self._library.files(event_id)
        try:
            return await self._files.send(request, files.root, files.picture(name), "image/jpeg")
        except ApiError as error:
            if error.code != NO_FILE:
                raise
            request.setResponseCode(204)
            return b""

    def ticket(self, event_id: int) -> dict[str, Any]:
        """The URL by which the event's clip may be read for a while without the token."""
        path = f"/api/events/{event_id}/clip"
        return {"url": f"{path}?ticket={self._tickets.issue(path)}", "valid_seconds": VALID_SECONDS}

    async def watch(self, request: Request, monitor_id: int) -> bytes:
        """The monitor's live picture. Raises ApiError."""
        self._see_that_it_runs(monitor_id)
        await self._library.see_that_it_may_be_watched(monitor_id)
        return b"" if request.method == b"HEAD" else await self.live.watch(request, monitor_id)

    async def _check_what_is_watched(self) -> None:
        """A Privacy zone may be drawn while somebody watches."""
        for monitor_id in self.live.watched:
            try:
                await self._library.see_that_it_may_be_watched(monitor_id)
            except ApiError as error:
                self.live.end(monitor_id, error)
            except DatabaseError as error:
                self.log.warn(
                    "whether monitor {id} may be watched is not known: {error}", id=monitor_id, error=str(error)
                )
