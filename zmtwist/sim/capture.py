"""The capture nodes: connection to a camera, its loss, and the times of its frames (doc/reference/worker.md, Cameras over RTSP)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from errno import ECONNREFUSED
from sched import Event, scheduler
from typing import Protocol

from zmtwist.sim.document import FileInput, RtspStream
from zmtwist.sim.server import Server
from zmtwist.sim.tuning import Tuning
from zmtwist.sim.video import Source

CONNECTION_FAILED = 0x0101
FILE_DELAY, RTSP_DELAY = 0.008, 0.3
LOOK_SECONDS = 0.001
TRIES = 5
"""After so many attempts that failed no more are made."""

DIAL_SECONDS = 2.0
LATEST = 1.0
"""A camera that is later than this many seconds (a client blocked it) goes on with the present: the frames between are lost."""

Log = Callable[[str, str], None]


class Capture(Protocol):
    """One input."""

    def begin(self) -> None:
        """Now is the bind."""

    def stop(self) -> None:
        """Deliver no more."""

    @property
    def holds(self) -> bool:
        """Whether the process can't end yet, though it was told to."""


class Feed:
    """One capture stream's frames, paced by the wall clock. `deliver` gets a frame's stream, its time, and its seconds from the start."""

    def __init__(
        self, stream_id: int, source: Source, schedule: scheduler, deliver: Callable[[int, int, float], None]
    ) -> None:
        self.stream_id = stream_id
        self.source = source
        self.length: float | None = None
        self.silent = False
        self._schedule = schedule
        self._deliver = deliver
        self._began: float | None = None
        self._start = 0.0
        self._first_us = 0
        self._next: Event | None = None

    def start(self, first_us: int) -> None:
        """The first frame, at `first_us`, now; the others follow."""
        self._start = time.monotonic()
        if self._began is None:
            self._began = self._start
        self._first_us = first_us
        self._frame(0)

    def stop(self) -> None:
        """No more frames, until the next start."""
        pending, self._next = self._next, None
        if pending is not None:
            self._schedule.cancel(pending)

    def _frame(self, index: int) -> None:
        frame_s = self.source.frame_us / 1_000_000
        late = time.monotonic() - self._start - index * frame_s
        if late > LATEST:
            index += int(late / frame_s)
        self._next = None
        if self.length is not None and index * frame_s >= self.length:
            return
        self._next = self._schedule.enterabs(self._start + (index + 1) * frame_s, 1, self._frame, (index + 1,))
        if not self.silent:
            since = self._start - (self._began or 0) + index * frame_s
            self._deliver(self.stream_id, self._first_us + index * self.source.frame_us, since)


class FileReplay:
    """`capture_file`: it has its frames, or it fails once and for all."""

    def __init__(
        self, source: FileInput, feed: Feed, tuning: Tuning, schedule: scheduler, server: Server, log: Log
    ) -> None:
        self._source = source
        self._feed = feed
        self._tuning = tuning
        self._schedule = schedule
        self._server = server
        self._log = log
        feed.length = None if source.loop else tuning.length

    def begin(self) -> None:
        """See `Capture`."""
        delay = 0.0 if self._tuning.early else FILE_DELAY if self._tuning.connect is None else self._tuning.connect
        if delay:
            self._schedule.enter(delay, 1, self._open)
        else:
            self._open()

    def _open(self) -> None:
        if self._tuning.awaited and not self._server.attended:
            self._schedule.enter(LOOK_SECONDS, 1, self._open)
            return
        source = self._source
        self._log("INFO", f"Starting capture_file: path={source.path} stream_id={source.stream_id}")
        if self._tuning.dead or not source.opens:
            self._log("ERROR", f"Failed to open file '{source.path}': No such file or directory")
            text = f"capture_file: failed to open {source.path}"
            self._server.event(
                CONNECTION_FAILED, {"message": text, "stream_id": source.stream_id, "type": "connection_failed"}
            )
            return
        if self._feed.length is not None:
            ended = f"Stream {source.stream_id}: EOF reached, stopping"
            self._schedule.enter(self._feed.length, 2, self._log, ("INFO", ended))
        self._log("INFO", "capture_file started successfully")
        self._server.hello(self._feed.source.hello())
        self._feed.start(0)

    def stop(self) -> None:
        """See `Capture`."""
        self._feed.stop()

    @property
    def holds(self) -> bool:
        """See `Capture`."""
        return False


class RtspConnection:
    """One stream of `capture_rtsp_multi`: tried again at once when it is lost, then after 1, 2, 4 and 8 s, and never more.

    Its times begin anew with each connection. Nothing has a time-out: while it waits for the camera, or for the next attempt, the process
    can't end. With `dial` the address is connected to for real: whoever listens there says `1` when frames are to come, `0` when none are,
    as often as it likes.
    """

    def __init__(
        self, stream: RtspStream, feed: Feed, tuning: Tuning, schedule: scheduler, server: Server, log: Log
    ) -> None:
        self._stream = stream
        self._feed = feed
        self._tuning = tuning
        self._schedule = schedule
        self._server = server
        self._log = log
        self._line: socket.socket | None = None
        self._opening: Event | None = None
        self._tries = 0
        self._before_us = round(tuning.uptime * 1_000_000)
        self._connected = self._waiting = self._stopped = False

    def _say(self, level: str, text: str) -> None:
        self._log(level, f"[Stream {self._stream.stream_id}] {text}")

    def _publish(self, event: str, **more: object) -> None:
        self._server.event(0, {"event": event, "stream_id": self._stream.stream_id, **more})

    def begin(self) -> None:
        """See `Capture`."""
        self._say("INFO", f"Starting capture loop for {self._stream.url}")
        self._attempt()

    def stop(self) -> None:
        """See `Capture`."""
        self._stopped = True
        self._feed.stop()
        if self._tries < TRIES:
            self._say("INFO", "Capture loop ended")

    @property
    def holds(self) -> bool:
        """See `Capture`."""
        return self._waiting or (self._connected and self._feed.silent)

    def _attempt(self) -> None:
        self._waiting = False
        if self._stopped:
            return
        if not self._stream.connects or self._tuning.dead:
            self._failed(os.strerror(ECONNREFUSED))
        elif self._tuning.dial:
            self._dial()
        else:
            self._answered()

    def _dial(self) -> None:
        try:
            self._line = line = socket.create_connection(self._stream.address, DIAL_SECONDS)
        except OSError as error:
            self._failed(error.strerror or str(error))
        else:
            self._waiting = True
            self._server.watch(line, self._heard)

    def _heard(self) -> None:
        """The camera speaks, or the connection is at its end."""
        line = self._line
        if line is None:
            return
        problem: str | None = None
        try:
            said = line.recv(64)
        except OSError as error:
            said, problem = b"", error.strerror
        if said:
            self._feed.silent = said[-1:] == b"0"
            if self._waiting:
                self._waiting = False
                self._answered()
            return
        self._line = None
        self._server.forget(line)
        line.close()
        if self._connected:
            self._lost(problem)
        else:
            self._waiting = False
            if self._opening is not None:
                self._schedule.cancel(self._opening)
                self._opening = None
            self._failed(problem or "Invalid data found when processing input")

    def _answered(self) -> None:
        delay = 0.0 if self._tuning.early else RTSP_DELAY if self._tuning.connect is None else self._tuning.connect
        if delay:
            self._opening = self._schedule.enter(delay, 1, self._open)
        else:
            self._open()

    def _open(self) -> None:
        self._opening = None
        if self._stopped:
            return
        url, source = self._stream.url, self._feed.source
        self._tries, self._connected = 0, True
        self._say("INFO", "Found 1 video, 0 audio streams")
        self._say("INFO", f"Successfully connected to {url}")
        self._publish("StreamConnected", url=url, video_streams=1, audio_streams=0)
        self._server.hello(source.hello())
        self._log("INFO", f"Published video metadata for stream {self._stream.stream_id}: codec=h264")
        self._say("INFO", "Connected successfully")
        # A file's first frame is at 0; a live camera's never is.
        first_us, self._before_us = source.frame_us + self._before_us, 0
        self._feed.start(first_us)

    def _lost(self, problem: str | None) -> None:
        self._feed.stop()
        self._feed.silent = self._connected = False
        if problem is None:
            self._say("INFO", "End of stream reached")
        else:
            self._say("WARN", f"Error reading frame: {problem}")
            self._publish("StreamReconnecting")
        self._publish("StreamDisconnected")
        self._say("INFO", "Stream disconnected, will attempt reconnection")
        self._attempt()

    def _failed(self, problem: str) -> None:
        self._tries += 1
        with suppress(ValueError):  # a port that is none
            host, port = self._stream.address
            self._log("ERROR", f"Connection to tcp://{host}:{port}?timeout=0 failed: {problem}\n")
        self._say("ERROR", f"Failed to open RTSP stream: {problem}")
        if self._tries >= TRIES:
            self._say("ERROR", "Max retry attempts reached, stopping stream")
            self._say("INFO", "Capture loop ended")
            return
        delay = self._tuning.retry * 2 ** (self._tries - 1)
        self._say("WARN", f"Connection failed, retrying in {round(delay * 1000)} ms (attempt {self._tries})")
        self._waiting = True
        self._schedule.enter(delay, 1, self._attempt)
