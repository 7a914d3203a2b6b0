"""The seams between the parts. Each has one provider in the package and a double in the tests."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from zmtwist.changes import Change, CloseEvent, OpenEvent
    from zmtwist.ingest.recording_watch import Failing
    from zmtwist.pipeline.monitor import Monitor
    from zmtwist.wire.messages import Event, Hello, Response
    from zmtwist.zm.db.errors import Unsure
    from zmtwist.zm.event_paths import EventPlace


class ILinkSink(Interface):
    """Takes what workers say over their sockets. Calls are quick, in order per monitor, and never raise. Wall times in microseconds since
    the epoch."""

    def hello(monitor_id: int, hello: Hello) -> None:
        """Codec parameters of one of the worker's streams."""

    def event(monitor_id: int, event: Event, at_us: int) -> None:
        """One EVENT message, received at `at_us`."""

    def rate(monitor_id: int, frames_per_second: float, bytes_per_second: float) -> None:
        """A new sample of the camera's capture rate."""

    def gap(monitor_id: int, missed: int) -> None:
        """The event sequence shows that `missed` events were not received."""


class IEventSink(ILinkSink):
    """Takes what workers say, by whatever way, and knows what they record. As `ILinkSink`."""

    def logged_opening(monitor_id: int, token: str, cause: str, at_us: int) -> None:
        """The worker's log told of a clip's opening (doc/reference/worker.md, The log); the same token may come as an event too."""

    def frame_refused(monitor_id: int) -> None:
        """The worker's log told that its recorder could not write a frame."""

    def failing(monitor_id: int) -> Failing | None:
        """What of this camera is not recorded although its frames come; None where all is well, or nothing is known."""

    def adopted(monitor_id: int) -> None:
        """The worker runs since an earlier run of this service: that one heard, or missed, what it said of a clip that is open now.

        Comes before anything else of this worker.
        """

    def clip_end(monitor_id: int) -> Deferred[None]:
        """Fires, not within a call of this sink, when the clip that the worker records has ended; at once where none is open.

        Of an adopted worker one may be open that nobody knows of: then the first end counts. Cancel it to wait no longer.
        """

    def gone(monitor_id: int) -> None:
        """The worker's process has ended: nothing more will be said of its open clips."""


class ILinkObserver(Interface):
    """Hears how one worker's link fares, for its supervision. Calls are quick and never raise; none come after an `abort`."""

    def linked() -> None:
        """The socket answered: connected, and the first message has come."""

    def media(frames_per_second: float | None) -> None:
        """Media was seen to move; the capture rate where two samples already give one."""

    def stats() -> None:
        """A STATS message came."""

    def stream(stream_id: int, connected: bool) -> None:
        """The worker said that it has, or has no more, a connection to one of its camera's streams."""

    def bye() -> None:
        """The worker said that it is stopping."""

    def unlinked(reason: str) -> None:
        """The connection is gone; the link tries again by itself unless it drains."""


class ICommander(Interface):
    """Sends COMMANDs to workers."""

    def command(monitor_id: int, name: str, **fields: Any) -> Deferred[Response]:
        """Send one command. Fails with `wire.link.NotLinked`, `wire.link.CommandTimeout` or `ValueError` (fields)."""


class IEventStore(Interface):
    """ZoneMinder's Events and Frames rows. Holds no state of its own: what a handle means comes in and goes out by value."""

    def commit(
        changes: Sequence[Change], places: Mapping[str, EventPlace], monitors: Mapping[int, Monitor]
    ) -> Deferred[Mapping[str, EventPlace]]:
        """Write `changes` in one transaction, in their order per handle, and give the places of the events that they opened.

        `places` knows every handle that is not opened by `changes` themselves; `monitors` every monitor that has an OpenEvent here.
        Fails with `zm.db.errors.Retryable` (nothing is written: the same again later), `zm.db.errors.Unsure` (the commit's answer was lost:
        ask `landed` first), or `zm.db.errors.Refused` (the database will not take this batch as it is, however often).
        """

    def landed(unsure: Unsure) -> Deferred[bool]:
        """Whether the transaction that failed with `unsure` is in the database after all. Fails with `zm.db.errors.Retryable`."""

    def opened(
        openings: Sequence[OpenEvent],
        taken: Collection[int],
        monitors: Mapping[int, Monitor],
        closes: Mapping[str, CloseEvent],
    ) -> Deferred[Mapping[str, EventPlace]]:
        """Which of `openings`, which an earlier run may or may not have committed, have their row; their places. `taken` are ids of
        events known to be others, `closes` what the same batch closed, by handle. Fails with `zm.db.errors.Retryable`."""


class ICatalog(Interface):
    """Reads of ZoneMinder's configuration rows."""

    def monitors() -> Deferred[Sequence[Monitor]]:
        """All monitors of this server, each with its zones and storage, in a constant number of queries."""

    unreadable = Attribute("Monitor ids whose rows made no sense at the last read, with the reason each.")
