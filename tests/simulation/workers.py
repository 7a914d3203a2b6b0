"""Pretended workers: processes that record clips, and go on with it whatever becomes of the service (doc/reference/wire.md)."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.python.failure import Failure

from tests.simulation.clips import PRE_ROLL, RATE, Clip
from tests.simulation.host import Host
from tests.simulation.links import Link
from tests.simulation.world import SECOND, World
from zmtwist.wire.details import (
    EVENT_DETECTION,
    EVENT_RECORDING_OPENING,
    EVENT_RECORDING_SAVED,
    DetectedObject,
    Detection,
    RecordingOpening,
    RecordingSaved,
)
from zmtwist.wire.messages import Event

FIRST_PID = 10_000_000
"""Beyond what any kernel gives: nothing here may ever reach a process that is real."""


class Worker:
    """A process transport as Twisted has it, and a worker behind it. `host` is whose child it is, if that lives."""

    def __init__(self, host: Host, protocol: Any, args: list[str], lock: int) -> None:
        self.host: Host | None = host
        self.world: World = host.world
        self.protocol = protocol
        self.arguments = args
        self.lock = os.dup(lock)
        self.pid = _next_pid(self.world)
        self.started = len(self.world.workers)
        self.monitor_id = int(args[args.index("--monitor-id") + 1])
        self.socket = args[args.index("--socket") + 1]
        self.alive = True
        self.born = self.world.rightNow
        self.bound = False
        self.stalled = False
        self.ending = False
        self.sequence = 0
        self.clip: Clip | None = None
        self.link: Link | None = None
        self.watched: Callable[[], None] | None = None
        self.stdin = b""
        chance = self.world.chance
        self._after(chance.uniform(0.02, 0.3), self._bind)

    # What a parent does with it.

    def writeToChild(self, fd: int, data: bytes) -> None:
        self.stdin += data

    def closeStdin(self) -> None:
        recorder = next(_recorders(json.loads(self.stdin)["plugins"]))
        self.continuous = recorder["mode"] == "continuous"
        self.root = Path(recorder["root"])

    def loseConnection(self) -> None:
        pass

    def signalProcess(self, name: str) -> None:
        if not self.alive:
            raise ProcessExitedAlready
        self.take(signal.Signals[f"SIG{name}"])

    def take(self, number: int) -> None:
        if number == signal.SIGKILL:
            self._after(0.0, self.end, None, signal.SIGKILL)
        elif number == signal.SIGTERM and not self.stalled and not self.ending:
            self.ending = True
            self._after(self.world.chance.uniform(0.05, 1.0), self._finish)

    def end(self, code: int | None = 0, number: int | None = None) -> None:
        """Be gone, at once: what is open stays as it is."""
        if not self.alive:
            return
        self.alive = False
        self.world.tell(f"worker {self.monitor_id}/{self.pid} ends: {code} {number}")
        if self.clip is not None:
            self.clip.ended_at = self.world.seconds()
            self.clip = None
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

    def _after(self, seconds: float, what: Callable[..., None], *args: Any) -> None:
        self.world.callLater(seconds, lambda: what(*args) if self.alive else None)

    def _bind(self) -> None:
        self.bound = True
        for link in Link.waiting(self.world, self.socket):
            link.host.callLater(self.world.chance.uniform(0.0005, 0.01), link.connect)
        self._after(self.world.chance.uniform(0.005, 0.8), self._open)
        self._after(0.5, self._see)
        self._after(0.1, self._record)

    def _open(self) -> None:
        """A clip begins, under a name of its own."""
        if self.stalled or self.ending or self.clip is not None:
            return
        world, chance = self.world, self.world.chance
        stamp = datetime.fromtimestamp(world.wall() // SECOND, UTC)
        day = self.root / f"{stamp:%Y-%m-%d}"
        day.mkdir(exist_ok=True)
        for number in itertools.count(1):
            tail = "" if number == 1 else f"-{number}"
            path = day / f"event-Monitor-{self.monitor_id}-0-{stamp:%H-%M-%S}{tail}.mkv"
            if not path.exists():
                break
        path.touch()
        os.utime(path, ns=(world.wall() * 1000,) * 2)
        trigger = "continuous" if self.continuous else chance.choice(["motion", "detection"])
        clip = self.clip = Clip(len(world.clips) + 1, self, path, trigger)
        world.clips[clip.number] = clip
        world.tell(f"worker {self.monitor_id} opens clip {clip.number} as {path.name}")
        self._log(f"store: recording_opening token={clip.token} cause={trigger}")
        self.say(EVENT_RECORDING_OPENING, RecordingOpening(clip.token, trigger))
        # Some are so short that the next one, by its name, may be of the same event.
        length = 45.0 if world.calm else chance.choice((chance.uniform(0.3, 2.0), chance.uniform(3.0, 12.0)))
        self._after(length, self._close, clip)

    def _close(self, clip: Clip | None = None) -> None:
        """The clip is finished; the next one follows at once, or when something moves again."""
        if self.stalled or self.clip is None or (clip is not None and clip is not self.clip):
            return
        clip = self.clip
        self._record(False)
        if self.clip is None:
            return
        self.clip = None
        self._save(clip)
        if not self.ending:
            self._after(0.0002 if self.continuous else self.world.chance.uniform(0.5, 3.0), self._open)

    def _save(self, clip: Clip) -> None:
        """A finished clip holds all its pictures, one at least, and there is a sidecar beside it."""
        clip.ended_at, clip.saved = self.world.seconds(), True
        self._write(clip, max(1, clip.frames, self._due(clip)))
        if not clip.deleted:
            told = {"cause": clip.trigger, "text": "", "path": str(clip.path)}
            Path(f"{clip.path}.json").write_text(json.dumps(told))
        event_id = clip.event_id
        if self.world.troubles.misnamed and self.world.chance.random() < 0.4:
            event_id = self.world.chance.randint(1, 30)
        self.world.tell(f"worker {self.monitor_id} saves clip {clip.number} as {clip.path.name}")
        self.say(
            EVENT_RECORDING_SAVED,
            RecordingSaved(str(clip.path), event_id, clip.trigger, clip.frames / RATE, clip.frames, None),
        )

    def _record(self, again: bool = True) -> None:
        """The next frames."""
        clip = self.clip
        if clip is not None and not self.stalled and self._still_there(clip):
            if self.world.seconds() - clip.begun >= clip.buffered:
                self._write(clip, self._due(clip))
            if clip.target is not None and not clip.deleted:
                target, clip.target = clip.target, None
                target.parent.mkdir(parents=True, exist_ok=True)
                clip.path.rename(target)
                clip.path = target
        if again:
            self._after(2.0 if self.world.calm else 0.3, self._record)

    def _still_there(self, clip: Clip) -> bool:
        """A worker writes on whatever becomes of its file's name, but nobody but ZoneMinder may touch that while it does."""
        if not clip.deleted and not clip.path.exists():
            self.world.never(f"clip {clip.number} is being recorded, and is not at {clip.path} any more")
            self.clip = None
            return False
        return True

    def _due(self, clip: Clip) -> int:
        """How many frames there are to be by now."""
        before = 0 if self.continuous else PRE_ROLL * RATE
        return before + round((self.world.seconds() - clip.begun) * RATE)

    def _write(self, clip: Clip, frames: int) -> None:
        if frames <= clip.frames:
            return
        if clip.frames == 0 and not clip.deleted:
            clip.path.write_text(f"clip {clip.number}\n")
        clip.frames = frames
        if not clip.deleted:
            wall = self.world.wall() * 1000
            os.utime(clip.path, ns=(wall, wall))

    def _see(self) -> None:
        """Something moves."""
        chance = self.world.chance
        if not self.stalled and not self.ending:
            self.glimpse()
        self._after(5.0 if self.world.calm else chance.uniform(0.1, 1.5), self._see)

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
        self._close()
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

    def _log(self, line: str) -> None:
        if self.host is not None and not self.host.dead:
            self.host.callLater(0.001, self.protocol.outReceived, f"{line}\n".encode())

    # What the service asks of it.

    def assign(self, told: dict[str, Any]) -> None:
        """The answer to an opening."""
        if not self.world.committed(told["event_id"]) and told["event_id"] not in self.world.deleted:
            self.world.never(
                f"worker {self.monitor_id} was told of event {told['event_id']}, which is not in the database"
            )
        if self.clip is not None and self.clip.token == told["clip_token"]:
            self.clip.event_id = told["event_id"]
            self.clip.assigned_at = self.world.seconds()
            self.clip.target = Path(told["dir"]) / told["video_name"]


def _next_pid(world: World) -> int:
    """A number that no living process has; sometimes one that a dead one had."""
    used = {worker.pid for worker in world.workers}
    free = sorted(used - {worker.pid for worker in world.living()})
    if free and world.chance.random() < 0.1:
        return world.chance.choice(free)
    return FIRST_PID + len(used)


def _recorders(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The configuration of each `store` among these nodes of a document, and below them."""
    for node in nodes:
        if node["kind"] == "store":
            yield node["cfg"]
        yield from _recorders(node.get("children", []))
