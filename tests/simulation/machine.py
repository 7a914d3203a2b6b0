"""A machine: what outlives a run of the service on it, and the run that there is now, if any."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed

from tests.simulation.clips import PRE_ROLL
from tests.simulation.database import Server, SimulatedDatabase
from tests.simulation.disk import SimulatedDisk
from tests.simulation.host import Host
from tests.simulation.links import Link
from tests.simulation.processes import Processes, spawn
from tests.simulation.workers import Worker
from tests.simulation.world import World
from zmtwist.config.settings import Settings, settle
from zmtwist.config.toml import parse
from zmtwist.fleet.fleet import Fleet, NotInFleet
from zmtwist.fleet.process.state import State
from zmtwist.runtime import Outside
from zmtwist.service import ZmNext

QUEUE_MAX = 60
STOP_SECONDS = 90.0


class Api(Service):
    """In place of the HTTP API."""

    def stopService(self) -> Deferred[None]:
        return succeed(None)

    def announce(self, happening: object) -> None:
        pass


class Machine:
    """`held`: the monitors that an operator holds, and was told that they will be. `boots` tells boots from each other."""

    def __init__(
        self, world: World, server: Server, directory: Path, monitors: tuple[int, ...], server_id: int | None
    ) -> None:
        self.world, self.server, self.directory, self.monitors, self.server_id = (
            world,
            server,
            directory,
            monitors,
            server_id,
        )
        self.boots = 1
        self.spool_damaged = False
        self.held: set[int] = set()
        self.service: ZmNext | None = None
        self.host: Host | None = None
        self._dead: list[Any] = []
        self._settings = _settings(directory, world, server_id)

    @property
    def fleet(self) -> Fleet | None:
        """The fleet of the run that there is, once it has begun and until it ends."""
        fleet = self.service.fleet if self.service is not None else None
        return fleet if fleet is not None and fleet.running else None

    def start(self) -> None:
        """A run of the service begins, unless there is one."""
        if self.host is not None:
            return
        world = self.world
        world.tell("the service starts")
        host = self.host = Host(world, self.directory.name, spawn)
        outside = Outside(
            database=lambda _, url: SimulatedDatabase(host, url, self.server),
            disk=lambda _, threads: SimulatedDisk(host, threads),
            api=lambda *_, **__: Api(),
            processes=lambda _: Processes(self, host),
            links=lambda _reactor: Link,
            kill_group=world.kill_group,
            jitter=world.chance.random,
            mark=lambda: f"x{len(self._dead)}",
        )
        self.service = ZmNext(
            host, self._settings, announce=lambda what: world.tell(str(what)), wall=world.wall, outside=outside
        )
        self.service.startService()

    def kill(self) -> None:
        """kill -9: what is in memory is gone, what is on disk stays, and the workers go on."""
        if self.service is None or self.host is None:
            return
        self.host.die()
        for worker in self._living():
            worker.host, worker.watched = None, None
        self._over()

    def stop(self) -> None:
        """An orderly stop, waited for; it may be cut short by a kill."""
        if self.service is None or (host := self.host) is None:
            return
        over: list[object] = []
        self.service.stopService().addBoth(over.append)
        self._until(lambda: bool(over) or host.dead, STOP_SECONDS, "an orderly stop has not ended")
        if host.dead:
            return
        if left := host.left_over():
            self.world.never(f"{len(left)} calls are left after an orderly stop, as {left[0]}")
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

    def cut_power(self) -> None:
        """Everything ends, and what is on disks that are in memory is gone."""
        self.kill()
        for worker in self._living():
            worker.end(None, 9)
        for orphan in [one for one in self.world.orphans if one.machine == self.directory.name]:
            orphan.end()
        self.boots += 1
        for path in (self.directory / "run").iterdir():
            path.unlink()

    def forget(self) -> None:
        """Let go of all runs. They are kept to the end: a coroutine that is collected runs on to its end, which a killed process does
        not."""
        self.kill()
        self._dead.clear()

    # What is to be seen from outside.

    def wanting(self) -> str | None:
        """What is still to come before all is as it should be."""
        service = self.service
        if service is None or service.ingest is None or service.fleet is None:
            return "the service has not started"
        states = {told.monitor_id: told.state for told in service.fleet.status()}
        if states != dict.fromkeys(self.monitors, State.LIVE):
            return f"the workers are {states}"
        queued = service.ingest.writer.queued
        return f"{queued} changes wait" if queued else None

    def see(self) -> None:
        """It goes on, and the memory's bound may be passed by what comes until the spool is written, not by more."""
        if self.host is not None and self.host.stopping:
            self.world.never("the service has ended by itself")
        if self.service is None or self.service.ingest is None or self.world.troubles.slow_storage:
            return
        waiting = sum(self.service.ingest.writer.queued_of(monitor_id) for monitor_id in self.monitors)
        if waiting > 3 * QUEUE_MAX:
            self.world.never(f"{waiting} changes wait in memory")

    def see_holds(self) -> None:
        """What an operator holds stays so over everything."""
        for monitor_id in self.held if self.fleet is not None else ():
            if self.world.living(monitor_id):
                self.world.never(f"monitor {monitor_id} is held, and has a worker")

    def recover(self, *, force: bool) -> None:
        """An operator has it looked for what the last days have left, once that can be asked for."""
        self._until(lambda: self.fleet is not None, STOP_SECONDS, "a start has not ended")
        if self.service is not None and self.service.recovery is not None:
            self.service.recovery.recover(force=force)

    def release(self) -> None:
        """An operator ends all holds, those as well that were not answered for."""
        if (fleet := self.fleet) is None:
            return
        for monitor_id in self.monitors:
            try:
                fleet.release(monitor_id)
            except NotInFleet as error:
                self.world.tell(f"not released: {error}")

    def _living(self) -> list[Worker]:
        return [worker for worker in self.world.living() if worker.machine == self.directory.name]

    def _over(self) -> None:
        self._dead.append((self.service, self.host))
        lock = self.service._lock if self.service is not None else None
        if lock is not None:
            lock.close()
        self.service = self.host = None

    def _until(self, condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
        end = self.world.seconds() + seconds
        while not condition():
            if self.world.seconds() > end:
                self.world.never(otherwise)
                return
            self.world.pass_time(0.5)


def _settings(directory: Path, world: World, server_id: int | None) -> Settings:
    for name in ("run", "state", "bin"):
        (directory / name).mkdir(parents=True)
    binary = directory / "bin" / "zm-core"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    zone = f'timezone = "{world.zone}"' if world.chance.random() < 0.5 else ""  # else the host's, which is the same
    zm_conf = {} if server_id is None else {"ZM_SERVER_ID": str(server_id)}
    return settle(parse(f"""
        [zmnext]
        enabled = true
        monitors = "all"
        [zmnext.worker]
        overlap = false
        binary = "{binary}"
        watchdog_seconds = 10
        stop_timeout_seconds = 5
        [zmnext.pipeline]
        pre_roll_sec = {PRE_ROLL}
        [zmnext.ingest]
        queue_max = {QUEUE_MAX}
        {zone}
        thumbnails = false
        [database]
        url = "sqlite:///{directory}/not-used.db"
        [paths]
        socks = "{directory}/run"
        run = "{directory}/run"
        state = "{directory}/state"
        [legacy]
        control = "none"
    """), zm_conf)  # fmt: skip
