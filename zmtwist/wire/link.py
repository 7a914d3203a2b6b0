"""The link to one monitor's worker.

`wire.link_machine` decides when to connect, `wire.connection` what is done with a connection; here is what the rest of zmtwist sees of
both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime

from zmtwist.interfaces import ILinkObserver, ILinkSink
from zmtwist.wire.connection import CommandTimeout, Connection, NotLinked, Tally
from zmtwist.wire.link_machine import Core, LinkState, Machine
from zmtwist.wire.messages import Hello, Response, Stream
from zmtwist.wire.read_budget import Turns
from zmtwist.wire.socket_watch import SocketWatch


@attrs.frozen
class LinkStatus:
    """What a link knows, at one moment. Times ending in `_at` or `_since` are seconds of the reactor's clock; rates are per second."""

    state: str
    reason: str
    connected_since: float | None
    last_message_at: float | None
    last_stats_at: float | None
    last_media_at: float | None
    frames_per_second: float | None
    bytes_per_second: float | None
    video: Hello | None
    audio: Hello | None
    events: int
    event_gaps: int
    malformed: int
    unknown: int
    details_unreadable: int
    details_raw: int
    foreign: int
    long: int
    samples_discarded: int
    untrusted: int
    commands_in_flight: int
    reconnects: int
    worker_pid: int | None


def _wall_us() -> int:
    return time.time_ns() // 1000


class WorkerLink:
    """The one connection to a monitor's worker, made again whenever it goes away, until `drain` or `abort`.

    Events, HELLOs and rates go to `sink`, what tells of the worker's health to `observer`. It is subscribed to events only, but for one
    access unit of video every `sample_seconds`: its header gives the capture rate, and shows that the camera is live. Links with the
    same `turns` share the reactor's time.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        path: str,
        monitor_id: int,
        sink: ILinkSink,
        observer: ILinkObserver,
        *,
        wall: Callable[[], int] = _wall_us,
        sample_seconds: float = 5.0,
        command_timeout: float = 5.0,
        turns: Turns | None = None,
    ) -> None:
        self._tally = Tally()

        def make_connection() -> Connection:
            return Connection(
                monitor_id=monitor_id,
                clock=reactor,
                sink=sink,
                observer=observer,
                wall=wall,
                sample_seconds=sample_seconds,
                command_timeout=command_timeout,
                tally=self._tally,
                on_first_message=self._core.taken_on,
                on_lost=self._machine.lost,
                turns=turns,
            )

        self._core = Core(reactor, path, monitor_id, observer, make_connection)
        self._machine = Machine(self._core)
        self._core.watch = SocketWatch(reactor, path, lambda: self._machine.bound("its socket was bound"))

    def start(self) -> None:
        """Begin to wait for the socket, and connect as soon as it is bound. Idempotent; call it before the worker is spawned."""
        self._machine.start("waiting for its socket")

    def drain(self) -> Deferred[None]:
        """Make no connection any more, but read the one there is to its end. Fires then, or at once where there is none."""
        drained: Deferred[None] = Deferred()
        self._core.drains.append(drained)
        self._machine.drain("draining")
        return drained

    def abort(self) -> None:
        """Drop everything at once. The sink and the observer are told nothing after this; commands in flight fail."""
        self._machine.abort("aborted")

    def command(self, name: str, /, **fields: Any) -> Deferred[Response]:
        """Send one command; fires with the worker's answer, be it ok or not.

        Fails with `NotLinked` where there is no connection or it ends first, with `CommandTimeout`, or with `ValueError` for what must
        not be sent.
        """
        connection = self._core.connection
        if connection is None:
            where = f"{self._core.state}: {self._core.reason}"
            return fail(NotLinked(f"monitor {self._core.monitor_id}: no connection to its worker ({where})"))
        try:
            return connection.command(name, fields)
        except ValueError as error:
            return fail(error)

    @property
    def status(self) -> LinkStatus:
        """What is known at this moment."""
        core, tally, connection = self._core, self._tally, self._core.connection
        return LinkStatus(
            state=core.state,
            reason=core.reason,
            connected_since=None if connection is None else connection.since,
            last_message_at=tally.last_message_at,
            last_stats_at=tally.last_stats_at,
            last_media_at=tally.last_media_at,
            frames_per_second=tally.frames_per_second,
            bytes_per_second=tally.bytes_per_second,
            video=tally.hellos.get(Stream.VIDEO),
            audio=tally.hellos.get(Stream.AUDIO),
            events=tally.events.received,
            event_gaps=tally.events.missed,
            malformed=tally.skipped["malformed"],
            unknown=tally.skipped["unknown"],
            details_unreadable=tally.skipped["detail"],
            details_raw=tally.skipped["raw"],
            foreign=tally.skipped["foreign"],
            long=tally.skipped["long"],
            samples_discarded=tally.skipped["sample"],
            untrusted=core.untrusted,
            commands_in_flight=0 if connection is None else connection.commands_in_flight,
            reconnects=max(0, tally.connections - 1),
            worker_pid=tally.worker_pid,
        )


__all__ = ["CommandTimeout", "LinkState", "LinkStatus", "NotLinked", "WorkerLink"]
