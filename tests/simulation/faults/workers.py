"""Faults of workers, and of what goes between them and us."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.simulation.faults.fault import Faults, Strike, for_a_while
from tests.simulation.machine import QUEUE_MAX
from tests.simulation.workers import Orphan, Worker

if TYPE_CHECKING:
    from tests.simulation.scenario import Simulation


def to_some_worker(what: Callable[[Worker, Any], object]) -> Strike:
    """What is done with one that lives, if any does; the chance comes with it."""

    def strike(simulation: Simulation) -> None:
        world = simulation.world
        if living := world.living():
            what(world.chance.choice(living), world.chance)

    return strike


def leave_orphan(simulation: Simulation) -> None:
    """It is in its worker's group, or it has left that, and stays as long as it likes."""
    world = simulation.world
    if living := world.living():
        worker = world.chance.choice(living)
        orphan = Orphan(worker, same_group=world.chance.random() < 0.5)
        worker.end(None, 11)
        world.callLater(world.chance.uniform(0.5, 20.0), orphan.end)


def flood(simulation: Simulation) -> None:
    """More at once than the memory's bound. A frame can be in one alarm only, so not all of it is kept."""
    world = simulation.world
    for worker in world.living():
        if worker.clip is not None:
            worker.clip.disturbed = True
        for _ in range(QUEUE_MAX // 2):
            worker.glimpse()


FAULTS: Faults = {
    "a worker crashes": (3, to_some_worker(lambda worker, chance: worker.end(chance.choice([None, 5]), 11))),
    "a worker ends by itself": (1, to_some_worker(lambda worker, _: worker.take(15))),
    "a worker stalls": (1, to_some_worker(lambda worker, _: setattr(worker, "stalled", True))),
    "a worker dies, and what it has started holds its lock": (2, leave_orphan),
    "a camera is away": (2, to_some_worker(lambda worker, chance: worker.lose_camera(chance.choice([0.5, 4.0])))),
    "a camera sends another codec": (1, to_some_worker(lambda worker, _: worker.change_stream())),
    "a connection breaks": (2, to_some_worker(lambda worker, _: worker.link and worker.link.lost())),
    "much happens at once": (1, flood),
    "what workers say is lost or said twice": (2, for_a_while("messages")),
    "workers name other events than their own": (2, for_a_while("misnamed")),
    "assignments fail": (2, for_a_while("assignments")),
    "forks fail": (1, for_a_while("forks")),
}
