"""The UPDATE of one event, and the frames that go with it: what the changes say, set against what its row says now. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import tzinfo

import attrs

from zmtwist.changes import CloseEvent, Tally
from zmtwist.zm.db.dialect import Dialect, Statement
from zmtwist.zm.db.schema import Schema
from zmtwist.zm.event_paths import EventPlace
from zmtwist.zm.event_times import MAX_LENGTH, end_of, local_time
from zmtwist.zm.write.fold import Touch
from zmtwist.zm.write.row_values import (
    INT,
    MAX_DELTA,
    NEW_EVENT,
    SMALLINT,
    Frame,
    add_notes,
    clamp,
    decimal,
    first_frame,
    fit,
    hundredths,
    moved_to,
    recount,
    risen,
    settled,
)

RISING_AT_ONCE = 500


@attrs.frozen
class EventRow:
    """What an event's row and frames say before the batch. `last_frame` is the last stored FrameId, 0 without any; `frames` are read
    only where they are to be settled, in the order of insertion; `data_frames` are the FrameIds that its rows of data name, read with
    them. `unnamed`: it has a clip, and no DefaultVideo yet."""

    ended: bool = False
    disk_bytes: int = 0
    notes: str = ""
    last_frame: int = 0
    frames: Sequence[Frame] = ()
    data_frames: frozenset[int] = frozenset()
    unnamed: bool = False


@attrs.define
class Update:
    """What to write of one event. `frames` are to be inserted, in place of all that are stored if `rewritten`. `grown` is by how many
    bytes its size on disk changes, to `disk_bytes`; `ends`: it was open before; `name` is what it is called from now on, unless a user has
    named it. `first` is what a stored first frame becomes; `renumbered` are the FrameIds that change, for rows of data that name them."""

    place: EventPlace
    frames: list[Frame] = attrs.field(factory=list)
    rewritten: bool = False
    grown: int = 0
    disk_bytes: int = 0
    ends: bool = False
    name: str | None = None
    first: Frame | None = None
    renumbered: dict[int, int] = attrs.field(factory=dict)
    columns: dict[str, object] = attrs.field(factory=dict)
    frames_at_least: int = 0

    @property
    def only_raises(self) -> bool:
        """Nothing of the event's row changes but its count of frames."""
        return bool(self.frames_at_least) and not self.columns and not self.rewritten and self.first is None

    def statements(self, dialect: Dialect) -> Iterator[Statement]:
        """Update the event's row, and clear its frames if they are to be written anew."""
        sets = [f"{name} = %s" for name in self.columns]
        values = list(self.columns.values())
        if self.frames_at_least:
            sets.append(f"Frames = {dialect.greatest}(COALESCE(Frames, 0), %s)")
            values.append(self.frames_at_least)
        if self.name is not None:
            sets.append("Name = CASE WHEN Name = %s THEN %s ELSE Name END")
            values += [NEW_EVENT, self.name]
        if sets:
            yield f"UPDATE Events SET {', '.join(sets)} WHERE Id = %s", (*values, self.place.event_id)
        if self.first is not None:
            # TimeStamp would become now.
            sets_first = "Type = %s, Score = %s, TimeStamp = TimeStamp"
            values = [self.first.kind, self.first.score, self.place.event_id]
            yield f"UPDATE Frames SET {sets_first} WHERE EventId = %s AND FrameId = 1", values
        if self.rewritten:
            yield "DELETE FROM Frames WHERE EventId = %s", (self.place.event_id,)


def statements_for(updates: Sequence[Update], dialect: Dialect) -> Iterator[Statement]:
    """What changes the rows of these events, in order of their ids.

    While cameras record, most events get a few frames and nothing else in each batch: those are raised by one statement for all, which
    for a hundred cameras is several times as fast as one for each.
    """
    rising = [update for update in updates if update.only_raises]
    for first in range(0, len(rising), RISING_AT_ONCE):
        some = rising[first : first + RISING_AT_ONCE]
        cases = " ".join(f"WHEN {u.place.event_id} THEN {u.frames_at_least}" for u in some)
        ids = ",".join(str(u.place.event_id) for u in some)
        yield (
            f"UPDATE Events SET Frames = {dialect.greatest}(COALESCE(Frames, 0), CASE Id {cases} END) WHERE Id IN ({ids})",
            (),
        )
    for update in updates:
        if not update.only_raises:
            yield from update.statements(dialect)


def needs_stored_frames(touch: Touch, row: EventRow) -> bool:
    """Whether the event's frames must be numbered anew at its close, and so be read first."""
    if touch.closed is None:
        return False
    last = max((change.frame_id for change in touch.frames), default=0)
    return touch.closed.settle or max(last, row.last_frame) > touch.closed.frames


def update_for(touch: Touch, place: EventPlace, row: EventRow, schema: Schema, zone: tzinfo | None) -> Update:
    """What `touch` makes of the event at `place` whose row says `row`."""
    update = Update(place)
    columns = update.columns
    if touch.notes and (notes := add_notes(row.notes, touch.notes, schema.column("Events", "Notes"))) != row.notes:
        columns["Notes"] = notes
    if row.ended and touch.closed is None:  # its other figures are final
        if touch.disk_bytes is not None:
            _resize(update, touch.disk_bytes, row)
        return update
    if touch.cause is not None:
        columns["Cause"] = fit(touch.cause, schema.column("Events", "Cause"))
    if not row.ended:  # else its frames are all there, and may have got other numbers since
        if touch.first is not None and touch.opened is None:
            update.first = first_frame(touch.first)
        update.frames += risen(touch.frames, row.last_frame)
    last = update.frames[-1].frame_id if update.frames else row.last_frame
    if touch.closed is not None:
        if not row.ended:
            row = attrs.evolve(row, data_frames=row.data_frames.union(change.frame_id for change in touch.data))
        _close(update, touch.closed, row, last, schema, zone)
        _resize(update, touch.disk_bytes or 0, row)
        return update
    if touch.length_us is not None:
        columns["Length"] = _length(touch.length_us)
    if touch.tally is not None:
        columns |= _scores(touch.tally, schema)
    if touch.frames_seen > 1 or (update.frames and last > 1):
        update.frames_at_least = clamp(max(touch.frames_seen, last), INT)
    if row.unnamed and (touch.opened is None or columns or update.frames_at_least):
        columns["DefaultVideo"] = place.video_name  # from now on it can be played while it is recorded
    return update


def _close(update: Update, closed: CloseEvent, row: EventRow, last: int, schema: Schema, zone: tzinfo | None) -> None:
    """The event's last words: end, size, name, video, and a last frame row where the clip's last frame is."""
    if row.ended and closed.earlier_us:
        return  # written once more: it finds all times put right, and must not do that twice
    frames = clamp(max(1, closed.frames), INT)
    # The row of an event that has ended tells its scores, by the numbers that its frames may have got since.
    scores = {} if row.ended else _scores(closed.tally, schema)
    earlier_us = closed.earlier_us
    begins_us = _begin_earlier(update, earlier_us, zone) if earlier_us else update.place.start_us
    if closed.settle or last > frames:
        stored = [_later(frame, earlier_us) for frame in row.frames]
        update.frames = [_later(frame, earlier_us) for frame in update.frames]
        if update.first is not None:
            stored, update.first = [update.first if row.frame_id == 1 else row for row in stored], None
        pairs = settled(stored + update.frames, frames, closed.length_us)
        named = row.data_frames
        if row.ended:  # rows of data that came late name frames by other numbers
            named &= {frame.frame_id for frame in stored}
        update.renumbered = moved_to(pairs, named)
        update.rewritten = bool(stored)
        update.frames = [frame for _, frame in pairs]
        scores = _scores(recount(update.frames), schema)
        last = update.frames[-1].frame_id if update.frames else 0
    if last < frames:
        update.frames.append(Frame(frames, "Normal", min(hundredths(closed.length_us), MAX_DELTA), 0))
    update.columns |= {
        "EndDateTime": end_of(begins_us, closed.length_us, zone),
        "Length": _length(closed.length_us),
        "Frames": frames,
        **scores,
        "DefaultVideo": closed.video_name or "",
        "Videoed": 1 if closed.video_name else 0,
    }
    update.ends = not row.ended
    update.name = fit(update.place.final_name, schema.column("Events", "Name"))


def _begin_earlier(update: Update, earlier_us: int, zone: tzinfo | None) -> int:
    """The clip's first frame was at another time than was thought: what StartDateTime tells from now on, which follows only where the
    event's directory does not depend on it."""
    place = update.place
    start_us = place.start_us - earlier_us
    start = local_time(start_us, zone)
    update.place = attrs.evolve(place, start_us=start_us)
    if place.scheme != "Shallow" and (place.scheme != "Medium" or start.date() != place.start.date()):
        return place.start_us
    update.place = attrs.evolve(update.place, start=start)
    update.columns["StartDateTime"] = start.isoformat(" ")
    return start_us


def _later(frame: Frame, by_us: int) -> Frame:
    """A row so much further from the clip's first frame; the first row stays there."""
    if not by_us or frame.frame_id == 1:
        return frame
    return frame._replace(centis=min(MAX_DELTA, max(0, frame.centis + by_us // 10_000)))


def _resize(update: Update, disk_bytes: int, row: EventRow) -> None:
    update.columns["DiskSpace"] = update.disk_bytes = max(0, disk_bytes)
    update.grown = update.disk_bytes - row.disk_bytes


def _length(length_us: int) -> str:
    return decimal(min(hundredths(length_us), MAX_LENGTH))


def _scores(tally: Tally, schema: Schema) -> dict[str, object]:
    """Absolute figures, within the columns' ranges; the average is over alarm frames."""
    scores: dict[str, object] = {
        "AlarmFrames": clamp(tally.alarm_frames, INT),
        "TotScore": clamp(tally.total_score, INT),
        "AvgScore": clamp(tally.average_score, SMALLINT),
        "MaxScore": clamp(tally.max_score, SMALLINT),
    }
    if schema.max_score_frame_id:
        scores["MaxScoreFrameId"] = clamp(tally.max_score_frame, INT)
    return scores
