"""`why N`: what is wrong with a monitor, and what to do about it. Pure, one sentence each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from zmtwist.fleet.process.policy import SAMPLE_SECONDS
from zmtwist.fleet.process.state import State
from zmtwist.fleet.status import WorkerStatus
from zmtwist.ingest.clips.storage_monitor import StorageTrouble
from zmtwist.ingest.session.camera_health import Health

FIRST_PICTURE_US = 15_000_000
"""A camera may take this long to give its first picture, in microseconds."""

QUIET_SECONDS = 3.0
"""From when on it is told that no frames come."""

_NOT_RECORDING = (
    "see `zmnextctl logs {id}`; its stream should have no B-frames, and keyframes under 1 MiB every few seconds"
)

NO_SUCH = "there is no such monitor on this server"


@attrs.frozen
class Advice:
    """`what` is the case, and what to do about it: `remedy`, empty where there is nothing to do. `well`: all is as it should be."""

    what: str
    remedy: str = ""
    well: bool = False


_BY_EXIT: Mapping[int, str] = {
    1: "the binary takes other options than zm-core: check [zmnext.worker] binary",
    2: "see what it was given with `zmnextctl pipeline {id}`",
    3: "see what it was given with `zmnextctl pipeline {id}` and what it says with `zmnextctl logs {id}`",
    4: "a plugin is missing: `zmnextctl doctor` looks at the plugins folder under [zmnext.worker] working_directory",
    5: "it must be able to write to [paths] socks, and nothing else may hold its socket: `zmnextctl doctor` looks",
    126: "the binary can't be executed: check the rights and the architecture of [zmnext.worker] binary",
    127: "the binary can't be executed: check [zmnext.worker] binary",
}

_BY_WORDS: tuple[tuple[str, str], ...] = (
    ("refused:", "change the monitor in ZoneMinder, or leave it with zmc"),
    ("no such program", "install the worker, or set [zmnext.worker] binary"),
    ("working_directory", "set [zmnext.worker] working_directory to the folder that holds plugins/"),
    ("its disk mounted", "mount it; it is tried again by itself"),
    ("not writable", "give the service's user the right to write there; it is tried again by itself"),
    ("in the way", "move it away; it is tried again by itself"),
    ("setsid", "install util-linux"),
)


def advise(status: WorkerStatus, now_us: int) -> Advice:
    """What to tell of a worker at `now_us` (microseconds since the epoch)."""
    advice = _BY_STATE[status.state](status, now_us)
    if status.not_recording is not None and status.state is State.LIVE:
        reason, seconds = status.not_recording
        advice = Advice(
            f"NOT RECORDING for {_span(round(seconds * 1e6))}: {reason} ({advice.what})",
            _NOT_RECORDING.format(id=status.monitor_id),
        )
    # That ZoneMinder captures it too is wrong whatever the worker does; the text itself says what to do.
    return Advice(f"{advice.what}. {status.legacy}", advice.remedy) if status.legacy else advice


def with_storage(advice: Advice, trouble: StorageTrouble | None) -> Advice:
    """The same, with what is wrong with the storage that the monitor records to: that keeps it from recording whatever its state."""
    if trouble is None or trouble.what in advice.what:
        return advice
    remedy = "; ".join(part for part in (trouble.remedy, advice.remedy) if part)
    return Advice(f"{trouble.what} ({advice.what})", remedy)


def with_health(advice: Advice, health: Health | None, now_us: int) -> Advice:
    """The same, with what its worker says of the camera: a stream may be away, or may just have failed, while others deliver."""
    if health is None or health.well:
        return advice
    told = [(trouble.what, "has failed", trouble.since_us, trouble.message) for trouble in health.troubles]
    told += [
        (f"stream {stream.stream_id}", f"is {stream.state}", stream.since_us, stream.message)
        for stream in health.streams
        if stream.state != "connected"
    ]
    said = "; ".join(
        f"{what} {how} for {_span(now_us - since_us)}" + (f" ({message})" if message else "")
        for what, how, since_us, message in told
    )
    remedy = "" if "check" in advice.remedy and "camera" in advice.remedy else "check the camera and its network"
    return Advice(
        f"{advice.what}. Its worker says: {said}", "; ".join(part for part in (advice.remedy, remedy) if part)
    )


def with_held(advice: Advice, held: Mapping[str, int], monitor_id: int) -> Advice:
    """The same, with what of its worker's was held back lately, by kind: there was more of it than any camera needs."""
    if not held:
        return advice
    counted = ", ".join(f"{count} {kind}" for kind, count in sorted(held.items()))
    said = f"{advice.what}. More comes from its worker than is taken of one camera: {counted} were held back"
    return Advice(
        said, advice.remedy or f"see `zmnextctl logs {monitor_id}`; `zmnextctl restart {monitor_id}` may help"
    )


def with_warnings(advice: Advice, warnings: Sequence[str], monitor_id: int) -> Advice:
    """The same, with what its document could not be given of what was asked for, as a stored graph."""
    if not warnings:
        return advice
    said = f"{advice.what}. Of its document: {'; '.join(warnings)}"
    return Advice(said, advice.remedy or f"`zmnextctl pipeline {monitor_id}` shows it", advice.well)


def absent(reason: str) -> Advice:
    """What to tell of a monitor that has no worker, for `reason` (the fleet's)."""
    if reason == NO_SUCH:
        return Advice(reason, "`zmnextctl monitors` lists those there are")
    if reason.startswith("not opted in"):
        remedy = "set Monitors.UseZmNext to 1, or name it in [zmnext] monitors"
    elif reason.endswith("is None"):
        remedy = "set it to record in ZoneMinder"
    elif reason.startswith("its row makes no sense"):
        remedy = "put its row right in ZoneMinder"
    elif "enabled is false" in reason:
        remedy = "take that out of the configuration to let it run"
    else:
        remedy = ""
    return Advice(f"does not run on zm-next: {reason}", remedy)


def _remedy(status: WorkerStatus) -> str:
    """By what its reason says, else by how it ended last."""
    for words, remedy in _BY_WORDS:
        if words in status.reason:
            return remedy
    ended = status.last_exit
    if ended is not None and ended.signal is not None:
        return f"it was killed or has crashed: `zmnextctl logs {status.monitor_id}` and the kernel's log tell more"
    if ended is not None and ended.code is not None and ended.code in _BY_EXIT:
        return _BY_EXIT[ended.code].format(id=status.monitor_id)
    return f"see `zmnextctl logs {status.monitor_id}`"


def _retry(status: WorkerStatus, now_us: int) -> str:
    if status.next_start_us is None:
        return ""
    return f" (tried again in {max(0, status.next_start_us - now_us) / 1e6:.0f} s)"


def quiet_seconds(status: WorkerStatus) -> float | None:
    """For how long no frames have come from a camera that is live, once that is longer than between two looks and two of its frames."""
    age, rate = status.media_age_seconds, status.frames_per_second
    between = SAMPLE_SECONDS + (2.0 / rate if rate else 1.0)
    return age if age is not None and age >= max(QUIET_SECONDS, between) else None


def _live(status: WorkerStatus, now_us: int) -> Advice:
    rate = status.frames_per_second
    if (quiet := quiet_seconds(status)) is not None:
        remedy = "check the camera and its network; the worker is replaced if it stays so"
        return Advice(f"no frames for {quiet:.0f} s", remedy)
    shown = "media move" if rate is None else f"{rate:.1f} frames a second"
    due = f"; it is started anew when its clip ends: {status.restart_due}" if status.restart_due else ""
    return Advice(f"{shown}, for {_span(now_us - status.since_us)}{due}", well=True)


def _failed(status: WorkerStatus, now_us: int) -> Advice:
    return Advice(f"{status.reason}{_retry(status, now_us)}", _remedy(status))


def _starting(status: WorkerStatus, now_us: int) -> Advice:
    if status.pid is None:
        return Advice("it waits for its turn to be started", "wait: [zmnext.worker] starts_per_second sets the pace")
    return Advice(f"{status.reason}; its socket has not answered yet", "wait: the watchdog replaces it if it stays so")


def _linked(status: WorkerStatus, now_us: int) -> Advice:
    if now_us - status.since_us < FIRST_PICTURE_US:
        return Advice("its worker answers, the first picture is awaited", "wait a moment")
    return Advice(
        f"its worker answers, but no picture has come for {_span(now_us - status.since_us)}",
        f"check that the camera is on and its address and password are right: `zmnextctl logs {status.monitor_id}`",
    )


def _stalled(status: WorkerStatus, now_us: int) -> Advice:
    return Advice(status.reason, "check the camera and its network; the worker is replaced unless the host is to blame")


def _stopping(status: WorkerStatus, now_us: int) -> Advice:
    return Advice(status.reason, "wait: what does not end is killed after [zmnext.worker] stop_timeout_seconds")


def _held(status: WorkerStatus, now_us: int) -> Advice:
    return Advice(status.reason, f"`zmnextctl release {status.monitor_id}` lets it go on")


def _stopped(status: WorkerStatus, now_us: int) -> Advice:
    return Advice(status.reason, _remedy(status) if status.reason.startswith("refused:") else "")


_BY_STATE: Mapping[State, Callable[[WorkerStatus, int], Advice]] = {
    State.STOPPED: _stopped,
    State.STARTING: _starting,
    State.LINKED: _linked,
    State.LIVE: _live,
    State.STALLED: _stalled,
    State.STOPPING: _stopping,
    State.BACKOFF: _failed,
    State.FATAL: _failed,
    State.HELD: _held,
}


def _span(us: int) -> str:
    """A length of time in its two largest units."""
    seconds = max(0, round(us / 1e6))
    for unit, length, smaller in (("d", 86400, "h"), ("h", 3600, "min"), ("min", 60, "s")):
        if seconds >= length:
            rest = seconds % length // {"h": 3600, "min": 60, "s": 1}[smaller]
            return f"{seconds // length} {unit} {rest} {smaller}" if rest else f"{seconds // length} {unit}"
    return f"{seconds} s"
