"""What must hold, looked at from outside the product: at every moment, and once all has come to rest."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from tests.simulation import rows
from tests.simulation.clips import clip_files, clip_in
from tests.simulation.database import Server
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.machine import Machine


def after_any_step(world: World, server: Server) -> None:
    """What holds at every moment: effects come after commits, rows never say more than there is."""
    found: dict[int, int] = {}
    for event_id, path in rows.closed_clips(world, server):
        number = clip_in(path) if path.is_file() else None
        if number is None:
            if not world.was_torn(path) and event_id not in world.deleted:
                world.never(f"event {event_id} is closed, but there is no clip at {path}")
        elif number in found:
            world.never(f"events {found[number]} and {event_id} both have clip {number}")
        else:
            found[number] = event_id
            if world.clips[number].ended_at is None:
                world.never(f"event {event_id} is closed, but clip {number} is still being recorded")
    for monitor_id in {worker.monitor_id for worker in world.workers}:
        if len(world.living(monitor_id)) > 1:
            world.never(f"monitor {monitor_id} has more than one worker")
    rows.counts(world, server)
    rows.frames(world, server)


def at_the_end(world: World, server: Server) -> None:
    """What holds once all has come to rest and the service was stopped: every clip has its one row, and there are no others."""
    after_any_step(world, server)
    for (event_id,) in server.rows("SELECT Id FROM Events WHERE EndDateTime IS NULL"):
        world.never(f"event {event_id} is still open")
    for number in rows.without_rows(world, server):
        world.never(f"clip {number} of monitor {world.clips[number].monitor_id} has no closed row")
    [(empty,)] = server.rows("SELECT COUNT(*) FROM Events WHERE DefaultVideo = ''")
    without = sum(not clip.kept or clip.unrowed for clip in world.clips.values())
    if empty > without + world.excused:
        world.never(f"{empty} events have no clip, but only {without} clips hold nothing")
    rows.recount(world, server)
    rows.against_clips(world, server)
    _files(world)


def _files(world: World) -> None:
    """Nothing that was recorded is lost, or there twice."""
    seen: dict[int, Path] = {}
    for number, path in clip_files(world):
        if number in seen:
            world.never(f"clip {number} is at {seen[number]} and at {path}")
        seen[number] = path
    for number, clip in world.clips.items():
        if clip.kept and number not in seen:
            world.never(f"clip {number} is nowhere in the storage")


def of_spool(machine: Machine) -> None:
    """Nothing is left to be done."""
    world, path = machine.world, machine.directory / "state" / "spool" / "spool.db"
    if machine.spool_damaged or not path.exists():
        return
    with closing(sqlite3.connect(path)) as db:
        for table in ("groups", "events"):
            [(count,)] = db.execute(f"SELECT COUNT(*) FROM {table}").fetchall()
            if count:
                world.never(f"{count} rows are left in the spool's {table}")
