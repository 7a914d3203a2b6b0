"""What must hold of rows, looked at from outside the product by plain SQL."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tests.simulation.clips import RATE, Clip, clip_files, clip_in
from tests.simulation.database import Server
from tests.simulation.world import SECOND, World

BUCKETS = ("Hour", "Day", "Week", "Month")


def closed_clips(world: World, server: Server) -> list[tuple[int, Path]]:
    """Each closed event with a clip, and where ZoneMinder looks for that (scheme Medium)."""
    found = server.rows(
        "SELECT Id, MonitorId, date(StartDateTime), DefaultVideo, StorageId FROM Events "
        "WHERE EndDateTime IS NOT NULL AND DefaultVideo <> ''"
    )
    places = [(row[0], world.storages[row[4]], Path(str(row[1]), row[2], str(row[0]), row[3])) for row in found]
    # What was recorded while the storage was away is where that was to be, until it is back.
    return [(event_id, _first_file(storage.root / path, storage.disk / path)) for event_id, storage, path in places]


def _first_file(*paths: Path) -> Path:
    return next((path for path in paths if path.is_file()), paths[-1])


def events_by_clip(world: World, server: Server) -> dict[int | None, int]:
    """Which closed event shows which clip."""
    return {clip_in(path): event_id for event_id, path in closed_clips(world, server) if path.is_file()}


def without_rows(world: World, server: Server) -> list[int]:
    """The clips that have ended, and no closed row shows them. Those in the directory of an event that was deleted have none to have."""
    known = {**events_by_clip(world, server), **dict.fromkeys(_of_deleted_events(world))}
    return [
        number
        for number, clip in world.clips.items()
        if clip.kept and not clip.unrowed and clip.ended_at is not None and number not in known
    ]


def _of_deleted_events(world: World) -> list[int]:
    gone = {str(event_id) for event_id in world.deleted}
    return [number for number, path in (clip_files(world) if gone else ()) if path.parent.name in gone]


def counts(world: World, server: Server) -> None:
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


def frames(world: World, server: Server) -> None:
    """Frames are of events that are there, each once, in their order, and none is above what its event says that there are."""
    for event_id, frame_id in server.rows(
        "SELECT EventId, FrameId FROM Frames GROUP BY EventId, FrameId HAVING COUNT(*) > 1"
    ):
        world.never(f"event {event_id}: frame {frame_id} is there twice")
    for event_id, highest, said in server.rows(
        "SELECT f.EventId, MAX(f.FrameId), e.Frames FROM Frames f LEFT JOIN Events e ON e.Id = f.EventId "
        "GROUP BY f.EventId HAVING e.Id IS NULL OR MAX(f.FrameId) > e.Frames"
    ):
        world.never(f"event {event_id}: there is a frame {highest}, but its row says {said}")
    for event_id, frame_id, delta, was, before in server.rows(
        "SELECT EventId, FrameId, Delta, was, before FROM (SELECT EventId, FrameId, Delta, LAG(FrameId) OVER w AS was, "
        "LAG(Delta) OVER w AS before FROM Frames WINDOW w AS (PARTITION BY EventId ORDER BY Id)) "
        "WHERE FrameId <= was OR Delta < before - 0.011"
    ):
        if frame_id <= was or not world.stepped_us:
            world.never(f"event {event_id}: frame {frame_id} (at {delta} s) comes after {was} (at {before} s)")


def recount(world: World, server: Server) -> None:
    """What closed events say of their frames against these."""
    for event_id, alarms, total, best, count, *counted, best_frame, start, end, length in server.rows(
        "SELECT e.Id, e.AlarmFrames, e.TotScore, e.MaxScore, e.Frames, SUM(f.Score > 0), SUM(f.Score), MAX(f.Score), MAX(f.FrameId), "
        "e.MaxScoreFrameId, e.StartDateTime, e.EndDateTime, e.Length "
        "FROM Events e JOIN Frames f ON f.EventId = e.Id WHERE e.EndDateTime IS NOT NULL GROUP BY e.Id"
    ):
        told = [alarms, total, best, count]
        whole = event_id not in world.rolled_back
        if told != counted and whole:
            world.never(
                f"event {event_id}: AlarmFrames, TotScore, MaxScore, Frames are {told}, a recount gives {counted}"
            )
        lasted = (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
        if abs(_apart(world, lasted - float(length))) > 1.51:
            world.never(f"event {event_id}: from {start} to {end}, but of {length} s")
        if (
            best
            and whole
            and server.rows("SELECT MAX(Score) FROM Frames WHERE EventId = ? AND FrameId = ?", event_id, best_frame)
            != [(best,)]
        ):
            world.never(f"event {event_id}: MaxScoreFrameId {best_frame} has not the score of {best}")


def against_clips(world: World, server: Server) -> None:
    """What closed events say of their clips against these."""
    for number, event_id in events_by_clip(world, server).items():
        if number is None:
            continue
        clip = world.clips[number]
        [(monitor_id, start, length, count, alarms)] = server.rows(
            "SELECT MonitorId, StartDateTime, Length, Frames, AlarmFrames FROM Events WHERE Id = ?", event_id
        )
        if monitor_id != clip.monitor_id:
            world.never(f"clip {number} of monitor {clip.monitor_id} is event {event_id} of monitor {monitor_id}")
        if clip.torn:
            continue
        if count != max(1, clip.frames):
            world.never(f"event {event_id}: {count} frames, its clip {number} has {clip.frames}")
        if not clip.disturbed and alarms < clip.said and count > clip.said:
            world.never(f"event {event_id}: {alarms} alarm frames, {clip.said} were said of clip {number}, undisturbed")
        if clip.frames > 1 and count > 1 and abs(float(length) - clip.frames / RATE) > 0.5:
            world.never(f"event {event_id}: {length} s, but its clip has {clip.frames} frames")
        _begin(world, clip, event_id, datetime.fromisoformat(start))


def _apart(world: World, seconds: float) -> float:
    """How far two local times are apart; between them, an hour may have been left out, or have come twice."""
    hours = (-3600.0, 0.0, 3600.0) if world.zone_changes else (0.0,)
    return min((seconds - hour for hour in hours), key=abs)


def not_recorded(world: World, server: Server) -> list[int]:
    """The open events of which no clip that is being recorded can be."""
    recording = [clip for clip in world.clips.values() if clip.ended_at is None]
    assigned = {clip.event_id: clip for clip in world.clips.values() if clip.event_id}
    found = []
    for event_id, monitor_id, start in server.rows(
        "SELECT Id, MonitorId, StartDateTime FROM Events WHERE EndDateTime IS NULL ORDER BY Id DESC"
    ):
        began = datetime.fromisoformat(start)
        its = assigned.get(event_id)
        mine = [clip for clip in recording if clip.monitor_id == monitor_id and its in (None, clip)]
        of = next((clip for clip in mine if clip.event_id == event_id or _begins(world, clip, began)), None)
        if of is None:
            found.append(event_id)
        else:
            recording.remove(of)
    return found


def _begin(world: World, clip: Clip, event_id: int, start: datetime) -> None:
    if not _begins(world, clip, start):
        world.never(f"event {event_id} starts at {start}, its clip at {_begun(world, clip)}")


def _begins(world: World, clip: Clip, start: datetime) -> bool:
    """Whether an event with this start may be that of the clip."""
    off = _apart(world, (start - _begun(world, clip)).total_seconds())
    return bool(world.stepped_us) or -clip.before - 2.5 <= off <= 2.5


def _begun(world: World, clip: Clip) -> datetime:
    return datetime.fromtimestamp(clip.begun_us / SECOND, ZoneInfo(world.zone)).replace(tzinfo=None)
