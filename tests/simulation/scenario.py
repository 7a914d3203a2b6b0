"""One seed: an installation, faults in a random order, then rest; the whole service in the middle of it."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from tests.simulation import invariants
from tests.simulation.services import Server, SimulatedDatabase, SimulatedDisk, Slowness
from tests.simulation.workers import PRE_ROLL, Link, Processes, measurer, spawn
from tests.simulation.world import SECOND, Host, World
from zmtwist.configfile import parse
from zmtwist.fleet.status import State
from zmtwist.outside import Outside
from zmtwist.service import ZmNext
from zmtwist.settings import Settings, settle

MONITORS = {1: "Record", 2: "Modect"}
"""One that records without a break, one that records when something moves."""

STEPS = 11
QUEUE_MAX = 60
SETTLE_SECONDS = 420.0
"""The longest that anything waits by design is five minutes: for strays of a camera of which there is no other trace."""

STOP_SECONDS = 90.0
FAST = Path("/dev/shm")


class Api(Service):
    """In place of the HTTP API."""

    def stopService(self) -> Deferred[None]:
        return succeed(None)

    def announce(self, happening: object) -> None:
        pass


class Simulation:
    """Everything of one seed. `run` gives what was wrong; `world.trace` tells how it came about."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.seed = seed
        self.world = World(seed, directory)
        self.server = Server(self.world)
        self.world.committed = lambda event_id: bool(self.server.rows("SELECT 1 FROM Events WHERE Id = ?", event_id))
        self.slowness = Slowness(self.world)
        self.service: ZmNext | None = None
        self.host: Host | None = None
        self.dead: list[Any] = []
        self.settings = self._install(directory)
        chance = self.world.chance
        self._faults: dict[str, tuple[int, Callable[[], None]]] = {
            "nothing": (2, lambda: None),
            "a worker crashes": (3, lambda: self._some_worker(lambda w: w.end(chance.choice([None, 5]), 11))),
            "a worker ends by itself": (1, lambda: self._some_worker(lambda w: w.take(15))),
            "a worker stalls": (1, lambda: self._some_worker(lambda w: setattr(w, "stalled", True))),
            "a connection breaks": (1, lambda: self._some_worker(lambda w: w.link and w.link.lost())),
            "the database is away": (3, lambda: self._outage("away")),
            "the database hangs": (2, lambda: self._outage("hung")),
            "commits are lost": (3, lambda: setattr(self.server, "commits_to_lose", chance.randint(1, 4))),
            "the storage is slow": (2, self._slow),
            "we are killed": (4, self.kill),
            "we are killed in a commit": (2, lambda: setattr(self.server, "at_commit", self.kill)),
            "we are killed in an outage": (2, self._killed_in_an_outage),
            "we are killed again and again": (2, self._killed_again_and_again),
            "we are stopped": (1, self.stop),
            "we hand over": (1, self.hand_over),
            "the clock is set": (1, self._step_clock),
            "much happens at once": (1, self._flood),
        }

    # The course of things.

    def run(self) -> list[str]:
        """All of it; what was wrong."""
        names = list(self._faults)
        weights = [weight for weight, _ in self._faults.values()]
        chance = self.world.chance
        self.start()
        self._pass(chance.uniform(1.0, 3.0))
        for _ in range(STEPS):
            name = chance.choices(names, weights)[0]
            self.world.tell(f"* {name}")
            self._faults[name][1]()
            self._pass(chance.choice([0.05, 0.3, 1.0, 2.0]) * chance.uniform(0.5, 1.5))
            if self.host is None and chance.random() < 0.7:
                self.start()
            if self.world.violations:
                return self.world.violations
        self._heal()
        self._settle()
        if not self.world.violations:
            self.stop()
        if not self.world.violations and self._without_rows():
            # What was recorded while the service stopped, and not heard, the next start finds.
            self.start()
            self._settle()
            self.stop()
        if not self.world.violations:
            invariants.at_the_end(self.world, self.server)
        return self.world.violations

    def close(self) -> None:
        """Let go of everything."""
        for worker in self.world.living():
            worker.end()
        if self.host is not None:
            self.kill()
        self.server.connection.close()
        self.dead.clear()

    def start(self) -> None:
        """A run of the service begins."""
        world = self.world
        world.tell("the service starts")
        host = self.host = Host(world, spawn)
        outside = Outside(
            database=lambda _, url: SimulatedDatabase(host, url, self.server),
            disk=lambda _, threads: SimulatedDisk(host, threads, self.slowness),
            api=lambda *_, **__: Api(),
            processes=lambda _: Processes(host),
            links=lambda _reactor: Link,
            kill_group=world.kill_group,
            jitter=world.chance.random,
            mark=lambda: f"x{len(self.dead)}",
        )
        self.service = ZmNext(
            host, self.settings, announce=lambda what: world.tell(str(what)), wall=world.wall, outside=outside
        )
        self.service.startService()

    def kill(self) -> None:
        """kill -9: what is in memory is gone, what is on disk stays, and the workers go on."""
        if self.service is None or self.host is None:
            return
        self.host.die()
        for worker in self.world.living():
            worker.host, worker.watched = None, None
        self._over()

    def stop(self) -> None:
        """An orderly stop, waited for; it may be cut short by a kill."""
        if self.service is None or (host := self.host) is None:
            return
        over: list[object] = []
        self.service.stopService().addBoth(over.append)
        self._until(lambda: bool(over) or host.dead, STOP_SECONDS, "an orderly stop has not ended")
        if not host.dead:
            host.die()
            self._over()

    def hand_over(self) -> None:
        """Leave the workers to the next run."""
        if self.service is None or (host := self.host) is None:
            return
        self.service.handoff().addErrback(lambda failure: self.world.tell(f"not handed over: {failure.value}"))
        self.world.pass_time(0.5)
        if host.stopping:
            self.stop()

    def _over(self) -> None:
        # Kept to the end: a coroutine that is collected runs on to its end, which a killed process does not.
        self.dead.append((self.service, self.host))
        lock = self.service._lock if self.service is not None else None
        if lock is not None:
            lock.close()
        self.service = self.host = None

    # Faults.

    def _some_worker(self, what: Callable[[Any], object]) -> None:
        living = self.world.living()
        if living:
            what(self.world.chance.choice(living))

    def _outage(self, state: str) -> None:
        self.server.state = state
        self.world.callLater(
            self.world.chance.choice([0.3, 1.5, 5.0]) * self.world.chance.uniform(0.5, 1.5), self._back
        )

    def _killed_in_an_outage(self) -> None:
        """Late enough for the spool to be in use, and often in the middle of a commit."""
        chance = self.world.chance
        self.server.state = chance.choice(["away", "hung"])
        self.world.pass_time(chance.uniform(0.5, 4.0))
        if chance.random() < 0.5:
            self.server.at_commit = self.kill
            self._back()
        else:
            self.kill()
            self.world.callLater(chance.uniform(0.0, 2.0), self._back)

    def _killed_again_and_again(self) -> None:
        """Before what the kill before has left is put right, while clips begin."""
        chance = self.world.chance
        for _ in range(chance.randint(2, 4)):
            self.kill()
            self.world.pass_time(chance.uniform(0.0, 1.5))
            self.start()
            self.world.pass_time(chance.uniform(0.2, 2.0))

    def _back(self) -> None:
        if self.server.state != "up":
            self.world.tell("the database is back")
            self.server.back()

    def _slow(self) -> None:
        self.slowness.slow = True
        self.world.callLater(self.world.chance.uniform(0.5, 4.0), setattr, self.slowness, "slow", False)

    def _step_clock(self) -> None:
        chance = self.world.chance
        self.world.stepped_us += round(chance.choice([-1.0, 0.5, 3.0, 40.0]) * SECOND)

    def _flood(self) -> None:
        for worker in self.world.living():
            for _ in range(QUEUE_MAX // 2):
                worker.glimpse()

    def _heal(self) -> None:
        self.world.tell("* no more faults")
        self.world.calm = True
        self.server.commits_to_lose, self.server.at_commit = 0, None
        self.slowness.slow = False
        self._back()
        if self.host is None:
            self.start()

    # Time.

    def _pass(self, seconds: float) -> None:
        self.world.pass_time(seconds)
        if self.host is not None and self.host.stopping:
            self.world.never("the service has ended by itself")
        invariants.after_any_step(self.world, self.server)
        self._bounded()

    def _until(self, condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
        end = self.world.seconds() + seconds
        while not condition():
            if self.world.seconds() > end:
                self.world.never(otherwise)
                return
            self.world.pass_time(0.5)

    def _bounded(self) -> None:
        """The memory's bound may be passed by what comes until the spool is written, not by more."""
        if self.service is None or self.service.ingest is None or self.slowness.slow:
            return
        waiting = sum(self.service.ingest.writer.queued_of(monitor_id) for monitor_id in MONITORS)
        if waiting > 3 * QUEUE_MAX:
            self.world.never(f"{waiting} changes wait in memory")

    def _settle(self) -> None:
        end = self.world.seconds() + SETTLE_SECONDS
        while (wanting := self._wanting()) is not None:
            if self.world.seconds() > end:
                self.world.never(f"not settled within {SETTLE_SECONDS:g} s: {wanting}")
                return
            self._pass(1.0 if self.world.seconds() < end - SETTLE_SECONDS + 30.0 else 5.0)
            if self.world.violations:
                return

    def _wanting(self) -> str | None:
        """What is still to come before all is as it should be."""
        service = self.service
        if service is None or service.ingest is None or service.fleet is None:
            return "the service has not started"
        states = {told.monitor_id: told.state for told in service.fleet.status()}
        if states != dict.fromkeys(MONITORS, State.LIVE):
            return f"the workers are {states}"
        if service.ingest.writer.queued:
            return f"{service.ingest.writer.queued} changes wait"
        if missing := self._without_rows():
            return f"clips {missing} have no closed rows"
        recording = sum(clip.ended_at is None for clip in self.world.clips.values())
        [(open_rows,)] = self.server.rows("SELECT COUNT(*) FROM Events WHERE EndDateTime IS NULL")
        return f"{open_rows} rows are open, {recording} clips recorded" if open_rows > recording else None

    def _without_rows(self) -> list[int]:
        """The clips that have ended, and no closed row shows them."""
        known = {
            invariants.clip_in(path) for _, path in invariants.closed_clips(self.world, self.server) if path.is_file()
        }
        clips = self.world.clips.items()
        return [number for number, clip in clips if clip.frames and clip.ended_at is not None and number not in known]

    # The installation.

    def _install(self, directory: Path) -> Settings:
        for name in ("events", "run", "state", "bin"):
            (directory / name).mkdir()
        binary = directory / "bin" / "zm-core"
        binary.write_text("#!/bin/sh\n")
        binary.chmod(0o755)
        execute = self.server.connection.execute
        execute(
            "INSERT INTO Storage (Id, Path, Name, Scheme) VALUES (1, ?, 'S', 'Medium')", (str(directory / "events"),)
        )
        for monitor_id, function in MONITORS.items():
            execute(
                "INSERT INTO Monitors (Id, Name, Function, Type, Path, StorageId, Width, Height) VALUES (?, ?, ?, 'File', 'x', 1, 64, 48)",
                (monitor_id, f"Camera {monitor_id}", function),
            )
        return settle(parse(f"""
            [zmnext]
            enabled = true
            monitors = "all"
            [zmnext.worker]
            binary = "{binary}"
            watchdog_seconds = 10
            stop_timeout_seconds = 5
            [zmnext.pipeline]
            pre_roll_sec = {PRE_ROLL}
            [zmnext.ingest]
            queue_max = {QUEUE_MAX}
            timezone = "UTC"
            thumbnails = false
            [database]
            url = "sqlite:///{directory}/not-used.db"
            [paths]
            socks = "{directory}/run"
            run = "{directory}/run"
            state = "{directory}/state"
            [legacy]
            control = "none"
        """), {})  # fmt: skip


def simulate(seed: int) -> Simulation:
    """Run one seed, in a directory of its own that is gone afterwards. Many of them are quicker within `little_garbage`."""
    directory = Path(tempfile.mkdtemp(prefix="zmtwist-simulation-", dir=FAST if os.access(FAST, os.W_OK) else None))
    simulation = Simulation(seed, directory)
    world = simulation.world

    def hear(event: dict[str, Any]) -> None:
        if "log_failure" in event:
            world.never(f"an error was logged: {event['log_failure'].getTraceback()}")
        elif event["log_level"] >= LogLevel.warn:
            world.tell(f"log: {formatEvent(event)}")

    globalLogPublisher.addObserver(hear)
    gc.disable()
    try:
        with _measured(world):
            simulation.run()
    finally:
        globalLogPublisher.removeObserver(hear)
        simulation.close()
        gc.enable()
        # Coroutines of killed runs end here, where nobody hears of what they still do.
        gc.collect()
        shutil.rmtree(directory)
    return simulation


@contextmanager
def little_garbage() -> Iterator[None]:
    """Collecting is quick: it leaves all alone that is here already."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def _measured(world: World) -> Iterator[None]:
    """Measuring is a child process in production."""
    measure = measurer(world)
    with (
        mock.patch("zmtwist.ingest.reconcile.measure_files", measure),
        mock.patch("zmtwist.ingest.unheard.measure_files", measure),
    ):
        yield
