"""What is being recorded or seen right now, and what has just ended, for those who want to know at once rather than from the database.
Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import attrs

from zmtwist.changes import CloseEvent, Tally
from zmtwist.ingest.session.session import Session
from zmtwist.notifications import EventClosed
from zmtwist.zm.event_paths import EventPlace


@attrs.frozen
class UnderWay:
    """One event that is not over. `event_id` is None until its row is committed; `records` says whether it has a clip. Wall times in
    microseconds since the epoch; `active_us` is that of the last alarm, 0 for none."""

    monitor_id: int
    event_id: int | None
    records: bool
    start_us: int
    active_us: int
    cause: str
    labels: tuple[str, ...]
    tally: Tally


def under_way(sessions: Iterable[Session], places: Mapping[str, EventPlace]) -> Iterator[UnderWay]:
    """The open events of `sessions`, with the ids that `places` has for them."""
    for session in sessions:
        for clip in session.clips:
            place = places.get(clip.handle)
            yield UnderWay(
                monitor_id=session.monitor_id,
                event_id=None if place is None else place.event_id,
                records=clip.token is not None,
                start_us=clip.start_us,
                active_us=clip.seen_us,
                cause=clip.cause,
                labels=clip.labels,
                tally=clip.tally,
            )


def closed(change: CloseEvent, place: EventPlace, labels: tuple[str, ...]) -> EventClosed:
    """What there is to tell of an event whose row was closed."""
    return EventClosed(
        place.monitor_id,
        place.event_id,
        change.length_us,
        change.frames,
        change.tally.alarm_frames,
        f"{place.directory}/{change.video_name}" if change.video_name else None,
        change.tally.max_score,
        change.cause,
        labels,
    )
