"""One monitor's events as they unfold: what the worker says comes in, changes to rows come out. Pure: no clock, no database, no files.

A session knows its clips by handle. Events that come while no clip is open (the trigger of a clip can precede its opening, and at a
segment boundary there is an instant between save and opening) are kept back and belong to the clip that opens next, or, where the
opening was never heard, to the one that is saved.
"""

from __future__ import annotations

from datetime import tzinfo

import msgspec
from msgspec.structs import replace

from zmtwist.changes import Change, ClipSaved, OpenEvent, UpdateEvent
from zmtwist.ingest.activity import Activity, activity_of, cause_of
from zmtwist.ingest.clip import SECOND, Clip, frames_by, needs_settling, quiet_end, refreshed, scored
from zmtwist.ingest.ownname import opened_us
from zmtwist.wire.details import Description, RecordingOpening, RecordingSaved
from zmtwist.wire.messages import Event

REFRESH_US = 5 * SECOND
"""How often an open event's Length, Frames and scores are written: the console shows them while it records."""

CLOCK_SKEW_US = 10 * SECOND
"""A worker's wall clock (the same host's as ours) is believed unless it is further ahead than this, or more than a day behind: what a
worker said while we could not listen keeps the time at which it happened."""

DAY_US = 86_400 * SECOND
MAX_PENDING = 1024
REMEMBERED = 16


class Options(msgspec.Struct, frozen=True):
    """What the session must know of its monitor.

    `recorder`: the worker's document has a `store`. `motion_area`: the picture's size in pixels, 0 unknown. `bulk_interval`: every
    how many frames a Bulk row is written (ZM_BULK_FRAME_INTERVAL; below 2: none). `idle_us`: a clipless event ends this long after its
    last activity. `zone` is that of the worker's file names, None for the host's.
    """

    recorder: bool = True
    pre_roll_us: int = 0
    motion_area: int = 0
    bulk_interval: int = 100
    idle_us: int = 60 * SECOND
    zone: tzinfo | None = None


class Session(msgspec.Struct, frozen=True):
    """All that is going on at one monitor. `run` makes handles differ from those of an earlier run of the service."""

    monitor_id: int
    run: str
    options: Options = Options()
    serial: int = 0
    clips: tuple[Clip, ...] = ()
    pending: tuple[Activity, ...] = ()
    pending_notes: tuple[str, ...] = ()
    rate: float = 0.0
    codec_id: int = 0
    capturing_since_us: int = 0
    missed: bool = False
    tokens: tuple[str, ...] = ()
    saved: tuple[str, ...] = ()
    last_handle: str | None = None

    # What the worker says

    def handle(self, event: Event, at_us: int) -> tuple[Session, list[Change]]:
        """One event, received at `at_us`. Never raises, whatever the event says."""
        wall = event.wall_us if at_us - DAY_US < event.wall_us < at_us + CLOCK_SKEW_US else at_us
        detail = event.detail
        if (activity := activity_of(detail, wall, self.options.motion_area)) is not None:
            return self._active(activity)
        if isinstance(detail, RecordingOpening):
            return self.opening(detail.clip_token, detail.trigger, wall)
        if isinstance(detail, RecordingSaved):
            return self._saved(detail, wall)
        if isinstance(detail, Description):
            return self._described(detail.text)
        return self, []

    def opening(self, token: str, trigger: str, at_us: int) -> tuple[Session, list[Change]]:
        """A clip was opened at `at_us`, by event or by the worker's log: whichever tells first."""
        if token in self.tokens:
            return self, []
        session, changes = self._close_unheard(at_us) if self.missed else (self, [])
        start = at_us
        if trigger != "continuous":
            # The worker can't have more in its buffer than it has captured.
            start = max(at_us - self.options.pre_roll_us, min(at_us, self.capturing_since_us))
        session = replace(session, missed=False, tokens=(*session.tokens, token)[-REMEMBERED:])
        session, opened = session._open(start, trigger, token)
        return session, changes + opened

    def _open(
        self, start_us: int, trigger: str, token: str | None = None, until_us: int | None = None
    ) -> tuple[Session, list[Change]]:
        """A new clip, with the activity and notes kept back for it (where `until_us` is given, only that up to then)."""
        handle = f"{self.monitor_id}.{self.run}.{self.serial + 1}"
        # What happened well before the clip's first frame was in no clip.
        mine = [a for a in self.pending if start_us - SECOND <= a.at_us <= (until_us or a.at_us)]
        clip = Clip(handle=handle, start_us=start_us, trigger=trigger, token=token, refreshed_us=start_us)
        frames: list[Change] = []
        for activity in mine:
            clip, added = scored(clip, activity, self.rate)
            frames += added
        session = replace(
            self,
            serial=self.serial + 1,
            clips=(*self.clips, clip),
            pending=() if until_us is None else tuple(a for a in self.pending if a.at_us > until_us),
            pending_notes=(),
        )
        opened = OpenEvent(
            handle=handle,
            monitor_id=self.monitor_id,
            start_us=start_us,
            trigger=trigger,
            cause=clip.cause,
            token=token,
            notes="\n".join(self.pending_notes),
            codec_id=self.codec_id,
        )
        return session, [opened, *frames]

    def _saved(self, saved: RecordingSaved, at_us: int) -> tuple[Session, list[Change]]:
        if saved.path in self.saved:
            return self, []
        duration_us = max(0, round(saved.duration * SECOND))
        session = replace(self, saved=(*self.saved, saved.path)[-REMEMBERED:])
        changes: list[Change] = []
        clip = session._clip_of(saved)
        if clip is None:  # its opening was never heard
            start = self._start_of_unheard(saved.path, at_us - duration_us)
            session, changes = session._open(start, saved.cause or "continuous", until_us=at_us)
            clip = session.clips[-1]
        if saved.cause and cause_of(saved.cause) != cause_of(clip.trigger):
            clip = replace(clip, trigger=saved.cause)
        frames = max(1, saved.frames)
        changes.append(
            ClipSaved(
                handle=clip.handle,
                path=saved.path,
                duration_us=duration_us,
                frames=frames,
                tally=clip.tally,
                settle=needs_settling(clip, frames, duration_us),
                event_id=saved.event_id,
                cause=clip.cause,
            )
        )
        return session._without(clip.handle), changes

    def _start_of_unheard(self, path: str, latest_us: int) -> int:
        """When a clip began whose opening was not heard. `latest_us` is right unless the camera went quiet before the save; then the
        name that the worker gave it tells."""
        opened = opened_us(path, self.options.zone)
        if opened is None or not opened + SECOND < latest_us < opened + DAY_US:
            return latest_us
        return opened - self.options.pre_roll_us

    def _clip_of(self, saved: RecordingSaved) -> Clip | None:
        """The open clip that a save is of: by id, else by token, else the oldest one that records."""
        recording = [clip for clip in self.clips if clip.token is not None]
        for clip in recording:
            if saved.event_id and clip.event_id == saved.event_id:
                return clip
        for clip in recording:
            if saved.clip_token is not None and clip.token == saved.clip_token:
                return clip
        return recording[0] if recording else None

    def _active(self, activity: Activity) -> tuple[Session, list[Change]]:
        if not self.clips:
            if self.options.recorder:
                return replace(self, pending=_kept(self.pending, activity)), []
            session, changes = self._open(activity.at_us, activity.trigger)
            clip, frames = scored(session.clips[0], activity, session.rate)
            return replace(session, clips=(clip,)), changes + frames
        clips: list[Clip] = []
        changes = []
        for clip in self.clips:
            after, frames = scored(clip, activity, self.rate)
            clips.append(after)
            changes += frames
        return replace(self, clips=tuple(clips)), changes

    def _described(self, text: str) -> tuple[Session, list[Change]]:
        """A sentence about the scene goes to the open event, else to the one just closed; never opens one of its own."""
        note = " ".join(text.split())
        if not note:
            return self, []
        if self.clips:
            return self, [UpdateEvent(handle=clip.handle, note=note) for clip in self.clips]
        if self.last_handle is not None:
            return self, [UpdateEvent(handle=self.last_handle, note=note)]
        return replace(self, pending_notes=(*self.pending_notes, note)[-REMEMBERED:]), []

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

    def gap(self) -> Session:
        """Events were missed: a save may have been among them."""
        return replace(self, missed=True)

    def tick(self, at_us: int) -> tuple[Session, list[Change]]:
        """Time has passed: refresh open events, and end clipless ones that have gone quiet."""
        clips: list[Clip] = []
        changes: list[Change] = []
        for clip in self.clips:
            if clip.token is None and at_us - max(clip.seen_us, clip.start_us) >= self.options.idle_us:
                changes.append(quiet_end(clip))
                continue
            if at_us - clip.refreshed_us >= REFRESH_US:
                clip, fresh = refreshed(clip, at_us, self.rate, self.options.bulk_interval)
                changes += fresh
            clips.append(clip)
        return (replace(self, clips=tuple(clips)), changes) if changes else (self, changes)

    def gone(self, at_us: int) -> tuple[Session, list[Change]]:
        """The worker's process has ended: what is still open will not be saved by it any more."""
        session, changes = self._close_unheard(at_us)
        return replace(session, pending=(), capturing_since_us=0, rate=0.0, missed=False, tokens=()), changes

    def _close_unheard(self, at_us: int) -> tuple[Session, list[Change]]:
        """Close open clips whose save was not heard: whether there is a file is for the disk to say."""
        changes: list[Change] = []
        for clip in self.clips:
            if clip.token is None:
                changes.append(quiet_end(clip))
                continue
            length = max(0, at_us - clip.start_us)
            frames = max(clip.last_frame, frames_by(length, self.rate))
            changes.append(
                ClipSaved(
                    handle=clip.handle, path="", duration_us=length, frames=frames, tally=clip.tally, cause=clip.cause
                )
            )
        return replace(self, clips=()), changes

    def _without(self, handle: str) -> Session:
        return replace(self, clips=tuple(c for c in self.clips if c.handle != handle), last_handle=handle)


def _kept(pending: tuple[Activity, ...], activity: Activity) -> tuple[Activity, ...]:
    """`pending` with one more; when full, of each two neighbours only the higher-scored stays, so that the span is kept."""
    if len(pending) >= MAX_PENDING:
        pairs = zip(pending[::2], pending[1::2], strict=False)
        pending = tuple(a if a.score >= b.score else b for a, b in pairs)
    return (*pending, activity)
