"""Carries out what a recovery has decided: rows through the writer like everything else, files on the disk's threads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredSemaphore
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.logger import Logger
from twisted.python.failure import Failure

from zmtwist.changes import Change, ClipSaved, CloseEvent, InStorage, OpenEvent, Tally, UpdateEvent
from zmtwist.ingest.clips.scan import set_aside, unchanged
from zmtwist.ingest.service import Ingest
from zmtwist.ingest.session.scoring import cause_of
from zmtwist.recovery.actions import (
    Action,
    CloseEmpty,
    CloseFromFile,
    HoldBack,
    LeaveOpen,
    MakeEvent,
    Report,
    SetAside,
    describe,
    monitor_of,
    root_of,
    subject_file,
    subject_row,
)
from zmtwist.recovery.inventory import Asking, Inventory
from zmtwist.wire.guarded import guarded_trigger
from zmtwist.zm.event_paths import CODECS, with_codec
from zmtwist.zm.read.own_events import Own

ACTIONS_AT_ONCE = 8
ACTION_SECONDS = 60.0
"""An action that takes longer goes on by itself, but is not waited for."""

_CODEC_IDS = {name: number for number, name in CODECS.items()}


class Repairs:
    """Does what is to be done, a few things at once."""

    log = Logger()

    def __init__(self, reactor: Any, asking: Asking, look: Inventory, ingest: Ingest) -> None:
        self._reactor = reactor
        self._asking = asking
        self._look = look
        self._ingest = ingest
        self._few_at_a_time = DeferredSemaphore(ACTIONS_AT_ONCE)

    async def still_right(
        self, actions: Sequence[Action], own: Mapping[int, Own]
    ) -> tuple[Sequence[Action], frozenset[int]]:
        """Those of which rows and files are still as they were seen, for looking and measuring takes time in which others go on; and the
        monitors of the rest. Raises DatabaseError."""
        seen = [row for action in actions if (row := subject_row(action)) is not None]
        there = await self._unchanged(actions)
        now = await self._look.rows(own, [row.event_id for row in seen])
        hands = self._ingest.in_hand()
        busy = hands.event_ids
        fit = {row.event_id for row in seen if row.event_id not in busy and row.like(now.get(row.event_id))}
        right: list[Action] = []
        changed: set[int] = set()
        for action in actions:
            row, file = subject_row(action), subject_file(action)
            if (
                (row is None or row.event_id in fit)
                and (file is None or (file.path in there and file.path not in hands.paths))
                and not (isinstance(action, MakeEvent) and hands.openings_wait)
            ):
                right.append(action)
            else:
                changed.add(monitor_of(action))
        return right, frozenset(changed)

    async def _unchanged(self, actions: Sequence[Action]) -> set[str]:
        files = defaultdict(list)
        for action in actions:
            if (file := subject_file(action)) is not None:
                files[root_of(action)].append(file)
        there: set[str] = set()
        for root, mine in files.items():
            try:
                there |= await self._asking.ask(root, unchanged, mine)
            except OSError as error:
                self.log.warn(
                    "recovery: storage {root} can't be looked at: {error}",
                    root=root,
                    error=error.strerror or str(error),
                )
        return there

    async def do(self, actions: Sequence[Action], own: Mapping[int, Own]) -> list[str]:
        """Do all; gives what could not be done, and why. `own` has the monitor of each."""
        works = [
            self._few_at_a_time.run(lambda one: Deferred.fromCoroutine(self._perform(one, own)), action)
            for action in actions
        ]
        failed: list[str] = []
        for action, (well, result) in zip(actions, await DeferredList(works, consumeErrors=True), strict=True):
            if not well:
                failed.append(f"{describe(action)}: {_why(result)}")
                self.log.error("recovery: not done: {what}", what=failed[-1])
        return failed

    async def _perform(self, action: Action, own: Mapping[int, Own]) -> None:
        match action:
            case SetAside(file=file, root=root):
                await self._asking.ask(root, set_aside, file.path, root)
            case CloseFromFile(row=row):
                handle = self._ingest.take_up(with_codec(row.place, _CODEC_IDS.get(action.codec, 0)))
                saved = ClipSaved(
                    handle=handle,
                    path=action.path,
                    duration_us=action.length_us,
                    frames=action.frames,
                    tally=row.tally,
                    settle=action.settle,
                    event_id=row.event_id,
                )
                # A kill between the clip's move and the row's new figures must not leave the old ones for good.
                unknown = [UpdateEvent(handle=handle, disk_bytes=0)] if row.ended else []
                await self._closed(own, row.monitor_id, [*unknown, saved])
            case CloseEmpty(row=row, note=note):
                close = CloseEvent(
                    handle=self._ingest.take_up(row.place),
                    length_us=row.length_us,
                    frames=max(1, row.frames, row.last_frame),
                    tally=row.tally,
                    note=note,
                )
                await self._closed(own, row.monitor_id, [close])
            case MakeEvent():
                await self._make(action, own)
            case LeaveOpen() | HoldBack() | Report():
                pass

    async def _make(self, action: MakeEvent, own: Mapping[int, Own]) -> None:
        stray, there = action.stray, action.storage
        guard = self._ingest.guards.of(stray.monitor_id)
        trigger = guarded_trigger(guard, stray.cause) or "continuous"
        handle = self._ingest.new_handle(stray.monitor_id)
        opened = OpenEvent(
            handle=handle,
            monitor_id=stray.monitor_id,
            start_us=action.start_us,
            trigger=trigger,
            cause=cause_of(trigger),
            notes=guard.text(stray.text),
            codec_id=_CODEC_IDS.get(action.codec, 0),
            storage=None if there is None else InStorage(there.id, there.path, there.scheme),
        )
        saved = ClipSaved(
            handle=handle,
            path=stray.path,
            duration_us=action.length_us,
            frames=action.frames,
            tally=Tally(),
        )
        await self._closed(own, stray.monitor_id, [opened, saved])

    async def _closed(self, own: Mapping[int, Own], monitor_id: int, changes: Sequence[Change]) -> None:
        await self._ingest.recover(own[monitor_id].monitor, changes).addTimeout(ACTION_SECONDS, self._reactor)


def _why(failure: object) -> str:
    if isinstance(failure, Failure):
        if failure.check(TookTooLong, CancelledError):
            return f"not finished after {ACTION_SECONDS:g} s; it goes on"
        return failure.getErrorMessage()
    return str(failure)
