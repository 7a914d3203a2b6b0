"""What to do about a fleet, decided without doing it: which monitors run, when, and whether the host is to blame rather than a worker.

Plain functions of immutable values: no reactor, no clock, no file. Times are seconds of one clock, only ever compared.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import attrs

from zmtwist.config.model import ZmNextConfig
from zmtwist.pipeline.monitor import Monitor

HOUR = 3600.0


UNRESPONSIVE_SECONDS = 5.0
"""How soon SIGKILL follows SIGTERM where a worker is frozen, or hangs in connecting to its camera: all that time nothing is recorded."""


def next_turn(now: float, free_at: float, per_second: float, workers: int) -> tuple[float, float]:
    """When the next worker may be spawned, and from when on the one after it: at most `per_second`, evenly spaced.

    No wait is longer than `workers` turns, so that a clock which was set back does not keep a fleet down.
    """
    at = min(max(now, free_at), now + workers / per_second)
    return at, at + 1.0 / per_second


NOTHING_RECORDED_SECONDS = 600.0
"""A worker that records nothing of the frames that come is replaced no more often than this: where the stream itself is the reason, another
process changes nothing."""


@attrs.frozen
class Guard:
    """What the fleet guard remembers: until when it waits (None: it does not), and when the recent stalls were acted on."""

    until: float | None = None
    acted: tuple[float, ...] = ()


@attrs.frozen
class Host:
    """How the host looks at one tick of the watch. `workers` counts those that are meant to run, `stalled` those STALLED now."""

    workers: int
    stalled: int
    loop_late_seconds: float = 0.0
    database_away: bool = False


def guard(before: Guard, host: Host, now: float, window: float) -> tuple[Guard, str | None]:
    """Decide whether stalled workers may be replaced now: the new memory, and the reason to wait or None for 'go on'.

    A failure of many at once is the host's: wait one window, once, then act. A late loop made all ages meaningless, so it always
    begins a new window. A single worker can't be told from the host by number, so at least two make 'many'.
    """
    acted = tuple(at for at in before.acted if 0 <= now - at < window)
    stalls = host.stalled + len(acted)
    blame = None
    if host.loop_late_seconds > 0:
        blame = f"our own loop was {host.loop_late_seconds:.1f} s late"
    elif stalls >= 2 and stalls * 3 > host.workers:
        blame = f"{stalls} of {host.workers} workers stalled within {window:.0f} s"
    elif host.stalled and host.database_away:
        blame = "the database is away"
    until = before.until
    if blame and (until is None or host.loop_late_seconds > 0):
        until = now + window
    elif until is not None and now >= until and not blame:
        until = None
    if until is not None and now < until:
        return Guard(until, acted), blame or "waiting for fresh signs of life"
    return Guard(until, acted + (now,) * host.stalled), None


def watch_interval(watchdog_seconds: float) -> float:
    """Seconds between two looks at the workers: often enough to see a stall well before it has doubled, never a burden."""
    return min(5.0, max(0.1, watchdog_seconds / 6.0))


def opted_in(monitor: Monitor, config: ZmNextConfig) -> bool:
    """Whether this monitor is one of ours, be it meant to run at the moment or not: what it recorded is ours to look after."""
    override = next((entry for entry in config.monitor if entry.id == monitor.id), None)
    if monitor.deleted:
        return False
    if override is not None and override.enabled is not None:
        return override.enabled
    return config.monitors == "all" or monitor.id in config.monitors or bool(monitor.use_zm_next)


def unwanted_reason(monitor: Monitor, config: ZmNextConfig) -> str | None:
    """Why this monitor is not to run on zm-next, or None where it is.

    An override's `enabled` says what the database would: true opts in and outvotes Capturing and Function, false opts out.
    """
    override = next((entry for entry in config.monitor if entry.id == monitor.id), None)
    enabled = override.enabled if override else None
    if monitor.deleted:
        return "it is deleted"
    if enabled is not None:
        return None if enabled else "[[zmnext.monitor]] enabled is false"
    named = config.monitors == "all" or monitor.id in config.monitors
    if not named and not monitor.use_zm_next:
        return "not opted in: neither Monitors.UseZmNext nor [zmnext] monitors names it"
    column, value = (
        ("Capturing", monitor.capturing) if monitor.capturing is not None else ("Function", monitor.function)
    )
    return f"{column} is None" if value == "None" else None


DISABLED = "[zmnext] enabled is false"


@attrs.frozen
class Choice:
    """The monitors that are to run on zm-next, and of the others of this server the reason why not."""

    wanted: frozenset[int] = frozenset()
    unwanted: Mapping[int, str] = attrs.field(factory=dict)


def choose(
    monitors: Sequence[Monitor], unreadable: Mapping[int, str], running: Collection[int], config: ZmNextConfig
) -> Choice:
    """Which monitors are to run. `unreadable`: those whose rows made no sense, with the reason each.

    One of these keeps what it has (`running`): a slip of the editor must not stop a recording. Without `enabled` there is none at all.
    """
    if not config.enabled:
        return Choice(unwanted=dict.fromkeys((*(monitor.id for monitor in monitors), *unreadable), DISABLED))
    reasons = {monitor.id: unwanted_reason(monitor, config) for monitor in monitors}
    wanted = {monitor_id for monitor_id, reason in reasons.items() if reason is None}
    unwanted = {monitor_id: f"its row makes no sense: {reason}" for monitor_id, reason in unreadable.items()}
    unwanted |= {monitor_id: reason for monitor_id, reason in reasons.items() if reason is not None}
    return Choice(frozenset(wanted | (unreadable.keys() & set(running))), unwanted)
