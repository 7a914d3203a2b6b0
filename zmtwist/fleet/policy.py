"""What to do about workers, decided without doing it: delays, exits, stalls, and when the host is to blame rather than a worker.

Plain functions of immutable values: no reactor, no clock, no file. Times are seconds of one clock, only ever compared.
"""

from __future__ import annotations

import signal as signals
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import attrs

from zmtwist.config.model import ZmNextConfig
from zmtwist.pipeline.monitor import Monitor

JITTER = 0.2
"""How far a delay may differ from its nominal value, as a share of it: workers that failed together must not return together."""

HOUR = 3600.0

STATS_SECONDS = 5.0
"""How often a worker sends STATS; a watchdog shorter than that must not take the pause between two for a stall."""

UNRESPONSIVE_SECONDS = 5.0
"""How soon SIGKILL follows SIGTERM where a worker is frozen, or hangs in connecting to its camera: all that time nothing is recorded."""

FROZEN_SECONDS = 0.1
"""How soon it follows where a signal has stopped the worker: SIGTERM will never be heard."""

SAMPLE_SECONDS = 2.0
"""Between two samples of a worker's media at most: that no frames come is told from the third second on."""

LAUNCHER_EXITS = {126: "cannot be executed", 127: "cannot be executed"}
"""What the launcher says of a binary that it cannot run, whatever that is."""

EXIT_MEANING = {
    0: "ended by itself",
    1: "does not understand its command line",
    2: "found no pipeline",
    3: "could not load the pipeline",
    4: "could not load a plugin",
    5: "could not bind its socket",
    **LAUNCHER_EXITS,
}
"""What each exit status means (doc/reference/worker.md, Command line)."""

FATAL_EXITS = frozenset({1, 2, 3, 4, 126, 127})
"""Exits that another try with the same document and binary would only repeat."""


@attrs.frozen
class Exit:
    """How a process ended: by its own status, or by a signal (then `code` is None). Neither is known of one that was not our child."""

    code: int | None = None
    signal: int | None = None

    def __str__(self) -> str:
        """For people: 'exit 3' or 'signal 9 (SIGKILL)'."""
        if self.code is None and self.signal is None:
            return "ended, it is not known how"
        if self.signal is None:
            return f"exit {self.code}"
        try:
            return f"signal {self.signal} ({signals.Signals(self.signal).name})"
        except ValueError:
            return f"signal {self.signal}"


@attrs.frozen
class Verdict:
    """What an ended or refused worker deserves: another try soon, or (`fatal`) only at the longest delay."""

    fatal: bool
    reason: str


def judge(ended: Exit, errors: Sequence[str] = (), meanings: Mapping[int, str] = EXIT_MEANING) -> Verdict:
    """Classify an exit. `errors` are the last error lines, already guarded; they are the reason where it is fatal.

    `meanings`: what the program's exits mean, where that is known.
    """
    meaning = meanings.get(ended.code) if ended.code is not None else None
    reason = f"{ended}: {meaning}" if meaning else str(ended)
    fatal = meaning is not None and ended.code in FATAL_EXITS
    if errors and ended.code != 0:
        reason = f"{reason}: {' | '.join(errors)}"
    return Verdict(fatal, reason)


def nominal_delay(failures: int, minimum: float, maximum: float) -> float:
    """Seconds to wait after the `failures`-th failure in a row (from 1), before jitter: `minimum`, doubling up to `maximum`."""
    doublings = min(max(failures - 1, 0), 62)
    return min(minimum * float(2**doublings), maximum)


def jittered(delay: float, chance: float) -> float:
    """`delay` moved by up to `JITTER` either way; `chance` is evenly spread over 0 to 1."""
    return delay * (1.0 + JITTER * (2.0 * chance - 1.0))


def failures_after_live(failures: int, live_seconds: float, stable_seconds: float) -> int:
    """The failures still held against a worker that has just been LIVE for `live_seconds`."""
    return 0 if live_seconds >= stable_seconds else failures


def next_turn(now: float, free_at: float, per_second: float, workers: int) -> tuple[float, float]:
    """When the next worker may be spawned, and from when on the one after it: at most `per_second`, evenly spaced.

    No wait is longer than `workers` turns, so that a clock which was set back does not keep a fleet down.
    """
    at = min(max(now, free_at), now + workers / per_second)
    return at, at + 1.0 / per_second


Phase = Literal["spawned", "linked", "live"]


@attrs.frozen
class Signs:
    """Signs of life of one running worker: when it got into its phase, and when media moved and STATS came last.

    `sends_video` is false for one that announced other streams only: its STATS have to do.
    """

    phase: Phase
    since: float
    media_at: float | None = None
    stats_at: float | None = None
    sends_video: bool = True


def stall_reason(signs: Signs, now: float, watchdog_seconds: float) -> str | None:
    """Why a worker counts as stalled, or None. A sign that has not come yet counts from the start of the phase."""
    if signs.phase == "spawned":
        waited = now - signs.since
        return f"its socket has not answered for {waited:.0f} s" if waited > watchdog_seconds else None
    for name, needed, at, limit in (
        ("media", signs.sends_video, signs.media_at, watchdog_seconds),
        ("STATS", True, signs.stats_at, max(watchdog_seconds, 2.5 * STATS_SECONDS)),
    ):
        age = now - (signs.since if at is None else at)
        if needed and age > limit:
            return f"no {name} for {age:.0f} s"
    return None


NOTHING_RECORDED_SECONDS = 600.0
"""A worker that records nothing of the frames that come is replaced no more often than this: where the stream itself is the reason, another
process changes nothing."""


def sample_interval(watchdog_seconds: float) -> float:
    """Seconds between two samples of a worker's media: several within what the watchdog allows."""
    return min(SAMPLE_SECONDS, watchdog_seconds / 4.0)


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
