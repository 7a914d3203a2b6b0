from __future__ import annotations

from pathlib import Path

from tests.ingest.places import place_in
from zmtwist.changes import ClipSaved, Tally
from zmtwist.ingest.writer.event_index import REMEMBERED_CLOSED, KnownEvents

PLACE = place_in(Path("/e"), 7, 1)


def saved(handle: str) -> ClipSaved:
    return ClipSaved(handle=handle, path="/e/x.mkv", duration_us=1, frames=1, tally=Tally(), cause="Motion")


def test_an_event_is_known_from_its_opening_until_long_after_its_close():
    events = KnownEvents()
    assert events.place("1.r.1") is None
    assert events.kept("1.r.1") is None
    events.add({"1.r.1": PLACE})
    assert events.open == {"1.r.1": PLACE}
    events.close("1.r.1")
    assert events.open == {}
    assert events.place("1.r.1") == PLACE
    for n in range(REMEMBERED_CLOSED):
        events.add({f"2.r.{n}": PLACE})
        events.close(f"2.r.{n}")
    assert events.place("1.r.1") is None
    assert events.place("2.r.0") == PLACE


def test_a_save_is_kept_until_its_event_is_closed():
    events = KnownEvents()
    events.add({"1.r.1": PLACE})
    events.save(saved("1.r.1"))
    assert events.saves == ("1.r.1",)
    kept = events.kept("1.r.1")
    assert kept is not None
    assert (kept.place, kept.saved) == (PLACE, saved("1.r.1"))
    events.close("1.r.1")
    assert events.saves == ()
    again = events.kept("1.r.1")
    assert again is not None
    assert again.saved is None


def test_closing_what_is_not_known_does_nothing():
    events = KnownEvents()
    events.close("1.r.1")
    assert events.place("1.r.1") is None
