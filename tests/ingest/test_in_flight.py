"""What this run of the service is busy with."""

from __future__ import annotations

from pathlib import Path

from tests.ingest.places import place_in
from zmtwist.changes import ClipSaved, CloseEvent, Tally
from zmtwist.ingest.in_flight import Hands

OURS, LEFT, OTHER = "1.now.1", "2.before.7", "3.before.9"


def saved(handle: str, path: str = "/e/clip.mkv") -> ClipSaved:
    return ClipSaved(handle=handle, path=path, duration_us=1, frames=1, tally=Tally())


def test_events_of_this_run_and_those_that_it_goes_on_with_are_in_hand_and_no_others():
    hands = Hands("now")
    places = {handle: place_in(Path("/e"), n, n) for n, handle in enumerate((OURS, LEFT, OTHER), 1)}
    assert hands.now(places, openings_wait=False).event_ids == {1}
    hands.take_up(LEFT)
    assert hands.now(places, openings_wait=False).event_ids == {1, 2}
    hands.let_go(LEFT)
    assert hands.now(places, openings_wait=False).event_ids == {1}


def test_a_save_is_in_hand_until_its_event_is_closed_whoever_opened_it():
    hands = Hands("now")
    places = {OTHER: place_in(Path("/e"), 3, 3)}
    hands.take([saved(OTHER), CloseEvent(handle=OURS, length_us=1, frames=1, tally=Tally())])
    now = hands.now(places, openings_wait=True)
    assert (now.event_ids, now.paths, now.monitors, now.openings_wait) == ({3}, {"/e/clip.mkv"}, {3}, True)
    closed = hands.closed(OTHER)
    assert not closed.called
    hands.let_go(OTHER)
    assert closed.called
    now = hands.now(places, openings_wait=False)
    assert (now.event_ids, now.paths, now.monitors) == (frozenset(), frozenset(), frozenset())


def test_a_save_without_a_path_claims_no_file():
    hands = Hands("now")
    hands.take([saved(OURS, path="")])
    assert hands.now({}, openings_wait=False).paths == frozenset()
