"""What a session makes of a worker's events: each test reads as a small story told in seconds."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ingest.builders import capture, description, detection, motion, opening, saved, session, us, walk
from zmtwist.changes import AddData, AddFrame, AddTag, ClipSaved, CloseEvent, OpenEvent, UpdateEvent
from zmtwist.ingest.session.event_data import MAX_DATA
from zmtwist.ingest.session.open_event import Clip, needs_settling
from zmtwist.ingest.session.options import SECOND
from zmtwist.ingest.session.scoring import MAX_PENDING
from zmtwist.wire.event_details import (
    Alert,
    Analytics,
    AudioEvent,
    DetectedObject,
    Face,
    Faces,
    Plate,
    Plates,
    Pose,
    RawDetail,
    Reasoning,
    Segmentation,
    Sound,
    StreamState,
    TrackedDetection,
)
from zmtwist.wire.messages import Event


def of(kind, changes):
    return [change for change in changes if isinstance(change, kind)]


def test_a_segment_opens_and_is_saved():
    after, changes = walk(session(), [opening(0, "3-1-1"), saved(10, "/e/a.mkv", 9.9, 100, event_id=7)])
    assert changes == [
        OpenEvent(
            handle="3.run.1", monitor_id=3, start_us=us(0), trigger="continuous", cause="Continuous", token="3-1-1"
        ),
        ClipSaved(
            handle="3.run.1",
            path="/e/a.mkv",
            duration_us=9_900_000,
            frames=100,
            tally=changes[1].tally,
            event_id=7,
            cause="Continuous",
        ),
    ]
    assert after.clips == ()


def test_an_event_clip_starts_with_its_pre_roll():
    ready = session(pre_roll_us=5_000_000)
    _, changes = walk(ready, [opening(60, "t", "motion")])
    assert changes[0].start_us == us(55)


def test_the_pre_roll_is_no_longer_than_the_camera_has_been_up():
    from msgspec.structs import replace

    ready = replace(session(pre_roll_us=5_000_000), capturing_since_us=us(58))
    _, changes = walk(ready, [opening(60, "t", "motion")])
    assert changes[0].start_us == us(58)


def test_a_save_without_an_opening_makes_an_event_of_its_own():
    _, changes = walk(session(), [saved(10, "/e/own.mkv", 3.8, 40)])
    opened, closed = changes
    assert (opened.start_us, opened.token) == (us(6.2), None)
    assert (closed.handle, closed.path, closed.frames) == (opened.handle, "/e/own.mkv", 40)


def test_the_same_save_twice_is_one_event():
    _, changes = walk(session(), [saved(10, "/e/own.mkv", 3.8, 40), saved(10.1, "/e/own.mkv", 3.8, 40)])
    assert len(of(ClipSaved, changes)) == 1


@pytest.mark.parametrize("path", ["", "/e/a\0b.mkv", "/e/" + "x" * 300, "/e/x" * 1500])
def test_a_save_whose_path_is_none_is_looked_for_where_it_should_be(path):
    after, changes = walk(session(), [opening(0, "3-1-1"), saved(4, path, 3.8, 40)])
    assert [change.path for change in of(ClipSaved, changes)] == [""]
    _, changes = walk(after, [opening(4, "3-1-2"), saved(8, path, 3.8, 40)])
    assert [change.path for change in of(ClipSaved, changes)] == [""], "it is no second word on the first"


def test_a_trigger_before_the_opening_belongs_to_the_clip():
    _, changes = walk(session(), [detection(5, "person", 0.9), opening(5.001, "t", "detection")])
    assert [type(c) for c in changes] == [OpenEvent, AddTag, AddFrame, AddData]
    assert changes[0].cause == "Detection: person"
    assert changes[1] == AddTag(changes[0].handle, "person")
    assert changes[2] == AddFrame(changes[0].handle, 1, 0, 90)


def test_an_alarm_on_the_first_frame_is_that_frame_and_the_next_ones_follow():
    events = [opening(0, "t"), motion(0.04, pts=5.0), motion(0.05, pts=5.01), motion(0.1, pts=5.06)]
    state, changes = walk(session(rate=10.0), events)
    assert [(f.frame_id, f.kind) for f in of(AddFrame, changes)] == [(1, "Alarm"), (2, "Alarm"), (3, "Alarm")]
    assert state.clips[0].tally.max_score_frame == 1


def test_once_a_bulk_frame_is_written_the_first_row_is_left_alone():
    state, _ = walk(session(rate=25.0, bulk_interval=2), [opening(0, "t")])
    state, _ = state.tick(us(5))
    _, changes = walk(state, [motion(0.0)])
    assert of(AddFrame, changes)[0].frame_id > 1


def test_what_happened_well_before_a_clip_is_not_in_it():
    _, changes = walk(session(), [motion(1), opening(30, "t")])
    assert of(AddFrame, changes) == []


def test_alarm_frames_are_numbered_by_when_they_happened():
    events = [opening(0, "t"), motion(1.0, pts=101.0), motion(1.13, pts=101.1), motion(2.0, pts=102.0)]
    _, changes = walk(session(rate=10.0), events)
    frames = of(AddFrame, changes)
    # The second event came 30 ms late; its frame's own time stamp puts it right.
    assert [(f.frame_id, f.offset_us) for f in frames] == [(11, 1_000_000), (12, 1_100_000), (21, 2_000_000)]


def test_two_stages_that_see_the_same_frame_make_one_alarm_frame():
    _, changes = walk(session(), [opening(0, "t"), motion(1, pts=5), detection(1.2, "cat", 0.5, pts=5)])
    assert len(of(AddFrame, changes)) == 1


def test_scores_add_up_in_the_save():
    events = [opening(0, "t"), detection(1, "cat", 0.5), detection(2, "dog", 0.9), detection(3, "dog", 0.7)]
    _, changes = walk(session(), [*events, saved(10, "/e/a.mkv", 9.9, 100)])
    tally = changes[-1].tally
    assert (tally.alarm_frames, tally.total_score, tally.max_score, tally.max_score_frame) == (3, 210, 90, 21)
    assert tally.max_score_us == 2_000_000
    assert tally.average_score == 70
    assert changes[-1].cause == "Continuous: cat, dog"
    assert not changes[-1].settle


def test_frames_numbered_by_a_guessed_or_wrong_rate_are_settled_at_the_end():
    _, guessed = walk(session(rate=0.0), [opening(0, "t"), motion(5), saved(10, "/e/a.mkv", 9.9, 250)])
    assert guessed[-1].settle
    _, wrong = walk(session(rate=10.0), [opening(0, "t"), motion(5), saved(10, "/e/a.mkv", 9.9, 250)])
    assert wrong[-1].settle


def test_the_cause_of_a_segment_becomes_its_trigger():
    _, changes = walk(session(), [opening(0, "t"), saved(3, "/e/a.mkv", 2.9, 30, cause="motion")])
    assert changes[-1].cause == "Motion"


def test_a_segment_boundary_keeps_the_two_clips_apart():
    events = [
        opening(0, "a"),
        motion(2.95),
        saved(3.0, "/e/a.mkv", 2.9, 30),
        motion(3.0001),  # between save and opening: the next clip's
        opening(3.0002, "b"),
        motion(3.1),
    ]
    _, changes = walk(session(), events)
    by_handle = [(type(c).__name__, c.handle[-1]) for c in changes]
    assert by_handle == [
        ("OpenEvent", "1"), ("AddFrame", "1"), ("ClipSaved", "1"), ("OpenEvent", "2"), ("AddFrame", "2"), ("AddFrame", "2"),
    ]  # fmt: skip


def own(at: float, monitor: int = 3) -> str:
    """The name that a worker gives a clip which it opens then."""
    return f"/e/{datetime.fromtimestamp(us(at) / 1e6, UTC):%Y-%m-%d/event-Monitor-{monitor}-0-%H-%M-%S}.mkv"


def both_open(**options):
    """The first one's save was lost with the link, and the second one's opening read off the log."""
    state, _ = walk(session(zone=UTC, **options), [opening(0, "a")])
    state, _ = state.opening("b", "continuous", us(4.2))
    return state, *(clip.handle for clip in state.clips)


@pytest.mark.parametrize("assigned", [False, True])
def test_a_save_is_of_the_clip_whose_own_name_it_has_and_those_before_have_ended_unheard(assigned):
    state, first, second = both_open()
    if assigned:
        state = state.assigned(first, 11).assigned(second, 12)
    state, changes = walk(state, [saved(9, own(4), 5, 50)])
    assert [(type(c), c.handle, c.path) for c in changes] == [(ClipSaved, first, ""), (ClipSaved, second, own(4))]
    assert changes[0].duration_us == 4_200_000, "no longer than until the next was opened"
    assert walk(state, [saved(9.1, own(0), 4, 40)])[1] == [], "the first is being looked for"


@pytest.mark.parametrize("told", [0, 12, 99])
def test_a_save_under_an_events_name_is_of_that_event_whatever_id_it_gives(told):
    state, first, second = both_open()
    state = state.assigned(first, 11).assigned(second, 12)
    _, changes = walk(state, [saved(9, "/e/3/2026-11-22/11/11-video.h264.mkv", 4, 40, event_id=told)])
    assert [c.handle for c in changes] == [first]
    for path in ("/e/3/2026-11-22/13/13-video.mkv", "/e/4/2026-11-22/5/5-video.mkv"):
        assert walk(state, [saved(9, path, 4, 40, event_id=told)]) == (state, []), "nobody here has that event"


def test_a_save_that_names_another_monitors_clip_is_no_word_on_when_its_own_was_opened():
    state, _ = walk(session(zone=UTC), [opening(60, "a")])
    _, changes = walk(state, [saved(70, own(0, monitor=4), 9, 90)])
    assert [type(c) for c in changes] == [ClipSaved]
    _, changes = walk(session(zone=UTC, pre_roll_us=5_000_000), [saved(70, own(0, monitor=4), 9, 90)])
    assert changes[0].start_us == us(61)


def test_a_clip_that_was_opened_long_before_is_not_the_one_of_a_later_name():
    state, _ = walk(session(zone=UTC), [opening(0, "a")])
    state, changes = walk(state, [saved(35, own(30), 5, 50)])
    assert [type(c) for c in changes] == [ClipSaved, OpenEvent, ClipSaved]
    assert (changes[0].path, changes[2].path) == ("", own(30))


def test_an_opening_that_was_read_late_is_still_the_one_of_its_clips_name():
    state, changes = session(zone=UTC).opening("a", "continuous", us(6))
    _, more = walk(state, [saved(9, own(0), 9, 90)])
    assert [c.handle for c in more] == [changes[0].handle]


def test_a_clock_that_was_set_back_makes_no_clip_begin_long_before_its_opening():
    _, changes = walk(session(zone=UTC, pre_roll_us=5_000_000), [saved(-80, own(0), 9, 90)])
    assert changes[0].start_us == us(0)
    _, changes = walk(session(zone=UTC, pre_roll_us=5_000_000), [saved(-80, own(0), 9, 90, cause="motion")])
    assert changes[0].start_us == us(-5)


def test_two_clips_of_one_second_are_saved_in_the_order_of_their_openings():
    state, _ = walk(session(zone=UTC), [opening(0.1, "a"), opening(0.9, "b")])
    first, second = (clip.handle for clip in state.clips)
    _, changes = walk(state, [saved(0.95, own(0), 0.7, 7), saved(5, own(0).replace(".mkv", "-2.mkv"), 4, 40)])
    assert [c.handle for c in changes] == [first, second]


def test_the_hour_that_autumn_repeats_is_told_by_when_the_save_is_heard():
    from zoneinfo import ZoneInfo

    berlin = ZoneInfo("Europe/Berlin")
    # 02:30:00 for the second time; T0 is a Sunday in November.
    second = datetime(2026, 10, 25, 1, 30, tzinfo=UTC).timestamp() - us(0) / 1e6
    path = "/e/2026-10-25/event-Monitor-3-0-02-30-00.mkv"
    for at in (second, second - 3600):
        state, opened = walk(session(zone=berlin), [opening(at, "a")])
        _, changes = walk(state, [saved(at + 60, path, 60, 600)])
        assert [c.handle for c in changes] == [opened[0].handle]


def test_an_opening_told_by_log_and_by_event_is_one():
    state, changes = session().opening("3-9-1", "continuous", us(0))
    state, more = walk(state, [opening(0.01, "3-9-1")])
    assert len(changes) == 1
    assert more == []
    assert len(state.clips) == 1


def test_a_save_missed_in_a_gap_is_closed_at_the_next_opening():
    state, _ = walk(session(), [opening(0, "a")])
    state, changes = walk(state.gap(), [opening(12, "b")])
    assert [type(c) for c in changes] == [ClipSaved, OpenEvent]
    assert changes[0].path == ""
    assert len(state.clips) == 1


def test_without_a_recorder_activity_makes_an_event_that_ends_when_it_is_quiet():
    state, changes = walk(session(recorder=False), [detection(0, "person", 0.8), detection(4, "person", 0.6)])
    assert len(of(OpenEvent, changes)) == 1
    assert changes[0].token is None
    state, early = state.tick(us(63))
    assert of(CloseEvent, early) == []
    state, late = state.tick(us(64.1))
    (closed,) = late
    assert isinstance(closed, CloseEvent)
    assert (closed.length_us, closed.tally.alarm_frames, closed.video_name) == (4_000_000, 2, None)
    assert state.clips == ()


def test_an_idle_time_of_0_ends_nothing():
    quiet = session(recorder=False, idle_us=0)
    after, _ = walk(quiet, [detection(1, "person", 0.9)])
    after, changes = after.tick(us(80_000))
    assert of(CloseEvent, changes) == []
    assert len(after.clips) == 1


def test_an_open_event_is_refreshed_with_its_bulk_frames():
    state, _ = walk(session(rate=25.0, bulk_interval=100), [opening(0, "t")])
    state, none = state.tick(us(4))
    assert none == []
    state, changes = state.tick(us(9))
    assert [(f.frame_id, f.kind, f.offset_us) for f in of(AddFrame, changes)] == [
        (100, "Bulk", 3_960_000),
        (200, "Bulk", 7_960_000),
    ]
    (update,) = of(UpdateEvent, changes)
    assert (update.length_us, update.frames) == (9_000_000, 226)


def test_descriptions_go_to_the_open_event_or_the_last_one_and_never_open_one():
    state, before = walk(session(), [description(0, "an empty yard")])
    assert before == []
    state, changes = walk(state, [opening(1, "t"), description(2, "  a man\nwith a dog ")])
    assert changes[0].notes == "an empty yard"
    assert UpdateEvent(handle=changes[0].handle, note="a man with a dog") in changes
    state, late = walk(state, [saved(5, "/e/a.mkv", 4, 40), description(9, "he left")])
    assert of(UpdateEvent, late) == [UpdateEvent(handle=changes[0].handle, note="he left")]
    state, much_later = walk(state, [description(900, "another day")])
    assert much_later == []
    assert len(state.clips) == 0


def test_a_worker_that_dies_leaves_its_clip_to_the_disk():
    state, _ = walk(session(), [opening(0, "t")])
    state, changes = state.gone(us(7))
    (closed,) = changes
    assert (closed.path, closed.duration_us) == ("", 7_000_000)
    assert state.clips == ()


def test_a_wild_worker_clock_is_not_believed():
    _, ahead = session().handle(opening(0, "t"), us(-60))
    assert ahead[0].start_us == us(-60)
    _, long_ago = session().handle(opening(0, "t"), us(100_000))
    assert long_ago[0].start_us == us(100_000)


def test_what_was_heard_late_keeps_its_time():
    _, changes = session().handle(opening(0, "t"), us(600))
    assert changes[0].start_us == us(0)


def test_a_save_whose_figures_make_no_sense_is_kept_within_what_can_be_stored():
    _, changes = walk(session(), [opening(0, "t"), saved(1, "/e/a.mkv", 1.7e308, 10**30, event_id=-(10**30))])
    assert (changes[-1].frames, changes[-1].event_id) == (2**32 - 1, 0)
    assert changes[-1].duration_us == 10**13


def test_unknown_details_change_nothing():
    state = session()
    assert state.handle(Event(0, wall_us=us(0), detail=RawDetail("new_thing", "{}")), us(0)) == (state, [])


def test_activity_that_waits_for_a_clip_is_bounded_but_keeps_its_span():
    state, _ = walk(session(), [motion(i / 10) for i in range(3 * MAX_PENDING)])
    assert len(state.pending) <= MAX_PENDING
    assert state.pending[0].at_us < us(10)
    assert state.pending[-1].at_us > us(3 * MAX_PENDING / 10 - 1)


# Captures of the real worker


def events_of(name):
    return [m for m in capture(name) if isinstance(m, Event)]


def test_the_capture_continuous():
    _, changes = walk(session(), events_of("continuous"))
    opened, closed = of(OpenEvent, changes), of(ClipSaved, changes)
    assert [c.token for c in opened] == [None, "4-1795338654-2", "4-1795338657-3", "4-1795338660-4"]
    assert [(c.handle, c.frames, c.duration_us) for c in closed] == [
        (o.handle, n, d)
        for o, n, d in zip(opened, [40, 30, 30, 12], [3_800_000, 2_900_000, 2_900_000, 1_100_000], strict=True)
    ]
    assert all(c.cause == "Continuous" for c in closed)
    assert of(AddFrame, changes) == []


def test_the_capture_both():
    _, changes = walk(session(motion_area=160 * 120), events_of("both"))
    closed = of(ClipSaved, changes)
    assert [c.cause for c in closed] == ["Motion"] * 4
    # 111 motion events, none lost: 39 in the first clip, whose opening was missed, and one that fell between save and opening.
    assert sum(c.tally.alarm_frames for c in closed) == 111
    assert [c.tally.alarm_frames for c in closed] == [39, 30, 30, 12]
    for clip in closed:
        ids = [f.frame_id for f in of(AddFrame, changes) if f.handle == clip.handle]
        assert ids == sorted(set(ids))


def test_the_capture_event_whose_opening_was_missed():
    _, changes = walk(session(pre_roll_us=1_000_000, zone=UTC), events_of("event"))
    (opened,) = of(OpenEvent, changes)
    (closed,) = of(ClipSaved, changes)
    assert (opened.cause, closed.frames, closed.tally.alarm_frames) == ("Motion", 60, 58)
    # The file input had ended long before the save; the clip's own name says 09:10:39 and there was a second of pre-roll.
    assert opened.start_us == round(datetime(2026, 11, 22, 9, 10, 38, tzinfo=UTC).timestamp()) * 1_000_000


SAID = st.one_of(
    st.builds(
        TrackedDetection,
        detections=st.lists(
            st.builds(
                DetectedObject,
                label=st.text(max_size=5),
                confidence=st.floats(-1, 2),
                bbox=st.none() | st.tuples(*[st.floats(-1e9, 1e9)] * 4),
                track_id=st.none() | st.integers() | st.text(max_size=3),
            ),
            max_size=3,
        ).map(tuple),
    ),
    st.builds(Alert, track_id=st.none() | st.integers(), label=st.text(max_size=5), reason=st.none() | st.text()),
    st.builds(Analytics, rule=st.text(max_size=5), dwell_sec=st.none() | st.floats(-1e9, 1e9), label=st.none()),
    st.builds(
        AudioEvent, events=st.lists(st.builds(Sound, st.text(max_size=3), st.floats(0, 1)), max_size=3).map(tuple)
    ),
    st.builds(Plates, plates=st.lists(st.builds(Plate, text=st.text(max_size=8)), max_size=2).map(tuple)),
    st.builds(Faces, faces=st.lists(st.builds(Face, name=st.text(max_size=8)), max_size=2).map(tuple)),
    st.builds(Pose, poses=st.lists(st.integers() | st.lists(st.text(), max_size=3), max_size=4).map(tuple)),
    st.builds(Segmentation, segments=st.just((1, 2))),
    st.builds(Reasoning, text=st.text(max_size=2_000), label=st.none() | st.text(max_size=80)),
    st.builds(StreamState, event=st.sampled_from(["StreamConnected", "StreamReconnecting", "StreamDisconnected"])),
)


@given(
    st.lists(
        st.one_of(
            st.builds(motion, st.just(0.0), st.integers(-5, 10**9), st.none() | st.floats(-1e6, 1e6)),
            st.builds(detection, st.just(0.0), st.text(max_size=5), st.floats(-1, 2), st.none() | st.floats(0, 100)),
            st.builds(
                opening, st.just(0.0), st.sampled_from(["a", "b", "c", ""]), st.sampled_from(["continuous", "motion"])
            ),
            st.builds(
                saved, st.just(0.0), st.sampled_from(["/x", "/y", "/z"]), st.floats(-5, 1e6), st.integers(-3, 10**6)
            ),
            st.builds(description, st.just(0.0), st.text(max_size=5)),
            st.builds(lambda detail: Event(0, detail=detail), SAID),
        ),
        max_size=40,
    ),
    st.lists(st.floats(0, 30), min_size=40, max_size=40),
)
def test_whatever_a_worker_says_events_stay_in_order(events, pauses):
    from msgspec.structs import replace

    state, at, changes = session(), 0.0, []
    for event, pause in zip(events, pauses, strict=False):
        at += pause
        state, more = state.handle(replace(event, wall_us=us(at)), us(at))
        changes += more
        state, more = state.tick(us(at))
        changes += more
    opened = [c.handle for c in of(OpenEvent, changes)]
    assert len(set(opened)) == len(opened)
    over: set[str] = set()
    last: dict[str, int] = {}
    for change in changes:
        assert isinstance(change, UpdateEvent | AddTag | AddData) or change.handle not in over
        if isinstance(change, ClipSaved | CloseEvent):
            over.add(change.handle)
            assert change.frames >= 1
        if isinstance(change, AddFrame):
            assert change.frame_id > last.get(change.handle, 0)
            assert 0 <= change.score <= 255
            assert change.offset_us >= 0
            last[change.handle] = change.frame_id
        if isinstance(change, AddData):
            assert change.frame_id >= 1
            assert len(change.json) <= MAX_DATA
            assert change.json.isascii()
    for handle in opened:
        tags = [change.name for change in of(AddTag, changes) if change.handle == handle]
        assert len(set(tags)) == len(tags)


def ticked(state, at):
    state, changes = state.tick(us(at))
    return state, changes


@pytest.mark.parametrize("step", [7 * 86_400.0, 366 * 86_400.0, -366 * 86_400.0, -3600.0])
def test_a_clock_that_is_set_makes_a_clip_neither_longer_nor_shorter(step):
    state, _ = walk(session(rate=25.0, bulk_interval=100), [opening(0, "t")])
    state, before = ticked(state, 20)
    assert [change.frame_id for change in of(AddFrame, before)] == [100, 200, 300, 400, 500]
    state = state.stepped(round(step * 1e6))
    state, changes = ticked(state, step + 30)
    assert [change.frame_id for change in of(AddFrame, changes)] == [600, 700]
    assert [change.length_us for change in of(UpdateEvent, changes)] == [30_000_000]
    state, changes = walk(state, [motion(step + 40)])
    (frame,) = of(AddFrame, changes)
    assert (frame.frame_id, frame.offset_us) == (1001, 40_000_000)
    _, changes = state.gone(us(step + 50))
    (unheard,) = of(ClipSaved, changes)
    assert unheard.duration_us == 50_000_000


def test_however_long_it_seems_a_refresh_writes_a_handful_of_rows_and_goes_on_from_there():
    """As for a clip of an earlier run, between whose end and this one's begin the clock was set."""
    state, _ = walk(session(rate=25.0, bulk_interval=100), [opening(0, "t")])
    year = 366 * 86_400
    state, changes = ticked(state, year)
    rows = [change.frame_id for change in of(AddFrame, changes)]
    assert 20 <= len(rows) <= 24
    assert rows == sorted(set(rows))
    assert all(frame_id % 100 == 0 for frame_id in rows)
    assert len({later - sooner for sooner, later in pairwise(rows)}) == 1
    seen = set(rows)
    for more in range(10, 2000, 10):
        state, changes = ticked(state, year + more)
        new = [change.frame_id for change in of(AddFrame, changes)]
        assert len(new) <= 24
        assert not seen & set(new)
        seen.update(new)
    assert len(new) in (2, 3), "back to one row for each 100 frames"


def test_an_event_without_a_clip_is_ended_by_the_time_that_passes():
    state, _ = walk(session(recorder=False, idle_us=60_000_000), [motion(0), motion(5)])
    state = state.stepped(us(86_400) - us(0))
    state, changes = ticked(state, 86_400 + 50)
    assert not of(CloseEvent, changes)
    _, changes = ticked(state, 86_400 + 66)
    (closed,) = of(CloseEvent, changes)
    assert closed.length_us == 5_000_000


def test_of_many_openings_without_a_save_few_stay_open():
    state = session()
    for number in range(100):
        state, _ = walk(state, [opening(number, f"t{number}")])
        assert len(state.clips) <= 8
    _, changes = walk(state, [motion(100)])
    assert len(of(AddFrame, changes)) <= 8


def test_what_is_kept_back_takes_little_memory():
    """No clip is open, and a plugin says long things many times a second."""
    state = session()
    for number in range(3000):
        pose = Event(0, wall_us=us(number / 100), detail=Pose(persons=(("x",) * 50,)))
        state, _ = state.handle(pose, pose.wall_us)
    assert sum(activity.detail is not None for activity in state.pending) <= 64
    assert state.pending[-1].detail is not None


def test_a_triggered_clips_start_is_put_right_when_it_is_saved():
    """It reaches back to the keyframe before its pre-roll, wherever that is; it is saved as soon as its last frame has come."""
    talk = [opening(20, "t", "motion"), motion(20.1), motion(22), saved(32.5, "/e/1.mkv", 18.5, 185, "motion")]
    _, changes = walk(session(pre_roll_us=round(4.5 * SECOND)), [motion(0), *talk])
    [opened] = of(OpenEvent, changes)
    [over] = of(ClipSaved, changes)
    assert opened.start_us == us(15.5)
    assert opened.start_us - over.earlier_us == us(14)
    assert over.settle
    assert (
        over.tally.max_score_us
        - max(f.offset_us for f in of(AddFrame, changes) if f.frame_id == over.tally.max_score_frame)
        == over.earlier_us
    )


@pytest.mark.parametrize(
    ("trigger", "seconds"),
    [("continuous", 18.5), ("motion", 0.0), ("motion", 17.02), ("motion", 900.0), ("motion", -3.0)],
)
def test_a_start_that_is_right_or_can_not_be_told_stays(trigger, seconds):
    talk = [motion(0), opening(20, "t", trigger), motion(20.1), saved(32.5, "/e/1.mkv", seconds, 185, trigger)]
    _, changes = walk(session(pre_roll_us=round(4.5 * SECOND)), talk)
    assert of(ClipSaved, changes)[0].earlier_us == 0


@pytest.mark.parametrize(
    ("clip", "settled"),
    [
        (Clip(handle="h", start_us=0, trigger="motion", last_frame=50, rate=10.0), False),
        (Clip(handle="h", start_us=0, trigger="motion", last_frame=50, rate=10.0, guess=True), True),
        (Clip(handle="h", start_us=0, trigger="motion", last_frame=101, rate=10.0), True),
        (Clip(handle="h", start_us=0, trigger="motion", last_frame=50, rate=12.0), True),
        (Clip(handle="h", start_us=0, trigger="motion", last_frame=1, rate=12.0, guess=True), False),
    ],
)
def test_frames_are_numbered_anew_where_the_finished_clip_puts_any_elsewhere(clip, settled):
    assert needs_settling(clip, frames=100, duration_us=9_900_000) == settled


@pytest.mark.parametrize("duration", [-3.0, 0.0])
def test_a_save_whose_length_makes_no_sense_is_doubtful_and_as_long_as_it_was_recorded(duration):
    _, changes = walk(session(), [opening(0, "t"), saved(10, "/e/a.mkv", duration, 100)])
    [clip] = of(ClipSaved, changes)
    assert clip.doubtful
    assert clip.duration_us == 10 * SECOND


def test_a_clip_of_which_frames_were_refused_is_looked_into():
    recording, _ = walk(session(), [opening(0, "t")])
    assert recording.refused().refused() == recording.refused()
    over, changes = walk(recording.refused(), [saved(10, "/e/a.mkv", 9.9, 100), opening(10, "u")])
    assert of(ClipSaved, changes)[0].doubtful
    _, changes = walk(over, [saved(20, "/e/b.mkv", 9.9, 100)])
    assert not of(ClipSaved, changes)[0].doubtful


def test_that_frames_of_a_clip_were_refused_may_be_heard_after_its_save():
    over, changes = walk(session(), [opening(0, "t"), saved(10, "/e/a.mkv", 9.9, 100)])
    [clip] = of(ClipSaved, changes)
    assert not over.refused_of(clip.handle)
    assert over.refused().refused_of(clip.handle)


def test_a_clip_of_which_not_all_was_heard_is_looked_into():
    recording, _ = walk(session(), [opening(0, "t")])
    missed, changes = walk(recording.gap(), [saved(10, "/e/a.mkv", 9.9, 100), opening(10, "u")])
    assert of(ClipSaved, changes)[0].doubtful, "something was missed"
    _, changes = walk(missed, [saved(20, "/e/b.mkv", 9.9, 100)])
    assert not of(ClipSaved, changes)[0].doubtful, "nothing was"
    _, changes = walk(session(), [saved(10, "/e/a.mkv", 9.9, 100)])
    assert of(ClipSaved, changes)[0].doubtful, "its opening was missed"


def test_the_clips_of_a_worker_whose_log_nobody_reads_are_looked_into():
    events = [opening(0, "t"), saved(10, "/e/a.mkv", 9.9, 100)]
    adopted, changes = walk(session().adopted(), events)
    assert of(ClipSaved, changes)[0].doubtful
    after, _ = adopted.gone(us(11))
    _, changes = walk(after, [opening(20, "u"), saved(30, "/e/b.mkv", 9.9, 100)])
    assert not of(ClipSaved, changes)[0].doubtful


def test_a_clip_during_which_the_camera_was_away_is_looked_into():
    lost = Event(0, detail=StreamState("StreamDisconnected"), wall_us=us(5))
    recording, _ = walk(session(), [opening(0, "t")])
    away, _ = recording.handle(lost, us(5))
    _, changes = walk(away, [saved(10, "/e/a.mkv", 9.9, 100)])
    assert of(ClipSaved, changes)[0].doubtful
