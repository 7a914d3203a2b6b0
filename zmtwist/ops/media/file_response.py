"""Files as answers: opened and read on threads, at the pace of the client, never beyond their root."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

import attrs
import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.logger import Logger
from twisted.web.server import Request
from zope.interface import implementer

from zmtwist.media.child import ChildEnded, MediaChild, command, spawn
from zmtwist.ops.http.errors import ApiError
from zmtwist.ops.http.protocol import connection_of, header
from zmtwist.ops.http.ranges import Unsatisfiable, part_of
from zmtwist.ops.media.h26x import content_type
from zmtwist.ops.media.remux import Opened as Remuxed
from zmtwist.reactor.deferreds import ended
from zmtwist.reactor.thread_pool import Disk
from zmtwist.untrusted.guard import MESSAGE, Guard

CHUNK = 128 * 1024
"""Bytes read at once."""

STUCK_SECONDS = 120.0
"""A client that takes nothing for so long is cut: a player that was paused asks for the rest when it goes on."""

MOST_REMUXES = 8
"""Clips that are sent as MP4 at the same time, with a process for each."""

PIECE_SECONDS = 20.0
"""For a piece of a clip as MP4; the first waits for the process's start, too."""


NO_FILE = "no_file"
"""The code of the error for a file that is not there."""


_remuxed = msgspec.msgpack.Decoder(Remuxed).decode


class Outside(Exception):
    """The path leads out of its root, or to what is no file."""


@attrs.frozen
class Opened:
    """An open file: its size, and a name for its content as it is now."""

    file: BinaryIO
    size: int
    tag: str


def open_inside(root: str, path: str) -> Opened:
    """Open the file at `path`. Raises Outside where what was opened is not under `root` or no file, and OSError. Blocks."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        told = os.fstat(descriptor)
        # What the descriptor leads to, not what the path led to a moment ago.
        real = Path(f"/proc/self/fd/{descriptor}").readlink()
        if not stat.S_ISREG(told.st_mode) or not real.is_relative_to(Path(root).resolve()):
            raise Outside(path)
        return Opened(os.fdopen(descriptor, "rb", CHUNK), told.st_size, f'"{told.st_size:x}-{told.st_mtime_ns:x}"')
    except BaseException:
        os.close(descriptor)
        raise


def read_at(file: BinaryIO, at: int, size: int) -> bytes:
    """Up to `size` bytes from `at`. Blocks."""
    file.seek(at)
    return file.read(size)


@implementer(IPushProducer)
class _Pace:
    """Goes on while the client reads; cuts a client that has stopped for long."""

    def __init__(self, request: Request, clock: IReactorTime) -> None:
        self._request = request
        self._clock = clock
        self._stuck: IDelayedCall | None = None
        self._ready: Deferred[None] = succeed(None)

    async def ready(self) -> None:
        """Wait until the client has caught up."""
        await self._ready

    def pauseProducing(self) -> None:
        """The client does not read as fast as we write."""
        if self._stuck is None:
            self._stuck = self._clock.callLater(STUCK_SECONDS, connection_of(self._request).cut)
            self._ready = Deferred()

    def resumeProducing(self) -> None:
        """It has caught up."""
        if self._stuck is not None:
            self.stopProducing()
            if not self._ready.called:
                self._ready.callback(None)

    def stopProducing(self) -> None:
        """The client is gone; klein ends the coroutine that sends."""
        if self._stuck is not None and self._stuck.active():
            self._stuck.cancel()
        self._stuck = None


class Files:
    """Sends files. Reads them on `disk`, whose threads may hang with a storage, so they are nobody else's."""

    log = Logger()

    def __init__(self, clock: IReactorTime, disk: Disk) -> None:
        self._clock = clock
        self._disk = disk
        self._remuxing = 0

    async def send(self, request: Request, root: str, path: str, kind: str) -> bytes:
        """Answer with the file at `path`, or with the part that is asked for. Raises ApiError."""
        async with self._opened(root, path) as opened:
            return await self._send(request, opened, kind)

    async def remux(self, request: Request, root: str, path: str) -> bytes:
        """Answer with the video of the clip at `path` as MP4. Raises ApiError."""
        async with self._remuxer(root, path) as child:
            try:
                remuxed = _remuxed(await child.ask(b"", PIECE_SECONDS))
                kind = "" if remuxed.problem else content_type(remuxed.codec)
                first = b"" if remuxed.problem or request.method == b"HEAD" else await child.ask(b"", PIECE_SECONDS)
            except (ChildEnded, msgspec.MsgspecError, ValueError) as error:
                self.log.warn("{path} is not shown as MP4: {error}", path=path, error=str(error))
                remuxed = Remuxed(problem="its clip can't be read; the service's log tells more")
            if remuxed.problem:
                raise ApiError(409, "not_showable", f"it can't be shown: {Guard().text(remuxed.problem, MESSAGE)}")
            request.setHeader(b"content-type", kind.encode())
            await self._send_pieces(request, child, first)
        return b""

    async def _send_pieces(self, request: Request, child: MediaChild, piece: bytes) -> None:
        async with self._paced(request) as pace:
            while piece:
                request.write(piece)
                await pace.ready()
                try:
                    piece = await child.ask(b"", PIECE_SECONDS)
                except ChildEnded as error:  # the client must not take what it got for all of it
                    self.log.warn("a clip as MP4 ends early: {error}", error=str(error))
                    connection_of(request).cut()
                    break

    @asynccontextmanager
    async def _remuxer(self, root: str, path: str) -> AsyncIterator[MediaChild]:
        """A child with the clip at `path`."""
        if self._remuxing >= MOST_REMUXES:
            raise ApiError(503, "too_many_files", f"{MOST_REMUXES} clips are being sent as MP4 already; close some")
        self._remuxing += 1
        child = None
        try:
            async with self._opened(root, path) as opened:
                try:
                    child = spawn(self._clock, command("zmtwist.ops.media.remux"), opened.file.fileno())
                except ChildEnded as error:
                    raise ApiError(503, "too_many_files", f"no process to make MP4 of it: {error}") from None
            yield child
        finally:
            if child is None:
                self._remuxing -= 1
            else:
                child.kill()
                ended(child.gone).addCallback(self._reaped)  # not before: one that hangs with its storage still counts

    def _reaped(self, _: None) -> None:
        self._remuxing -= 1

    @asynccontextmanager
    async def _opened(self, root: str, path: str) -> AsyncIterator[Opened]:
        opened = await self._open(root, path)
        try:
            yield opened
        finally:
            self._disk.run(opened.file.close).addErrback(
                lambda failure: self.log.failure("a file that was sent can't be closed", failure)
            )

    async def _open(self, root: str, path: str) -> Opened:
        try:
            return await self._disk.run(open_inside, root, path)
        except FileNotFoundError:
            raise ApiError(404, NO_FILE, "the event has no such file") from None
        except (OSError, Outside) as error:
            self.log.warn("{path} is not shown: {error}", path=path, error=str(error))
            raise ApiError(404, NO_FILE, "the event's file can't be read; the service's log tells more") from None

    async def _send(self, request: Request, opened: Opened, kind: str) -> bytes:
        request.setHeader(b"content-type", kind.encode())
        request.setHeader(b"accept-ranges", b"bytes")
        request.setHeader(b"etag", opened.tag.encode())
        condition = header(request, "if-range")
        try:
            part = part_of(opened.size, header(request, "range") if condition in (None, opened.tag) else None)
        except Unsatisfiable:
            request.setHeader(b"content-range", b"bytes */%d" % opened.size)
            raise ApiError(416, "no_such_range", f"the file has {opened.size} bytes") from None
        first, left = (0, opened.size) if part is None else (part.first, part.length)
        if part is not None:
            request.setResponseCode(206)
            request.setHeader(b"content-range", part.told(opened.size).encode())
        request.setHeader(b"content-length", b"%d" % left)
        if request.method == b"HEAD":
            return b""
        async with self._paced(request) as pace:
            while left:
                data = await self._disk.run(read_at, opened.file, first, min(CHUNK, left))
                if not data:  # it has become shorter: the client must not take what it got for all of it
                    connection_of(request).cut()
                    break
                request.write(data)
                first, left = first + len(data), left - len(data)
                await pace.ready()
        return b""

    @asynccontextmanager
    async def _paced(self, request: Request) -> AsyncIterator[_Pace]:
        pace = _Pace(request, self._clock)
        request.registerProducer(pace, True)
        try:
            yield pace
        finally:
            pace.stopProducing()
            if request.producer is pace:
                request.unregisterProducer()
