"""Clips made again from rows."""

import pytest

from tests.ingest.builders import opening, session, us
from tests.ingest.places import place_in
from zmtwist.changes import ClipSaved, OpenEvent, Tally
from zmtwist.ingest.session.restore import cause_parts, restored
from zmtwist.ingest.session.scoring import CAUSES, cause_of
from zmtwist.zm.read.own_events import LeftRow


@pytest.mark.parametrize("trigger", ["continuous", "motion", "detection", "audio_event", "line_cross"])
@pytest.mark.parametrize("labels", [(), ("person",), ("cat", "dog")])
def test_the_cause_gives_back_what_it_was_made_of(trigger, labels):
    assert cause_parts(cause_of(trigger, labels)) == (trigger, labels)
    assert trigger in CAUSES or trigger == "line_cross"


def test_a_label_that_may_be_cut_is_left_out():
    assert cause_parts("Detection: person, bicycle, moto") == ("detection", ("person", "bicycle"))
    assert cause_parts("") == ("continuous", ())


def test_the_clip_goes_on_from_what_its_rows_say(tmp_path):
    row = LeftRow(
        place_in(tmp_path), False, True, "7-video.h264.mkv", "Motion", 0, 30, last_frame=25, tally=Tally(3, 90, 40, 9)
    )
    (clip,) = restored(session(), row, "3.r.e7").clips
    assert (clip.event_id, clip.trigger, clip.tally, clip.last_frame) == (7, "motion", Tally(3, 90, 40, 9), 25)
    assert clip.token is not None, "it records"
    assert clip.guess, "its frames are numbered anew once its length is known"


def test_an_opening_shows_that_the_clip_ended_unheard(tmp_path):
    row = LeftRow(place_in(tmp_path), False, True, "7-video.h264.mkv", "Continuous", 0, 30)
    taken_on = restored(session(), row, "3.r.e7")
    after, changes = taken_on.handle(opening(5, "3-1-2"), us(5))
    assert [(type(change), change.handle) for change in changes] == [(ClipSaved, "3.r.e7"), (OpenEvent, "3.run.1")]
    assert changes[0].path == ""  # the disk will tell
    assert [clip.token for clip in after.clips] == ["3-1-2"]
