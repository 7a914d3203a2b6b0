"""One simulated camera: its clock, what it captures, publishes and records."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from sched import scheduler

from zmtwist.sim.capture import Capture, Feed, FileReplay, RtspConnection
from zmtwist.sim.document import FileInput, Pipeline
from zmtwist.sim.faults import Faults
from zmtwist.sim.recorder import Recorder
from zmtwist.sim.scene import Scene, Thing
from zmtwist.sim.server import Server
from zmtwist.sim.stages import Sighting, sightings
from zmtwist.sim.tuning import Tuning
from zmtwist.sim.video import Source
from zmtwist.wire.messages import Command

SLOT = 1024 * 1024
FRAME_HEADER = 40
"""A frame passes through a ring of slots of this size, with this many bytes before it; a larger one is dropped without a word."""


class Worker:
    """A camera with its stages and recorder, speaking through `server`. `camera` makes a stream's, `log` takes whole lines."""

    def __init__(
        self,
        pipeline: Pipeline,
        monitor_id: int,
        tuning: Tuning,
        camera: Callable[[int], Source],
        server: Server,
        schedule: scheduler,
        log: Callable[[str], None],
    ) -> None:
        self._pipeline = pipeline
        self._monitor_id = monitor_id
        self._tuning = tuning
        self._camera = camera
        self._log = log
        self._schedule = schedule
        self._server = server
        server.on_command = self._command
        self._feeds: dict[int, Feed] = {}
        self._captures = self._inputs()
        self._recorder: Recorder | None = None
        if pipeline.store is not None:
            self._recorder = Recorder(
                pipeline.store,
                lambda path, stream_id: self._feeds[stream_id].source.clip(path),
                server.event,
                self._plugin,
                rename=_refuse if tuning.clip_error else os.rename,
            )
        self._frames = 0
        self._track = 0

    def _plugin(self, level: str, text: str) -> None:
        self._log(f"[PLUGIN][{level}] {text}")

    def _inputs(self) -> list[Capture]:
        source, common = self._pipeline.source, (self._tuning, self._schedule, self._server, self._plugin)
        if source is None:
            return []
        if isinstance(source, FileInput):
            return [FileReplay(source, self._feed(source.stream_id), *common)]
        return [RtspConnection(stream, self._feed(stream.stream_id), *common) for stream in source]

    def _feed(self, stream_id: int) -> Feed:
        feed = self._feeds[stream_id] = Feed(stream_id, self._camera(stream_id), self._schedule, self._frame)
        return feed

    def run(self, stopped: Callable[[], bool]) -> None:
        """Bind, capture, and serve until `stopped`; then close the open clip and say BYE. Raises `server.NotBound`."""
        self._server.bind()
        for capture in self._captures:
            capture.begin()
        Faults(self._tuning, self._schedule, self._server, self._stall, lambda text: self._plugin("INFO", text)).start()
        self._log("[zm-core] Pipeline running. Press Ctrl+C to exit.")
        while not stopped():
            delay = self._schedule.run(blocking=False)
            if not stopped():
                self._server.poll(delay)
        self._log("[zm-core] Shutting down...")
        for capture in self._captures:
            capture.stop()
        delay = self._schedule.run(blocking=False)
        while any(capture.holds for capture in self._captures):
            self._server.poll(delay)
            delay = self._schedule.run(blocking=False)
        if self._recorder is not None:
            self._recorder.close()
        self._server.close(bye=not self._tuning.no_bye)

    def _stall(self) -> None:
        for feed in self._feeds.values():
            feed.silent = True

    def _frame(self, stream_id: int, pts_us: int, since: float) -> None:
        """Capture a frame of a stream, `since` seconds after its beginning."""
        source = self._feeds[stream_id].source
        tuning = self._tuning
        scene = Scene(source.width, source.height, tuning.first, tuning.present, tuning.period)
        thing = scene.at(since)
        packet = source.packet(pts_us, time.time(), thing)
        if packet.keyframe and not isinstance(self._pipeline.source, FileInput):
            told = f"Publishing keyframe: size={len(packet.data)}, pts={pts_us}"
            self._plugin("DEBUG", f"[Stream {stream_id}] {told}")
        if len(packet.data) + FRAME_HEADER > SLOT:
            return
        self._server.media(packet.data, pts_us=packet.pts_us, keyframe=packet.keyframe)
        recorder = self._recorder
        if recorder is not None:
            recorder.frame(packet, stream_id)
        for sighting in [] if thing is None else self._look(thing, stream_id, packet.pts_us, scene.changed(since)):
            if tuning.order == "before":
                self._server.event(sighting.code, sighting.detail)
            if recorder is not None:
                recorder.event(sighting.kind, sighting.detail)
            if tuning.order == "after":
                self._server.event(sighting.code, sighting.detail)
        self._frames += 1

    def _look(self, thing: Thing, stream_id: int, pts_us: int, changed: int) -> list[Sighting]:
        new, self._track = thing.track_id != self._track, thing.track_id
        every = max(1, round(self._tuning.fps / self._tuning.detect_rate))
        return sightings(
            self._pipeline.stages,
            thing,
            monitor_id=self._monitor_id,
            stream_id=stream_id,
            pts_us=pts_us,
            changed=changed,
            frame=self._frames,
            detect=self._frames % every == 0,
            new=new,
        )

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
