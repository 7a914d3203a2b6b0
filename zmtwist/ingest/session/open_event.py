"""One open event: how its alarm frames are numbered and scored, and what its rows should say by now. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from zmtwist.changes import AddFrame, AddTag, Change, CloseEvent, Tally, UpdateEvent
from zmtwist.ingest.session.notes import Sighting, clock, remark, sightings, where
from zmtwist.ingest.session.options import SECOND, Options
from zmtwist.ingest.session.scoring import Activity, cause_of

MAX_LABELS = 64
MAX_LABELS_IN_CAUSE = 12
MAX_TRACKS = 64
MAX_REMARKS = 64
TRACK_SILENCE_US = 30 * SECOND
"""A track that was not seen for this long has ended: its note is written, though the clip goes on."""

MOST_BULK = 24
"""Bulk rows of one refresh. At most so many are written however much time has passed, or a worker's numbers make it seem: of more, those
that leave gaps of one length. It takes a camera of 480 frames a second to need as many at 100 frames a row."""

DEFAULT_RATE = 10.0
"""Frames per second to number frames by while no sample has told the camera's; settled when the clip is saved."""


class Track(msgspec.Struct, frozen=True):
    """Something seen for a while: what the note will say of it. `first_us` is an offset in the clip, `last_us` wall time."""

    name: str
    first_us: int
    last_us: int
    best: int
    zones: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """Its note: `0:07 person #4 91% in Drive`."""
        return f"{clock(self.first_us)} {self.name} {self.best}%{where(self.zones)}"

    def again(self, seen: Sighting, at_us: int) -> Track:
        """Seen once more. It is called what it was called when it was seen best."""
        zones = self.zones
        if new := tuple(zone for zone in seen.zones if zone not in zones):
            zones += new
        better = seen.score > self.best
        return Track(
            seen.name if better else self.name, self.first_us, at_us, seen.score if better else self.best, zones
        )


class Clip(msgspec.Struct, frozen=True):
    """An event that is open. `start_us` is what its row says; `set_us` by how much the clock was set since: how long a clip is, and when in
    it something was, goes by the time that has passed, not by what a clock says at its two ends. `guess` says that a FrameId was numbered
    by another rate than the camera's present one, or by none.

    `opened_us` is when its opening was heard to be, 0 where it was not. `due_us` paces its alarm frames, of which `folded` were left out;
    `tracks` have no note yet; `remarked` is what has one already. `refused`: not all of its frames were recorded.
    """

    handle: str
    start_us: int
    trigger: str
    token: str | None = None
    event_id: int = 0
    set_us: int = 0
    labels: tuple[str, ...] = ()
    tally: Tally = Tally()
    last_frame: int = 1
    rate: float = 0.0
    guess: bool = False
    pts_base: int | None = None
    last_pts: int | None = None
    seen_us: int = 0
    refreshed_us: int = 0
    opened_us: int = 0
    due_us: int = 0
    folded: int = 0
    tracks: Mapping[str, Track] = {}
    remarked: tuple[str, ...] = ()
    refused: bool = False

    @property
    def cause(self) -> str:
        """What `Events.Cause` should say by now."""
        return cause_of(self.trigger, self.labels[:MAX_LABELS_IN_CAUSE])

    def offset(self, at_us: int) -> int:
        """How far into the clip a moment is."""
        return max(0, at_us - self.set_us - self.start_us)

    def stepped(self, by_us: int) -> Clip:
        """The same once the wall clock was set by so much: what was before keeps its distance from now."""
        return replace(
            self,
            set_us=self.set_us + by_us,
            seen_us=self.seen_us and self.seen_us + by_us,
            refreshed_us=self.refreshed_us + by_us,
            tracks={key: replace(track, last_us=track.last_us + by_us) for key, track in self.tracks.items()},
        )


def scored(clip: Clip, activity: Activity, camera_rate: float, options: Options) -> tuple[Clip, list[Change]]:
    """An alarm frame of `clip`, numbered by when it happened (FrameIds only ever rise), and the labels that are new.

    `camera_rate` is 0 while unknown. A frame for which there is no room by `options.frames` is left out, unless it scores higher than
    any before it.
    """
    changes: list[Change] = []
    labels = clip.labels
    if activity.labels and (new := [label for label in activity.labels if label not in labels]):
        new = new[: MAX_LABELS - len(labels)]
        labels = (*labels, *new)
        if options.tags:
            changes += [AddTag(clip.handle, label) for label in new]
    if not activity.score:
        return (clip if labels is clip.labels else replace(clip, labels=labels)), changes
    offset = clip.offset(activity.at_us)
    base = clip.pts_base
    if activity.pts_us is not None:
        if activity.pts_us == clip.last_pts:  # the same frame again, seen by another stage
            return replace(clip, labels=labels, seen_us=activity.at_us), changes
        # Frames are stamped far more evenly than their events arrive, so the clock is looked at only once.
        if base is None or abs(activity.pts_us - base - offset) > 2 * SECOND:
            base = activity.pts_us - offset
        offset = max(0, activity.pts_us - base)
    tally = clip.tally
    best = activity.score > tally.max_score
    due = options.frames.admits(clip.due_us, offset, options.frames.slack_us)
    if not due and not best:
        clip = replace(
            clip,
            labels=labels,
            pts_base=base,
            last_pts=activity.pts_us,
            seen_us=activity.at_us,
            folded=clip.folded + 1,
        )
        return clip, changes
    rate = camera_rate or DEFAULT_RATE
    ordinal = 1 + round(offset * rate / SECOND)
    # The first row is there already, and so may be an alarm as long as it is the only one.
    first = ordinal == 1 and clip.last_frame == 1 and not tally.alarm_frames
    frame_id = 1 if first else max(ordinal, clip.last_frame + 1)
    tally = Tally(
        tally.alarm_frames + 1,
        tally.total_score + activity.score,
        activity.score if best else tally.max_score,
        frame_id if best else tally.max_score_frame,
        offset if best else tally.max_score_us,
    )
    clip = replace(
        clip,
        labels=labels,
        tally=tally,
        last_frame=frame_id,
        rate=rate,
        guess=clip.guess or not camera_rate or clip.rate not in (0.0, rate) or frame_id != ordinal,
        pts_base=base,
        last_pts=activity.pts_us,
        seen_us=activity.at_us,
        due_us=due or clip.due_us,
    )
    changes.append(AddFrame(clip.handle, frame_id, offset, activity.score))
    return clip, changes


def noted(clip: Clip, activity: Activity) -> tuple[Clip, list[str]]:
    """The lines for `Events.Notes` that `activity` gives rise to: what is said for the first time; a track's is kept for its end."""
    lines: list[str] = []
    offset = clip.offset(activity.at_us)
    if seen := sightings(activity):
        tracks = dict(clip.tracks)
        for sighting in seen:
            known = tracks.get(sighting.key)
            if known is not None:
                tracks[sighting.key] = known.again(sighting, activity.at_us)
                continue
            if len(tracks) >= MAX_TRACKS:
                lines.append(tracks.pop(min(tracks, key=lambda key: tracks[key].last_us)).line)
            tracks[sighting.key] = Track(sighting.name, offset, activity.at_us, sighting.score, sighting.zones)
        clip = replace(clip, tracks=tracks)
    elif (said := remark(activity, offset)) is not None and said[0] not in clip.remarked:
        lines.append(said[1])
        clip = replace(clip, remarked=(*clip.remarked, said[0])[-MAX_REMARKS:])
    return clip, lines


def silent_tracks(clip: Clip, at_us: int) -> tuple[Clip, list[Change]]:
    """The notes of tracks that have ended by `at_us`."""
    over = [key for key, track in clip.tracks.items() if at_us - track.last_us >= TRACK_SILENCE_US]
    if not over:
        return clip, []
    lines = [clip.tracks[key].line for key in over]
    left = {key: track for key, track in clip.tracks.items() if key not in over}
    return replace(clip, tracks=left), notes(clip, lines)


def last_notes(clip: Clip) -> list[Change]:
    """The notes of all tracks that have none yet: the clip is over."""
    return notes(clip, [track.line for track in clip.tracks.values()])


def notes(clip: Clip, lines: list[str]) -> list[Change]:
    """`lines` as a change, if there are any."""
    return [UpdateEvent(handle=clip.handle, note="\n".join(lines))] if lines else []


def refreshed(clip: Clip, at_us: int, camera_rate: float, bulk_interval: int) -> tuple[Clip, list[Change]]:
    """What an open event's row should say at `at_us`, with the Bulk frames that have come due, up to `MOST_BULK`."""
    length = clip.offset(at_us)
    frames = frames_by(length, camera_rate)
    changes: list[Change] = []
    last, rate, guess = clip.last_frame, clip.rate, clip.guess
    if camera_rate and bulk_interval > 1 and clip.token is not None:
        due = range((last // bulk_interval + 1) * bulk_interval, frames + 1, bulk_interval)
        for frame_id in due[:: -(-len(due) // MOST_BULK) or 1]:
            changes.append(AddFrame(clip.handle, frame_id, round((frame_id - 1) * SECOND / camera_rate), 0, "Bulk"))
            guess = guess or rate not in (0.0, camera_rate)
            last, rate = frame_id, camera_rate
    changes.append(
        UpdateEvent(handle=clip.handle, length_us=length, frames=max(last, frames), tally=clip.tally, cause=clip.cause)
    )
    return replace(clip, last_frame=last, refreshed_us=at_us, guess=guess, rate=rate), changes


def frames_by(length_us: int, camera_rate: float) -> int:
    """How many frames a clip of this length should have; 1 while the rate is unknown."""
    return 1 + int(length_us * camera_rate / SECOND)


def needs_settling(clip: Clip, frames: int, duration_us: int) -> bool:
    """Whether the finished clip's true rate puts any frame elsewhere than it was written."""
    if clip.last_frame <= 1:
        return False
    if clip.guess or clip.last_frame > frames:
        return True
    true_rate = (frames - 1) * SECOND / duration_us if duration_us else 0.0
    return bool(clip.rate) and abs(true_rate - clip.rate) * clip.last_frame >= 0.5 * clip.rate


def quiet_end(clip: Clip) -> CloseEvent:
    """The end of an event without a clip: at its last activity."""
    length = clip.offset(clip.seen_us)
    return CloseEvent(handle=clip.handle, length_us=length, frames=clip.last_frame, tally=clip.tally, cause=clip.cause)


MIN_SHIFT_US = SECOND // 20
MAX_SHIFT_US = 60 * SECOND
"""Bounds for by how much a clip's start is put right: less is noise, more is no pre-roll."""


def begun_earlier(clip: Clip, duration_us: int, saved_us: int) -> int:
    """By how much a triggered clip began before what was taken for its start: it is saved as soon as its last frame has come.

    How far back it reaches depends on where the camera's keyframes are. 0 for a clip whose opening was not heard, for a segment, which
    begins when it is opened, and where the figures can't be right.
    """
    if clip.refused or not clip.token or clip.trigger == "continuous" or not duration_us:
        return 0
    earlier = clip.start_us - (saved_us - duration_us)
    return earlier if MIN_SHIFT_US <= abs(earlier) <= MAX_SHIFT_US else 0
