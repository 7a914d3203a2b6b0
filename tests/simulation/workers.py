"""Pretended workers: processes that record clips (small files that name themselves), and the links over which they speak."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.python.failure import Failure

from tests.simulation.world import SECOND, Host, World
from zmtwist.fleet.procfs import LOCK_FD, Seen
from zmtwist.ingest.measure import Measure
from zmtwist.wire.details import (
    EVENT_DETECTION,
    EVENT_RECORDING_OPENING,
    EVENT_RECORDING_SAVED,
    DetectedObject,
    Detection,
    RecordingOpening,
    RecordingSaved,
)
from zmtwist.wire.link import CommandTimeout, NotLinked
from zmtwist.wire.messages import Event, Hello, Response, Stream
from zmtwist.wire.samples import EventCount

RATE = 10
PRE_ROLL = 2
FIRST_PID = 10_000_000
"""Beyond what any kernel gives: nothing here may ever reach a process that is real."""


class Clip:
    """One recording. Its file says which it is; `frames` is what has got into the file: nothing in its first `buffered` seconds, as long
    as the muxer keeps it all to itself."""

    def __init__(self, number: int, worker: Worker, path: Path, trigger: str) -> None:
        self.number, self.worker, self.path, self.trigger = number, worker, path, trigger
        self.token = f"{worker.monitor_id}-{worker.world.wall() // SECOND}-{number}"
        self.begun = worker.world.seconds()
        self.ended_at: float | None = None
        self.saved = False
        self.buffered = worker.world.chance.choice((0.0, 0.7, 1.5))
        self.frames = 0
        self.event_id = 0
        self.target: Path | None = None

    @property
    def monitor_id(self) -> int:
        return self.worker.monitor_id


class Worker:
    """A process transport as Twisted has it, and a worker behind it (doc/reference/wire.md). `host` is whose child it is, if that lives."""

    def __init__(self, host: Host, protocol: Any, args: list[str], lock: int) -> None:
        self.host: Host | None = host
        self.world: World = host.world
        self.protocol = protocol
        self.arguments = args
        self.lock = os.dup(lock)
        self.pid = FIRST_PID + len(self.world.workers)
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
        document = json.loads(self.stdin)
        self.continuous = '"mode": "continuous"' in json.dumps(document)

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
        day = world.storage / f"{stamp:%Y-%m-%d}"
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
        self._after(length, self._cut, clip)

    def _cut(self, clip: Clip) -> None:
        """The clip's time is over."""
        if self.clip is not clip or self.stalled or self.ending:
            return
        self._close()
        if self.continuous:
            self._open()
        else:
            self._after(self.world.chance.uniform(0.01, 3.0), self._open)

    def _close(self) -> None:
        clip = self.clip
        if clip is None or not self._still_there(clip):
            return
        self._record(again=False)
        self.clip = None
        clip.ended_at, clip.saved = self.world.seconds(), True
        frames = max(1, clip.frames)
        self._write(clip, frames)
        told = {"cause": clip.trigger, "text": "", "path": str(clip.path)}
        Path(f"{clip.path}.json").write_text(json.dumps(told))
        self.world.tell(f"worker {self.monitor_id} saves clip {clip.number} as {clip.path.name}")
        self.say(
            EVENT_RECORDING_SAVED,
            RecordingSaved(str(clip.path), clip.event_id, clip.trigger, frames / RATE, frames, None),
        )

    def _record(self, again: bool = True) -> None:
        """The next frames."""
        clip = self.clip
        if clip is not None and not self.stalled and self._still_there(clip):
            if self.world.seconds() - clip.begun >= clip.buffered:
                self._write(clip, round((self.world.seconds() - clip.begun) * RATE))
            if clip.target is not None:
                target, clip.target = clip.target, None
                target.parent.mkdir(parents=True, exist_ok=True)
                clip.path.rename(target)
                clip.path = target
        if again:
            self._after(2.0 if self.world.calm else 0.3, self._record)

    def _still_there(self, clip: Clip) -> bool:
        """A worker writes on whatever becomes of its file's name, but nobody may touch that while it does."""
        if not clip.path.exists():
            self.world.never(f"clip {clip.number} is being recorded, and is not at {clip.path} any more")
            self.clip = None
            return False
        return True

    def _write(self, clip: Clip, frames: int) -> None:
        if frames > 0 and clip.frames == 0 and not self.continuous:
            frames += PRE_ROLL * RATE
        if frames <= clip.frames:
            return
        if clip.frames == 0:
            clip.path.write_text(f"clip {clip.number}\n")
        clip.frames = frames
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
        self.say(EVENT_DETECTION, Detection(detections=(found,)))

    def _finish(self) -> None:
        if self.stalled:
            self.ending = False
            return
        self._close()
        self.end(0)

    def say(self, code: int, detail: Any) -> None:
        event = Event(code, sequence=self.sequence, wall_us=self.world.wall(), detail=detail)
        self.sequence += 1
        if self.link is not None:
            self.link.heard(event)

    def _log(self, line: str) -> None:
        if self.host is not None and not self.host.dead:
            self.host.callLater(0.001, self.protocol.outReceived, f"{line}\n".encode())

    # What the service asks of it.

    def assign(self, told: dict[str, Any]) -> None:
        """The answer to an opening."""
        if not self.world.committed(told["event_id"]):
            self.world.never(
                f"worker {self.monitor_id} was told of event {told['event_id']}, which is not in the database"
            )
        if self.clip is not None and self.clip.token == told["clip_token"]:
            self.clip.event_id = told["event_id"]
            self.clip.target = Path(told["dir"]) / told["video_name"]


class Link:
    """In place of `wire.link.WorkerLink`: no bytes, but the same comings and goings."""

    def __init__(
        self, host: Host, path: str, monitor_id: int, sink: Any, observer: Any, *, wall: Any, sample_seconds: float
    ) -> None:
        self.host, self.path, self.monitor_id, self.sink, self.observer = host, path, monitor_id, sink, observer
        self.world = host.world
        self.worker: Worker | None = None
        self.count = EventCount()
        self.pid = 0
        self.wanted = False
        self.silent = False
        self._sample_seconds = sample_seconds
        self._drains: list[Deferred[None]] = []
        self._commands: list[Deferred[Response]] = []
        self.video: Hello | None = None
        self.world.links.append(self)
        host.at_death.append(self._vanish)

    @staticmethod
    def waiting(world: World, path: str) -> list[Link]:
        return [link for link in world.links if link.wanted and link.path == path and link.worker is None]

    def start(self) -> None:
        self.wanted = True
        self.host.callLater(self.world.chance.uniform(0.001, 0.05), self.connect)

    def connect(self) -> None:
        """If a worker listens, be its client."""
        worker = next((w for w in self.world.living(self.monitor_id) if w.bound and w.socket == self.path), None)
        if not self.wanted or self.host.dead or self.worker is not None or worker is None or worker.link is not None:
            return
        self.worker, worker.link = worker, self
        if worker.pid != self.pid:
            self.pid, self.count = worker.pid, EventCount(received=self.count.received, missed=self.count.missed)
        self.video = Hello(Stream.VIDEO, 27)
        self.sink.hello(self.monitor_id, self.video)
        self.observer.linked()
        self.host.callLater(min(1.0, self._sample_seconds), self._sample, worker)

    def _sample(self, worker: Worker) -> None:
        if self.worker is not worker or self.silent:
            return
        if not worker.stalled:
            self.sink.rate(self.monitor_id, float(RATE), 1000.0)
            self.observer.stats()
            self.observer.media(float(RATE))
        self.host.callLater(self._sample_seconds, self._sample, worker)

    def heard(self, event: Event) -> None:
        before = self.count.missed
        self.count = self.count.after(event.sequence)
        if self.count.missed > before:
            self.sink.gap(self.monitor_id, self.count.missed - before)
        self.sink.event(self.monitor_id, event, self.world.wall())

    def lost(self) -> None:
        """The connection is gone."""
        if self.worker is None:
            return
        if self.worker.link is self:
            self.worker.link = None
        self.worker = None
        if not self.silent:
            self.observer.unlinked("gone")
        self._end()
        if self.wanted:
            self.host.callLater(self.world.chance.uniform(0.05, 3.0), self.connect)

    def drain(self) -> Deferred[None]:
        self.wanted = False
        if self.worker is None:
            return succeed(None)
        self._drains.append(Deferred())
        return self._drains[-1]

    def abort(self) -> None:
        self._vanish()
        self._end()

    def _vanish(self) -> None:
        self.wanted, self.silent = False, True
        if self.worker is not None and self.worker.link is self:
            self.worker.link = None
        self.worker = None
        if self in self.world.links:
            self.world.links.remove(self)

    def _end(self) -> None:
        drains, self._drains = self._drains, []
        commands, self._commands = self._commands, []
        for command in commands:
            command.errback(NotLinked("the connection went away"))
        for drain in drains:
            drain.callback(None)

    def command(self, name: str, /, **fields: Any) -> Deferred[Response]:
        if self.worker is None:
            return fail(NotLinked("no connection"))
        answer: Deferred[Response] = Deferred()
        self._commands.append(answer)

        def reach(worker: Worker) -> None:
            if self.worker is worker and not worker.stalled:
                worker.assign(fields)
                self._answer(answer, Response(ok=True))

        def give_up() -> None:
            self._answer(answer, Failure(CommandTimeout("no answer")))

        self.host.callLater(self.world.chance.uniform(0.0005, 0.005), reach, self.worker)
        self.host.callLater(5.0, give_up)
        return answer

    def _answer(self, answer: Deferred[Response], result: Any) -> None:
        if answer in self._commands:
            self._commands.remove(answer)
            answer.callback(result)

    @property
    def status(self) -> SimpleNamespace:
        return SimpleNamespace(video=self.video, audio=None, events=self.count.received, event_gaps=self.count.missed)


class Processes:
    """`fleet.procfs.Processes` of the workers of a world."""

    boot = "this one"

    def __init__(self, host: Host) -> None:
        self.host, self.world = host, host.world

    def look(self, pid: int) -> Seen | None:
        return next((seen for seen in self.everyone() if seen.pid == pid), None)

    def everyone(self) -> Iterator[Seen]:
        for worker in self.world.living():
            argv = worker.arguments[worker.arguments.index("--pipeline") - 1 :]
            since_us = self.world.wall() - round((self.world.rightNow - worker.born) * 1e6)
            yield Seen(worker.pid, 7 * worker.pid, tuple(argv), since_us=since_us)

    def holders(self, lock: str) -> list[int]:
        wanted = Path(lock).stat()
        return [w.pid for w in self.world.living() if os.path.samestat(os.fstat(w.lock), wanted)]

    def resident_kb(self, pid: int) -> int | None:
        return None

    def watch(self, pid: int, on_exit: Callable[[], None]) -> Watch:
        worker = next((worker for worker in self.world.living() if worker.pid == pid), None)
        if worker is None:
            raise ProcessLookupError
        worker.watched = lambda: self.host.callLater(0, on_exit) and None
        return Watch(worker)


class Watch:
    """A pretended pidfd."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def signal(self, number: int) -> None:
        if not self.worker.alive:
            raise ProcessLookupError
        self.worker.take(number)

    def stop(self) -> None:
        self.worker.watched = None


def spawn(host: Host, protocol: Any, args: list[str], fds: dict[int, Any]) -> Worker:
    """What `spawnProcess` does here."""
    worker = Worker(host, protocol, args, fds[LOCK_FD])
    world = host.world
    if world.living(worker.monitor_id):
        world.never(f"a second worker for monitor {worker.monitor_id} while the first one lives")
    world.workers.append(worker)
    world.tell(f"worker {worker.monitor_id}/{worker.pid} is spawned")
    protocol.makeConnection(worker)
    return worker


def measurer(world: World) -> Callable[..., dict[str, Measure]]:
    """In place of `ingest.measure.measure_files`: what PyAV would find in clips such as these."""

    def measure(path: str) -> Measure:
        number = clip_in(Path(path))
        if number is None:
            return Measure(readable=False)
        frames = world.clips[number].frames
        return Measure(True, frames * SECOND // RATE, frames, "h264")

    return lambda paths, *_: {path: measure(path) for path in paths}


def clip_in(path: Path) -> int | None:
    """Which clip this file is; None for an empty one."""
    words = path.read_text().split()
    return int(words[1]) if words else None
