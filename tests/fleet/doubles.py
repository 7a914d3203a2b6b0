"""A world for the fleet: a reactor that pretends to spawn, processes that end as they are told, links and a catalog without I/O."""

from __future__ import annotations

import itertools
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IReactorProcess, IReactorTime
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from zmtwist.config.model import Mode, PipelineConfig, WorkerConfig, ZmNextConfig
from zmtwist.fleet.fleet import Fleet
from zmtwist.fleet.process.preflight import ANOTHER_RING, FleetSettings
from zmtwist.fleet.process.procfs import LOCK_FD, Seen
from zmtwist.fleet.process.state import State, Transition
from zmtwist.fleet.process.termination import LEASH_FD
from zmtwist.ingest.recording_watch import Failing
from zmtwist.interfaces import ICatalog, IEventSink
from zmtwist.pipeline.document import Document, Refusal
from zmtwist.pipeline.monitor import Monitor
from zmtwist.wire.event_details import RecordingOpening
from zmtwist.wire.messages import Event, Response

WATCHDOG = 30.0


class FakeProcess:
    """A process of the pretended kind: ends at SIGKILL at once, at SIGTERM a second later unless it is `stubborn` or frozen."""

    def __init__(
        self, world: World, protocol: Any, arguments: list[str], environment: dict[str, str], path: str, lock: int
    ) -> None:
        self.world, self.protocol, self.arguments, self.environment, self.path = (
            world,
            protocol,
            arguments,
            environment,
            path,
        )
        self.lock = os.dup(lock)
        self.orphan = False
        self.pid: int = next(world.pids)
        self.ring = int(arguments[arguments.index("--monitor-id") + 1]) if "--monitor-id" in arguments else None
        self.monitor_id = None if self.ring is None else self.ring % ANOTHER_RING
        self.socket = arguments[arguments.index("--socket") + 1] if "--socket" in arguments else ""
        self.frozen = self.killed = self.records = self.leashed = False
        self.stdin = b""
        self.stdin_closed = False
        self.signals: list[int] = []
        self.alive = True
        self.listening: list[socket.socket] = []

    def writeToChild(self, fd: int, data: bytes) -> None:
        assert fd == 0
        self.stdin += data

    def closeStdin(self) -> None:
        self.stdin_closed = True

    def loseConnection(self) -> None:
        pass

    def signalProcess(self, name: str) -> None:
        if not self.alive:
            raise ProcessExitedAlready
        self.take(signal.Signals[f"SIG{name}"])

    def binds(self) -> None:
        """It listens at its socket; the others of a fleet only pretend to."""
        self.listening.append(socket.socket(socket.AF_UNIX))
        self.listening[0].bind(self.socket)
        self.listening[0].listen()

    def take(self, number: int) -> None:
        self.signals.append(number)
        if number in (signal.SIGSTOP, signal.SIGCONT):
            self.frozen = number == signal.SIGSTOP
            if not self.frozen and signal.SIGTERM in self.signals:
                self.take(signal.SIGTERM)
        elif number == signal.SIGKILL:
            self.killed = True
            self.world.callLater(0, self.end, None, signal.SIGKILL)
        elif number == signal.SIGTERM and not self.world.stubborn and not self.frozen:
            self.world.callLater(1, self.end, 0)

    def end(self, code: int | None = 0, number: int | None = None, *, pipes: bool = True) -> None:
        """Be reaped; with `pipes`, close the output as well."""
        if not self.alive:
            return
        self.alive = False
        os.close(self.lock)
        for one in self.listening:
            one.close()
            if code is not None:
                Path(self.socket).unlink(missing_ok=True)
        self.world.watched.pop(self.pid, lambda: None)()
        if self.orphan:
            return
        value = ProcessDone(0) if code == 0 else ProcessTerminated(code, number, 0)
        self.protocol.processExited(Failure(value))
        if pipes:
            self.protocol.processEnded(Failure(value))


@implementer(IReactorTime, IReactorProcess)
class World(Clock):
    """Clock and spawner; `refuse` makes spawning fail with that error."""

    def __init__(self) -> None:
        super().__init__()
        self.rightNow = 1_000.0
        self.pids = itertools.count(100)
        self.processes: list[FakeProcess] = []
        self.spawned_at: list[float] = []
        self.refuse: OSError | None = None
        self.stubborn = False
        self.watched: dict[int, Callable[[], None]] = {}
        self.resident: dict[int, int] = {}
        self.strangers: list[Seen] = []

    def spawnProcess(
        self, protocol: Any, executable: str, args: list[str], env: Any = None, path: Any = None, childFDs: Any = None
    ) -> FakeProcess:
        if self.refuse is not None:
            raise self.refuse
        assert executable.endswith("/env")
        leash = childFDs.pop(LEASH_FD, None)
        assert childFDs == {0: "w", 1: "r", 2: "r", LOCK_FD: childFDs[LOCK_FD]}
        process = FakeProcess(self, protocol, args, env, path, childFDs[LOCK_FD])
        others = [other for other in self.alive() if other.monitor_id == process.monitor_id]
        assert not others or leash is not None, "a second while the first one lives"
        assert not {process.ring, process.socket} & {said for other in others for said in (other.ring, other.socket)}
        if leash is not None:
            process.binds()
        self.processes.append(process)
        self.spawned_at.append(self.seconds())
        protocol.makeConnection(process)
        return process

    def kill_group(self, pid: int, number: int) -> None:
        process = next((process for process in self.processes if process.pid == pid and process.alive), None)
        if process is None:
            raise ProcessLookupError
        process.take(number)

    def alive(self, monitor_id: int | None = None) -> list[FakeProcess]:
        return [process for process in self.processes if process.alive and monitor_id in (None, process.monitor_id)]

    def shared(self) -> FakeProcess | None:
        """The shared inference."""
        return next((process for process in self.alive() if process.monitor_id is None), None)

    def wall(self) -> int:
        return round(self.seconds() * 1e6)

    def die(self) -> None:
        """We are killed: our timers and watches go with us, the workers live on as orphans."""
        for call in list(self.getDelayedCalls()):
            if not isinstance(getattr(call.func, "__self__", None), FakeProcess):
                call.cancel()
        self.watched.clear()
        for process in self.alive():
            process.orphan = True
            if process.leashed:
                process.end()


class FakeWatch:
    """A pretended pidfd."""

    def __init__(self, world: World, process: FakeProcess) -> None:
        self.world, self.process = world, process

    def signal(self, number: int) -> None:
        if not self.process.alive:
            raise ProcessLookupError
        self.process.take(number)

    def stop(self) -> None:
        self.world.watched.pop(self.process.pid, None)


class FakeLeash:
    """A pretended leash: what is held ends with us."""

    fd = -2

    def __init__(self, world: World) -> None:
        self.world = world
        self.process: FakeProcess | None = None

    def hold(self, pid: int) -> None:
        [self.process] = [process for process in self.world.processes if process.pid == pid]
        self.process.leashed = True

    def let_go(self) -> None:
        if self.process is not None:
            self.process.leashed = False
            self.process = None

    def cut(self) -> None:
        process, self.process = self.process, None
        if process is not None and process.alive:
            process.take(signal.SIGKILL)


class FakeProcesses:
    """`procfs.Processes` of a `World`."""

    boot = "this one"

    def __init__(self, world: World) -> None:
        self.world = world

    def look(self, pid: int) -> Seen | None:
        return next((seen for seen in self.everyone() if seen.pid == pid), None)

    def everyone(self) -> Iterator[Seen]:
        yield from self.world.strangers
        for process in self.world.alive():
            first = "--gpu" if process.monitor_id is None else "--pipeline"
            argv = process.arguments[process.arguments.index(first) - 1 :]
            yield Seen(process.pid, 7 * process.pid, tuple(argv), process.frozen)

    def holders(self, lock: str) -> list[int]:
        wanted = Path(lock).stat()
        return [process.pid for process in self.world.alive() if os.path.samestat(os.fstat(process.lock), wanted)]

    def leash(self) -> FakeLeash:
        return FakeLeash(self.world)

    def resident_kb(self, pid: int) -> int | None:
        return self.world.resident.get(pid)

    def watch(self, pid: int, on_exit: Callable[[], None]) -> FakeWatch:
        process = next((process for process in self.world.alive() if process.pid == pid), None)
        if process is None:
            raise ProcessLookupError
        self.world.watched[pid] = lambda: self.world.callLater(0, on_exit) and None
        return FakeWatch(self.world, process)


class FakeLink:
    """Does what it is told by the test, and drains at once unless `drain_waits`."""

    def __init__(self, path: str, monitor_id: int, sink: Any, observer: Any, sample_seconds: float) -> None:
        self.path, self.monitor_id, self.observer, self.sample_seconds = path, monitor_id, observer, sample_seconds
        self.sink = sink
        self.calls: list[str] = []
        self.drained: Deferred[None] = Deferred()
        self.drain_waits = False
        self.answer = ""
        self.status = SimpleNamespace(video=None, audio=None, events=0, event_gaps=0)

    def start(self) -> None:
        self.calls.append("start")

    def drain(self) -> Deferred[None]:
        self.calls.append("drain")
        return self.drained if self.drain_waits else succeed(None)

    def abort(self) -> None:
        self.calls.append("abort")

    def command(self, name: str, **fields: Any) -> Deferred[Any]:
        return succeed(Response(ok=True, message=self.answer or f"{name} {fields}"))


@implementer(IEventSink)
class FakeSink:
    def __init__(self) -> None:
        self.events: list[tuple[int, Any]] = []
        self.openings: list[tuple[int, str, str, int]] = []
        self.ended: list[int] = []
        self.refused: list[int] = []
        self.failings: dict[int, Failing] = {}
        self.adoptions: list[int] = []
        self.open_clips: dict[int, Deferred[None]] = {}

    def hello(self, monitor_id: int, hello: Any) -> None: ...

    def event(self, monitor_id: int, event: Any, at_us: int) -> None:
        self.events.append((monitor_id, event))

    def rate(self, monitor_id: int, frames_per_second: float, bytes_per_second: float) -> None: ...

    def gap(self, monitor_id: int, missed: int) -> None: ...

    def logged_opening(self, monitor_id: int, token: str, cause: str, at_us: int) -> None:
        self.openings.append((monitor_id, token, cause, at_us))

    def frame_refused(self, monitor_id: int) -> None:
        self.refused.append(monitor_id)

    def failing(self, monitor_id: int) -> Failing | None:
        return self.failings.get(monitor_id)

    def adopted(self, monitor_id: int) -> None:
        self.adoptions.append(monitor_id)

    def clip_end(self, monitor_id: int) -> Deferred[None]:
        return self.open_clips.pop(monitor_id, None) or succeed(None)

    def gone(self, monitor_id: int) -> None:
        self.ended.append(monitor_id)


@implementer(ICatalog)
class FakeCatalog:
    def __init__(self) -> None:
        self.rows: dict[int, Monitor] = {}
        self.unreadable: dict[int, str] = {}
        self.away: Exception | None = None
        self.reads = 0

    def put(self, *monitors: Monitor) -> None:
        self.rows.update({monitor.id: monitor for monitor in monitors})

    def monitors(self) -> Deferred[list[Monitor]]:
        self.reads += 1
        return fail(self.away) if self.away else succeed(list(self.rows.values()))


def wanted(monitor_id: int, **columns: Any) -> Monitor:
    return Monitor(id=monitor_id, use_zm_next=True, capturing="Always", **columns)


class Stage:
    """A fleet on a `World`, and the handles to move both."""

    def __init__(self, directory: Path, **worker: Any) -> None:
        self.directory = directory
        self.binary = directory / "zm-core"
        self.binary.write_text("#!/bin/sh\n")
        self.binary.chmod(0o755)
        for name in ("run", "state", "rings"):
            (directory / name).mkdir()
        self.world = World()
        self.sink = FakeSink()
        self.catalog = FakeCatalog()
        self.links: list[FakeLink] = []
        self.transitions: list[Transition] = []
        self.texts: dict[int, str | Refusal] = {}
        self.chance = 0.5
        self.storages_hang = False
        self.hanging: list[tuple[Callable[[], None], Deferred[None]]] = []
        self.camera: tuple[str, int] | None = None
        """Where every monitor's camera is; `answers` says whether it does, None: it says nothing at all."""
        self.answers: bool | None = True
        self.tries = 0
        self.mode: Mode = "none"
        self.lead = 0.0
        self.sharing: set[int] = set()
        """The monitors whose documents need the shared inference."""
        self.settings = FleetSettings(
            zmnext=ZmNextConfig(
                enabled=True,
                worker=WorkerConfig(
                    **{
                        "binary": str(self.binary),
                        "starts_per_second": 1000.0,
                        "watchdog_seconds": WATCHDOG,
                        "overlap": False,
                        **worker,
                    }
                ),
                pipeline=PipelineConfig(),
            ),
            socks=str(directory),
            run=str(directory / "run"),
            state=str(directory / "state"),
            rings=str(directory / "rings"),
            environment={"PATH": "/usr/bin:/bin", "ZM_DB_PASS": "hush", "TZ": "Asia/Tokyo"},
        )
        self.fleet = self.new_fleet()

    def new_fleet(self) -> Fleet:
        return Fleet(
            self.world,
            self.settings,
            self.sink,
            self.catalog,
            self.compose,
            self.transitions.append,
            self.make_link,
            wall=self.world.wall,
            jitter=lambda: self.chance,
            kill_group=self.world.kill_group,
            processes=FakeProcesses(self.world),
            in_thread=maybeDeferred,
            on_disk=self.on_disk,
            connect=self.connect,
        )

    def connect(self, address: tuple[str, int]) -> Deferred[None]:
        assert address == self.camera
        self.tries += 1
        if self.answers is None:
            return Deferred()
        return succeed(None) if self.answers else fail(ConnectionRefusedError())

    def on_disk(self, function: Callable[[], None]) -> Deferred[None]:
        """Storages answer at once, unless they hang: then what was asked of them is done by `storages_answer`."""
        if not self.storages_hang:
            return maybeDeferred(function)
        self.hanging.append((function, Deferred()))
        return self.hanging[-1][1]

    def storages_answer(self) -> None:
        """They hang no longer."""
        self.storages_hang = False
        hanging, self.hanging = self.hanging, []
        for function, answer in hanging:
            maybeDeferred(function).chainDeferred(answer)

    def compose(self, monitor: Monitor) -> Document | Refusal:
        text = self.texts.get(monitor.id, '{"plugins":[]}')
        if isinstance(text, Refusal):
            return text
        shares = monitor.id in self.sharing
        return Document(
            monitor.id,
            text,
            self.mode,
            None,
            camera=self.camera,
            lead_sec=self.lead,
            shares_inference=shares,
            secrets=("s3cret-word",),
        )

    def make_link(
        self,
        reactor: Any,
        path: str,
        monitor_id: int,
        sink: Any,
        observer: Any,
        *,
        wall: Callable[[], int],
        sample_seconds: float,
    ) -> FakeLink:
        link = FakeLink(path, monitor_id, sink, observer, sample_seconds)
        self.links.append(link)
        return link

    def advance(self, seconds: float, step: float = 0.5) -> None:
        """Let time pass in small steps, as a reactor does."""
        end = self.world.seconds() + seconds
        while (left := end - self.world.seconds()) > 1e-9:
            self.world.advance(min(step, left))

    def link(self, monitor_id: int) -> FakeLink:
        return next(link for link in reversed(self.links) if link.monitor_id == monitor_id)

    def link_of(self, process: FakeProcess) -> FakeLink:
        """The link that its socket is for."""
        return next(link for link in reversed(self.links) if link.path == process.socket)

    def opens(self, process: FakeProcess) -> None:
        """It opens a clip, and says so."""
        process.records = True
        opening = RecordingOpening(clip_token=f"{process.monitor_id}-{process.pid}-1", trigger="continuous")
        said = Event(code=0x0304, sequence=1, detail=opening)
        self.link_of(process).sink.event(process.monitor_id, said, self.world.wall())

    def process(self, monitor_id: int) -> FakeProcess:
        [process] = self.world.alive(monitor_id)
        return process

    def state(self, monitor_id: int) -> State | None:
        return next((told.state for told in self.fleet.status() if told.monitor_id == monitor_id), None)

    def show_life(self, monitor_id: int) -> None:
        """What a healthy worker's link reports."""
        observer = self.link(monitor_id).observer
        observer.linked()
        observer.stats()
        observer.media(15.0)

    def live(self, monitor_id: int, seconds: float) -> None:
        """Be healthy for so long."""
        for _ in range(round(seconds / 5)):
            self.show_life(monitor_id)
            self.advance(5, step=5)
        self.show_life(monitor_id)

    def path(self, monitor_id: int) -> list[str]:
        """The states that this monitor's worker has been in."""
        return [told.to_state.value for told in self.transitions if told.monitor_id == monitor_id]


def started(stage: Stage, *ids: int) -> Stage:
    """The fleet runs, with a healthy worker for each of these."""
    stage.catalog.put(*(wanted(n) for n in ids))
    stage.fleet.startService()
    stage.advance(1)
    for n in ids:
        stage.show_life(n)
    return stage


def reconcile(stage: Stage) -> None:
    assert stage.fleet.reconcile().called
    stage.advance(0.5)


def killed(stage: Stage) -> Stage:
    """Our process gets SIGKILL; the next one starts."""
    stage.world.die()
    stage.fleet = stage.new_fleet()
    stage.transitions.clear()
    stage.fleet.startService()
    stage.advance(0.1)
    return stage


def worker_configured(stage: Stage, **worker: Any) -> None:
    """The next fleet has these in `[zmnext.worker]`."""
    zmnext = stage.settings.zmnext
    stage.settings = attrs.evolve(
        stage.settings, zmnext=attrs.evolve(zmnext, worker=attrs.evolve(zmnext.worker, **worker))
    )
