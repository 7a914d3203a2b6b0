"""One simulated camera: its clock, what it captures, publishes and records."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from sched import scheduler

from zmtwist.sim.document import FileInput, Pipeline
from zmtwist.sim.faults import Faults
from zmtwist.sim.recorder import Recorder
from zmtwist.sim.scene import Scene, Thing
from zmtwist.sim.server import Server
from zmtwist.sim.stages import Sighting, sightings
from zmtwist.sim.tuning import Tuning
from zmtwist.sim.video import Source
from zmtwist.wire.messages import Command

CONNECTION_FAILED = 0x0101
FILE_DELAY, RTSP_DELAY = 0.008, 0.3
LATEST = 1.0
"""A camera that is later than this many seconds (a client blocked it) goes on with the present: the frames between are lost."""


class Worker:
    """A camera with its stages and recorder, speaking through `server`. `log` takes whole lines."""

    def __init__(
        self,
        pipeline: Pipeline,
        monitor_id: int,
        tuning: Tuning,
        source: Source,
        server: Server,
        schedule: scheduler,
        log: Callable[[str], None],
    ) -> None:
        self._pipeline = pipeline
        self._monitor_id = monitor_id
        self._tuning = tuning
        self._source = source
        self._log = log
        self._schedule = schedule
        self._server = server
        server.on_command = self._command
        self._scene = Scene(source.width, source.height, tuning.first, tuning.present, tuning.period)
        self._recorder: Recorder | None = None
        if pipeline.store is not None:
            self._recorder = Recorder(
                pipeline.store,
                source.clip,
                server.event,
                self._plugin,
                rename=_refuse if tuning.clip_error else os.rename,
            )
        self._stalled = False
        self._start = 0.0
        self._first_us = 0
        self._frames = 0
        self._track = 0

    def _plugin(self, level: str, text: str) -> None:
        self._log(f"[PLUGIN][{level}] {text}")

    def run(self, stopped: Callable[[], bool]) -> None:
        """Bind, capture, and serve until `stopped`; then close the open clip and say BYE. Raises `server.NotBound`."""
        self._server.bind()
        self._arrange()
        while not stopped():
            delay = self._schedule.run(blocking=False)
            if not stopped():
                self._server.poll(delay)
        if self._recorder is not None:
            self._recorder.close()
        self._server.close(bye=not self._tuning.no_bye)

    def _arrange(self) -> None:
        """Put the capture's start and the faults on the clock."""
        tuning = self._tuning
        is_file = isinstance(self._pipeline.source, FileInput)
        connect = tuning.connect if tuning.connect is not None else FILE_DELAY if is_file else RTSP_DELAY
        if tuning.early:
            self._begin()
        else:
            self._schedule.enter(connect, 1, self._begin)
        Faults(tuning, self._schedule, self._server, self._stall, lambda text: self._plugin("INFO", text)).start()

    def _begin(self) -> None:
        """Open the input."""
        source = self._pipeline.source
        if source is None:
            return
        if isinstance(source, FileInput):
            if self._tuning.dead or not source.opens:
                text = f"capture_file: failed to open {source.path}"
                self._plugin("ERROR", text)
                detail = {"message": text, "stream_id": source.stream_id, "type": "connection_failed"}
                self._server.event(CONNECTION_FAILED, detail)
                return
            self._plugin("INFO", f"capture_file: opened {source.path}")
        else:
            for stream in source:
                self._plugin("INFO", f"capture_rtsp_multi: stream {stream.stream_id}: connecting to {stream.url}")
            connected = [] if self._tuning.dead else [stream for stream in source if stream.connects]
            for stream in connected:
                self._plugin("INFO", f"capture_rtsp_multi: stream {stream.stream_id}: connected to {stream.url}")
                self._server.event(0, {"event": "StreamConnected", "stream_id": stream.stream_id, "url": stream.url})
            if not connected:
                self._plugin("ERROR", "capture_rtsp_multi: no stream could be opened, retrying")
                return
        self._server.hello(self._source.hello())
        # A file's first frame is at 0; a live camera's never is.
        self._first_us = 0 if isinstance(source, FileInput) else self._source.frame_us
        self._start = time.monotonic()
        self._frame(0)

    def _stall(self) -> None:
        self._stalled = True

    def _frame(self, index: int) -> None:
        """Capture the frame with this index, and put the next one on the clock."""
        if self._stalled:
            return
        frame_s = self._source.frame_us / 1_000_000
        late = time.monotonic() - self._start - index * frame_s
        if late > LATEST:
            index += int(late / frame_s)
        since = index * frame_s
        source = self._pipeline.source
        ends = self._tuning.length if isinstance(source, FileInput) and not source.loop else None
        if ends is not None and since >= ends:
            self._plugin("INFO", "capture_file: end of file")
            return
        self._schedule.enterabs(self._start + (index + 1) * frame_s, 1, self._frame, (index + 1,))
        thing = self._scene.at(since)
        packet = self._source.packet(self._first_us + index * self._source.frame_us, time.time(), thing)
        self._server.media(packet.data, pts_us=packet.pts_us, keyframe=packet.keyframe)
        seen = self._look(thing, packet.pts_us, since)
        if self._tuning.order == "before":
            self._publish_all(seen)
        if self._recorder is not None and self._pipeline.store is not None:
            wanted = self._pipeline.store.trigger_types
            trigger = next((sighting.kind for sighting in seen if sighting.kind in wanted), None)
            self._recorder.frame(packet, trigger)
        if self._tuning.order == "after":
            self._publish_all(seen)
        self._frames += 1

    def _look(self, thing: Thing | None, pts_us: int, since: float) -> list[Sighting]:
        if thing is None:
            return []
        new, self._track = thing.track_id != self._track, thing.track_id
        every = max(1, round(1_000_000 / self._source.frame_us / self._tuning.detect_rate))
        return sightings(
            self._pipeline.stages,
            thing,
            monitor_id=self._monitor_id,
            pts_us=pts_us,
            changed=self._scene.changed(since),
            frame=self._frames,
            detect=self._frames % every == 0,
            new=new,
        )

    def _publish_all(self, seen: list[Sighting]) -> None:
        for sighting in seen:
            self._server.event(sighting.code, sighting.detail)

    def _command(self, command: Command) -> None:
        """Raises `KeyError`, `TypeError` or `ValueError` for fields of a wrong type, at which the server aborts."""
        if command.cmd != "assign_recording":
            return
        token, event_id = command.fields.get("clip_token", ""), command.fields.get("event_id", 0)
        directory, name = command.fields.get("dir", ""), command.fields.get("video_name", "")
        if not all(isinstance(value, str) for value in (token, directory, name)):
            raise TypeError("clip_token, dir and video_name must be strings")
        if isinstance(event_id, bool) or not isinstance(event_id, int) or event_id < 0:
            raise TypeError("event_id must be an unsigned integer")
        if self._recorder is None:
            return
        if self._tuning.slow_assign:
            assignment = (token, event_id, directory, name)
            self._schedule.enter(self._tuning.slow_assign, 1, self._recorder.assign, assignment)
        else:
            self._recorder.assign(token, event_id, directory, name)


def _refuse(path: Path, target: Path) -> None:
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
