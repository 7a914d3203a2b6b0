"""One seed: an installation, faults in a random order, then rest; the whole service in the middle of it."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from tests.simulation import invariants
from tests.simulation.clips import measurer
from tests.simulation.database import Server
from tests.simulation.faults import FAULTS
from tests.simulation.machine import Machine
from tests.simulation.rows import not_recorded, without_rows
from tests.simulation.storage import Storage
from tests.simulation.workers import Worker
from tests.simulation.world import MONITORS, SERVERS, STORAGES, TWO_MACHINES, Troubles, World

STEPS = 11
SETTLE_SECONDS = 420.0
"""The longest that anything waits by design is five minutes: for strays of a camera of which there is no other trace."""

HOLD_SECONDS = 40.0
RESTART_SECONDS = 20.0
ROOM = 8 << 10
FAST = Path("/dev/shm")


class NoWorker(Exception):
    """A story can't go on."""


class Simulation:
    """Everything of one seed. `run` gives what was wrong; `world.trace` tells how it came about."""

    def __init__(self, seed: int, directory: Path, season: str | None = None) -> None:
        self.seed = seed
        self.world = World(seed, directory, season)
        self.server = Server(self.world)
        self.world.committed = lambda event_id: bool(self.server.rows("SELECT 1 FROM Events WHERE Id = ?", event_id))
        servers = SERVERS if self.world.chance.random() < TWO_MACHINES else SERVERS[:1]
        self.machines = [
            Machine(
                self.world, self.server, directory / f"host{number}", monitors, number if len(servers) > 1 else None
            )
            for number, monitors in enumerate(servers, 1)
        ]
        self.machine = self.machines[0]
        self._install()

    # The course of things.

    def run(self) -> None:
        """Faults in a random order, then rest."""
        names, weights = list(FAULTS), [weight for weight, _ in FAULTS.values()]
        world = self.world
        self._start()
        self._pass(world.chance.uniform(1.0, 3.0))
        for _ in range(STEPS):
            name = world.chance.choices(names, weights)[0]
            world.tell(f"* {name}")
            self.machine = world.chance.choice(self.machines)
            FAULTS[name][1](self)
            self._pass(world.chance.choice([0.05, 0.3, 1.0, 2.0]) * world.chance.uniform(0.5, 1.5))
            for machine in self.machines:
                if machine.host is None and world.chance.random() < 0.7:
                    machine.start()
            if world.violations:
                return
        self._rest()

    def follow(self, course: Callable[[Simulation], None]) -> None:
        """This one, then rest."""
        self._start()
        self._pass(2.0)
        try:
            course(self)
            self._pass(0.1)
        except NoWorker as error:
            self.world.never(str(error))
        if not self.world.violations:
            self._rest()

    def _rest(self) -> None:
        """All comes to rest; what holds then."""
        world = self.world
        self._heal()
        self._holds()
        replaced = any(storage.was_replaced for storage in world.storages.values())
        if replaced:
            self._pass(RESTART_SECONDS)  # by then the log asks for it
            self._stop()
            self._start()
        if replaced or world.failed_over:
            for machine in self.machines:
                # What was recorded in an empty directory is missing, and may be most of what is looked for: then a person must say so.
                machine.recover(force=replaced)
        self._settle()
        if not world.violations:
            self._stop()
        opened_again = world.failed_over and self.server.rows("SELECT 1 FROM Events WHERE EndDateTime IS NULL")
        if not world.violations and (opened_again or without_rows(world, self.server)):
            # What was recorded while the service stopped, and not heard, the next start finds; and what a replica knew as open.
            self._start()
            self._settle()
            self._stop()
        if not world.violations:
            invariants.at_the_end(world, self.server)
            for machine in self.machines:
                invariants.of_spool(machine)

    def close(self) -> None:
        """Let go of everything."""
        for worker in self.world.living():
            worker.end()
        for orphan in list(self.world.orphans):
            orphan.end()
        for machine in self.machines:
            machine.forget()
        self.server.connection.close()

    # What faults ask for.

    def disturb(self) -> None:
        """What was said of the clips whose rows are not closed yet may get lost."""
        missing = without_rows(self.world, self.server)
        for clip in self.world.clips.values():
            if clip.ended_at is None or clip.number in missing:
                clip.disturbed = True

    def worker(self, monitor_id: int) -> Worker:
        """The one that lives, and is heard; waited for."""
        for _ in range(60):
            for worker in self.world.living(monitor_id):
                if worker.link is not None and worker.clip is not None:
                    return worker
            self.world.pass_time(0.5)
        raise NoWorker(f"monitor {monitor_id} has no worker that records and is heard")

    def some_monitor(self) -> int:
        return self.world.chance.choice(self.machine.monitors)

    def some_storage(self) -> Storage:
        """One that monitors record to, more often than not."""
        return self.world.storages[self.world.chance.choice([1, 1, 1, 2])]

    def change(self, monitor_id: int, column: str, value: object) -> None:
        """An operator changes a monitor on the console, which tells the service."""
        self.world.tell(f"monitor {monitor_id}: {column} = {value}")
        self.server.connection.execute(f"UPDATE Monitors SET {column} = ? WHERE Id = ?", (value, monitor_id))
        for machine in self.machines:
            if machine.fleet is not None:
                machine.fleet.reconcile()

    # The end of all faults.

    def _heal(self) -> None:
        self.world.tell("* no more faults")
        self.world.calm = True
        self.world.troubles = Troubles()
        for storage in self.world.storages.values():
            storage.full = False
            self.world.mount(storage)
        for orphan in list(self.world.orphans):
            orphan.end()
        self.server.commits_to_lose, self.server.at_commit = 0, None
        self.server.back()
        for monitor_id, _ in self._monitors():
            self.change(monitor_id, "Function", MONITORS[monitor_id])
        self._start()

    def _start(self) -> None:
        for machine in self.machines:
            machine.start()

    def _stop(self) -> None:
        for machine in self.machines:
            machine.stop()

    def _holds(self) -> None:
        if any(machine.held for machine in self.machines):
            self._pass(HOLD_SECONDS)
            for machine in self.machines:
                machine.see_holds()

    def _settle(self) -> None:
        end = self.world.seconds() + SETTLE_SECONDS
        while (wanting := self._wanting()) is not None:
            if self.world.seconds() > end:
                self.world.never(f"not settled within {SETTLE_SECONDS:g} s: {wanting}")
                return
            for machine in self.machines:
                machine.release()
            self._pass(1.0 if self.world.seconds() < end - SETTLE_SECONDS + 30.0 else 5.0)
            if self.world.violations:
                return

    def _wanting(self) -> str | None:
        """What is still to come before all is as it should be."""
        for machine in self.machines:
            if (wanting := machine.wanting()) is not None:
                return wanting
        if missing := without_rows(self.world, self.server):
            return f"clips {missing} have no closed rows"
        if left := not_recorded(self.world, self.server):
            return f"events {left} are open, and not recorded any more"
        return None

    # Time.

    def _pass(self, seconds: float) -> None:
        self.world.pass_time(seconds)
        for machine in self.machines:
            machine.see()
        invariants.after_any_step(self.world, self.server)

    # The installation.

    def _install(self) -> None:
        execute = self.server.connection.execute
        for storage_id, name in STORAGES.items():
            execute(
                "INSERT INTO Storage (Id, Path, Name, Scheme) VALUES (?, ?, ?, 'Medium')",
                (storage_id, str(self.world.storages[storage_id].root), name),
            )
        for monitor_id, server_id in self._monitors():
            execute(
                "INSERT INTO Monitors (Id, Name, Function, Type, Path, StorageId, ServerId, Width, Height) "
                "VALUES (?, ?, ?, 'File', 'x', 1, ?, 64, 48)",
                (monitor_id, f"Camera {monitor_id}", MONITORS[monitor_id], server_id),
            )

    def _monitors(self) -> list[tuple[int, int | None]]:
        """All monitors, with the servers that they are of."""
        return [(monitor_id, machine.server_id) for machine in self.machines for monitor_id in machine.monitors]


def simulate(
    seed: int,
    *,
    course: Callable[[Simulation], None] | None = None,
    season: str | None = None,
) -> Simulation:
    """Run one seed, be it of a given course, in a directory of its own that is gone afterwards. Many are quicker in `little_garbage`."""
    directory = Path(tempfile.mkdtemp(prefix="zmtwist-simulation-", dir=FAST if os.access(FAST, os.W_OK) else None))
    simulation = Simulation(seed, directory, season)
    world = simulation.world

    def hear(event: dict[str, Any]) -> None:
        if "log_failure" in event:
            world.never(f"an error was logged: {event['log_failure'].getTraceback()}")
        elif event["log_level"] >= LogLevel.warn:
            world.tell(f"log: {formatEvent(event)}")

    globalLogPublisher.addObserver(hear)
    gc.disable()
    try:
        with _measured(world), _zone(world.zone):
            if course is None:
                simulation.run()
            else:
                simulation.follow(course)
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
def _zone(name: str) -> Iterator[None]:
    """The zone of the hosts."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = name
    time.tzset()
    try:
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()


@contextmanager
def _measured(world: World) -> Iterator[None]:
    """Measuring is a child process in production. And a spool is full sooner here."""
    measure = measurer(world)
    with (
        mock.patch("zmtwist.ingest.writer.preallocated_sqlite.ROOM", ROOM),
        mock.patch("zmtwist.ingest.writer.preallocated_sqlite.GROWTH", ROOM),
        mock.patch("zmtwist.recovery.service.measure_files", measure),
        mock.patch("zmtwist.ingest.clips.locate.measure_files", measure),
    ):
        yield
