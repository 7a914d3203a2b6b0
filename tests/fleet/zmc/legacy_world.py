"""ZoneMinder as the hand-over meets it, without I/O but for the kept file: its daemons, its rows, and a crash at any step."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.task import Clock

from tests.fleet.zmc.fake_zmdc import Keeper
from zmtwist.fleet.process.procfs import Seen
from zmtwist.fleet.zmc.handover import Handover
from zmtwist.fleet.zmc.ledger import Ledger
from zmtwist.fleet.zmc.zmdc import Listing, NoAnswer, parse_listing
from zmtwist.pipeline.monitor import Monitor
from zmtwist.zm.db.errors import Retryable
from zmtwist.zm.write.capture_setting import CaptureChange


class World:
    """`absent`, `silent`: zmdc's; `database_away`, `disk_full`: what they say. With `fuse` left steps to go, our process dies."""

    def __init__(self, directory: Path, *monitors: Monitor) -> None:
        self.directory = directory
        self.clock = Clock()
        self.clock.rightNow = 1_000.0
        self.keeper = Keeper()
        self.rows = {monitor.id: monitor for monitor in monitors}
        self.living: dict[str, int] = {}
        self.absent = False
        self.silent = False
        self.database_away = False
        self.disk_full = False
        self.fuse: int | None = None
        self.waiting: Deferred[None] | None = None
        self.ready: list[int] = []
        self.reconciled = 0

    # What the hand-over has of it.

    def step(self) -> bool:
        """Whether our process lives to do this."""
        if self.fuse is None:
            return True
        self.fuse -= 1
        return self.fuse >= 0

    async def _asked(self, *words: str) -> str:
        if words != ("status",) and not self.step():
            await Deferred()
        if self.waiting is not None:
            await self.waiting
        if self.absent or self.silent:
            raise NoAnswer("zmdc does not answer", absent=self.absent)
        return self.keeper.answer(";".join(words).encode()).decode()

    async def status(self) -> Listing | None:
        return parse_listing(await self._asked("status"))

    async def start(self, words: tuple[str, ...]) -> str:
        return await self._asked("start", *words)

    async def stop(self, words: tuple[str, ...]) -> str:
        return await self._asked("stop", *words)

    def write(self, changes: Collection[CaptureChange]) -> Deferred[None]:
        if not self.step():
            return Deferred()
        if self.database_away:
            return fail(Retryable("away"))
        for change in changes:
            name = change.column.lower()
            row = self.rows.get(change.monitor_id)
            if row is not None and getattr(row, name) == change.before:
                self.rows[row.id] = attrs.evolve(row, **{name: change.after})
        return succeed(None)

    def in_thread(self, function: Callable[[], Any]) -> Deferred[Any]:
        def run() -> Any:
            return function()

        return maybeDeferred(run)

    def save_in_thread(self, function: Callable[[], Any]) -> Deferred[Any]:
        return self.in_thread(function) if self.step() else Deferred()

    def everyone(self) -> list[Seen]:
        found = {**self.living, **self.keeper.running}
        return [Seen(pid, 1, tuple(key.split())) for key, pid in found.items()]

    # What a test does with it.

    def begin(self, *, set_none: bool = False) -> Handover:
        """A run of ours."""
        zmdc: Any = self
        ledger = Ledger(self.clock, zmdc, str(self.directory), self.save_in_thread, set_none=set_none)
        handover = Handover(self.clock, zmdc, ledger, self.everyone, self.in_thread)
        handover.start(self.ready.append, self._count)
        self.handover = handover
        self.read()
        return handover

    def _count(self) -> None:
        self.reconciled += 1

    def read(self) -> dict[int, Monitor]:
        """What a reconcile does first."""
        return {monitor.id: monitor for monitor in self.handover.see(list(self.rows.values()))}

    def take(self, *ids: int) -> list[str]:
        return [self.handover.take(monitor_id) for monitor_id in ids]

    def run(self, seconds: float, *, zmwatch: bool = False) -> None:
        """Let time pass; with `zmwatch`, what ZoneMinder is set to capture is started every 10 s."""
        for _ in range(round(seconds / 0.5)):
            self.clock.advance(0.5)
            if zmwatch and self.clock.seconds() % 10 < 0.5:
                self.watch()

    def watch(self) -> None:
        for row in self.rows.values():
            if (row.capturing or row.function) != "None":
                self.keeper.run(f"zmc -m {row.id}")

    def kept(self) -> Any:
        path = self.directory / "legacy.json"
        return json.loads(path.read_text())["monitors"] if path.exists() else None
