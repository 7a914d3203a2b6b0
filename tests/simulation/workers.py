"""Pretended workers: processes that record clips, and go on with it whatever becomes of the service (doc/reference/wire.md)."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.python.failure import Failure

from tests.simulation.clips import Clip
from tests.simulation.host import Host
from tests.simulation.links import Link
from tests.simulation.recorder import Camera, Recorder
from tests.simulation.world import World
from zmtwist.wire.event_details import (
    EVENT_DETECTION,
    DetectedObject,
    Detection,
    RecordingOpening,
    RecordingSaved,
    StreamState,
)
from zmtwist.wire.messages import Event

FIRST_PID = 10_000_000
"""Beyond what any kernel gives: nothing here may ever reach a process that is real."""

H264, HEVC = 27, 173
OTHER_EVENTS = 0
"""The code of what plugins publish beside all that has one of its own."""


class Worker:
    """A process transport as Twisted has it, and a worker behind it. `host` is whose child it is, if that lives."""

    def __init__(self, host: Host, protocol: Any, args: list[str], lock: int) -> None:
        self.host: Host | None = host
        self.machine = host.machine
        self.world: World = host.world
        self.protocol = protocol
        self.argv = args[args.index("--pipeline") - 1 :]
        self.lock = os.dup(lock)
        self.pid = self.group = _next_pid(self.world)
        self.started = len(self.world.workers)
        self.monitor_id = int(args[args.index("--monitor-id") + 1])
        self.socket = args[args.index("--socket") + 1]
        self.alive = True
        self.born = self.world.rightNow
        self.bound = False
        self.stalled = False
        self.ending = False
        self.sequence = 0
        self.codec, self.generation = H264, 0
        self.camera = Camera(self)
        self.recorder: Recorder
        self.link: Link | None = None
        self.watched: Callable[[], None] | None = None
        self.stdin = b""
        chance = self.world.chance
        self.after(chance.uniform(0.02, 0.3), self._bind)

    @property
    def clip(self) -> Clip | None:
        """What is being recorded."""
        return self.recorder.clip

    # What a parent does with it.

    def writeToChild(self, fd: int, data: bytes) -> None:
        self.stdin += data

    def closeStdin(self) -> None:
        told = next(_recorders(json.loads(self.stdin)["plugins"]))
        storage = next(one for one in self.world.storages.values() if one.root == Path(told["root"]))
        self.recorder = Recorder(self, storage, continuous=told["mode"] == "continuous")

    def loseConnection(self) -> None:
        pass

    def signalProcess(self, name: str) -> None:
        if not self.alive:
            raise ProcessExitedAlready
        self.take(signal.Signals[f"SIG{name}"])

    def take(self, number: int) -> None:
        if number == signal.SIGKILL:
            self.after(0.0, self.end, None, signal.SIGKILL)
        elif number == signal.SIGTERM and not self.stalled and not self.ending:
            self.ending = True
            self.after(self.world.chance.uniform(0.05, 1.0), self._finish)

    def end(self, code: int | None = 0, number: int | None = None) -> None:
        """Be gone, at once: what is open stays as it is."""
        if not self.alive:
            return
        self.alive = False
        self.world.tell(f"worker {self.monitor_id}/{self.pid} ends: {code} {number}")
        if self.clip is not None:
            self.clip.ended_at = self.world.seconds()
            self.recorder.clip = None
        os.close(self.lock)
        link, self.link = self.link, None
        if self.watched is not None:
            self.watched()
        if self.host is not None and not self.host.dead:
            value = ProcessDone(0) if code == 0 else ProcessTerminated(code, number, 0)
            self.host.callLater(0, self.protocol.processExited, Failure(value))
            self.host.callLater(0.001, self.protocol.processEnded, Failure(value))
        if link is not None:
            link.host.callLater(self.world.chance.uniform(0, 0.01), link.lost)

    # Its own life.

    def after(self, seconds: float, what: Callable[..., None], *args: Any) -> None:
        self.world.callLater(seconds, lambda: what(*args) if self.alive else None)

    def _bind(self) -> None:
        self.bound = True
        for link in Link.waiting(self.world, self.socket):
            link.host.callLater(self.world.chance.uniform(0.0005, 0.01), link.connect)
        self.after(self.world.chance.uniform(0.005, 0.8), self.recorder.open)
        self.after(0.5, self._see)
        self.after(0.1, self._go_on)

    def _go_on(self) -> None:
        self.recorder.record()
        self.after(2.0 if self.world.calm else 0.3, self._go_on)

    def lose_camera(self, seconds: float) -> None:
        """The connection to the camera is lost, and made again after some time: its times begin anew, and the recorder refuses all frames
        for as long as the old one had lasted."""
        if not self.camera.there:
            return
        self.recorder.record()
        self.camera.go()
        self.world.tell(f"worker {self.monitor_id} has lost its camera")
        self.say(OTHER_EVENTS, StreamState("StreamDisconnected"))
        self.say(OTHER_EVENTS, StreamState("StreamReconnecting", attempt=1))
        self.after(seconds, self._camera_came)

    def _camera_came(self) -> None:
        self.camera.come()
        self.recorder.record()
        self.recorder.refuses_until = self.world.seconds() + self.camera.lasted
        self.world.tell(f"worker {self.monitor_id} has its camera again")
        self.say(OTHER_EVENTS, StreamState("StreamConnected"))

    def change_stream(self) -> None:
        """The camera sends something else from now on: another codec, of a new generation."""
        self.codec = HEVC if self.codec == H264 else H264
        self.generation += 1
        self.world.tell(f"worker {self.monitor_id} is at generation {self.generation}")
        if self.link is not None:
            self.link.greet()

    def _see(self) -> None:
        """Something moves."""
        chance = self.world.chance
        if not self.stalled and not self.ending and self.camera.there:
            self.glimpse()
        self.after(5.0 if self.world.calm else chance.uniform(0.1, 1.5), self._see)

    def glimpse(self) -> None:
        """It detects something."""
        chance = self.world.chance
        found = DetectedObject(label=chance.choice(["person", "car"]), confidence=round(chance.random(), 2))
        if self.clip is not None:
            self.clip.said += 1
        self.say(EVENT_DETECTION, Detection(detections=(found,)))

    def _finish(self) -> None:
        if self.stalled:
            self.ending = False
            return
        self.recorder.close()
        self.end(0)

    def say(self, code: int, detail: Any) -> None:
        world = self.world
        fate = world.chance.random() if world.troubles.messages else 0.5
        if self.link is None or world.troubles.messages:
            self._disturbed(detail)
        link, event = self.link, self._next(code, detail)
        if link is None:
            return
        if fate < 0.2:
            world.tell(f"lost: {type(detail).__name__}")
            return
        link.heard(event)
        if fate > 0.8:
            world.tell(f"said twice: {type(detail).__name__}")
            link.heard(self._next(code, detail))

    def _next(self, code: int, detail: Any) -> Event:
        event = Event(code, sequence=self.sequence, wall_us=self.world.wall(), detail=detail)
        self.sequence += 1
        return event

    def _disturbed(self, detail: Any) -> None:
        """What is said now may not arrive: of the clip that is open, or, where it is of a clip's begin or end, of those on either side."""
        on_either_side = isinstance(detail, RecordingSaved | RecordingOpening)
        for clip in self.world.clips.values():
            ended = clip.ended_at
            if clip.worker is self and (ended is None or (on_either_side and ended > self.world.seconds() - 1.0)):
                clip.disturbed = True

    def log(self, line: str) -> None:
        if self.host is not None and not self.host.dead:
            self.host.callLater(0.001, lambda: self.protocol.outReceived(f"{line}\n".encode()))

    # What the service asks of it.

    def assign(self, told: dict[str, Any]) -> None:
        """The answer to an opening."""
        gone = self.world.failed_over or told["event_id"] in self.world.deleted
        if not gone and not self.world.committed(told["event_id"]):
            self.world.never(
                f"worker {self.monitor_id} was told of event {told['event_id']}, which is not in the database"
            )
        self.recorder.assign(told)


class Orphan:
    """What a worker has started and left behind, with its lock; in the worker's group, unless it has made one of its own."""

    argv = ("/usr/bin/helper", "--of", "zm-core")

    def __init__(self, worker: Worker, *, same_group: bool) -> None:
        self.world = worker.world
        self.machine = worker.machine
        self.lock = os.dup(worker.lock)
        self.monitor_id = worker.monitor_id
        self.pid = _next_pid(self.world)
        self.group = worker.group if same_group else self.pid
        self.started = len(self.world.workers)
        self.born = self.world.rightNow
        self.world.orphans.append(self)

    def take(self, number: int) -> None:
        self.world.callLater(0.0, self.end)

    def end(self) -> None:
        if self in self.world.orphans:
            self.world.orphans.remove(self)
            os.close(self.lock)
            self.world.tell(f"what worker {self.monitor_id} left behind ends")


def _next_pid(world: World) -> int:
    """A number that no living process has; sometimes one that a dead one had."""
    taken = {pid for one in (*world.living(), *world.orphans) for pid in (one.pid, one.group)}
    free = [pid for pid in world.pids if pid not in taken]
    if free and world.chance.random() < 0.1:
        return world.chance.choice(free)
    world.pids.append(FIRST_PID + len(world.pids))
    return world.pids[-1]


def _recorders(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The configuration of each `store` among these nodes of a document, and below them."""
    for node in nodes:
        if node["kind"] == "store":
            yield node["cfg"]
        yield from _recorders(node.get("children", []))
