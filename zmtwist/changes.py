"""What a session decides: immutable changes to events, comparable and replayable, that know clips by handle only.

A handle names one clip (or one clipless event) for as long as anything may still be said of it; the writer resolves it to the
`Events.Id` that the database gave. Changes are msgspec structs with a tag, so that the spool can keep them on disk and give them back
as they were. Wall times are microseconds since the epoch, offsets microseconds since the clip's first frame.
"""

from __future__ import annotations

import msgspec


class Tally(msgspec.Struct, frozen=True):
    """An event's scores so far, as absolute figures (so writing them twice does no harm): doc/reference/zoneminder.md, Scores.

    `max_score_frame` is the FrameId of the first frame that reached `max_score`; 1 while nothing has scored. `max_score_us` is that frame's
    offset in the clip; 0 as well where it is not known.
    """

    alarm_frames: int = 0
    total_score: int = 0
    max_score: int = 0
    max_score_frame: int = 1
    max_score_us: int = 0

    @property
    def average_score(self) -> int:
        """Whole-number mean over alarm frames; 0 without any."""
        return self.total_score // self.alarm_frames if self.alarm_frames else 0


class InStorage(msgspec.Struct, frozen=True):
    """Another storage than the monitor's own: its row's Id, Path and Scheme."""

    id: int
    path: str
    scheme: str


class OpenEvent(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A clip has begun (or activity that wants an event). `start_us` is the wall time of its first frame.

    `token` is the worker's clip token, which the assignment echoes; None where there is nothing to assign (a clip whose
    opening was missed, or activity without a recorder). `codec_id` is FFmpeg's number from HELLO, 0 while unknown. `storage` is where its
    clip lies, if that is not where the monitor records to now.
    """

    handle: str
    monitor_id: int
    start_us: int
    trigger: str
    cause: str
    token: str | None = None
    notes: str = ""
    codec_id: int = 0
    storage: InStorage | None = None


class AddFrame(msgspec.Struct, frozen=True, tag=True, gc=False):
    """One `Frames` row: FrameId counts the clip's video frames from 1, `offset_us` gives Delta and TimeStamp.

    `kind` is ZoneMinder's Type: Normal, Bulk or Alarm. Row 1 is there from the opening on: with FrameId 1, that row gets this score
    and kind; its Delta stays 0.
    """

    handle: str
    frame_id: int
    offset_us: int
    score: int = 0
    kind: str = "Alarm"


class UpdateEvent(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """What an open event looks like by now: figures are absolute; `cause` replaces if given, `note` is appended if given.

    Of an event that is closed, only `note` is taken, and `disk_bytes`: what its directory holds by now.
    """

    handle: str
    length_us: int | None = None
    frames: int | None = None
    tally: Tally | None = None
    cause: str | None = None
    note: str | None = None
    disk_bytes: int | None = None


class AddTag(msgspec.Struct, frozen=True, tag=True):
    """The event has something with this label in it: one `Events_Tags` row, and the `Tags` row if there is none of that name."""

    handle: str
    name: str


class AddData(msgspec.Struct, frozen=True, tag=True):
    """One `Event_Data` row: what a plugin said in full, as ASCII JSON. `frame_id` is that of a row already added, `at_us` when it was."""

    handle: str
    frame_id: int
    at_us: int
    json: str


class ClipSaved(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The worker has finished the clip's file. Writes no row itself: once all before it is committed, the file is looked at,
    moved where ZoneMinder looks for it if it lies elsewhere, and a `CloseEvent` follows with the same figures.

    `event_id` is what the worker says it was assigned, 0 for none. `doubtful`: frames were refused while it was recorded, which the worker
    counts all the same, or its times began anew, or either may have gone unheard; only its file tells how many there are. For the rest see
    `CloseEvent`.
    """

    handle: str
    path: str
    duration_us: int
    frames: int
    tally: Tally
    settle: bool = False
    event_id: int = 0
    cause: str | None = None
    earlier_us: int = 0
    doubtful: bool = False


class CloseEvent(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The event is over. `video_name` and `disk_bytes` are those of the file seen on disk; None and 0 for an event without a clip.

    Now that the clip's frame count and duration are known, a final Frames row with FrameId `frames` is written unless there is one.
    `settle` says that FrameIds were written from an estimate of the frame rate that proved wrong: the store reads the event's rows,
    and gives each the ordinal that its Delta has in the finished clip (kept ascending, distinct, and at most `frames`). `earlier_us` says
    by how much the clip's first frame was before the start that the event was opened with (negative: after it).
    """

    handle: str
    length_us: int
    frames: int
    tally: Tally
    settle: bool = False
    video_name: str | None = None
    disk_bytes: int = 0
    cause: str | None = None
    note: str | None = None
    earlier_us: int = 0


Change = OpenEvent | AddFrame | UpdateEvent | AddTag | AddData | ClipSaved | CloseEvent
