from __future__ import annotations

from pathlib import Path

from tests.ingest.builders import detection, motion, opening, saved, session, us, walk
from tests.ingest.places import place_in
from zmtwist.changes import Tally
from zmtwist.ingest.session.snapshot import UnderWay, under_way


def test_an_event_from_its_opening_to_its_end():
    places = {"3.run.1": place_in(Path("/e"), event_id=7)}
    now, _ = walk(session(), [opening(0, "t")])
    (waiting,) = under_way([now, session()], {})
    assert waiting == UnderWay(3, None, True, us(0), 0, "Continuous", (), Tally())
    now, _ = walk(now, [detection(2, "person", 0.9), detection(3, "dog", 0.4)])
    (alarmed,) = under_way([now], places)
    assert (alarmed.event_id, alarmed.active_us, alarmed.labels) == (7, us(3), ("person", "dog"))
    assert (alarmed.cause, alarmed.tally.alarm_frames, alarmed.tally.max_score) == ("Continuous: person, dog", 2, 90)
    now, _ = walk(now, [saved(10, "/e/a.mkv", 10, 100)])
    assert list(under_way([now], places)) == []
    assert now.labels_of("3.run.1") == ("person", "dog")
    assert now.labels_of("another") == ()


def test_an_event_without_a_clip():
    now, _ = walk(session(recorder=False, unrecorded=True), [motion(1)])
    (seen,) = under_way([now], {})
    assert (seen.records, seen.active_us, seen.cause) == (False, us(1), "Motion")
