"""What is decided about rows and clips that do not fit: stories of one or two, and worlds at random that are put in order."""

from __future__ import annotations

from datetime import UTC

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmtwist.ingest.clips.probe import Measure
from zmtwist.ingest.clips.scan import ASIDE, Found, Stray
from zmtwist.ingest.session.clip_match import tail
from zmtwist.pipeline.monitor import Monitor, Storage
from zmtwist.recovery.actions import (
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
    to_measure,
)
from zmtwist.recovery.plan import Scene, plan
from zmtwist.zm.event_paths import place
from zmtwist.zm.event_times import SECOND, local_time
from zmtwist.zm.read.own_events import LeftRow

ROOT = "/srv/e"
T0 = 1_795_338_650
PRE_ROLL = 5


def us(at: float) -> int:
    return round((T0 + at) * SECOND)


def row(
    event_id: int = 7,
    at: float = 0,
    *,
    ended: bool = False,
    video: bool = False,
    clip: bool = True,
    monitor: int = 3,
    cause: str = "Motion: person",
) -> LeftRow:
    name = f"{event_id}-video.h264.mkv"
    where = place(
        event_id, Monitor(id=monitor, storage=Storage(id=1, path=ROOT)), us(at), UTC, video_name=name, final_name="E"
    )
    named = name if video else ""
    return LeftRow(where, ended, clip or video, named, cause, 0, 1, last_frame=1)


def clip(event: LeftRow, size: int = 100, *, inode: int = 0, finished: bool = False, at: float = 9) -> Found:
    return Found(event.place.video_path, size, us(at), (1, inode or event.event_id), finished)


def stray(
    at: float = 0, size: int = 100, *, inode: int = 900, finished: bool = False, monitor: int = 3, until: float = 9
) -> Stray:
    local = local_time(us(at), UTC)
    path = f"{ROOT}/{local:%Y-%m-%d}/event-Monitor-{monitor}-0-{local:%H-%M-%S}-{inode}.mkv"
    return Stray(path, size, us(until), (1, inode), finished, ROOT, monitor, us(at), inode)


def scene(rows=(), clips=(), strays=(), **more) -> Scene:
    by_event: dict[int, tuple[Found, ...]] = {}
    for one in clips:
        event_id = int(one.path.rsplit("/", 1)[1].partition("-")[0])
        by_event[event_id] = (*by_event.get(event_id, ()), one)
    given_ = {"roots": {ROOT: "there"}, "homes": {3: ROOT}, "pre_roll_us": {3: PRE_ROLL * SECOND}, **more}
    return Scene(rows=tuple(rows), clips=by_event, strays=tuple(strays), **given_)


def kinds(made: Scene) -> list[type]:
    return [type(action) for action in plan(made).actions]


def test_an_open_row_takes_the_clip_in_its_place_with_the_clips_own_length():
    event = row()
    found = clip(event)
    made = scene([event], [found], measures={found.path: Measure(True, 4 * SECOND, 41, "h264")})
    assert plan(made).actions == (CloseFromFile(event, found, 4 * SECOND, 41, True, "h264"),)


def test_without_a_measure_the_row_and_the_files_times_have_to_do():
    event = attrs.evolve(row(), frames=30)
    (action,) = plan(scene([event], [clip(event, at=12)])).actions
    assert (action.length_us, action.frames, action.settle) == (12 * SECOND, 30, False)
    (action,) = plan(scene([attrs.evolve(event, length_us=SECOND)], [clip(event)])).actions
    assert action.length_us == SECOND


@pytest.mark.parametrize(
    ("opened", "mine", "cause"),
    [
        (0, True, "Motion"),
        (1, True, "Motion"),
        (PRE_ROLL, True, "Motion"),
        (PRE_ROLL + 3, False, "Motion"),
        (-3, False, "Motion"),
        (1, True, "Continuous: car"),
    ],
)
def test_an_open_row_takes_the_clip_that_was_opened_when_it_was(opened, mine, cause):
    event, found = row(cause=cause), stray(opened)
    if mine:
        (action,) = plan(scene([event], strays=[found])).actions
        assert (action.row, action.path) == (event, found.path)
    else:
        assert kinds(scene([event], strays=[found])) == [CloseEmpty, MakeEvent]


def test_a_segment_begins_when_it_is_opened_but_for_one_that_was_made_of_a_clip():
    event, found = row(cause="Continuous: car"), stray(PRE_ROLL)
    assert kinds(scene([event], strays=[found])) == [CloseFromFile]
    next_one = row(8, PRE_ROLL, cause="Continuous")
    actions = plan(scene([event, next_one], strays=[found])).actions
    assert [(type(a), a.row) for a in actions] == [(CloseEmpty, event), (CloseFromFile, next_one)]


def test_an_event_that_is_made_of_a_clip_is_known_again_if_that_is_cut_short():
    found = stray(100, until=110)
    (made,) = plan(scene(strays=[found], measures={found.path: Measure(True, 40 * SECOND, 400)})).actions
    again = row(8, (made.start_us - us(0)) / SECOND, cause="Continuous")
    assert kinds(scene([again], strays=[found])) == [CloseFromFile]


def test_several_rows_take_their_clips_in_the_order_of_time():
    events = [row(7, 0), row(8, 8), row(9, 16)]
    found = [stray(at + PRE_ROLL, inode=900 + at) for at in (0, 8, 16)]
    actions = plan(scene(events, strays=found)).actions
    assert [(a.row.event_id, a.path) for a in actions] == list(zip((7, 8, 9), [f.path for f in found], strict=True))


def test_an_open_row_without_any_clip_is_closed_with_a_note_and_a_clipless_one_without():
    (noted, quiet) = plan(scene([row(7), row(8, clip=False)])).actions
    assert isinstance(noted, CloseEmpty) and "no clip" in noted.note
    assert quiet == CloseEmpty(row(8, clip=False), None)


@pytest.mark.parametrize(("size", "measure"), [(0, None), (100, Measure(readable=False))])
def test_a_file_that_holds_nothing_is_set_aside_wherever_it_is(size, measure):
    event = row()
    here, there = clip(event, size), stray(50, size)
    measures = {} if measure is None else {here.path: measure, there.path: measure}
    made = scene([event], [here], [there], measures=measures)
    assert kinds(made) == [SetAside, CloseEmpty, SetAside]


def test_a_stray_becomes_an_event_from_when_its_first_picture_was_taken():
    found = stray(100, until=110, finished=True)
    (action,) = plan(scene(strays=[found], measures={found.path: Measure(True, 10 * SECOND, 100)})).actions
    assert (action.start_us, action.frames) == (us(100), 100)
    # Five seconds more than it was written for were in the worker's buffer.
    (action,) = plan(scene(strays=[found], measures={found.path: Measure(True, 15 * SECOND, 150)})).actions
    assert action.start_us == us(95)


def writing(*files: Found | str, monitor: int = 3) -> dict[int, frozenset[str]]:
    """What the monitor's worker has open."""
    paths = (one if isinstance(one, str) else one.path for one in files)
    return {monitor: frozenset(map(tail, ("/dev/shm/zm_shmring_3", *paths)))}


def test_what_a_living_worker_writes_is_left_alone():
    event, found = row(), stray()
    assert kinds(scene([event], [clip(event)], recording=writing(clip(event)))) == [LeaveOpen]
    assert kinds(scene([event], strays=[found], recording=writing(found))) == [LeaveOpen]
    assert kinds(scene(strays=[found], recording=writing(found))) == []
    assert kinds(scene([event], recording=writing(found))) == [LeaveOpen], "it was begun since the look"
    assert kinds(scene([event], recording=writing(f"{ROOT}/3/2026-11-22/7/7-video.mkv"))) == [LeaveOpen], "or has moved"


def test_what_a_living_worker_does_not_write_any_more_is_no_longer_its():
    event, found = row(), stray()
    other = writing(stray(100))
    assert kinds(scene([event], [clip(event)], recording=other)) == [CloseFromFile]
    assert kinds(scene(strays=[found], recording=other)) == [MakeEvent]
    assert kinds(scene([event], strays=[found], recording=other)) == [CloseFromFile]
    assert kinds(scene([event], recording=writing())) == [CloseEmpty]
    assert kinds(scene([event], [clip(event)], recording=writing(clip(event), monitor=4))) == [CloseFromFile]
    older = row(6, -100)
    assert kinds(scene([older, event], recording=writing(found))) == [CloseEmpty, LeaveOpen]


def test_where_nothing_tells_what_a_living_worker_writes_its_last_event_and_what_is_not_finished_are_left_alone():
    event, older, found = row(), row(6, -100), stray(50)
    made = scene([older, event], [clip(older), clip(event)], [found], recording={3: None})
    assert {a.row.event_id: type(a) for a in plan(made).actions} == {6: CloseFromFile, 7: LeaveOpen}
    made = scene([event], [clip(event, finished=True)], [stray(50, finished=True)], recording={3: None})
    assert kinds(made) == [CloseFromFile, MakeEvent]
    assert kinds(scene([event], [clip(event)], recording={3: None}, held=((3, us(9)),))) == [CloseFromFile]
    assert kinds(scene([event], [clip(event)], recording={3: None}, held=((4, us(9)),))) == [LeaveOpen]


def test_a_clip_that_a_living_worker_has_only_just_begun_is_no_empty_one_and_takes_no_other_ones_place():
    event, before = row(), stray(PRE_ROLL, finished=True)
    begun = scene([event], [clip(event, 0)], [before], recording=writing(clip(event)))
    assert kinds(begun) == [LeaveOpen, MakeEvent]
    assert kinds(attrs.evolve(begun, recording={})) == [SetAside, CloseEmpty, MakeEvent]
    torn = row(ended=True, video=True)
    assert kinds(scene([torn], [clip(torn, 0)], [before])) == [SetAside, CloseEmpty, MakeEvent]


def test_what_is_in_hand_is_left_alone():
    found = stray(finished=True)
    assert kinds(scene(strays=[found], claimed=frozenset({found.path}))) == []
    assert kinds(scene(strays=[found], held=((3, us(0)),))) == []


def test_an_event_in_hand_is_the_one_that_is_recorded_and_no_open_row_of_that_second():
    event, found = row(), stray()
    made = scene([event], strays=[found], recording=writing(found), held=((3, us(0)),))
    assert kinds(made) == [CloseEmpty]
    assert kinds(attrs.evolve(made, held=((3, us(20)), (4, us(0))))) == [LeaveOpen]


def test_a_clip_goes_to_the_open_row_and_not_to_an_earlier_closed_one():
    closed, event = row(6, -1, ended=True, clip=False), row(7, 0)
    (action,) = plan(scene([closed, event], strays=[stray(0)])).actions
    assert (type(action), action.row) == (CloseFromFile, event)
    named = row(6, -1, ended=True, video=True)
    actions = plan(scene([named, event], strays=[stray(0)])).actions
    assert [(type(a), a.row) for a in actions if not isinstance(a, Report)] == [(CloseFromFile, event)]


@pytest.mark.parametrize("opened", [2, PRE_ROLL - 2, PRE_ROLL + 2, -2])
def test_a_row_that_was_closed_without_a_clip_gets_none_of_another_second(opened):
    assert kinds(scene([row(ended=True, clip=False)], strays=[stray(opened)])) == [MakeEvent]


def test_a_stray_in_a_storage_recorded_to_before_becomes_an_event_there():
    before, now = Storage(id=1, path=ROOT), Storage(id=2, path="/srv/new")
    made = scene(strays=[stray()], homes={3: now.path}, storages={before.path: before, now.path: now})
    (action,) = plan(made).actions
    assert (type(action), action.storage) == (MakeEvent, before)
    (action,) = plan(attrs.evolve(made, homes={3: ROOT})).actions
    assert action.storage is None


def test_a_storage_that_can_not_be_looked_at_concerns_no_other():
    there, away = row(7), row(8, monitor=4)
    away = attrs.evolve(away, place=attrs.evolve(away.place, root="/srv/away"))
    made = scene(
        [there, away], [clip(there)], away={"/srv/away": "Input/output error"}, homes={3: ROOT, 4: "/srv/away"}
    )
    planned = plan(made)
    assert [(type(a), a.row.event_id) for a in planned.actions] == [(CloseFromFile, 7)]
    assert "Input/output error" in planned.stopped[0]
    assert kinds(attrs.evolve(made, recording=writing(away.place.video_path, monitor=4))) == [LeaveOpen, CloseFromFile]


def test_an_event_whose_clip_may_lie_where_nobody_can_look_is_left_as_it_is():
    blind, other = row(7), row(8, 40)
    made = scene([blind, other], strays=[stray(0)], unread={7: "the directory can't be looked at"})
    report, emptied = plan(made).actions
    assert isinstance(report, Report) and report.event_id == 7
    assert emptied.row == other, "and no second event is made of what may be the first one's clip"
    assert kinds(attrs.evolve(made, recording=writing(stray(40))))[0] is Report
    assert kinds(scene([blind], unread={7: "x"}, recording=writing(clip(blind)))) == [LeaveOpen]


def test_a_closed_row_and_its_clip_stay_as_they_are():
    event = row(ended=True, video=True)
    assert kinds(scene([event], [clip(event)])) == []
    assert kinds(scene([row(ended=True, clip=False)])) == []


def test_a_closed_row_whose_clip_is_larger_than_it_says_is_closed_from_it():
    event = attrs.evolve(row(ended=True, video=True), disk_bytes=100)
    assert kinds(scene([event], [clip(event, 100)])) == []
    assert kinds(scene([event], [clip(event, 101)])) == [CloseFromFile]


def test_a_closed_row_whose_clip_is_gone_is_reported_and_one_whose_clip_came_back_gets_it():
    (action,) = plan(scene([row(ended=True, video=True)])).actions
    assert isinstance(action, Report) and "is not there" in describe(action)
    event = row(ended=True, clip=False)
    assert kinds(scene([event], [clip(event)])) == [CloseFromFile]
    assert kinds(scene([event], strays=[stray()])) == [CloseFromFile]


@pytest.mark.parametrize("ended", [False, True])
def test_a_move_that_was_cut_short_makes_no_second_event(ended):
    event = row(ended=ended, video=ended)
    linked = scene([event], [clip(event, inode=5)], [stray(inode=5)])
    copied = scene([event], [clip(event, inode=5)], [stray(inode=6)])
    for made in (linked, copied):
        assert kinds(made).count(SetAside) == 1
        assert MakeEvent not in kinds(made)


def test_a_stray_in_another_storage_than_the_monitors_is_reported():
    (action,) = plan(scene(strays=[stray()], homes={3: "/srv/new"})).actions
    assert isinstance(action, Report) and "/srv/new" in action.text


@pytest.mark.parametrize("state", ["missing", "empty"])
def test_a_storage_that_is_not_mounted_stops_everything(state):
    planned = plan(scene([row()], roots={ROOT: state}))
    assert planned.actions == ()
    assert ROOT in planned.stopped[0] and "mounted" in planned.stopped[0]


def test_more_than_half_missing_of_more_than_a_handful_stops_and_is_done_only_if_forced():
    whole = [row(n, 100 * n) for n in range(1, 5)]
    lost = [row(n, 100 * n) for n in range(5, 10)]
    made = scene([*whole, *lost], [clip(one) for one in whole])
    assert plan(made).actions == ()
    assert "5 of 9" in plan(made).stopped[0]
    assert len(plan(attrs.evolve(made, force=True)).actions) == 9
    fewer = scene([*whole, *lost[:4]], [clip(one) for one in whole])
    assert plan(fewer).stopped == ()


def test_what_one_worker_has_spoiled_keeps_nobody_elses_clips_back():
    spoiled = [stray(100 * n, inode=900 + n, finished=True) for n in range(9)]
    lost = [row(n, 1000 * n) for n in range(1, 9)]
    others = [stray(50, inode=990, finished=True, monitor=4), row(20, 9000, monitor=4)]
    made = scene(
        [*lost, others[1]], [clip(others[1])], [*spoiled, others[0]], homes={3: ROOT, 4: ROOT},
        measures={one.path: Measure(readable=False) for one in spoiled},
    )  # fmt: skip
    planned = plan(made)
    assert [type(action) for action in planned.actions] == [CloseFromFile, MakeEvent]
    assert {monitor_of(action) for action in planned.actions} == {4}
    assert [f"{n} of {n}" in why and "of monitor 3" in why for n, why in zip((8, 9), planned.stopped, strict=True)] == [
        True,
        True,
    ]
    # Where the others' are wrong as well it is the storage.
    theirs = [stray(50 * n, inode=990 + n, finished=True, monitor=4) for n in range(3)]
    made = scene(
        [],
        [],
        [*spoiled, *theirs],
        homes={3: ROOT, 4: ROOT},
        measures={one.path: Measure(readable=False) for one in (*spoiled, *theirs)},
    )
    assert (plan(made).actions, len(plan(made).stopped)) == ((), 1)
    assert "12 of 12" in plan(made).stopped[0] and "mounted" in plan(made).stopped[0]


# Worlds at random


@attrs.define
class World:
    """Rows and files that change as a plan says. A file is known by its inode, which no action may change."""

    rows: dict[int, LeftRow]
    clips: dict[str, Found]
    strays: dict[str, Stray]
    bad: frozenset[int]
    recording: dict[int, frozenset[str] | None]
    aside: dict[str, int] = attrs.field(factory=dict)

    def scene(self) -> Scene:
        files = [*self.clips.values(), *self.strays.values()]
        measures = {f.path: Measure(readable=False) for f in files if f.inode[1] in self.bad}
        return scene(
            self.rows.values(),
            sorted(self.clips.values(), key=lambda f: -f.size),
            self.strays.values(),
            recording=self.recording,
            measures=measures,
            force=True,
        )

    def inodes(self) -> list[int]:
        return sorted([f.inode[1] for f in [*self.clips.values(), *self.strays.values()]] + list(self.aside.values()))

    def carry_out(self) -> list[type]:
        actions = plan(self.scene()).actions
        for action in sorted(actions, key=lambda a: not isinstance(a, SetAside)):
            match action:
                case SetAside(file=file):
                    gone = self.strays.pop(file.path, None) or self.clips.pop(file.path)
                    self.aside[f"{ASIDE}/{file.path}"] = gone.inode[1]
                case CloseEmpty(row=event):
                    self.rows[event.event_id] = attrs.evolve(event, ended=True, video="", has_clip=False)
                case CloseFromFile(row=event, file=file):
                    self._move_in(event, file.path)
                case MakeEvent(stray=one, start_us=start_us):
                    event_id = max(self.rows, default=0) + 1
                    made = row(event_id, start_us / SECOND - T0, monitor=one.monitor_id)
                    self._move_in(made, one.path)
        return [type(a) for a in actions if not isinstance(a, Report | LeaveOpen)]

    def _move_in(self, event: LeftRow, path: str) -> None:
        found = self.strays.pop(path, None) or self.clips.pop(path)
        name = event.place.video_name
        assert event.place.video_path not in self.clips
        self.clips[event.place.video_path] = Found(
            event.place.video_path, found.size, found.mtime_us, found.inode, found.finished
        )
        self.rows[event.event_id] = attrs.evolve(event, ended=True, video=name, has_clip=True)


times = st.integers(0, 40)
sizes = st.sampled_from([0, 100, 101])


@st.composite
def worlds(draw: st.DrawFn) -> World:
    rows, clips, strays = {}, {}, {}
    linked = draw(st.integers(1, 6))  # the event whose clip may have a second name
    for event_id in range(1, draw(st.integers(0, 6)) + 1):
        ended = draw(st.booleans())
        event = row(event_id, draw(times), ended=ended, video=ended and draw(st.booleans()), clip=draw(st.booleans()))
        rows[event_id] = event
        if draw(st.booleans()):
            inode = 950 if event_id == linked else event_id
            found = clip(event, 101 if inode == 950 else draw(sizes), inode=inode, finished=draw(st.booleans()))
            clips[found.path] = found
    for number in range(draw(st.integers(0, 6))):
        inode = draw(st.sampled_from([900 + number, 950])) if not number else 900 + number
        size = 101 if inode == 950 else draw(sizes)
        one = stray(draw(times), size, inode=900 + number, finished=draw(st.booleans()))
        one = attrs.evolve(one, inode=(1, inode))
        strays[one.path] = one
    bad = draw(st.frozensets(st.sampled_from([1, 2, 900, 901, 950])))
    files = [*clips.values(), *strays.values()]
    recording = draw(st.sampled_from([{}, {3: None}, *(writing(one) for one in files)]))
    return World(rows, clips, strays, bad, recording)


@given(worlds())
def test_nothing_is_deleted_and_twice_is_the_same_as_once(world):
    before = world.inodes()
    world.carry_out()
    assert world.inodes() == before
    left = world.scene()
    assert world.carry_out() == [], left
    for event in world.rows.values():
        there = world.clips.get(event.place.video_path)
        if event.ended and not event.video:
            assert there is None or not there.size or there.inode[1] in world.bad


def test_each_action_reads_as_a_sentence():
    event, found = row(), stray()
    for action in (
        CloseFromFile(event, found, 1_500_000, 15, True),
        CloseEmpty(event, "why"),
        MakeEvent(found, us(0), SECOND, 10),
        SetAside(found, ROOT, 3, "it is empty"),
        LeaveOpen(event),
        Report(3, "something"),
        Report(3, "something", 7),
    ):
        assert describe(action).startswith("monitor 3: ")


def test_no_event_is_made_of_a_clip_while_its_opening_may_still_be_on_its_way():
    event, mine, lost = row(), stray(PRE_ROLL), stray(50, inode=901)
    waiting = scene([event], strays=[mine, lost, stray(90, 0, inode=902)], openings_wait=True)
    assert plan(waiting).actions[0].path == mine.path, "what has its row is dealt with"
    assert kinds(waiting) == [CloseFromFile, HoldBack, SetAside]
    assert lost.path not in set(to_measure(plan(waiting)))
    assert describe(HoldBack(lost)).startswith(f"monitor 3: {lost.path} has no event yet")
    assert kinds(attrs.evolve(waiting, openings_wait=False)) == [CloseFromFile, MakeEvent, SetAside]


@pytest.mark.parametrize("later", [0, 1])
def test_of_two_open_rows_of_one_second_the_one_whose_clip_is_open_is_being_recorded(later):
    rows, begun = [row(7), row(8)], stray()
    over, recorded = rows[1 - later], rows[later]
    made = scene(rows, [clip(recorded)], [stray(finished=True, until=2)], recording=writing(clip(recorded)))
    assert {a.row.event_id: type(a) for a in plan(made).actions} == {
        recorded.event_id: LeaveOpen,
        over.event_id: CloseFromFile,
    }
    made = scene(rows, [clip(over)], [begun], recording=writing(begun))
    assert {a.row.event_id: type(a) for a in plan(made).actions} == {
        recorded.event_id: LeaveOpen,
        over.event_id: CloseFromFile,
    }


def test_which_clip_is_recorded_does_not_depend_on_the_clock():
    over, recorded = row(7, 3600), row(8, 0)
    clips = [clip(over, at=3605), clip(recorded)]
    made = scene([over, recorded], clips, [stray(3700)], recording=writing(clip(recorded)))
    actions = plan(made).actions
    assert {a.row.event_id: type(a) for a in actions[:2]} == {7: CloseFromFile, 8: LeaveOpen}
    assert type(actions[2]) is MakeEvent, "although its name is of a time to come"


@pytest.mark.parametrize("at", [0, 1])
def test_a_clip_that_is_recorded_is_the_later_ones_of_two_rows_that_it_may_be_of(at):
    before, recorded, begun = row(6, at), row(7, 1), stray(1)
    actions = plan(scene([before, recorded], strays=[begun], recording=writing(begun))).actions
    assert {a.row.event_id: type(a) for a in actions} == {6: CloseEmpty, 7: LeaveOpen}


@pytest.mark.parametrize("cause", ["Continuous", "Motion"])
def test_a_row_takes_the_clip_that_was_opened_nearest_to_its_own_opening(cause):
    opened = 2 if cause == "Continuous" else 2 + PRE_ROLL
    event, torn, mine = row(7, 2, cause=cause), stray(opened - 2, 0), stray(opened, inode=901)
    actions = plan(scene([event], strays=[torn, mine])).actions
    assert [(type(a), a.path) for a in actions] == [(CloseFromFile, mine.path), (SetAside, torn.path)]


@pytest.mark.parametrize("state", ["there", "empty"])
def test_a_clip_in_the_storage_before_is_the_open_events_whose_monitor_records_to_another_now(state):
    event, found = row(), stray(size=100)
    there = attrs.evolve(event, place=attrs.evolve(event.place, root="/srv/new"))
    made = scene([there], strays=[found], roots={ROOT: "there", "/srv/new": state}, homes={3: "/srv/new"})
    planned = plan(made)
    assert [(type(a), a.row, a.path) for a in planned.actions] == [(CloseFromFile, there, found.path)]
    assert root_of(planned.actions[0]) == ROOT and not planned.stopped
    torn = attrs.evolve(made, strays=(attrs.evolve(found, size=0),))
    aside, closed = plan(torn).actions
    assert (type(aside), aside.root, type(closed)) == (SetAside, ROOT, CloseEmpty)
    over = attrs.evolve(there, ended=True, has_clip=False)
    assert kinds(attrs.evolve(made, rows=(over,), storages={ROOT: Storage(id=1, path=ROOT)})) == [MakeEvent]


@pytest.mark.parametrize("away", [{"roots": {ROOT: "missing"}}, {"away": {ROOT: "Input/output error"}}])
def test_nothing_is_taken_from_a_storage_that_is_not_there(away):
    event = row()
    there = attrs.evolve(event, place=attrs.evolve(event.place, root="/srv/new"))
    made = scene([there], strays=[stray()], homes={3: "/srv/new"}, **away)
    assert kinds(made) == [CloseEmpty]


def test_a_triggered_clip_is_its_events_although_the_monitor_records_without_a_break_by_now():
    event, found = row(), stray(PRE_ROLL)
    now = {"pre_roll_us": {3: 0}, "triggered_us": {3: PRE_ROLL * SECOND}}
    assert kinds(scene([event], strays=[found], recording=writing(found), **now)) == [LeaveOpen]
    assert kinds(scene([event], strays=[found], **now)) == [CloseFromFile]
    assert kinds(scene([row(cause="Continuous")], strays=[found], **now)) == [CloseEmpty, MakeEvent]


def test_of_two_closed_events_the_one_gets_a_clip_that_was_opened_nearest_to_it():
    named, without = row(7, 0, ended=True, video=True), row(8, 3, ended=True, clip=False, cause="Continuous")
    found = stray(3)
    actions = [a for a in plan(scene([named, without], strays=[found])).actions if not isinstance(a, Report)]
    assert [(type(a), a.row) for a in actions] == [(CloseFromFile, without)]
