"""One seed: an installation, faults in a random order, then rest; the whole service in the middle of it."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from tests.simulation import invariants
from tests.simulation.clips import measurer
from tests.simulation.database import Server
from tests.simulation.faults import FAULTS, PENDING
from tests.simulation.machine import QUEUE_MAX, Machine
from tests.simulation.rows import without_rows
from tests.simulation.world import MONITORS, STORAGES, Troubles, World
from zmtwist.fleet.fleet import NotInFleet
from zmtwist.fleet.status import State

STEPS = 11
SETTLE_SECONDS = 420.0
"""The longest that anything waits by design is five minutes: for strays of a camera of which there is no other trace."""

HOLD_SECONDS = 40.0
FAST = Path("/dev/shm")


class Simulation:
    """Everything of one seed. `run` gives what was wrong; `world.trace` tells how it came about."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.seed = seed
        self.world = World(seed, directory)
        self.server = Server(self.world)
        self.world.committed = lambda event_id: bool(self.server.rows("SELECT 1 FROM Events WHERE Id = ?", event_id))
        self.machine = Machine(self.world, self.server, directory)
        self._install()

    # The course of things.

    def run(self, *, all_faults: bool = False) -> list[str]:
        """All of it; what was wrong."""
        names, weights = list(FAULTS), [weight for weight, _ in FAULTS.values()]
        if not all_faults:
            weights = [0 if name in PENDING else weight for name, weight in zip(names, weights, strict=True)]
        world = self.world
        self.machine.start()
        self._pass(world.chance.uniform(1.0, 3.0))
        for _ in range(STEPS):
            name = world.chance.choices(names, weights)[0]
            world.tell(f"* {name}")
            FAULTS[name][1](self)
            self._pass(world.chance.choice([0.05, 0.3, 1.0, 2.0]) * world.chance.uniform(0.5, 1.5))
            if self.machine.host is None and world.chance.random() < 0.7:
                self.machine.start()
            if world.violations:
                return world.violations
        self._heal()
        self._holds()
        self._settle()
        if not world.violations:
            self.machine.stop()
        if not world.violations and without_rows(world, self.server):
            # What was recorded while the service stopped, and not heard, the next start finds.
            self.machine.start()
            self._settle()
            self.machine.stop()
        if not world.violations:
            invariants.at_the_end(world, self.server, self.machine)
        return world.violations

    def close(self) -> None:
        """Let go of everything."""
        for worker in self.world.living():
            worker.end()
        self.machine.forget()
        self.server.connection.close()

    # What faults ask for.

    def disturb(self) -> None:
        """What was said of the clips whose rows are not closed yet may get lost."""
        missing = without_rows(self.world, self.server)
        for clip in self.world.clips.values():
            if clip.ended_at is None or clip.number in missing:
                clip.disturbed = True

    def some_monitor(self) -> int:
        return self.world.chance.choice(list(MONITORS))

    def change(self, monitor_id: int, column: str, value: object) -> None:
        """An operator changes a monitor on the console, which tells the service."""
        self.world.tell(f"monitor {monitor_id}: {column} = {value}")
        self.server.connection.execute(f"UPDATE Monitors SET {column} = ? WHERE Id = ?", (value, monitor_id))
        if (fleet := self.machine.fleet) is not None:
            fleet.reconcile()

    # The end of all faults.

    def _heal(self) -> None:
        self.world.tell("* no more faults")
        self.world.calm = True
        self.world.troubles = Troubles()
        self.server.commits_to_lose, self.server.at_commit = 0, None
        self.server.back()
        for monitor_id, function in MONITORS.items():
            self.change(monitor_id, "Function", function)
        self.machine.start()

    def _holds(self) -> None:
        """What an operator holds stays so over everything; then it is released."""
        if not self.machine.held:
            return
        self._pass(HOLD_SECONDS)
        if self.machine.fleet is not None:
            for monitor_id in self.machine.held:
                if self.world.living(monitor_id):
                    self.world.never(f"monitor {monitor_id} is held, and has a worker")

    def _release(self) -> None:
        """Those as well whose hold was not answered for."""
        if (fleet := self.machine.fleet) is None:
            return
        for monitor_id in MONITORS:
            try:
                fleet.release(monitor_id)
            except NotInFleet as error:
                self.world.tell(f"not released: {error}")

    def _settle(self) -> None:
        end = self.world.seconds() + SETTLE_SECONDS
        while (wanting := self._wanting()) is not None:
            if self.world.seconds() > end:
                self.world.never(f"not settled within {SETTLE_SECONDS:g} s: {wanting}")
                return
            self._release()
            self._pass(1.0 if self.world.seconds() < end - SETTLE_SECONDS + 30.0 else 5.0)
            if self.world.violations:
                return

    def _wanting(self) -> str | None:
        """What is still to come before all is as it should be."""
        service = self.machine.service
        if service is None or service.ingest is None or service.fleet is None:
            return "the service has not started"
        states = {told.monitor_id: told.state for told in service.fleet.status()}
        if states != dict.fromkeys(MONITORS, State.LIVE):
            return f"the workers are {states}"
        if service.ingest.writer.queued:
            return f"{service.ingest.writer.queued} changes wait"
        if missing := without_rows(self.world, self.server):
            return f"clips {missing} have no closed rows"
        recording = sum(clip.ended_at is None for clip in self.world.clips.values())
        [(open_rows,)] = self.server.rows("SELECT COUNT(*) FROM Events WHERE EndDateTime IS NULL")
        return f"{open_rows} rows are open, {recording} clips recorded" if open_rows > recording else None

    # Time.

    def _pass(self, seconds: float) -> None:
        self.world.pass_time(seconds)
        if self.machine.host is not None and self.machine.host.stopping:
            self.world.never("the service has ended by itself")
        invariants.after_any_step(self.world, self.server)
        self._bounded()

    def _bounded(self) -> None:
        """The memory's bound may be passed by what comes until the spool is written, not by more."""
        service = self.machine.service
        if service is None or service.ingest is None or self.world.troubles.slow_storage:
            return
        waiting = sum(service.ingest.writer.queued_of(monitor_id) for monitor_id in MONITORS)
        if waiting > 3 * QUEUE_MAX:
            self.world.never(f"{waiting} changes wait in memory")

    # The installation.

    def _install(self) -> None:
        for root in self.world.roots.values():
            root.mkdir()
        execute = self.server.connection.execute
        for storage_id, name in STORAGES.items():
            execute(
                "INSERT INTO Storage (Id, Path, Name, Scheme) VALUES (?, ?, ?, 'Medium')",
                (storage_id, str(self.world.roots[storage_id]), name),
            )
        for monitor_id, function in MONITORS.items():
            execute(
                "INSERT INTO Monitors (Id, Name, Function, Type, Path, StorageId, Width, Height) VALUES (?, ?, ?, 'File', 'x', 1, 64, 48)",
                (monitor_id, f"Camera {monitor_id}", function),
            )


def simulate(seed: int, *, all_faults: bool = False) -> Simulation:
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
            simulation.run(all_faults=all_faults)
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
