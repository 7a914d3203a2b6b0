"""Stories that seeds have told, each of a defect that was mended since: told again step by step, for seeds do not repeat them for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.simulation.faults.database import fail_over
from tests.simulation.world import MONITORS

if TYPE_CHECKING:
    from tests.simulation.scenario import Simulation
    from tests.simulation.workers import Worker

RECORDS, DETECTS = 1, 2
"""The monitor that records without a break, and the one that records what moves."""


def cut(worker: Worker) -> None:
    """A clip ends, and, where the worker records without a break, the next one begins."""
    worker.recorder.close()
    worker.world.pass_time(0.001)


def adopt(simulation: Simulation) -> None:
    """The workers outlive us: from now on nobody reads what they log."""
    simulation.disturb()
    simulation.machine.kill()
    simulation.machine.start()


@contextmanager
def unheard(worker: Worker) -> Iterator[None]:
    """The link is away meanwhile; what the worker writes to its log is read."""
    link = worker.link
    assert link is not None
    link.lost()
    yield
    link.connect()
    worker.world.pass_time(0.05)


def a_save_that_names_no_event(simulation: Simulation) -> None:
    """The link breaks over the end of a clip, the next opening comes by the log, and its save without an event was taken for that of the
    oldest clip that was open."""
    worker = simulation.worker(RECORDS)
    with unheard(worker):
        cut(worker)
        simulation.world.pass_time(0.5)
    cut(worker)
    simulation.world.pass_time(1.0)


def a_save_that_names_no_event_twice(simulation: Simulation) -> None:
    """As before, over the ends of two clips: one clip was left without a row."""
    worker = simulation.worker(RECORDS)
    with unheard(worker):
        cut(worker)
        simulation.world.pass_time(0.7)
        cut(worker)
        simulation.world.pass_time(0.3)
    cut(worker)
    simulation.world.pass_time(1.0)


def a_save_of_the_next_clip(simulation: Simulation) -> None:
    """A clip ended unheard, and so did the next one begin, in the same second: its save closed the event of the first one, whose row then
    told how long the second was."""
    adopt(simulation)
    worker = simulation.worker(RECORDS)
    cut(worker)
    simulation.world.pass_time(0.1)
    with unheard(worker):
        cut(worker)
        simulation.world.pass_time(0.1)
    simulation.world.pass_time(3.0)
    cut(worker)
    simulation.world.pass_time(1.0)


def a_camera_that_goes_unheard(simulation: Simulation) -> None:
    """The connection to the camera was lost while the worker, which was adopted, was not heard: what it told of its clip was believed."""
    adopt(simulation)
    worker = simulation.worker(DETECTS)
    with unheard(worker):
        worker.lose_camera(0.5)
        simulation.world.pass_time(1.0)
    simulation.world.pass_time(8.0)


def a_worker_that_is_back_during_a_look(simulation: Simulation) -> None:
    """Recovery asked who lives before it listed the files: the clip that the next worker had begun meanwhile was set aside as empty."""
    simulation.world.troubles.slow_storage = True
    for _ in range(3):
        simulation.worker(RECORDS).end(None, 11)
        simulation.world.pass_time(6.0)


def a_storage_that_changes(simulation: Simulation) -> None:
    """A monitor is to record elsewhere, and the service is killed: clips in the storage before were never looked at again."""
    for storage_id in (2, 1, 2):
        simulation.world.excused += 1
        simulation.change(RECORDS, "StorageId", storage_id)
        simulation.world.pass_time(0.2)
        simulation.disturb()
        simulation.machine.kill()
        simulation.world.pass_time(1.0)
        simulation.machine.start()
        simulation.world.pass_time(1.0)


def a_storage_with_errors_at_a_start(simulation: Simulation) -> None:
    """An error of the storage when a worker was to be started was taken for an error of ours."""
    simulation.world.troubles.storage = True
    for monitor_id in MONITORS.keys() & simulation.machine.monitors:
        simulation.worker(monitor_id).end(5)
    simulation.world.pass_time(8.0)


def a_replica_that_takes_over(simulation: Simulation) -> None:
    """Ids were given again, and a worker that was told of one renamed its clip over that of the event which had it before."""
    for _ in range(3):
        cut(simulation.worker(RECORDS))
        fail_over(simulation)
        simulation.world.pass_time(2.5)
        cut(simulation.worker(RECORDS))
        simulation.world.pass_time(1.0)


def a_start_without_its_storage(simulation: Simulation) -> None:
    """The storage was not there when the service started: nobody looked at it again, and rows stayed open."""
    world, storage = simulation.world, simulation.world.storages[1]
    simulation.machine.cut_power()
    storage.unmount(leave_directory=False)
    simulation.machine.start()
    world.pass_time(10.0)
    world.mount(storage)
    world.pass_time(5.0)


def a_damaged_spool(simulation: Simulation) -> None:
    """Text that is no UTF-8 in the spool was an error that nobody expected: ingest ended, or the service could not start."""
    simulation.server.state = "away"
    simulation.world.pass_time(4.0)
    simulation.disturb()
    simulation.machine.kill()
    path = simulation.machine.directory / "state" / "spool" / "spool.db"
    data = bytearray(path.read_bytes())
    for place in range(4096, len(data), 97):
        data[place] |= 0x80
    path.write_bytes(data)
    simulation.machine.spool_damaged = True
    simulation.server.back()
    simulation.machine.start()
    simulation.world.pass_time(1.0)


def a_spool_that_fails_when_it_is_opened(simulation: Simulation) -> None:
    """What an earlier run had left was not read in all of that run, and ids of what was put there later began anew."""
    simulation.server.state = "away"
    simulation.world.pass_time(4.0)
    simulation.disturb()
    simulation.machine.kill()
    simulation.world.troubles.spool = "before"
    simulation.machine.start()
    simulation.world.pass_time(1.0)
    simulation.world.troubles.spool = ""
    simulation.world.pass_time(3.0)
    simulation.server.back()


def a_clock_that_is_days_ahead(simulation: Simulation) -> None:
    """A row of frames was written for every interval of the days that the clock had left out."""
    simulation.world.stepped_us += 40 * 86_400 * 1_000_000
    simulation.world.pass_time(3.0)


def clocks_that_are_set_back(simulation: Simulation) -> None:
    """Recovery took the clip that was being recorded for one of before, since others seemed to begin later, and set it aside."""
    for _ in range(3):
        simulation.world.stepped_us -= 3600 * 1_000_000
        cut(simulation.worker(RECORDS))
        simulation.disturb()
        simulation.machine.kill()
        simulation.world.pass_time(0.2)
        simulation.machine.start()
        simulation.world.pass_time(1.5)


def the_hour_that_comes_twice(simulation: Simulation) -> None:
    """A clip of the second of the two hours had a name as of the first: it seemed older than its worker, and was moved while it was
    recorded."""
    world = simulation.world
    world.pass_time(40.0)
    for _ in range(2):
        simulation.worker(RECORDS).end(None, 11)
        world.pass_time(4.0)
        simulation.disturb()
        simulation.machine.kill()
        world.pass_time(1.0)
        simulation.machine.start()
        world.pass_time(3.0)


def a_camera_that_comes_back(simulation: Simulation) -> None:
    """The save spoke of a negative length: the last frame was put before the alarms."""
    for monitor_id in (RECORDS, DETECTS):
        simulation.world.pass_time(3.0)
        simulation.worker(monitor_id).lose_camera(0.2)
        simulation.world.pass_time(4.0)


def what_holds_a_lock(simulation: Simulation) -> None:
    """A child that a worker has left behind holds its lock, and is in no group of ours."""
    from tests.simulation.workers import Orphan

    worker = simulation.worker(RECORDS)
    orphan = Orphan(worker, same_group=False)
    worker.end(None, 11)
    simulation.disturb()
    simulation.machine.kill()
    simulation.machine.start()
    simulation.world.pass_time(5.0)
    orphan.end()


Course = Callable[["Simulation"], None]
SEASON = {the_hour_that_comes_twice: "autumn"}
"""When it is; else daylight saving neither begins nor ends."""

STORIES: dict[str, Course] = {
    course.__name__: course
    for course in (
        a_save_that_names_no_event,
        a_save_that_names_no_event_twice,
        a_save_of_the_next_clip,
        a_camera_that_goes_unheard,
        a_worker_that_is_back_during_a_look,
        a_storage_that_changes,
        a_storage_with_errors_at_a_start,
        a_replica_that_takes_over,
        a_start_without_its_storage,
        a_damaged_spool,
        a_spool_that_fails_when_it_is_opened,
        a_clock_that_is_days_ahead,
        clocks_that_are_set_back,
        the_hour_that_comes_twice,
        a_camera_that_comes_back,
        what_holds_a_lock,
    )
}
