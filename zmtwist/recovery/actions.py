"""What a recovery may do about rows and clips, as plain values. None of them deletes anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import attrs

from zmtwist.ingest.clips.scan import Found, Stray
from zmtwist.pipeline.monitor import Storage
from zmtwist.zm.event_times import SECOND
from zmtwist.zm.read.own_events import LeftRow


@attrs.frozen
class CloseFromFile:
    """Give the row this clip, with the clip's own length, and close it."""

    row: LeftRow
    file: Found
    length_us: int
    frames: int
    settle: bool
    codec: str = ""

    @property
    def path(self) -> str:
        """Where the clip is."""
        return self.file.path


@attrs.frozen
class CloseEmpty:
    """Close the row as one without a clip; `note` goes to its Notes."""

    row: LeftRow
    note: str | None


@attrs.frozen
class MakeEvent:
    """Make an event of a clip that has no row, and move the clip into its directory. `storage` is the one in which it lies, None for the
    monitor's own."""

    stray: Stray
    start_us: int
    length_us: int
    frames: int
    codec: str = ""
    storage: Storage | None = None


@attrs.frozen
class SetAside:
    """Move a file that is no clip out of the way."""

    file: Found
    root: str
    monitor_id: int
    reason: str

    @property
    def path(self) -> str:
        """Where it is."""
        return self.file.path


@attrs.frozen
class LeaveOpen:
    """The row's clip is still being written: its worker will say when it is saved."""

    row: LeftRow


@attrs.frozen
class HoldBack:
    """A clip without a row: what waits for the database may be its opening, so no event is made of it before that is written."""

    stray: Stray


@attrs.frozen
class Report:
    """Something that a person should look at; nothing is done about it."""

    monitor_id: int
    text: str
    event_id: int | None = None


Action = CloseFromFile | CloseEmpty | MakeEvent | SetAside | LeaveOpen | HoldBack | Report

NOTHING_DONE = (LeaveOpen, HoldBack)
"""Actions that are none: all is as it should be, or may still become so by itself."""


@attrs.frozen
class Plan:
    """What is to be done, in this order. `stopped` says for which storages nothing will be, and why."""

    actions: tuple[Action, ...] = ()
    stopped: tuple[str, ...] = ()


def to_measure(planned: Plan) -> Iterator[str]:
    """The files whose length the plan depends on."""
    for action in planned.actions:
        if isinstance(action, CloseFromFile):
            yield action.path
        elif isinstance(action, MakeEvent):
            yield action.stray.path


def subject_row(action: Action) -> LeftRow | None:
    """The row that is to be closed, if any."""
    return action.row if isinstance(action, CloseFromFile | CloseEmpty) else None


def subject_file(action: Action) -> Found | None:
    """The file that something is to be done with, if any."""
    if isinstance(action, MakeEvent):
        return action.stray
    return action.file if isinstance(action, CloseFromFile | SetAside) else None


def root_of(action: Action) -> str:
    """The storage of the file that something is to be done with; '' where there is none."""
    if isinstance(action, MakeEvent):
        return action.stray.root
    if isinstance(action, CloseFromFile):
        return action.file.root if isinstance(action.file, Stray) else action.row.place.root
    return action.root if isinstance(action, SetAside) else ""


def monitor_of(action: Action) -> int:
    """The monitor that it is about."""
    if isinstance(action, MakeEvent | HoldBack):
        return action.stray.monitor_id
    return action.row.monitor_id if isinstance(action, CloseFromFile | CloseEmpty | LeaveOpen) else action.monitor_id


def describe(action: Action) -> str:
    """An action as one line for people."""
    match action:
        case CloseFromFile(row=row, file=file, length_us=length, frames=frames):
            return f"monitor {row.monitor_id}: event {row.event_id}: close with {file.path} ({length / SECOND:.1f} s, {frames} frames)"
        case CloseEmpty(row=row, note=note):
            return f"monitor {row.monitor_id}: event {row.event_id}: close without a clip" + (
                f": {note}" if note else ""
            )
        case MakeEvent(stray=stray, length_us=length, frames=frames):
            return (
                f"monitor {stray.monitor_id}: make an event of {stray.path} ({length / SECOND:.1f} s, {frames} frames)"
            )
        case SetAside(file=file, monitor_id=monitor_id, reason=reason):
            return f"monitor {monitor_id}: set {file.path} aside: {reason}"
        case LeaveOpen(row=row):
            return f"monitor {row.monitor_id}: event {row.event_id} is being recorded"
        case HoldBack(stray=stray):
            return f"monitor {stray.monitor_id}: {stray.path} has no event yet: what waits for the database may be its opening"
        case Report(monitor_id=monitor_id, text=text, event_id=None):
            return f"monitor {monitor_id}: {text}"
        case Report(monitor_id=monitor_id, text=text, event_id=event_id):
            return f"monitor {monitor_id}: event {event_id}: {text}"


def counted(actions: Sequence[Action]) -> dict[str, int]:
    """How many there are of each kind."""
    counts: dict[str, int] = {}
    for action in actions:
        counts[type(action).__name__] = counts.get(type(action).__name__, 0) + 1
    return counts


KINDS: Mapping[type, str] = {
    CloseFromFile: "close_from_file",
    CloseEmpty: "close_empty",
    MakeEvent: "make_event",
    SetAside: "set_aside",
    LeaveOpen: "leave_open",
    HoldBack: "hold_back",
    Report: "report",
}
"""The names of what a recovery may do, for the API and the metrics."""
