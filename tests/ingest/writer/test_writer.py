"""The writer against a store that does as it is told: what is committed, how often, and what follows."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.ingest.places import place_in
from zmtwist.changes import AddFrame, Change, ClipSaved, CloseEvent, OpenEvent, Tally, UpdateEvent
from zmtwist.ingest.writer.writer import COMPANY_SECONDS, LAST_DELAY, Writer
from zmtwist.interfaces import IEventStore
from zmtwist.zm.db.errors import Refused, Retryable, Unsure
from zmtwist.zm.write.batch import Written


def open_event(monitor: int, n: int = 1) -> OpenEvent:
    return OpenEvent(
        handle=f"{monitor}.r.{n}", monitor_id=monitor, start_us=0, trigger="motion", cause="Motion", token="t"
    )


def frame(monitor: int, frame_id: int, n: int = 1) -> AddFrame:
    return AddFrame(f"{monitor}.r.{n}", frame_id, 0)


def saved(monitor: int, n: int = 1) -> ClipSaved:
    return ClipSaved(handle=f"{monitor}.r.{n}", path="/x", duration_us=1, frames=1, tally=Tally())


def closed(monitor: int, n: int = 1) -> CloseEvent:
    return CloseEvent(handle=f"{monitor}.r.{n}", length_us=1, frames=1, tally=Tally())


@implementer(IEventStore)
@attrs.define
class Store:
    """Keeps what is committed. `outcomes` are used up one per commit: None commits, an exception fails, `held` waits for `release`."""

    committed: list[list[Change]] = attrs.field(factory=list)
    tried: list[list[Change]] = attrs.field(factory=list)
    outcomes: list[Any] = attrs.field(factory=list)
    landed_answers: list[Any] = attrs.field(factory=list)
    bad: Callable[[Change], bool] = lambda _change: False
    waiting: list[Deferred[None]] = attrs.field(factory=list)
    ids: int = 0
    asked: list[list[str]] = attrs.field(factory=list)
    there: dict[str, Any] = attrs.field(factory=dict)

    def commit(self, changes, places, monitors):
        self.tried.append(list(changes))
        opened = {}
        for change in changes:
            if isinstance(change, OpenEvent):
                self.ids += 1
                opened[change.handle] = place_in(Path("/e"), self.ids, change.monitor_id)
            else:
                assert change.handle in places or change.handle in opened
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if outcome == "held":
            gate: Deferred[None] = Deferred()
            self.waiting.append(gate)
            return gate.addCallback(lambda _: self._commit(changes, opened))
        if outcome == "unsure but there":
            self._commit(changes, opened)
            return fail(Unsure("the answer was lost", None, Written(places=opened)))
        if outcome == "unsure and lost":
            return fail(Unsure("the answer was lost", None, Written(places=opened)))
        if outcome is not None:
            return fail(outcome)
        if any(self.bad(change) for change in changes):
            return fail(Refused("1366: incorrect string value"))
        return succeed(self._commit(changes, opened))

    def _commit(self, changes, opened):
        self.committed.append(list(changes))
        return opened

    def opened(self, openings, taken, monitors, closes):
        self.asked.append([change.handle for change in openings])
        return succeed({h: place for h, place in self.there.items() if place.event_id not in taken})

    def landed(self, unsure):
        answer = self.landed_answers.pop(0)
        return fail(answer) if isinstance(answer, Exception) else succeed(answer)


class Setting:
    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.store = Store()
        self.effects: list[tuple[str, int]] = []
        self.writer = Writer(self.clock, self.store, dict, self.effect, **options)
        self.writer.startService()

    def effect(self, change: Change, place: Any) -> None:
        # What is raised here would only be logged.
        early = "" if any(change in batch for batch in self.store.committed) else " before its commit"
        self.effects.append((type(change).__name__ + early, place.event_id))

    def settle(self) -> None:
        """Everything that needs no time but that of its turn comes about, bulk that waits for company included."""
        for _ in range(10):
            self.clock.advance(COMPANY_SECONDS / 4)

    def written(self) -> list[Change]:
        return [change for batch in self.store.committed for change in batch]


def test_the_store_double_keeps_the_interface():
    assert verifyObject(IEventStore, Store())


def test_what_is_queued_in_one_turn_is_one_transaction():
    s = Setting()
    s.writer.submit(1, [open_event(1)])
    s.writer.submit(2, [open_event(2), frame(2, 2)])
    assert s.store.tried == []
    s.settle()
    assert s.store.committed == [[open_event(1), open_event(2), frame(2, 2)]]
    assert s.effects == [("OpenEvent", 1), ("OpenEvent", 2)]
    assert s.writer.idle


def test_an_opening_does_not_wait_for_the_bulk_under_way():
    s = Setting()
    s.writer.submit(1, [open_event(1)])
    s.settle()
    s.store.outcomes = ["held", "held"]
    s.writer.submit(1, [frame(1, 2)])
    s.settle()
    s.writer.submit(1, [frame(1, 3), saved(1), open_event(1, 2), frame(1, 2, 2)])
    s.settle()
    bulk, opening = s.store.waiting
    assert s.store.tried[1:] == [[frame(1, 2)], [open_event(1, 2)]]
    opening.callback(None)
    s.settle()
    assert s.effects[-1] == ("OpenEvent", 2)
    s.writer.submit(2, [open_event(2)])
    s.settle()
    assert s.effects[-1] == ("OpenEvent", 3), "a second one passes as well"
    assert len(s.store.tried) == 4, "nothing else does, in the order of its event"
    bulk.callback(None)
    s.settle()
    assert s.store.committed[-2:] == [[frame(1, 2)], [frame(1, 3), saved(1), frame(1, 2, 2)]]
    assert s.writer.idle


def test_the_bulk_after_it_waits_for_an_opening_under_way():
    s = Setting()
    s.writer.submit(1, [open_event(1)])
    s.settle()
    s.store.outcomes = ["held", Retryable("deadlock"), "held"]
    s.writer.submit(1, [frame(1, 2)])
    s.settle()
    s.writer.submit(2, [open_event(2), frame(2, 2)])
    s.settle()
    bulk, opening = s.store.waiting
    bulk.callback(None)
    s.settle()
    assert not s.writer.idle
    assert s.store.tried[-1] == [open_event(2)]
    opening.callback(None)
    s.settle()
    assert s.written() == [open_event(1), frame(1, 2), open_event(2), frame(2, 2)]
    assert s.writer.idle


def test_what_comes_during_a_transaction_goes_into_the_next():
    s = Setting()
    s.store.outcomes = ["held"]
    s.writer.submit(1, [open_event(1)])
    s.settle()
    for n in range(2, 50):
        s.writer.submit(1, [frame(1, n)])
    assert s.effects == []
    s.store.waiting.pop().callback(None)
    s.settle()
    assert [len(batch) for batch in s.store.committed] == [1, 48]
    assert s.writer.figures.largest_batch == 48


def test_bulk_waits_a_moment_for_company_and_an_opening_does_not():
    s = Setting()
    s.writer.submit(1, [open_event(1), frame(1, 2)])
    s.settle()
    s.writer.submit(1, [frame(1, 3)])
    s.clock.advance(0)
    s.clock.advance(0)
    written = len(s.store.tried)
    s.writer.submit(1, [frame(1, 4)])
    s.clock.advance(COMPANY_SECONDS / 2)
    s.writer.submit(2, [open_event(2)])
    s.clock.advance(0)
    assert s.store.tried[written:] == [[open_event(2)]]
    s.clock.advance(COMPANY_SECONDS)
    s.clock.advance(0)
    assert s.store.tried[written + 1 :] == [[frame(1, 4)]]


def test_a_batch_has_its_bound():
    s = Setting(max_batch=10)
    s.writer.submit(1, [open_event(1), *(frame(1, n) for n in range(2, 36))])
    s.settle()
    assert [len(batch) for batch in s.store.committed] == [10, 10, 10, 5]


def test_a_database_that_is_away_is_asked_again_with_the_same_batch_at_growing_intervals():
    s = Setting()
    s.store.outcomes = [Retryable("2006: server has gone away")] * 8
    s.writer.submit(1, [open_event(1), frame(1, 2)])
    s.clock.advance(0)
    s.clock.advance(0)
    times = [s.clock.seconds()]
    while len(s.store.committed) == 0:
        before = len(s.store.tried)
        while len(s.store.tried) == before:
            s.clock.advance(0.05)
        times.append(s.clock.seconds())
    gaps = [round(b - a, 1) for a, b in pairwise(times)]
    assert gaps == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, LAST_DELAY, LAST_DELAY]
    assert s.written() == [open_event(1), frame(1, 2)]
    assert s.effects == [("OpenEvent", 9)]


def test_a_commit_whose_answer_was_lost_is_looked_up_and_not_repeated():
    s = Setting()
    s.store.outcomes = ["unsure but there"]
    s.store.landed_answers = [Retryable("still away"), True]
    s.writer.submit(1, [open_event(1), frame(1, 2)])
    s.settle()
    s.clock.advance(1)
    s.settle()
    assert s.written() == [open_event(1), frame(1, 2)]
    assert s.effects == [("OpenEvent", 1)]


def test_a_lost_commit_that_is_not_there_is_repeated():
    s = Setting()
    s.store.outcomes = ["unsure and lost"]
    s.store.landed_answers = [False]
    s.writer.submit(1, [open_event(1)])
    s.settle()
    assert s.written() == [open_event(1)]
    assert s.effects == [("OpenEvent", 2)]


def test_a_bad_change_is_isolated_and_the_rest_is_written_in_order():
    s = Setting()
    s.store.bad = lambda change: change == frame(1, 13)
    s.writer.submit(1, [open_event(1), *(frame(1, n) for n in range(2, 30))])
    s.writer.submit(2, [open_event(2), frame(2, 2)])
    s.settle()
    assert [c for c in s.written() if c.handle == "1.r.1"] == [
        open_event(1),
        *(frame(1, n) for n in range(2, 30) if n != 13),
    ]
    assert [c for c in s.written() if c.handle == "2.r.1"] == [open_event(2), frame(2, 2)]
    assert s.writer.figures.refused == 1


def test_the_changes_of_an_event_that_got_no_row_are_counted_not_tried():
    s = Setting()
    s.store.bad = lambda change: change == open_event(1)
    s.writer.submit(1, [open_event(1), frame(1, 2), saved(1)])
    s.settle()
    assert s.written() == []
    assert (s.writer.figures.refused, s.writer.figures.orphaned) == (1, 2)
    s.writer.submit(1, [open_event(1, 2)])
    s.settle()
    assert s.written() == [open_event(1, 2)]


def test_an_event_can_be_spoken_of_for_a_while_after_its_close():
    s = Setting()
    s.writer.submit(1, [open_event(1), saved(1), closed(1)])
    s.settle()
    s.writer.submit(1, [UpdateEvent(handle="1.r.1", note="late")])
    s.settle()
    assert s.written()[-1] == UpdateEvent(handle="1.r.1", note="late")
    assert s.effects == [("OpenEvent", 1), ("ClipSaved", 1), ("CloseEvent", 1)]


def test_nothing_comes_of_a_save_before_it_is_committed():
    s = Setting()
    s.writer.submit(1, [open_event(1)])
    s.settle()
    s.store.outcomes = ["held", Retryable("deadlock")]
    s.writer.submit(1, [saved(1), closed(1)])
    s.settle()
    assert s.effects == [("OpenEvent", 1)]
    s.store.waiting.pop().callback(None)
    s.settle()
    assert s.effects == [("OpenEvent", 1), ("ClipSaved", 1), ("CloseEvent", 1)]


def test_an_effect_that_fails_stops_nothing():
    s = Setting()
    s.writer._effect = lambda change, place: 1 / 0
    s.writer.submit(1, [open_event(1)])
    s.settle()
    s.writer.submit(1, [frame(1, 2)])
    s.settle()
    assert s.written() == [open_event(1), frame(1, 2)]


def test_a_stop_gives_up_a_database_that_is_away():
    s = Setting()
    s.store.outcomes = [Retryable("away")] * 100
    s.writer.submit(1, [open_event(1)])
    s.settle()
    drained = Deferred.fromCoroutine(s.writer.drained())
    assert not drained.called
    stopped = s.writer.stopService()
    s.settle()
    assert stopped.called
    assert drained.called
    assert s.clock.getDelayedCalls() == []


def test_the_end_of_an_outage_is_told_and_that_of_a_deadlock_is_not():
    told = []
    for error, ends in ((Retryable("gone", 2013), 1), (Retryable("deadlock", 1213), 1), (Retryable("away"), 2)):
        setting = Setting()
        setting.store.outcomes = [error]
        setting.writer.after_outage = lambda: told.append(1)
        setting.writer.submit(1, [open_event(1)])
        setting.settle()
        assert setting.store.committed
        assert len(told) == ends
