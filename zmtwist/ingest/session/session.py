"""One monitor's events as they unfold: what the worker says comes in, changes to rows come out. Pure: no clock, no database, no files.

A session knows its clips by handle. Events that come while no clip is open (the trigger of a clip can precede its opening, and at a
segment boundary there is an instant between save and opening) are kept back and belong to the clip that opens next, or, where the
opening was never heard, to the one that is saved.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from zmtwist.changes import AddData, Change, ClipSaved, OpenEvent, UpdateEvent
from zmtwist.ingest.session.camera_health import Health
from zmtwist.ingest.session.clip_match import begin_of_unheard, clip_saved, nobodys
from zmtwist.ingest.session.event_data import Room, data_of
from zmtwist.ingest.session.open_event import (
    Clip,
    begun_earlier,
    frames_by,
    last_notes,
    needs_settling,
    noted,
    notes,
    quiet_end,
    refreshed,
    scored,
    silent_tracks,
)
from zmtwist.ingest.session.options import SECOND, Options
from zmtwist.ingest.session.scoring import Activity, activity_of, cause_of, kept_back
from zmtwist.ingest.session.worker_filename import is_path
from zmtwist.wire.encode import MAX_EVENT_ID
from zmtwist.wire.event_details import RecordingOpening, RecordingSaved, ReviewAssets, StreamState
from zmtwist.wire.messages import Event

REFRESH_US = 5 * SECOND
"""How often an open event's Length, Frames and scores are written: the console shows them while it records."""

CLOCK_SKEW_US = 10 * SECOND
"""A worker's wall clock (the same host's as ours) is believed unless it is further ahead than this, or more than a day behind: what a
worker said while we could not listen keeps the time at which it happened."""

UNKNOWN_TOKEN = ""
"""Of a clip that was taken on from an earlier run of the service: it has been assigned, or is recognised when it is saved."""

DAY_US = 86_400 * SECOND
MAX_FRAMES = 0xFFFF_FFFF
MAX_SECONDS = 1e7
REMEMBERED = 16
MOST_OPEN = 8
"""A worker records one clip at a time. Of so many, whose ends were not heard, none is being recorded any more."""

LATE_US = 300 * SECOND
"""What is said without an open clip (a model takes its time) is of the one that ended last, if that was no longer ago than this."""


class Ended(msgspec.Struct, frozen=True):
    """A clip that is over: it may still be spoken of. `path` is what the worker called its file at the end, '' unknown."""

    clip: Clip
    at_us: int
    path: str = ""


class Session(msgspec.Struct, frozen=True):
    """All that is going on at one monitor. `run` makes handles differ from those of an earlier run of the service. `unlogged`: nobody reads
    what its worker logs, for it was adopted; that frames are refused is told nowhere else."""

    monitor_id: int
    run: str
    options: Options = Options()
    serial: int = 0
    clips: tuple[Clip, ...] = ()
    ended: tuple[Ended, ...] = ()
    pending: tuple[Activity, ...] = ()
    rate: float = 0.0
    codec_id: int = 0
    capturing_since_us: int = 0
    missed: bool = False
    unlogged: bool = False
    tokens: tuple[str, ...] = ()
    health: Health = Health()
    room: Room = Room()
    folded_before: int = 0

    @property
    def folded_frames(self) -> int:
        """Alarm frames that were left out for lack of room (`Options.frames`)."""
        return self.folded_before + sum(clip.folded for clip in self.clips)

    # What the worker says

    def handle(self, event: Event, at_us: int) -> tuple[Session, list[Change]]:
        """One event, received at `at_us`. Never raises, whatever the event says."""
        wall = event.wall_us if at_us - DAY_US < event.wall_us < at_us + CLOCK_SKEW_US else at_us
        detail = event.detail
        options = self.options
        if (activity := activity_of(detail, wall, options.motion_area, options.zoning)) is not None:
            return self._active(activity)
        if isinstance(detail, RecordingOpening):
            return self.opening(detail.clip_token, detail.trigger, wall)
        if isinstance(detail, RecordingSaved):
            return self._saved(detail, wall)
        lost = isinstance(detail, StreamState) and detail.event != "StreamConnected"
        session = self.refused() if lost else self
        if (health := self.health.told(event, wall)) is not self.health:
            session = replace(session, health=health)
        return session, []

    def opening(self, token: str, trigger: str, at_us: int) -> tuple[Session, list[Change]]:
        """A clip was opened at `at_us`, by event or by the worker's log: whichever tells first."""
        if token in self.tokens:
            return self, []
        # A worker records one clip at a time: one that was taken on from an earlier run, and is open here still, ended unheard.
        unheard = self.missed or len(self.clips) >= MOST_OPEN or any(c.token == UNKNOWN_TOKEN for c in self.clips)
        session, changes = self._close_unheard(at_us) if unheard else (self, [])
        start = at_us
        if trigger != "continuous":
            # The worker can't have more in its buffer than it has captured.
            start = max(at_us - self.options.pre_roll_us, min(at_us, self.capturing_since_us))
        session = replace(session, missed=False, tokens=(*session.tokens, token)[-REMEMBERED:])
        session, opened = session._open(start, trigger, token, opened_us=at_us)
        return session, changes + opened

    def _open(
        self, start_us: int, trigger: str, token: str | None = None, until_us: int | None = None, opened_us: int = 0
    ) -> tuple[Session, list[Change]]:
        """A new clip, with the activity and notes kept back for it (where `until_us` is given, only that up to then)."""
        handle = f"{self.monitor_id}.{self.run}.{self.serial + 1}"
        # What happened well before the clip's first frame was in no clip.
        mine = [a for a in self.pending if start_us - SECOND <= a.at_us <= (until_us or a.at_us)]
        clip = Clip(handle, start_us, trigger, token, refreshed_us=start_us, opened_us=opened_us)
        room = self.room
        lines: list[str] = []
        rest: list[Change] = []
        for activity in mine:
            clip, said, room = self._applied(clip, activity, room)
            for change in said:
                if isinstance(change, UpdateEvent):
                    lines.append(change.note or "")
                else:
                    rest.append(change)
        opened = OpenEvent(
            handle=handle,
            monitor_id=self.monitor_id,
            start_us=start_us,
            trigger=trigger,
            cause=clip.cause,
            token=token,
            notes="\n".join(lines),
            codec_id=self.codec_id,
        )
        session = replace(
            self,
            serial=self.serial + 1,
            clips=(*self.clips, clip),
            pending=() if until_us is None else tuple(a for a in self.pending if a.at_us > until_us),
            room=room,
        )
        return session, [opened, *rest]

    def _saved(self, saved: RecordingSaved, at_us: int) -> tuple[Session, list[Change]]:
        unheard = [ended.clip for ended in self.ended if not ended.path]
        if not is_path(saved.path):
            saved = replace(saved, path="")  # then its file is looked for where it should be
        elif any(ended.path == saved.path for ended in self.ended) or nobodys(saved.path, self._recording):
            return self, []
        duration_us = round(max(0.0, min(saved.duration, MAX_SECONDS)) * SECOND)
        clip = clip_saved(saved, self.monitor_id, self._recording, unheard, self.options, at_us)
        session: Session = self
        changes: list[Change] = []
        if clip is None:  # its opening was never heard
            session, changes = self._close_unheard(at_us) if self._recording else (self, [])
            start = begin_of_unheard(saved, self.monitor_id, self.options, at_us, duration_us)
            session, opened = session._open(start, saved.cause or "continuous", until_us=at_us)
            changes += opened
            clip = session.clips[-1]
        elif clip not in self._recording:  # it was taken for ended unheard, and is being looked for
            return self, []
        else:  # a worker saves its clips in the order in which it opened them
            before = self._recording[: self._recording.index(clip)]
            session, changes = self._close_unheard(clip.opened_us or at_us, before)
        earlier_us = begun_earlier(clip, duration_us, at_us)
        duration_us, doubtful = duration_us or clip.offset(at_us), session._doubts(clip) or not duration_us
        if saved.cause and cause_of(saved.cause) != cause_of(clip.trigger):
            clip = replace(clip, trigger=saved.cause)
        frames = max(1, min(saved.frames, MAX_FRAMES))
        changes += last_notes(clip)
        changes.append(
            ClipSaved(
                handle=clip.handle,
                path=saved.path,
                duration_us=duration_us,
                frames=frames,
                tally=replace(clip.tally, max_score_us=max(0, clip.tally.max_score_us + earlier_us)),
                settle=needs_settling(clip, frames, duration_us) or earlier_us != 0,
                event_id=min(max(0, saved.event_id), MAX_EVENT_ID),
                cause=clip.cause,
                earlier_us=earlier_us,
                doubtful=doubtful,
            )
        )
        over = replace(clip, last_frame=min(clip.last_frame, frames), event_id=clip.event_id or saved.event_id)
        return session._without([Ended(over, at_us, saved.path)]), changes

    def _doubts(self, clip: Clip) -> bool:
        """Whether what the worker says of a clip may not be what is in it: frames were refused, or were so unheard."""
        return clip.refused or self.missed or self.unlogged or not clip.opened_us

    @property
    def _recording(self) -> list[Clip]:
        return [clip for clip in self.clips if clip.token is not None]

    def _active(self, activity: Activity) -> tuple[Session, list[Change]]:
        if not self.clips:
            return self._unclipped(activity)
        room = self.room
        if len(self.clips) == 1:  # nearly always
            clip, changes, room = self._applied(self.clips[0], activity, room)
            return replace(self, clips=(clip,), room=room), changes
        changes = []
        clips: list[Clip] = []
        for clip in self.clips:
            clip, more, room = self._applied(clip, activity, room)
            clips.append(clip)
            changes += more
        return replace(self, clips=tuple(clips), room=room), changes

    def _applied(self, clip: Clip, activity: Activity, room: Room) -> tuple[Clip, list[Change], Room]:
        """What `activity` adds to one clip, and what room that leaves for more data."""
        clip, changes = scored(clip, activity, self.rate, self.options)
        if activity.detail is None:
            return clip, changes, room
        clip, lines = noted(clip, activity)
        changes += notes(clip, lines)
        if self.options.data is not None:
            before, room = room, room.after(activity, self.options.data)
            if not room.left_out:
                row = data_of(activity, clip.offset(activity.at_us), before.left_out)
                changes.append(AddData(clip.handle, clip.last_frame, activity.at_us, row))
        return clip, changes, room

    def _unclipped(self, activity: Activity) -> tuple[Session, list[Change]]:
        """Activity while no clip is open. What only speaks of the scene is of the clip just ended, and never opens an event of its own."""
        if not activity.score and self.ended and activity.at_us - self.ended[-1].at_us <= LATE_US:
            *before, last = self.ended
            clip, changes, room = self._applied(last.clip, activity, self.room)
            return replace(self, ended=(*before, replace(last, clip=clip)), room=room), changes
        if not self.options.recorder and not self.options.unrecorded:
            return self, []
        session = replace(self, pending=kept_back(self.pending, activity))
        if self.options.recorder or not activity.score:
            return session, []
        return session._open(activity.at_us, activity.trigger)

    def labels_of(self, handle: str) -> tuple[str, ...]:
        """What was seen in a clip, as far back as clips are remembered."""
        clips = (*self.clips, *(ended.clip for ended in self.ended))
        return next((clip.labels for clip in clips if clip.handle == handle), ())

    def told_of(self, assets: ReviewAssets | None) -> str | None:
        """The handle of the clip that review assets are of; of those that the wire cut (None), the one that ended last."""
        over = [ended.clip for ended in reversed(self.ended)]
        if assets is None:
            return over[0].handle if over else None
        paths = {ended.path: ended.clip for ended in self.ended if ended.path}
        if assets.clip_path is not None and assets.clip_path in paths:
            return paths[assets.clip_path].handle
        for clip in (*over, *self.clips):
            if assets.event_id and clip.event_id == assets.event_id:
                return clip.handle
            if assets.clip_token is not None and clip.token == assets.clip_token:
                return clip.handle
        return None

    # What is known from elsewhere

    def assigned(self, handle: str, event_id: int) -> Session:
        """The clip's row is committed under this id, and the worker was told."""
        clips = tuple(replace(c, event_id=event_id) if c.handle == handle else c for c in self.clips)
        return replace(self, clips=clips)

    def sampled(self, frames_per_second: float) -> Session:
        """The link measured the camera's rate. Kept as it is while it differs by noise only, so that FrameIds stay even."""
        rate = round(frames_per_second, 1)
        if rate <= 0 or abs(rate - self.rate) < 0.03 * self.rate:
            return self
        return replace(self, rate=rate)

    def stepped(self, by_us: int) -> Session:
        """The host's clock was set by so much: what has been keeps its distance from now, but for the times that rows already have."""
        return replace(
            self,
            clips=tuple(clip.stepped(by_us) for clip in self.clips),
            ended=tuple(
                replace(ended, at_us=ended.at_us + by_us, clip=ended.clip.stepped(by_us)) for ended in self.ended
            ),
            pending=tuple(replace(activity, at_us=activity.at_us + by_us) for activity in self.pending),
            capturing_since_us=self.capturing_since_us and self.capturing_since_us + by_us,
            room=Room(0, self.room.left_out, self.room.folded),
        )

    def adopted(self) -> Session:
        """The worker has outlived the run of the service that had started it."""
        return replace(self, unlogged=True)

    def gap(self) -> Session:
        """Events were missed: a save may have been among them."""
        return replace(self, missed=True)

    def refused(self) -> Session:
        """Frames are not recorded: what the worker says of its clips counts them all the same. It may have said so of the one that has just
        ended: its log is not read in step with its socket."""
        clips = tuple(replace(clip, refused=True) for clip in self.clips)
        ended = (*self.ended[:-1], *(replace(one, clip=replace(one.clip, refused=True)) for one in self.ended[-1:]))
        return replace(self, clips=clips, ended=ended)

    def refused_of(self, handle: str) -> bool:
        """Whether frames of a clip that has ended were not recorded, as far as was heard since its save, too."""
        return any(ended.clip.refused for ended in self.ended if ended.clip.handle == handle)

    def tick(self, at_us: int) -> tuple[Session, list[Change]]:
        """Time has passed: refresh open events, and end clipless ones that have gone quiet."""
        clips: list[Clip] = []
        over: list[Ended] = []
        changes: list[Change] = []
        idle = self.options.idle_us
        for clip in self.clips:
            if clip.token is None and idle and at_us - max(clip.seen_us, clip.start_us + clip.set_us) >= idle:
                changes += [*last_notes(clip), quiet_end(clip)]
                over.append(Ended(clip, at_us))
                continue
            if clip.tracks:
                clip, lines = silent_tracks(clip, at_us)
                changes += lines
            if at_us - clip.refreshed_us >= REFRESH_US:
                clip, fresh = refreshed(clip, at_us, self.rate, self.options.bulk_interval)
                changes += fresh
            clips.append(clip)
        return (replace(self, clips=tuple(clips))._remembering(over), changes) if changes else (self, changes)

    def gone(self, at_us: int) -> tuple[Session, list[Change]]:
        """The worker's process has ended: what is still open will not be saved by it any more."""
        session, changes = self._close_unheard(at_us)
        health = session.health.ended(at_us)
        session = replace(session, pending=(), capturing_since_us=0, rate=0.0, tokens=(), health=health)
        return replace(session, missed=False, unlogged=False), changes

    def _close_unheard(self, at_us: int, clips: Sequence[Clip] | None = None) -> tuple[Session, list[Change]]:
        """Close open clips (all, or these) whose save was not heard: whether there is a file is for the disk to say."""
        clips = self.clips if clips is None else clips
        changes: list[Change] = []
        for clip in clips:
            changes += last_notes(clip)
            if clip.token is None:
                changes.append(quiet_end(clip))
                continue
            length = clip.offset(at_us)
            frames = max(clip.last_frame, frames_by(length, self.rate))
            changes.append(
                ClipSaved(
                    handle=clip.handle, path="", duration_us=length, frames=frames, tally=clip.tally, cause=clip.cause
                )
            )
        return self._without([Ended(clip, at_us) for clip in clips]), changes

    def _without(self, over: Sequence[Ended]) -> Session:
        gone = {ended.clip.handle for ended in over}
        return replace(self, clips=tuple(c for c in self.clips if c.handle not in gone))._remembering(over)

    def _remembering(self, over: Sequence[Ended]) -> Session:
        if not over:
            return self
        folded = self.folded_before + sum(ended.clip.folded for ended in over)
        # Their notes are all written.
        kept = (replace(ended, clip=replace(ended.clip, tracks={})) for ended in over)
        return replace(self, ended=(*self.ended, *kept)[-REMEMBERED:], folded_before=folded)
