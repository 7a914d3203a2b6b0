"""Live view: one link to a worker for all who watch its camera, and fragmented MP4 for each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import TimeoutError as TimedOut
from twisted.logger import Logger
from twisted.web.server import Request

from zmtwist.ops.codecs import Unshowable
from zmtwist.ops.errors import ApiError
from zmtwist.ops.viewer import Viewer
from zmtwist.wire.messages import Hello, Keyframe, Media
from zmtwist.wire.video import VideoLink, VideoSink

if TYPE_CHECKING:
    from zmtwist.ops.fragments import Fragment, Fragmenter

MOST_VIEWERS = 32
"""Of all monitors together."""

FIRST_PICTURE_SECONDS = 15.0
"""How long a viewer waits for the first picture: cameras send keyframes up to some ten seconds apart."""

MOST_KEPT = 4 * 1024 * 1024
"""Bytes kept since the last keyframe, for those who come next. Beyond it they wait for the next keyframe."""

OLDEST_PYAV = 18

STILL_US = 10_000
"""For how long the keyframe kept by the worker is first shown, in microseconds: a fragment comes out only when another frame is there."""


class Link(Protocol):
    """What is needed here of `wire.video.VideoLink`."""

    def start(self) -> None:
        """Connect."""

    def close(self) -> None:
        """Let go of it."""


class Broadcast:
    """One camera's picture, for as long as somebody watches. Takes all that its link brings, whatever its viewers do (`VideoSink`).

    `over` is called once, when it has ended: the link is closed then, and its viewers have been told.
    """

    log = Logger()

    def __init__(
        self, monitor_id: int, make_link: Callable[[VideoSink], Link], over: Callable[[Broadcast], None]
    ) -> None:
        self.monitor_id = monitor_id
        self.frames = 0
        self._over = over
        self._hello: Hello | None = None
        self._fragmenter: Fragmenter | None = None
        self._kept: list[Fragment] = []
        self._kept_bytes = 0
        self._next: int | None = None
        self._viewers: set[Viewer] = set()
        self._waiting: list[Deferred[None]] = []
        self._ended = False
        self._link = make_link(self)

    def start(self) -> None:
        """Go for the picture."""
        self._link.start()

    # For those who watch.

    def ready(self) -> Deferred[None]:
        """Fires when there is a picture. Fails with ApiError. Whoever cancels it does not come."""

        def gone(waiting: Deferred[None]) -> None:
            self._waiting.remove(waiting)
            self._end_if_unwatched()

        waiting: Deferred[None] = Deferred(gone)
        if self._fragmenter is not None and self._fragmenter.head:
            waiting.callback(None)
        else:
            self._waiting.append(waiting)
        return waiting

    def join(self, viewer: Viewer) -> None:
        """One more viewer, once it is `ready`: it begins with the last keyframe."""
        assert self._fragmenter is not None  # noqa: S101 - that is what `ready` says
        self._viewers.add(viewer)
        viewer.begin(self._fragmenter.kind, self._fragmenter.head, self._kept)

    def leave(self, viewer: Viewer) -> None:
        """One less; with the last one the link is closed."""
        self._viewers.discard(viewer)
        self._end_if_unwatched()

    def end(self, error: ApiError) -> None:
        """End it for everyone: `error` for those who have not seen anything yet."""
        if self._ended:
            return
        self._ended = True
        self._link.close()
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.errback(error)
        for viewer in list(self._viewers):
            viewer.end()
        self._viewers.clear()
        if self._fragmenter is not None:
            self._fragmenter.close()
        self._over(self)

    def _end_if_unwatched(self) -> None:
        if not self._viewers and not self._waiting:
            self.end(no_picture(self.monitor_id, "nobody watches"))

    # What the link tells.

    def hello(self, hello: Hello) -> None:
        """Another stream than before needs another beginning: players ask anew."""
        if self._fragmenter is not None and hello != self._hello:
            self.end(no_picture(self.monitor_id, "its stream has changed"))
        self._hello = hello

    def last_keyframe(self, keyframe: Keyframe) -> None:
        """Something to see until the next keyframe comes; what came between is not known here."""
        if self._fragmenter is None:
            self._take(keyframe.payload, keyframe.pts_us, key=True)
            self._take(keyframe.payload, keyframe.pts_us + STILL_US, key=True)

    def frame(self, media: Media) -> None:
        """The next frame. After one that is missing, all up to a keyframe are passed over."""
        if media.keyframe or media.sequence == self._next:
            self._next = (media.sequence + 1) & 0xFFFFFFFF
            self._take(media.payload, media.pts_us, key=media.keyframe)
        else:
            self._next = None

    def lost(self, reason: str) -> None:
        """The worker has gone, or takes no more clients."""
        self.end(no_picture(self.monitor_id, f"no connection to its worker: {reason}"))

    def _take(self, payload: bytes, pts_us: int, *, key: bool) -> None:
        if self._hello is None or self._ended:
            return
        from av import FFmpegError  # optional, as is whatever else needs it

        from zmtwist.ops.fragments import ClockWentBack, Fragmenter

        try:
            if self._fragmenter is None:
                self._fragmenter = Fragmenter(self._hello, payload)
            made = self._fragmenter.add(payload, pts_us, key=key)
        except Unshowable as error:
            self.end(ApiError(409, "not_showable", f"no live view of monitor {self.monitor_id}: {error}"))
        except ClockWentBack:
            self.end(no_picture(self.monitor_id, "its clock has gone back"))
        except FFmpegError as error:
            self.log.warn("monitor {id}: live view ends: {error}", id=self.monitor_id, error=str(error))
            self.end(no_picture(self.monitor_id, "its stream can't be put into MP4"))
        else:
            self.frames += 1
            if made is not None:
                self._publish(made)

    def _publish(self, fragment: Fragment) -> None:
        if fragment.key:
            self._kept, self._kept_bytes = [], 0
        if self._kept or fragment.key:
            self._kept.append(fragment)
            self._kept_bytes += len(fragment.data)
            if self._kept_bytes > MOST_KEPT:
                self._kept = []
        for viewer in list(self._viewers):
            viewer.offer(fragment)
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)


class Live:
    """All live views. `socket_of` gives the path of a monitor's worker's socket."""

    log = Logger()

    def __init__(self, reactor: Any, socket_of: Callable[[int], str]) -> None:
        self._reactor = reactor
        self._socket_of = socket_of
        self._broadcasts: dict[int, Broadcast] = {}
        self._viewers = 0

    def __len__(self) -> int:
        return self._viewers

    @property
    def links(self) -> int:
        """Connections to workers: one for each monitor that is watched."""
        return len(self._broadcasts)

    @property
    def watched(self) -> Sequence[int]:
        """The monitors that somebody watches."""
        return list(self._broadcasts)

    def end(self, monitor_id: int, error: ApiError) -> None:
        """End this monitor's, if there is one."""
        if (broadcast := self._broadcasts.get(monitor_id)) is not None:
            broadcast.end(error)

    def stop(self) -> None:
        """End all of them."""
        for broadcast in list(self._broadcasts.values()):
            broadcast.end(no_picture(broadcast.monitor_id, "the service stops"))

    async def watch(self, request: Request, monitor_id: int) -> bytes:
        """Answer with the monitor's picture, for as long as there is one and the client stays. Raises ApiError."""
        if self._viewers >= MOST_VIEWERS:
            raise ApiError(503, "too_many_viewers", f"{MOST_VIEWERS} live views are open already; close some")
        self._viewers += 1
        try:
            broadcast = self._broadcast(monitor_id)
            await self._picture(broadcast)
            viewer = Viewer(request, self._reactor, broadcast.leave)
            broadcast.join(viewer)
            return await viewer.ended
        finally:
            self._viewers -= 1

    async def _picture(self, broadcast: Broadcast) -> None:
        try:
            await broadcast.ready().addTimeout(FIRST_PICTURE_SECONDS, self._reactor)
        except TimedOut:
            raise no_picture(broadcast.monitor_id, f"none has come for {FIRST_PICTURE_SECONDS:.0f} s") from None

    def _broadcast(self, monitor_id: int) -> Broadcast:
        see_that_there_is_pyav()
        broadcast = self._broadcasts.get(monitor_id)
        if broadcast is None:
            path = self._socket_of(monitor_id)
            broadcast = Broadcast(monitor_id, lambda sink: VideoLink(self._reactor, path, sink), self._over)
            self._broadcasts[monitor_id] = broadcast
            broadcast.start()
        return broadcast

    def _over(self, broadcast: Broadcast) -> None:
        if self._broadcasts.get(broadcast.monitor_id) is broadcast:
            del self._broadcasts[broadcast.monitor_id]


def see_that_there_is_pyav() -> None:
    """Raises ApiError where PyAV is missing, or too old to find codec parameters in the stream."""
    try:
        import av

        fit = int(av.__version__.partition(".")[0]) >= OLDEST_PYAV
    except ImportError:
        fit = False
    if not fit:
        wanted = f"PyAV {OLDEST_PYAV} or newer on the service's host"
        raise ApiError(501, "no_pyav", f"this needs {wanted}: pip install 'zmtwist[video]'")


def no_picture(monitor_id: int, reason: str) -> ApiError:
    """503 for a camera that gives none now."""
    return ApiError(503, "no_picture", f"no live view of monitor {monitor_id}: {reason}")


__all__ = ["Broadcast", "Live", "no_picture"]
