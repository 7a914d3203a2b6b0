"""A clip whose save was not heard, for its worker was killed or the message was missed: found by what is known of it.

The function here blocks and is called through `reactor.thread_pool.Disk`.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import tzinfo
from pathlib import Path

from msgspec.structs import replace

from zmtwist.changes import ClipSaved
from zmtwist.ingest.clips.placement import ClipMissing, see_root
from zmtwist.ingest.clips.probe import Measure, measure_files
from zmtwist.ingest.clips.scan import Found, clips_of, set_aside, strays_of
from zmtwist.ingest.session.clip_match import SLACK_US, opened_in
from zmtwist.ingest.session.worker_filename import days_of
from zmtwist.zm.event_paths import EventPlace

SAME_US = 500_000
"""By less than this a worker's length and the file's differ where both are right: by a frame, at some frames a second."""


def find_unheard(
    saved: ClipSaved, place: EventPlace, pre_roll_us: int, zone: tzinfo | None, roots: Collection[str] = ()
) -> ClipSaved:
    """`saved` with the path of the event's clip and the clip's own length, wherever it is: in its place, or still under the worker's name,
    there or in another of the storages at `roots`, to which its worker went on recording.

    A file in its place that holds nothing is set aside; one under the worker's own name may be the next clip, just begun, and is left for
    the recovery, which asks who lives. Raises `ClipMissing` where there is none, and OSError where the storage is away.
    """
    see_root(place.root)
    found = _in_place(place) or _under_its_own_name(saved, place, pre_roll_us, zone, roots)
    if found is None:
        raise ClipMissing(f"no clip in {place.directory}, nor under the worker's own name")
    measured = measure_files([found.path])[found.path] if found.size else None
    if measured is None or not measured.readable:
        if str(Path(found.path).parent) != place.directory:
            raise ClipMissing(f"{found.path} holds no picture")
        raise _without_picture(found.path, place.root)
    if not measured.frames:
        return replace(saved, path=found.path)
    return _measured(replace(saved, path=found.path), measured)


def as_measured(saved: ClipSaved, path: str, root: str) -> ClipSaved:
    """`saved` with the length of the clip that is in its place, as far as its file tells. One without a picture is set aside in the storage
    at `root`; then it raises `ClipMissing`."""
    measured = measure_files([path])[path]
    if not measured.readable:
        raise _without_picture(path, root)
    if not measured.frames:
        return saved
    return _measured(saved, measured)


def begun_as_heard(saved: ClipSaved) -> ClipSaved:
    """`saved` for a clip of which it is not known any more that it began at another time than was heard."""
    tally = replace(saved.tally, max_score_us=max(0, saved.tally.max_score_us - saved.earlier_us))
    return replace(saved, earlier_us=0, tally=tally)


def _measured(saved: ClipSaved, measured: Measure) -> ClipSaved:
    if abs(measured.duration_us - saved.duration_us) > SAME_US:  # it was reckoned with from the end of the clip
        saved = begun_as_heard(saved)
    return replace(saved, duration_us=measured.duration_us, frames=measured.frames, settle=True, doubtful=False)


def _without_picture(path: str, root: str) -> ClipMissing:
    return ClipMissing(f"its clip holds no picture, and is now {set_aside(path, root)}")


def _in_place(place: EventPlace) -> Found | None:
    found = clips_of(place.event_id, place.directory)
    return found[0] if found else None


def _under_its_own_name(
    saved: ClipSaved, place: EventPlace, pre_roll_us: int, zone: tzinfo | None, roots: Collection[str]
) -> Found | None:
    """The first clip that was opened when the event's was, and not written to any more after its end: a later one is the next worker's."""
    first, last = place.start_us - SLACK_US, place.start_us + pre_roll_us + SLACK_US
    until_us = place.start_us + saved.duration_us
    for root in (place.root, *(root for root in roots if root != place.root)):
        for day in days_of(first, last, zone):
            for stray in strays_of(root, day, {place.monitor_id}, zone):
                if opened_in(place.start_us, pre_roll_us, stray.opened_us) and stray.mtime_us <= until_us:
                    return stray
    return None
