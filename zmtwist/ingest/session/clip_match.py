"""Whose a clip's file is: told by its own name and place, and never by what else is said of it. Pure.

A worker's clip lies under the worker's own name (`worker_filename`), which has the monitor and the second of the opening in it, or in the
directory of an event under a name with that event's id in it. Whatever lies elsewhere is nobody's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import tzinfo
from posixpath import basename, dirname, normpath

from zmtwist.ingest.session.open_event import Clip
from zmtwist.ingest.session.options import SECOND, Options
from zmtwist.ingest.session.scoring import CAUSES, cause_of
from zmtwist.ingest.session.worker_filename import OwnName, own_name
from zmtwist.wire.event_details import RecordingSaved
from zmtwist.zm.event_paths import EventPlace
from zmtwist.zm.read.own_events import clip_event, is_our_name

SLACK_US = 2 * SECOND
"""Names of clips and rows have whole seconds, and an opening is heard a moment after it."""

LATE_US = 10 * SECOND
"""How much later than it was an opening may be heard: the worker's log is read when there is time."""

LONGEST_PRE_ROLL_US = 60 * SECOND


def opened_in(row_start_us: int, pre_roll_us: int, opened_us: int) -> bool:
    """Whether a clip whose name says that it was opened then may be that of an event with this start: a triggered clip begins by the
    pre-roll before its opening. No opening is heard before it is, but a row has whole seconds only."""
    whole = SECOND if row_start_us % SECOND == 0 else 0
    return row_start_us - SLACK_US <= opened_us <= row_start_us + pre_roll_us + whole


def pre_roll_of(cause: str | None, pre_roll_us: int) -> int:
    """How long before its opening the clip of an event with this cause may begin, given how long that is for triggered ones."""
    trigger, _, _ = (cause or "").partition(": ")
    return 0 if trigger == CAUSES["continuous"] else pre_roll_us


def tail(path: str) -> str:
    """By which a clip is known among those of its monitor, wherever its storage is mounted and whatever links lead there."""
    return "/".join(path.rsplit("/", 2)[-2:])


def may_hold(path: str, place: EventPlace, roots: Collection[str], pre_roll_us: int, zone: tzinfo | None) -> bool:
    """Whether a file of this name can be the clip of the event at `place`. Wide in time, for a start may have been put right since.

    Under its worker's own name it may be in another storage, of the `roots` that there are: in that which the worker was told of.
    """
    path = normpath(path)
    if dirname(path) == normpath(place.directory):
        return is_our_name(place.event_id, basename(path))
    latest = place.start_us + pre_roll_us + LONGEST_PRE_ROLL_US
    known = dirname(dirname(path)) in {normpath(root) for root in (place.root, *roots)}
    named = own_name(path, zone, latest) if known else None
    return (
        named is not None
        and named.monitor_id == place.monitor_id
        and place.start_us - LONGEST_PRE_ROLL_US <= named.opened_us <= latest
    )


def nobodys(path: str, known: Sequence[Clip]) -> bool:
    """Whether a clip has the name of an event's, and the event is none of `known`."""
    event_id = clip_event(basename(path))
    return event_id is not None and all(clip.event_id != event_id for clip in known)


def bears_name_of(recording: Sequence[Clip], path: str, zone: tzinfo | None) -> bool:
    """Whether one of the clips that record was opened in the second that this name tells: where the disk has changed since, that one may
    have been given the name again."""
    named = own_name(path, zone)
    return named is not None and any(clip.opened_us // SECOND == named.opened_us // SECOND for clip in recording)


def clip_saved(
    saved: RecordingSaved,
    monitor_id: int,
    recording: Sequence[Clip],
    over: Sequence[Clip],
    options: Options,
    at_us: int,
) -> Clip | None:
    """The clip, of those that record and those that are `over` without a save, which a save is of; None where its opening was never heard.

    The file's name tells. Where it does not, the ids do that the worker gives, and else it is the first that records.
    """
    event_id = clip_event(basename(saved.path))
    if event_id is not None:
        return next((clip for clip in recording if clip.event_id == event_id), None)
    known = (*recording, *over)
    # In the hour that autumn repeats it may be either: the clock may have been set since.
    names = {one for until_us in (None, at_us) if (one := own_name(saved.path, options.zone, until_us)) is not None}
    if {named.monitor_id for named in names} == {monitor_id}:
        near = [
            (off, n)
            for n, clip in enumerate(known)
            for named in names
            if (off := _off(clip, named, options.pre_roll_us)) is not None
        ]
        return known[min(near)[1]] if near else None
    for clip in known:
        if saved.event_id and clip.event_id == saved.event_id:
            return clip
    for clip in known:
        if saved.clip_token is not None and clip.token == saved.clip_token:
            return clip
    return recording[0] if recording else None


def begin_of_unheard(saved: RecordingSaved, monitor_id: int, options: Options, at_us: int, duration_us: int) -> int:
    """When a clip began whose opening was not heard. By its length, unless the camera went quiet before the save, or the clock was set;
    then the name that the worker gave it tells."""
    latest_us = at_us - duration_us
    named = own_name(saved.path, options.zone, at_us)
    if named is None or named.monitor_id != monitor_id:
        return latest_us
    if named.opened_us - LONGEST_PRE_ROLL_US <= latest_us <= named.opened_us + SECOND:
        return latest_us
    return named.opened_us - pre_roll_of(cause_of(saved.cause or "continuous"), options.pre_roll_us)


def _off(clip: Clip, named: OwnName, pre_roll_us: int) -> int | None:
    """How many seconds later than the name says the clip's opening was heard; None where it can't be the one of that name."""
    if not clip.opened_us:  # it was taken on from an earlier run, which knew when it began
        return 0 if opened_in(clip.start_us, pre_roll_of(clip.cause, pre_roll_us), named.opened_us) else None
    late_us = clip.opened_us - named.opened_us
    return abs(late_us // SECOND) if -SECOND <= late_us <= LATE_US else None
