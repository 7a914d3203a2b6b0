"""Faults of the database, and what ZoneMinder does to its rows."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.simulation.clips import clip_files
from tests.simulation.faults.fault import Faults, Strike, for_a_while

if TYPE_CHECKING:
    from tests.simulation.scenario import Simulation


def outage(state: str) -> Strike:
    """It is away or hung for some seconds."""

    def strike(simulation: Simulation) -> None:
        chance = simulation.world.chance
        simulation.server.state = state
        simulation.world.callLater(chance.choice([0.3, 1.5, 5.0]) * chance.uniform(0.5, 1.5), simulation.server.back)

    return strike


def lose_commits(simulation: Simulation) -> None:
    simulation.server.commits_to_lose = simulation.world.chance.randint(1, 4)


def delete(state: str) -> Strike:
    """ZoneMinder deletes an event, and, at once or soon after, its directory."""

    def strike(simulation: Simulation) -> None:
        world, server = simulation.world, simulation.server
        rows = server.rows(
            f"SELECT Id, MonitorId, date(StartDateTime), StorageId FROM Events WHERE EndDateTime IS {state}"
        )
        if not rows:
            return
        event_id, monitor_id, day, storage_id = world.chance.choice(rows)
        world.tell(f"event {event_id} is deleted")
        server.connection.execute("DELETE FROM Frames WHERE EventId = ?", (event_id,))
        server.connection.execute("DELETE FROM Events WHERE Id = ?", (event_id,))
        world.deleted.add(event_id)
        storage = world.storages[storage_id]
        directory = storage.root / str(monitor_id) / day / str(event_id)

        def remove() -> None:
            for number, path in clip_files(world):
                if path.is_relative_to(directory) and not world.clips[number].beneath:
                    world.clips[number].deleted = True
                    world.tell(f"clip {number} is deleted with it")
            for clip in world.clips.values():  # those with nothing in them yet, too
                if clip.path.is_relative_to(directory) and not clip.beneath:
                    clip.deleted = True
            shutil.rmtree(storage.disk / directory.relative_to(storage.root), ignore_errors=True)

        world.callLater(world.chance.choice([0.0, world.chance.uniform(0.0, 0.5)]), remove)

    return strike


def fail_over(simulation: Simulation) -> None:
    """A replica takes over that has not the last commits. Clips of these have no rows, or older ones."""
    world, server = simulation.world, simulation.server
    replica, since = server.replica(), world.seconds()
    world.pass_time(world.chance.uniform(0.05, 2.0))
    outage("away")(simulation)
    server.take_over(replica)
    world.tell("a replica takes over")
    world.failed_over = True
    world.rolled_back |= {row[0] for row in server.rows("SELECT Id FROM Events WHERE EndDateTime IS NULL")}
    simulation.disturb()
    for clip in world.clips.values():
        clip.unrowed = clip.unrowed or clip.disturbed or (clip.ended_at or since) >= since - 5.0


FAULTS: Faults = {
    "the database is away": (3, outage("away")),
    "the database hangs": (2, outage("hung")),
    "commits are lost": (3, lose_commits),
    "the database fails over": (2, fail_over),
    "the database is slow": (2, for_a_while("database", "slow")),
    "deadlocks": (2, for_a_while("database", "deadlocks")),
    "batches are refused": (2, for_a_while("database", "refuses")),
    "ZoneMinder deletes an event": (2, delete("NOT NULL")),
    "ZoneMinder deletes an open event": (2, delete("NULL")),
}
