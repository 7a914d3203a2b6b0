"""What must hold, looked at from outside the product: rows by plain SQL, files by walking the storage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.simulation.services import Server
from tests.simulation.workers import clip_in
from tests.simulation.world import World

BUCKETS = ("Hour", "Day", "Week", "Month")


def after_any_step(world: World, server: Server) -> None:
    """What holds at every moment: effects come after commits, rows never say more than there is."""
    found: dict[int, int] = {}
    for event_id, path in closed_clips(world, server):
        number = clip_in(path) if path.is_file() else None
        if number is None:
            world.never(f"event {event_id} is closed, but there is no clip at {path}")
        elif number in found:
            world.never(f"events {found[number]} and {event_id} both have clip {number}")
        else:
            found[number] = event_id
            clip = world.clips[number]
            if clip.ended_at is None:
                world.never(f"event {event_id} is closed, but clip {number} is still being recorded")
    for monitor_id in {worker.monitor_id for worker in world.workers}:
        if len(world.living(monitor_id)) > 1:
            world.never(f"monitor {monitor_id} has more than one worker")
    _counts(world, server)


def at_the_end(world: World, server: Server) -> None:
    """What holds once all has come to rest and the service was stopped: every clip has its one row, and there are no others."""
    after_any_step(world, server)
    for (event_id,) in server.rows("SELECT Id FROM Events WHERE EndDateTime IS NULL"):
        world.never(f"event {event_id} is still open")
    rows = {clip_in(path): event_id for event_id, path in closed_clips(world, server) if path.is_file()}
    for number, clip in world.clips.items():
        if clip.frames and number not in rows:
            world.never(f"clip {number} of monitor {clip.monitor_id} has no closed row")
        if number in rows:
            [(monitor_id,)] = server.rows("SELECT MonitorId FROM Events WHERE Id = ?", rows[number])
            if monitor_id != clip.monitor_id:
                world.never(
                    f"clip {number} of monitor {clip.monitor_id} is event {rows[number]} of monitor {monitor_id}"
                )
    [(empty,)] = server.rows("SELECT COUNT(*) FROM Events WHERE DefaultVideo = ''")
    without = sum(not clip.frames for clip in world.clips.values())
    if empty > without:
        world.never(f"{empty} events have no clip, but only {without} clips hold nothing")
    _files(world)


def closed_clips(world: World, server: Server) -> list[tuple[int, Path]]:
    """Each closed event with a clip, and where ZoneMinder looks for that (scheme Medium)."""
    found = server.rows(
        "SELECT Id, MonitorId, date(StartDateTime), DefaultVideo FROM Events WHERE EndDateTime IS NOT NULL AND DefaultVideo <> ''"
    )
    return [(row[0], world.storage / str(row[1]) / row[2] / str(row[0]) / row[3]) for row in found]


def _counts(world: World, server: Server) -> None:
    """Buckets and summaries against a recount."""
    truth = server.rows(
        "SELECT MonitorId, COUNT(*), SUM(COALESCE(DiskSpace, 0)) FROM Events GROUP BY MonitorId ORDER BY 1"
    )
    for bucket in BUCKETS:
        _same(world, f"Events_{bucket}", truth, server.rows(
            f"SELECT MonitorId, COUNT(*), SUM(COALESCE(DiskSpace, 0)) FROM Events_{bucket} GROUP BY MonitorId ORDER BY 1"
        ))  # fmt: skip
    for column in ("Total", *BUCKETS):
        _same(world, f"{column}Events of Event_Summaries", truth, server.rows(
            f"SELECT MonitorId, {column}Events, COALESCE({column}EventDiskSpace, 0) FROM Event_Summaries WHERE TotalEvents > 0 ORDER BY 1"
        ))  # fmt: skip


def _same(world: World, what: str, truth: list[Any], told: list[Any]) -> None:
    if told != truth:
        world.never(f"{what} say {told}, a recount {truth}")


def _files(world: World) -> None:
    """Nothing that was recorded is lost, or there twice."""
    seen: dict[int, Path] = {}
    for path in sorted(world.storage.rglob("*.mkv*")):
        if path.suffix == ".json" or (number := clip_in(path)) is None:
            continue
        if number in seen:
            world.never(f"clip {number} is at {seen[number]} and at {path}")
        seen[number] = path
    for number, clip in world.clips.items():
        if clip.frames and number not in seen:
            world.never(f"clip {number} is nowhere in the storage")
