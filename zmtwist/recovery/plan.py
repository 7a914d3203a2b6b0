"""What to do about rows and clips that do not fit each other: decided without doing it. Pure.

The rule that is restored: a closed row names a clip exactly if that clip's file is there. Nothing is ever deleted: rows are closed,
files are moved to where they belong, and what is of no use is set aside.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import permutations
from operator import attrgetter, itemgetter
from posixpath import basename

import attrs

from zmtwist.fleet.liveness import OpenFiles
from zmtwist.ingest.clips.placement import RootState
from zmtwist.ingest.clips.probe import Measure
from zmtwist.ingest.clips.scan import Found, Stray
from zmtwist.ingest.session.clip_match import SLACK_US, opened_in, pre_roll_of, tail
from zmtwist.ingest.session.open_event import DEFAULT_RATE
from zmtwist.ingest.session.worker_filename import own_name
from zmtwist.pipeline.monitor import Storage
from zmtwist.recovery.actions import (
    Action,
    CloseEmpty,
    CloseFromFile,
    HoldBack,
    LeaveOpen,
    MakeEvent,
    Plan,
    Report,
    SetAside,
)
from zmtwist.recovery.doubt import Doubt, believed, doubted
from zmtwist.zm.event_times import SECOND
from zmtwist.zm.read.own_events import LeftRow, clip_event

DAY_US = 86_400 * SECOND
NEAR_US = SLACK_US + SECOND
OPENED = attrgetter("opened_us")


@attrs.frozen
class Scene:
    """Rows and files as they were found.

    `rows` are those that nobody is busy with; `held` gives monitor and start of events that somebody is. `clips`: files by event id, in
    the events' own directories, the largest first; `unread`: why those of some events can't be told, `away`: why nothing can be told of
    whole storages. `recording`: what each living worker has open, by monitor, as `tail` gives it; None where that can't be told.
    `homes`: the root that each monitor records to now; `pre_roll_us` and `triggered_us` as `Own` has them. `measures` by path, as far as
    files were measured. `openings_wait`: there may be openings in the spool, or otherwise on their way, whose rows are still to come.
    `storages`: those that there are, by root.
    """

    rows: tuple[LeftRow, ...] = ()
    clips: Mapping[int, tuple[Found, ...]] = attrs.field(factory=dict)
    strays: tuple[Stray, ...] = ()
    unread: Mapping[int, str] = attrs.field(factory=dict)
    roots: Mapping[str, RootState] = attrs.field(factory=dict)
    away: Mapping[str, str] = attrs.field(factory=dict)
    storages: Mapping[str, Storage] = attrs.field(factory=dict)
    recording: OpenFiles = attrs.field(factory=dict)
    homes: Mapping[int, str] = attrs.field(factory=dict)
    pre_roll_us: Mapping[int, int] = attrs.field(factory=dict)
    triggered_us: Mapping[int, int] = attrs.field(factory=dict)
    held: tuple[tuple[int, int], ...] = ()
    claimed: frozenset[str] = frozenset()
    measures: Mapping[str, Measure] = attrs.field(factory=dict)
    openings_wait: bool = False
    force: bool = False


def plan(scene: Scene) -> Plan:
    """Decide. The same again once it was carried out gives nothing but reports."""
    roots = {row.place.root for row in scene.rows} | {stray.root for stray in scene.strays} | {*scene.homes.values()}
    parts = [_part(scene, root) for root in sorted(roots)]
    there = [part for part in parts if part.not_there() is None]
    for part in there:
        part.match()
    for part, other in permutations(there, 2):
        part.match_elsewhere(other)
    actions: list[Action] = []
    stopped: list[str] = []
    for part in parts:
        if (reason := part.not_there() or part.empty()) is not None:
            stopped.append(reason)
            actions += part.left_open()
        else:
            stopped += part.decide()
            actions += part.actions
    return Plan(tuple(actions), tuple(stopped))


def _part(scene: Scene, root: str) -> _Root:
    rows = tuple(row for row in scene.rows if row.place.root == root)
    strays = tuple(stray for stray in scene.strays if stray.root == root)
    return _Root(attrs.evolve(scene, rows=rows, strays=strays), root)


class _Root:
    """The part of a scene that lies in one storage."""

    def __init__(self, scene: Scene, root: str) -> None:
        self.scene = scene
        self.root = root
        self.actions: list[Action] = []
        self._missing = Doubt("clips are missing")
        self._broken = Doubt("stray clips can't be read")
        self._current = self._current_rows()
        self._taken: dict[int, Stray] = {}
        self._left = self._free_strays()
        self._broken.looked(stray.monitor_id for stray in self._left)

    def not_there(self) -> str | None:
        """Why nothing is known of this storage, if so."""
        if (why := self.scene.away.get(self.root)) is not None:
            return f"storage {self.root} can't be looked at: {why}; nothing is done about what lies there until it can"
        if self.scene.roots.get(self.root) == "missing":
            return f"storage {self.root} is not there: is it mounted?"
        return None

    def empty(self) -> str | None:
        """Why this storage can't be believed in although it is there, if so."""
        wanting = sum(row.has_clip and row.event_id not in self._taken for row in self.scene.rows)
        if self.scene.roots.get(self.root) == "empty" and wanting and not self.scene.force:
            return f"storage {self.root} is empty, but {wanting} events have clips there: is the right one mounted?"
        return None

    def left_open(self) -> list[Action]:
        """All that is decided where the storage can't be believed in: what workers may be recording is theirs, whatever lies there."""
        return [LeaveOpen(row) for row in self.scene.rows if row.event_id in self._current]

    def decide(self) -> list[str]:
        """Fill `actions`; why nothing is to be done after all about some monitor or all of them, if so."""
        for row in self.scene.rows:
            self._see_row(row, self._taken.get(row.event_id))
        for stray in self._left:
            self._see_stray(stray)
        doubts = [] if self.scene.force else doubted(self.root, self._missing, self._broken)
        self.actions = believed(self.actions, doubts)
        return [why for why, _ in doubts]

    # Which file belongs to which row

    def _free_strays(self) -> list[Stray]:
        """The clips that nobody is busy with, by opening."""
        scene = self.scene
        held = defaultdict(list)
        for monitor_id, start_us in scene.held:
            held[monitor_id].append(start_us)
        for row in scene.rows:
            if row.event_id in scene.unread:  # it may be its clip, or a copy of it
                held[row.monitor_id].append(row.start_us)
        free = [
            stray
            for stray in scene.strays
            if stray.path not in scene.claimed
            and not any(
                opened_in(start, self._longest(stray.monitor_id), stray.opened_us) for start in held[stray.monitor_id]
            )
        ]
        return sorted(free, key=lambda stray: (stray.opened_us, stray.number, stray.path))

    def match(self) -> None:
        """Find strays for rows that have no clip in their directory, not even an empty one: for open rows first, then for closed ones, and
        first where row and clip are nearest in time. A second name of a clip that is in its place already (a move that was cut short) goes
        to its row as well."""
        clips = self.scene.clips
        owners = {clip.inode: event_id for event_id, found in clips.items() for clip in found if clip.size}
        for stray in tuple(self._left):
            event_id = owners.get(stray.inode)
            if event_id is not None and event_id not in self._taken:
                self._taken[event_id] = stray
                self._left.remove(stray)
        self.match_elsewhere(self)
        self._take([row for row in self.scene.rows if row.ended], self._left, self._opened)

    def match_elsewhere(self, other: _Root) -> None:
        """The same for open rows, in another storage: in that to which the worker went on recording after the monitor's had changed."""
        rows = [row for row in self.scene.rows if not row.ended]
        self._take(rows, other._left, self._opened)
        # An event that was made of a clip which began before its opening may bear the cause of one that did not.
        self._take(rows, other._left, lambda row, stray: self._may_be_of(row, stray.opened_us))

    def _take(self, rows: list[LeftRow], left: list[Stray], fits: Callable[[LeftRow, Stray], bool]) -> None:
        pairs = [
            ((self._off(row, stray.opened_us), not stray.size, not row.video, row.start_us, row.event_id), row, stray)
            for row in rows
            if not (row.event_id in self._taken or row.event_id in self.scene.unread or self._clips_of(row))
            for stray in self._near(row, left)
            if stray.monitor_id == row.monitor_id
            and fits(row, stray)
            and (row.event_id in self._current or not self._being_written(stray))
            and (stray.size or not row.ended)
        ]
        gone: set[str] = set()
        for _, row, stray in sorted(pairs, key=itemgetter(0)):
            if row.event_id not in self._taken and stray.path not in gone:
                self._taken[row.event_id] = stray
                gone.add(stray.path)
        left[:] = [stray for stray in left if stray.path not in gone]

    def _near(self, row: LeftRow, left: Sequence[Stray]) -> Sequence[Stray]:
        """Of these, which are in the order of their opening, all that can be the row's, and some more: the others need no look."""
        earliest, latest = row.start_us - NEAR_US, row.start_us + self._longest(row.monitor_id) + NEAR_US
        return left[bisect_left(left, earliest, key=OPENED) : bisect_right(left, latest, key=OPENED)]

    def _off(self, row: LeftRow, opened_us: int) -> int:
        """How far from the row's own opening that is. One that was made of a clip begins with it."""
        return min(abs(opened_us - row.start_us - before) for before in (0, self._before(row)))

    def _may_be_of(self, row: LeftRow, opened_us: int) -> bool:
        """Whether a clip that was opened then may be the row's, whatever its cause."""
        return opened_in(row.start_us, self._pre_roll(row.monitor_id), opened_us)

    def _opened(self, row: LeftRow, stray: Stray) -> bool:
        """Whether the clip was opened when the row's was. One of a row that was closed without any is known for certain only by the
        second."""
        pre_roll = self._before(row)
        if row.ended and not row.video:
            return any(abs(stray.opened_us - row.start_us - before) <= SECOND for before in (0, pre_roll))
        return opened_in(row.start_us, pre_roll, stray.opened_us)

    def _clip_of(self, row: LeftRow) -> Found | None:
        """The clip in the row's directory: the one that it names, else the largest. An empty one is none, unless a living worker may
        just have begun it."""
        begun = row.event_id in self._current
        found = [clip for clip in self.scene.clips.get(row.event_id, ()) if clip.size or (begun and not clip.finished)]
        return next((clip for clip in found if clip.path == row.place.video_path), found[0] if found else None)

    def _current_rows(self) -> set[int]:
        """The events whose clips living workers are writing."""
        open_rows: dict[int, list[LeftRow]] = defaultdict(list)
        for row in self.scene.rows:
            if not row.ended and row.monitor_id in self.scene.recording:
                open_rows[row.monitor_id].append(row)
        current = (self._current_of(monitor_id, rows) for monitor_id, rows in open_rows.items())
        return {row.event_id for row in current if row is not None}

    def _current_of(self, monitor_id: int, rows: list[LeftRow]) -> LeftRow | None:
        """That of these open rows of a monitor whose clip its worker is writing. The file that it has open says so by its place, or by the
        second in the worker's own name; of rows that began in that second the last has not ended yet."""
        files = self.scene.recording[monitor_id]
        held = [start for owner, start in self.scene.held if owner == monitor_id]
        if files is None:
            going_on = (row for row in rows if not self._finished(row))
            return None if held else max(going_on, key=lambda row: (row.start_us, row.event_id), default=None)
        event_ids = {clip_event(basename(path)) for path in files}
        for row in rows:
            if row.event_id in event_ids:
                return row
        opened = [one.opened_us for path in files if (one := own_name(path, None)) is not None]
        opened += [stray.opened_us for stray in self.scene.strays if tail(stray.path) in files]
        pre_roll = self._longest(monitor_id)
        wanting = [row for row in rows if not any(clip.size for clip in self._clips_of(row))]
        fit = [
            (exactly, -self._off(row, at_us), row.event_id, row)
            for at_us in opened
            if not any(opened_in(start, pre_roll, at_us) for start in held)
            for row in wanting
            if (exactly := opened_in(row.start_us, self._before(row), at_us)) or self._may_be_of(row, at_us)
        ]
        return max(fit)[-1] if fit else None

    def _clips_of(self, row: LeftRow) -> tuple[Found, ...]:
        return self.scene.clips.get(row.event_id, ())

    def _finished(self, row: LeftRow) -> bool:
        """Whether its clip is in its place, and its worker has closed it."""
        clips = self._clips_of(row)
        return bool(clips) and all(clip.finished for clip in clips)

    def _before(self, row: LeftRow) -> int:
        """How long before its opening the row's clip may begin."""
        return pre_roll_of(row.cause, self._longest(row.monitor_id))

    def _longest(self, monitor_id: int) -> int:
        """The same of any clip of the monitor: its worker may go on with a document of before."""
        return max(self._pre_roll(monitor_id), self.scene.triggered_us.get(monitor_id, 0))

    def _pre_roll(self, monitor_id: int) -> int:
        return self.scene.pre_roll_us.get(monitor_id, 0)

    # What becomes of them

    def _see_row(self, row: LeftRow, stray: Stray | None) -> None:
        if (why := self.scene.unread.get(row.event_id)) is not None:
            self.actions.append(
                LeaveOpen(row) if row.event_id in self._current else Report(row.monitor_id, why, row.event_id)
            )
            return
        clip = self._clip_of(row)
        self._missing.looked([row.monitor_id] * row.has_clip)
        if row.event_id in self._current:
            self.actions.append(LeaveOpen(row))
            return
        if clip is not None and stray is not None:
            self._second_name(row, stray)
        if row.ended and row.video and clip is not None and clip.is_told_of(row.place.video_path, row.disk_bytes):
            return
        source = clip or stray
        if source is not None and source.size and self._readable(source.path):
            self.actions.append(self._closed_from(row, source))
            return
        aside = [*self.scene.clips.get(row.event_id, ()), *([stray] if stray is not None and clip is None else [])]
        self.actions += [self._aside(one, row.monitor_id) for one in aside]
        if row.ended:
            if row.video and not aside:
                self._missing.wrong(row.monitor_id)
                self.actions.append(
                    Report(row.monitor_id, f"its clip {row.place.video_path} is not there", row.event_id)
                )
            elif row.video:
                self.actions.append(CloseEmpty(row, "its clip can't be read, and was set aside"))
            return
        note = None
        if aside:
            note = "its clip can't be read, and was set aside"
        elif row.has_clip:
            self._missing.wrong(row.monitor_id)
            note = "no clip of it was found on disk when it was closed"
        self.actions.append(CloseEmpty(row, note))

    def _second_name(self, row: LeftRow, stray: Stray) -> None:
        """A clip that is in its place has its old name as well: the move was cut short."""
        self.actions.append(
            SetAside(stray, self.root, row.monitor_id, f"it is the clip of event {row.event_id}, which is in its place")
        )

    def _closed_from(self, row: LeftRow, source: Found) -> CloseFromFile:
        measured = self.scene.measures.get(source.path, Measure())
        if measured.frames:
            length, frames, settle = measured.duration_us, measured.frames, True
        else:
            length = row.length_us or min(max(0, source.mtime_us - row.start_us), DAY_US)
            frames, settle = max(1, row.frames, row.last_frame), False
        return CloseFromFile(row, source, length, frames, settle, measured.codec)

    def _see_stray(self, stray: Stray) -> None:
        scene = self.scene
        if self._being_written(stray):
            return
        if not stray.size or not self._readable(stray.path):
            if stray.size:
                self._broken.wrong(stray.monitor_id)
            self.actions.append(self._aside(stray, stray.monitor_id))
        elif (row := self._copied(stray)) is not None:
            self._second_name(row, stray)
        elif (home := scene.homes.get(stray.monitor_id, stray.root)) != stray.root and stray.root not in scene.storages:
            text = f"clip {stray.path} has no event, and the monitor now records to {home}: move it there in the same directory"
            self.actions.append(Report(stray.monitor_id, text))
        elif scene.openings_wait:
            self.actions.append(HoldBack(stray))
        else:
            self.actions.append(self._made_from(stray))

    def _being_written(self, stray: Stray) -> bool:
        """Whether a living worker has this clip open."""
        files = self.scene.recording.get(stray.monitor_id, frozenset())
        return not stray.finished if files is None else tail(stray.path) in files

    def _copied(self, stray: Stray) -> LeftRow | None:
        """The event that has a copy of this clip already: the move, between file systems, was cut short."""
        rows = self._by_clip.get((stray.monitor_id, stray.size, stray.mtime_us), ())
        return next((row for row in rows if opened_in(row.start_us, self._before(row), stray.opened_us)), None)

    @cached_property
    def _by_clip(self) -> Mapping[tuple[int, int, int], Sequence[LeftRow]]:
        """The rows by monitor and by the size and time of their clips: a worker may have left any number of strays."""
        rows: dict[tuple[int, int, int], list[LeftRow]] = defaultdict(list)
        for row in self.scene.rows:
            if (clip := self._clip_of(row)) is not None:
                rows[row.monitor_id, clip.size, clip.mtime_us].append(row)
        return rows

    def _made_from(self, stray: Stray) -> MakeEvent:
        measured = self.scene.measures.get(stray.path, Measure())
        written = min(max(0, stray.mtime_us - stray.opened_us), DAY_US)
        if measured.frames:
            length, frames = measured.duration_us, measured.frames
        else:
            length, frames = written, 1 + round(written * DEFAULT_RATE / SECOND)
        # What is longer than it was written for begins with what was in the worker's buffer.
        before = length - written if measured.frames and length - written > SLACK_US else 0
        elsewhere = self.scene.homes.get(stray.monitor_id, stray.root) != stray.root
        storage = self.scene.storages[stray.root] if elsewhere else None
        start_us = stray.opened_us - min(before, self._pre_roll(stray.monitor_id))  # by which it is known again
        return MakeEvent(stray, start_us, length, frames, measured.codec, storage)

    def _readable(self, path: str) -> bool:
        return self.scene.measures.get(path, Measure()).readable

    def _aside(self, found: Found, monitor_id: int) -> SetAside:
        root = found.root if isinstance(found, Stray) else self.root
        return SetAside(found, root, monitor_id, "it holds no picture" if found.size else "it is empty")
