"""What to do about one process, decided without doing it: exits, delays, stalls. Pure; times are seconds of one clock."""

from __future__ import annotations

import signal as signals
from collections.abc import Mapping, Sequence
from typing import Literal

import attrs

JITTER = 0.2
"""How far a delay may differ from its nominal value, as a share of it: workers that failed together must not return together."""


STATS_SECONDS = 5.0
"""How often a worker sends STATS; a watchdog shorter than that must not take the pause between two for a stall."""


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


def sample_interval(watchdog_seconds: float) -> float:
    """Seconds between two samples of a worker's media: several within what the watchdog allows."""
    return min(SAMPLE_SECONDS, watchdog_seconds / 4.0)
