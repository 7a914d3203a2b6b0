"""Live view: one link to a worker for all who watch its camera, and one child that makes fragmented MP4 of it for each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.logger import Logger
from twisted.web.server import Request

from zmtwist.extras import VIDEO, missing
from zmtwist.media.child import ChildEnded, command, spawn
from zmtwist.ops.http.errors import ApiError
from zmtwist.ops.media.fmp4 import Fragment, Made, Unit
from zmtwist.ops.media.muxer import Asked, Muxer
from zmtwist.ops.media.viewer import Viewer
from zmtwist.untrusted.guard import MESSAGE, Guard
from zmtwist.wire.messages import Hello, Keyframe, Media
from zmtwist.wire.video_link import VideoLink, VideoSink

FIRST_PICTURE_SECONDS = 15.0
"""How long a viewer waits for the first picture: cameras send keyframes up to some ten seconds apart."""

MOST_KEPT = 4 * 1024 * 1024
"""Bytes kept since the last keyframe, for those who come next. Beyond it they wait for the next keyframe."""

MISSED = ("child", "viewer")
"""Who frames may come too fast for, or be too large."""

STILL_US = 10_000
"""For how long the keyframe kept by the worker is first shown, in microseconds: a fragment comes out only when another frame is there."""


class Link(Protocol):
    """What is needed here of `wire.video_link.VideoLink`."""

    def start(self) -> None:
        """Connect."""

    def close(self) -> None:
        """Let go of it."""


class Broadcast:
    """One camera's picture, for as long as somebody watches. Takes all that its link brings, whatever its viewers do (`VideoSink`).

    `child` makes fragments of it (`fmp4`), and ends with it. `over` is called once, when it has ended: the link is closed then, and
    its viewers have been told.
    """

    log = Logger()

    def __init__(
        self, monitor_id: int, make_link: Callable[[VideoSink], Link], child: Asked, over: Callable[[Broadcast], None]
    ) -> None:
        self.monitor_id = monitor_id
        self.frames = 0
        self._over = over
        self._hello: Hello | None = None
        self._muxer = Muxer(child, self._publish, self._unmade)
        self._kept: list[Fragment] = []
        self._kept_bytes = 0
        self._next: int | None = None
        self._viewers: set[Viewer] = set()
        self._left_missed = 0
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
        if self._muxer.head:
            waiting.callback(None)
        else:
            self._waiting.append(waiting)
        return waiting

    def join(self, viewer: Viewer) -> None:
        """One more viewer, once it is `ready`: it begins with the last keyframe."""
        self._viewers.add(viewer)
        viewer.begin(self._muxer.kind, self._muxer.head, self._kept)

    def leave(self, viewer: Viewer) -> None:
        """One less; with the last one the link is closed."""
        if viewer in self._viewers:
            self._viewers.remove(viewer)
            self._left_missed += viewer.missed
        self._end_if_unwatched()

    @property
    def missed(self) -> Counter[str]:
        """Frames that were left out, by who could not take them: the `child` that makes fragments, or a `viewer`."""
        viewers = self._left_missed + sum(viewer.missed for viewer in self._viewers)
        return Counter(child=self._muxer.missed, viewer=viewers)

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
        self._muxer.close()
        if self._muxer.missed:
            self.log.warn(
                "monitor {id}: live view: {missed} frames came too fast, or were too large",
                id=self.monitor_id,
                missed=self._muxer.missed,
            )
        self._over(self)

    def _end_if_unwatched(self) -> None:
        if not self._viewers and not self._waiting:
            self.end(no_picture(self.monitor_id, "nobody watches"))

    # What the link tells.

    def hello(self, hello: Hello) -> None:
        """Another stream than before needs another beginning: players ask anew."""
        if self.frames and hello != self._hello:
            self.end(no_picture(self.monitor_id, "its stream has changed"))
        self._hello = hello

    def last_keyframe(self, keyframe: Keyframe) -> None:
        """Something to see until the next keyframe comes; what came between is not known here."""
        if not self.frames:
            self._take(Unit(keyframe.payload, keyframe.pts_us, True))
            self._take(Unit(keyframe.payload, keyframe.pts_us + STILL_US, True))

    def frame(self, media: Media) -> None:
        """The next frame. After one that is missing, all up to a keyframe are passed over."""
        if media.keyframe or media.sequence == self._next:
            self._next = (media.sequence + 1) & 0xFFFFFFFF
            self._take(Unit(media.payload, media.pts_us, media.keyframe))
        else:
            self._next = None

    def lost(self, reason: str) -> None:
        """The worker has gone, or takes no more clients."""
        self.end(no_picture(self.monitor_id, f"no connection to its worker: {reason}"))

    def _take(self, unit: Unit) -> None:
        if self._hello is not None and not self._ended:
            self.frames += 1
            self._muxer.add(unit, self._hello)

    def _unmade(self, told: Made) -> None:
        """The child makes no more fragments."""
        if told.over == "unshowable":
            self.end(
                ApiError(
                    409, "not_showable", f"no live view of monitor {self.monitor_id}: {Guard().text(told.why, MESSAGE)}"
                )
            )
        elif told.over == "clock":
            self.end(no_picture(self.monitor_id, "its clock has gone back"))
        else:
            self.log.warn(
                "monitor {id}: live view ends: {why}", id=self.monitor_id, why=Guard().text(told.why, MESSAGE)
            )
            self.end(no_picture(self.monitor_id, "its stream can't be put into MP4"))

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
        self._missed = Counter(dict.fromkeys(MISSED, 0))

    @property
    def missed(self) -> Counter[str]:
        """Frames that were left out since the start (`Broadcast.missed`)."""
        missed = Counter(self._missed)
        for broadcast in self._broadcasts.values():
            missed.update(broadcast.missed)
        return missed

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
        broadcast = self._broadcast(monitor_id)
        await self._picture(broadcast)
        viewer = Viewer(request, self._reactor, broadcast.leave)
        broadcast.join(viewer)
        return await viewer.ended

    async def _picture(self, broadcast: Broadcast) -> None:
        try:
            await broadcast.ready().addTimeout(FIRST_PICTURE_SECONDS, self._reactor)
        except TookTooLong:
            raise no_picture(broadcast.monitor_id, f"none has come for {FIRST_PICTURE_SECONDS:.0f} s") from None

    def _broadcast(self, monitor_id: int) -> Broadcast:
        see_that_there_is_pyav()
        broadcast = self._broadcasts.get(monitor_id)
        if broadcast is None:
            path = self._socket_of(monitor_id)
            try:
                child = spawn(self._reactor, command("zmtwist.ops.media.fmp4"))
            except ChildEnded as error:
                raise no_picture(monitor_id, f"no process to make MP4 of it: {error}") from None
            broadcast = Broadcast(monitor_id, lambda sink: VideoLink(self._reactor, path, sink), child, self._over)
            self._broadcasts[monitor_id] = broadcast
            broadcast.start()
        return broadcast

    def _over(self, broadcast: Broadcast) -> None:
        if self._broadcasts.get(broadcast.monitor_id) is broadcast:
            del self._broadcasts[broadcast.monitor_id]
            self._missed.update(broadcast.missed)


def see_that_there_is_pyav() -> None:
    """Raises ApiError where PyAV is missing, or too old to find codec parameters in the stream."""
    if VIDEO in missing():
        wanted = f"PyAV {VIDEO.oldest} or newer on the service's host"
        raise ApiError(501, "no_pyav", f"this needs {wanted}: {VIDEO.remedy}")


def no_picture(monitor_id: int, reason: str) -> ApiError:
    """503 for a camera that gives none now."""
    return ApiError(503, "no_picture", f"no live view of monitor {monitor_id}: {reason}")


__all__ = ["Broadcast", "Live", "no_picture"]
