"""What operators are shown, as plain JSON-able values. Pure; `untrusted.guard.leaving` makes JSON of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs

from zmtwist.extras import Extra
from zmtwist.fleet.process.state import Transition
from zmtwist.fleet.status import NOT_RECORDING, InferenceStatus, WorkerStatus
from zmtwist.ingest.clips.storage_monitor import Storage, StorageTrouble
from zmtwist.ingest.session.camera_health import Health
from zmtwist.ingest.writer.writer import WriterFigures
from zmtwist.notifications import EventClosed, EventOpened, RecordingFailed, RecordingWell
from zmtwist.ops.diagnosis import Advice, advise, with_health, with_held, with_storage, with_warnings
from zmtwist.ops.metrics.counters import LastEvent, MonitorFigures
from zmtwist.pipeline.document import shown as shown_digest
from zmtwist.recovery.service import RecoveryFigures


def at(us: int | None) -> str | None:
    """A wall time in microseconds as ISO 8601 in UTC, with milliseconds."""
    if us is None:
        return None
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def monitor_view(
    status: WorkerStatus, name: str, figures: MonitorFigures, now_us: int, *, lines: bool = False
) -> dict[str, Any]:
    """One monitor as `/api/monitors` shows it; with `lines` its last log lines as well, as `/api/monitors/N` does."""
    shown = {
        "id": status.monitor_id,
        "name": name,
        **_process_view(status, now_us),
        "capture_fps": None if status.frames_per_second is None else round(status.frames_per_second, 2),
        "media_age_seconds": None if status.media_age_seconds is None else round(status.media_age_seconds, 1),
        "mark": None if status.not_recording is None else NOT_RECORDING,
        "not_recording": None if status.not_recording is None else status.not_recording[0],
        "digest": shown_digest(status.digest),
        "restart_due": status.restart_due,
        "legacy": status.legacy or None,
        "worker_events": status.worker_events,
        "missed_events": status.missed_events,
        "unlogged_lines": status.unlogged_lines,
        "events_opened": figures.opened,
        "events_closed": figures.closed,
        "last_event": event_view(figures.last_event),
    }
    if lines:
        shown["log"] = list(status.lines)
    return shown


def _process_view(status: WorkerStatus | InferenceStatus, now_us: int) -> dict[str, Any]:
    return {
        "state": status.state.value,
        "reason": status.reason,
        "since": at(status.since_us),
        "seconds_in_state": round(max(0, now_us - status.since_us) / 1e6, 1),
        "next_retry": at(status.next_start_us),
        "restarts_last_hour": status.restarts_last_hour,
        "last_exit": None if status.last_exit is None else str(status.last_exit),
        "pid": status.pid,
        "adopted": status.adopted,
    }


def health_view(health: Health | None) -> dict[str, Any] | None:
    """What its worker says of a monitor's camera; None where it was not heard of."""
    if health is None:
        return None
    return {
        "well": health.well,
        "troubles": [
            {"what": trouble.what, "since": at(trouble.since_us), "message": trouble.message}
            for trouble in health.troubles
        ],
        "streams": [
            {
                "id": stream.stream_id,
                "state": stream.state,
                "since": at(stream.since_us),
                "message": stream.message,
                "attempt": stream.attempt,
            }
            for stream in health.streams
        ],
        "failures": health.failures,
        "last_failed": at(health.failed_us or None),
        "last_restored": at(health.restored_us or None),
        "state": health.state or None,
        "state_since": at(health.state_us or None),
    }


def inference_view(status: InferenceStatus | None, now_us: int) -> dict[str, Any] | None:
    """The shared inference, with its last log lines."""
    if status is None:
        return None
    return {
        **_process_view(status, now_us),
        "socket": status.socket,
        "log": list(status.lines),
    }


def extras_view(missing: Iterable[Extra]) -> list[dict[str, Any]]:
    """What is not offered for want of an extra of the package."""
    return [{"extra": extra.name, "offers": extra.offers, "do": extra.remedy} for extra in missing]


def event_view(event: LastEvent | None) -> dict[str, Any] | None:
    """A monitor's latest event."""
    if event is None:
        return None
    return {
        "id": event.event_id,
        "cause": event.cause,
        "start": at(event.start_us),
        "open": event.length_us is None,
        "length_seconds": None if event.length_us is None else round(event.length_us / 1e6, 3),
        "alarm_frames": event.alarm_frames,
    }


def writer_view(figures: WriterFigures, queued: int) -> dict[str, Any]:
    """How the writing goes."""
    shown = {"queued": queued, **{name: value for name, value in attrs.asdict(figures).items() if value is not None}}
    shown["last_error"] = figures.last_error
    shown["spool"] = attrs.asdict(figures.spool)
    return shown


def recovery_view(figures: RecoveryFigures) -> dict[str, Any]:
    """How bringing rows and clips together goes: what the latest pass failed by, and what of all passes could not be done."""
    trouble, remedy = None, None
    if figures.trouble is not None:
        trouble = f"the latest look at rows and clips failed: {figures.trouble}"
        remedy = "it is tried again every 5 minutes; `zmnextctl recover` does it now, and the service's log tells more"
    elif figures.stopped:
        trouble = f"{figures.stopped} storages were left alone, for too much of what lies there does not fit its rows"
        remedy = "see that the right disks are mounted; `zmnextctl recover --dry-run` tells which and why"
    return {"trouble": trouble, "do": remedy, "failed": figures.failed, "stopped": figures.stopped}


def storages_view(known: Mapping[str, Storage]) -> list[dict[str, Any]]:
    """The storages that are recorded to. `free_bytes` and `total_bytes` are None until one has been looked at."""
    return [
        {
            "path": root,
            "free_bytes": None if one.seen is None else one.seen.free_bytes,
            "total_bytes": None if one.seen is None else one.seen.total_bytes,
            "trouble": None if one.trouble is None else one.trouble.what,
            "do": None if one.trouble is None else one.trouble.remedy,
        }
        for root, one in known.items()
    ]


def why_view(
    status: WorkerStatus,
    name: str,
    now_us: int,
    storage: StorageTrouble | None = None,
    health: Health | None = None,
    held: Mapping[str, int] | None = None,
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """What is wrong with a monitor and what to do, in one line and in parts. `storage`: what is wrong with the one it records to; `health`:
    what its worker says of the camera; `held`: what was held back of that, lately, by kind; `warnings`: its document's."""
    advice = with_held(advise(status, now_us), held or {}, status.monitor_id)
    advice = with_storage(with_health(advice, health, now_us), storage)
    advice = with_warnings(advice, warnings, status.monitor_id)
    return advice_view(status.monitor_id, name, status.state.value, advice)


def advice_view(monitor_id: int, name: str, state: str | None, advice: Advice) -> dict[str, Any]:
    """`Advice` on a monitor; `state` is None for one that does not run on zm-next."""
    what, remedy = advice.what, advice.remedy
    called = f"monitor {monitor_id} ({name})" if name else f"monitor {monitor_id}"
    line = f"{called} {f'is {state}: ' if state else ''}{what}" + (f"; {remedy}" if remedy else "")
    return {"id": monitor_id, "state": state, "well": advice.well, "what": what, "do": remedy, "line": line}


def happening_view(happening: object, now_us: int) -> tuple[str, dict[str, Any]] | None:
    """What the feed tells of a happening: its name and fields; None for what is not told."""
    if isinstance(happening, Transition):
        return "transition", {
            "monitor_id": happening.monitor_id,
            "from": happening.from_state.value,
            "to": happening.to_state.value,
            "reason": happening.reason,
            "at": at(happening.at_us),
        }
    if isinstance(happening, EventOpened):
        return "event_opened", {
            "monitor_id": happening.monitor_id,
            "event_id": happening.event_id,
            "cause": happening.cause,
            "start": at(happening.start_us),
            "at": at(now_us),
        }
    if isinstance(happening, EventClosed):
        return "event_closed", {
            "monitor_id": happening.monitor_id,
            "event_id": happening.event_id,
            "length_seconds": round(happening.length_us / 1e6, 3),
            "frames": happening.frames,
            "alarm_frames": happening.alarm_frames,
            "clip": happening.path is not None,
            "at": at(now_us),
        }
    if isinstance(happening, RecordingFailed):
        return "not_recording", {
            "monitor_id": happening.monitor_id,
            "reason": happening.reason,
            "at": at(happening.at_us),
        }
    if isinstance(happening, RecordingWell):
        return "recording", {"monitor_id": happening.monitor_id, "at": at(happening.at_us)}
    return None
