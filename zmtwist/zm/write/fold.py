"""A batch of changes, folded: all that it says of one event in one place, in an order that no longer matters. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from zmtwist.changes import AddData, AddFrame, AddTag, Change, CloseEvent, OpenEvent, Tally, UpdateEvent


@attrs.define
class Touch:
    """What a batch says of one event. Built by `fold`, read only after that.

    `length_us`, `tally` and `cause` are the last ones given, `frames_seen` is the highest count, `notes` are in order; `first` is what its
    first frame became, `frames` are the others, `disk_bytes` is the last size given. Once an event is closed, only notes, tags, data
    (`late`) and its size are still taken (a description may come late, and pictures are made): its other figures are final.
    """

    handle: str
    opened: OpenEvent | None = None
    first: AddFrame | None = None
    frames: list[AddFrame] = attrs.field(factory=list)
    length_us: int | None = None
    frames_seen: int = 0
    tally: Tally | None = None
    cause: str | None = None
    notes: list[str] = attrs.field(factory=list)
    tags: list[str] = attrs.field(factory=list)
    data: list[AddData] = attrs.field(factory=list)
    late: list[AddData] = attrs.field(factory=list)
    closed: CloseEvent | None = None
    disk_bytes: int | None = None

    @property
    def all_data(self) -> list[AddData]:
        """Rows of data from before and after the close."""
        return self.data + self.late if self.late else self.data

    @property
    def says_nothing(self) -> bool:
        """There is nothing in it to write."""
        return self.opened is None and self.first is None and not self.goes_on

    @property
    def goes_on(self) -> bool:
        """It says more of its event than that it begins, with its first frame."""
        return bool(
            self.frames
            or self.length_us is not None
            or self.frames_seen
            or self.tally
            or self.cause is not None
            or self.notes
            or self.tags
            or self.data
            or self.late
            or self.closed
            or self.disk_bytes is not None
        )


def fold(changes: Iterable[Change]) -> dict[str, Touch]:
    """By handle, in the order in which the batch first names each. A `ClipSaved` writes nothing."""
    touches: dict[str, Touch] = {}
    for change in changes:
        touch = touches.get(change.handle)
        if touch is None:
            touch = touches[change.handle] = Touch(change.handle)
        if isinstance(change, AddFrame):
            if touch.closed is not None:
                continue
            if change.frame_id == 1:
                touch.first = change
            else:
                touch.frames.append(change)
        elif isinstance(change, OpenEvent):
            touch.opened = change
        elif isinstance(change, UpdateEvent):
            _update(touch, change)
        elif isinstance(change, CloseEvent):
            _close(touch, change)
        elif isinstance(change, AddTag):
            touch.tags.append(change.name)
        elif isinstance(change, AddData):
            (touch.data if touch.closed is None else touch.late).append(change)
    return {handle: touch for handle, touch in touches.items() if not touch.says_nothing}


def _update(touch: Touch, change: UpdateEvent) -> None:
    if change.note:
        touch.notes.append(change.note)
    if change.disk_bytes is not None:
        touch.disk_bytes = change.disk_bytes
    if touch.closed is not None:
        return
    if change.length_us is not None:
        touch.length_us = change.length_us
    if change.frames is not None:
        touch.frames_seen = max(touch.frames_seen, change.frames)
    if change.tally is not None:
        touch.tally = change.tally
    if change.cause is not None:
        touch.cause = change.cause


def _close(touch: Touch, change: CloseEvent) -> None:
    if change.note:
        touch.notes.append(change.note)
    if change.cause is not None:
        touch.cause = change.cause
    touch.length_us, touch.tally, touch.closed = change.length_us, change.tally, change
    touch.disk_bytes = change.disk_bytes
