"""When the recovery looks: soon after a worker's exit, later where it could not, and once more a while after the start."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from zmtwist.ingest.in_flight import InHand
from zmtwist.recovery.service import AGAIN_SECONDS, BUSY_SECONDS, GONE_SECONDS, RecoveryService
from zmtwist.zm.db.errors import Retryable


class Run:
    """A recovery whose passes end where they begin, since the database is away."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.looked_at: list[float] = []
        self.trouble: Exception = Retryable("away")
        self.held: Deferred[None] = succeed(None)
        """Until when each pass takes that is begun."""
        self.ingest: Any = SimpleNamespace(in_hand=InHand, writer=SimpleNamespace(idle=True), settler=SimpleNamespace())
        nothing: Any = None

        async def own() -> Mapping[int, Any]:
            self.looked_at.append(self.clock.seconds())
            await self.held
            raise self.trouble

        async def open_files() -> Mapping[int, frozenset[str] | None]:
            return {}

        self.recovery = RecoveryService(
            self.clock, nothing, nothing, nothing, self.ingest, own, open_files, wall=lambda: 0
        )
        self.recovery.startService()

    def wait(self, seconds: float) -> None:
        self.clock.pump([0.5] * round(seconds * 2))


def test_an_exit_is_looked_at_soon_although_another_look_is_due_later():
    run = Run()
    run.ingest.after_gone(1)
    run.wait(10)
    assert run.looked_at == [GONE_SECONDS]
    run.ingest.after_gone(2)
    run.wait(10)
    assert run.looked_at[1:] == [10 + GONE_SECONDS]
    run.wait(AGAIN_SECONDS)
    assert run.looked_at[2:] == [GONE_SECONDS + AGAIN_SECONDS, 10 + GONE_SECONDS + AGAIN_SECONDS]
    run.recovery.stopService()
    assert not run.clock.getDelayedCalls()


def test_a_clip_whose_opening_was_held_back_is_looked_for_later_and_many_are_once():
    run = Run()
    for _ in range(1000):
        run.ingest.after_held_back(1)
    run.wait(AGAIN_SECONDS - 1)
    assert run.looked_at == []
    run.wait(2)
    assert run.looked_at == [AGAIN_SECONDS]
    run.recovery.stopService()
    assert not run.clock.getDelayedCalls()


def test_a_pass_waits_for_the_end_of_the_one_before():
    run = Run()
    first = run.held = Deferred()
    run.ingest.after_gone(1)
    run.wait(5)
    run.held = succeed(None)
    run.ingest.after_gone(2)
    run.wait(20)
    assert run.looked_at == [GONE_SECONDS]
    first.callback(None)
    run.wait(1)
    assert run.looked_at == [GONE_SECONDS, 25]
    run.recovery.stopService()
    assert not run.clock.getDelayedCalls()


@pytest.mark.parametrize(("quiet_at", "looked_at"), [(10, 10), (3600, GONE_SECONDS + BUSY_SECONDS)])
def test_a_pass_waits_a_while_for_saves_that_were_heard(quiet_at: float, looked_at: float):
    run = Run()
    run.ingest.in_hand = lambda: InHand(monitors=frozenset({1} if run.clock.seconds() < quiet_at else ()))
    run.ingest.after_gone(1)
    run.wait(60)
    assert run.looked_at == [looked_at]
    run.recovery.stopService()
    run.wait(1)
    assert not run.clock.getDelayedCalls()


def test_a_disk_that_fails_is_told_as_such_and_tried_again():
    run = Run()
    run.trouble = OSError(errno.EIO, "Input/output error", "/x")
    with capturedLogs() as logs:
        run.ingest.after_gone(1)
        run.wait(10 + AGAIN_SECONDS)
    assert len(run.looked_at) == 2
    assert [log["log_level"].name for log in logs] == ["warn"] * 2
    run.recovery.stopService()
