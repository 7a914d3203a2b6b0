"""What a session must know of its monitor and of the operator's wishes; and how often something may be written. Values only."""

from __future__ import annotations

from datetime import tzinfo

import msgspec

from zmtwist.config.model import IngestConfig
from zmtwist.ingest.session.zone_filter import Zoning

SECOND = 1_000_000
MINUTE = 60 * SECOND


class Pace(msgspec.Struct, frozen=True):
    """One every `interval_us` in the long run, and as many at once as `slack_us` has room for."""

    interval_us: int
    slack_us: int

    def admits(self, due_us: int, at_us: int, slack_us: int) -> int:
        """When the next is due if one may be written at `at_us`, else 0. `due_us` is what the last such call gave (0 at first), `slack_us`
        how much of the slack may be used up.

        Time that went back (a clock that was set) starts anew rather than to hold up everything until it has come round again.
        """
        ahead = due_us - at_us
        if ahead <= 0 or ahead > self.slack_us + 2 * self.interval_us:
            return at_us + self.interval_us
        return due_us + self.interval_us if ahead <= slack_us else 0


def frames_pace(per_second: float) -> Pace:
    """At most `per_second` in the long run, with a second's worth at once: events come less evenly than frames."""
    return Pace(max(1, round(SECOND / per_second)), SECOND)


def data_pace(per_minute: int) -> Pace:
    """Never more than `per_minute` (at least 1) in any minute: half of them may come at once."""
    at_once = per_minute // 2 + 1
    interval = -(-MINUTE // (per_minute - at_once + 1))
    return Pace(interval, (at_once - 1) * interval)


class Options(msgspec.Struct, frozen=True):
    """What the session must know of its monitor.

    `recorder`: the worker's document has a `store`. `unrecorded`: activity makes an event where there is none. `motion_area`: the picture's
    size in pixels, 0 unknown. `bulk_interval`: every how many frames a Bulk row is written (ZM_BULK_FRAME_INTERVAL; below 2: none).
    `idle_us`: a clipless event ends this long after its last activity, 0 never for that. `zone` is the time zone of the worker's file
    names, None for the host's. `zoning`: where objects count, None everywhere. `tags`: whether labels become tags. `frames` bounds the
    alarm frames of a clip, `data` the Event_Data rows of the monitor (None: none are written).
    """

    recorder: bool = True
    unrecorded: bool = True
    pre_roll_us: int = 0
    motion_area: int = 0
    bulk_interval: int = 100
    idle_us: int = 60 * SECOND
    zone: tzinfo | None = None
    zoning: Zoning | None = None
    tags: bool = True
    frames: Pace = frames_pace(30)
    data: Pace | None = data_pace(120)


def options_of(config: IngestConfig) -> Options:
    """What the operator wishes of every monitor. (`timezone` is that of the rows: workers name their files by the host's.)"""
    return Options(
        unrecorded=config.events_without_recording,
        idle_us=round(config.idle_finalize_seconds * SECOND),
        tags=config.tags,
        frames=frames_pace(config.max_frames_per_second),
        data=data_pace(config.max_data_per_minute) if config.max_data_per_minute else None,
    )
