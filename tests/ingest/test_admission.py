"""What of a worker's is held back, and that it costs nobody else anything."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from tests.ingest.builders import T0, description, detection, motion, opening, saved, us
from tests.ingest.test_service import Now, Store, of
from zmtwist.changes import AddData, AddFrame, AddTag, OpenEvent, UpdateEvent
from zmtwist.ingest.service import Ingest
from zmtwist.pipeline.document import Document
from zmtwist.pipeline.monitor import Monitor, Storage
from zmtwist.untrusted.budget import LIMITS, Allowance, Budgets, Kind
from zmtwist.wire.event_details import Lifecycle
from zmtwist.wire.messages import Event

FEW = {
    **LIMITS,
    Kind.OPENINGS: Allowance.full(1.0, 5.0),
    Kind.ROWS: Allowance.full(10.0, 40.0),
    Kind.LABELS: Allowance.full(1.0, 4.0),
    Kind.BYTES: Allowance.full(100.0, 20_000.0),
}


class Told:
    """Two monitors' workers, with a clock for each of the two kinds of time."""

    def __init__(self, root: Any) -> None:
        self.clock, self.store, self.set_us = Clock(), Store(root), 0
        self.budgets = Budgets(self.clock.seconds, FEW)
        self.ingest = Ingest(
            self.clock,
            self.store,
            Now(),
            Now(),
            run="run",
            wall=self.wall,
            announce=lambda _: None,
            budgets=self.budgets,
        )  # type: ignore[arg-type]
        self.looks: list[int] = []
        self.ingest.after_held_back = self.looks.append
        for monitor_id in (3, 4):
            monitor = Monitor(id=monitor_id, width=640, height=360, storage=Storage(id=1, path=str(root)))
            document = Document(monitor_id, "{}", "continuous", str(root), detect_size=(640, 360))
            self.ingest.know(monitor, document, bulk_interval=100)

    def wall(self) -> int:
        return T0 + round(self.clock.seconds() * 1e6) + self.set_us

    def say(self, *events: Event, monitor_id: int = 3) -> list[Any]:
        """What was ever committed, once these were heard."""
        for event in events:
            self.ingest.event(monitor_id, event, self.wall())
        for _ in range(8):
            self.clock.advance(0.05)
        return [change for batch in self.store.committed for change in batch]

    def held(self) -> dict[str, int]:
        return {kind.value: count for kind, count in self.budgets.of(3).held.items() if count}


@pytest.fixture
def told(tmp_path):
    return Told(tmp_path)


def test_openings_over_budget_are_held_back_and_their_clips_looked_for_later(told):
    changes = told.say(*(opening(0, f"t{number}") for number in range(1000)))
    assert len(of(OpenEvent, changes)) == 5
    assert told.held() == {"openings": 995}
    assert set(told.looks) == {3}
    changes = told.say(opening(0, "u"), monitor_id=4)
    assert [change.token for change in of(OpenEvent, changes) if change.monitor_id == 4] == ["u"]
    told.clock.advance(2.0)
    changes = told.say(opening(1, "v"))
    assert of(OpenEvent, changes)[-1].token == "v", "time refills it"


def test_the_log_is_no_way_around_it(told):
    for number in range(100):
        told.ingest.logged_opening(3, f"t{number}", "motion", told.wall())
    assert len(of(OpenEvent, told.say())) == 5
    assert told.held() == {"openings": 95}


def test_nor_are_saves_of_clips_that_were_never_opened(told):
    changes = told.say(*(saved(5, f"/srv/{number}.mkv", 1.0, 10) for number in range(1000)))
    assert len(of(OpenEvent, changes)) == 5
    assert told.held() == {"openings": 995}


def test_the_save_of_a_clip_that_has_its_event_is_never_held_back(told):
    told.say(opening(0, "t"), *(opening(0, f"x{number}") for number in range(4)))
    told.say(*(motion(1) for _ in range(500)))
    assert told.held()["rows"] > 400
    changes = told.say(*(opening(0, f"y{number}") for number in range(9)), saved(5, "/srv/1.mkv", 5.0, 50, event_id=1))
    assert len(of(OpenEvent, changes)) == 5
    assert "/srv/1.mkv" in told.ingest.in_hand().paths


def test_rows_are_bounded_and_agree_with_the_figures_beside_them(told):
    told.say(opening(0, "t"))
    for second in range(10):
        told.say(*(motion(second + number / 1000, pts=100.0 * second + 10.0 * number) for number in range(500)))
    frames = of(AddFrame, told.say())
    assert len(frames) <= 40 + 10 * 10
    assert told.held()["rows"] == 5000 - len(frames) - told.ingest.folded(3)[0]
    (clip,) = told.ingest._session(3).clips
    assert clip.tally.alarm_frames == len(frames)


def test_notes_cost_what_they_take(told):
    told.say(opening(0, "t"))
    for number in range(1000):
        told.ingest.event(3, description(1, f"{number} " + "long " * 150), told.wall())
        told.clock.advance(0.1)
    notes = [change for change in of(UpdateEvent, told.say()) if change.note]
    assert 10 < len(notes) < 100
    assert set(told.held()) == {"bytes"}
    assert sum(len(row.json) for row in of(AddData, told.say())) < 100_000


def test_labels_over_budget_make_no_tags_and_nothing_else_is_lost(told):
    changes = told.say(opening(0, "t"), *(detection(1 + number / 10, f"thing {number}", 0.5) for number in range(15)))
    assert [tag.name for tag in of(AddTag, changes)] == [f"thing {number}" for number in range(4)]
    assert told.held() == {"labels": 11}
    assert len(of(AddFrame, changes)) == 15
    assert "thing 14" in told.ingest._session(3).clips[0].labels


def test_what_makes_no_rows_is_heard_however_much_else_was_said(told):
    told.say(opening(0, "t"), *(motion(1) for _ in range(500)))
    told.say(Event(0x0101, wall_us=us(2), detail=Lifecycle(type="connection_failed", message="no")))
    assert told.ingest.health[3].troubles[0].message == "no"


@pytest.mark.parametrize("step", [7 * 86_400, 366 * 86_400, -366 * 86_400])
def test_a_clock_that_is_set_writes_no_rows_of_its_own(told, step):
    told.ingest.startService()
    try:
        told.ingest.rate(3, 25.0, 1000.0)
        told.say(opening(0, "t"))
        for _ in range(20):
            told.clock.advance(1.0)
        before = len(of(AddFrame, told.say()))
        told.set_us = step * 1_000_000
        for _ in range(10):
            told.clock.advance(1.0)
        changes = told.say()
        assert len(of(AddFrame, changes)) - before <= 3
        assert 29e6 < [change.length_us for change in of(UpdateEvent, changes)][-1] < 35e6
        changes = told.say(opening(0, "u"))
        assert abs(of(OpenEvent, changes)[-1].start_us - told.wall()) < 2_000_000, "what begins now has the new time"
    finally:
        told.ingest.stopService()
        told.ingest._ticker.stop()
