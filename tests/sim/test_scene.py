from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zmtwist.sim.document import Stage
from zmtwist.sim.pattern import GLYPHS, Pattern, text_rows
from zmtwist.sim.scene import Scene
from zmtwist.sim.stages import sightings

YARD = Scene(320, 240, first=3.0, present=3.0, period=10.0)


def test_the_object_comes_and_goes() -> None:
    there = [second for second in range(30) if YARD.at(second + 0.5) is not None]
    assert there == [3, 4, 5, 13, 14, 15, 23, 24, 25]


def test_every_visit_is_another_track_and_label() -> None:
    visits = [YARD.at(second) for second in (3, 13, 23, 33)]
    assert [(thing.track_id, thing.label) for thing in visits if thing] == [
        (1, "person"),
        (2, "car"),
        (3, "dog"),
        (4, "person"),
    ]


def test_an_object_that_stays_longer_than_the_period_is_always_there() -> None:
    scene = Scene(320, 240, first=0.0, present=20.0, period=10.0)
    assert all(scene.at(tenth / 10) for tenth in range(400))


@given(st.floats(0, 1e6), st.integers(64, 1920), st.integers(48, 1080))
def test_the_box_is_always_inside_the_picture(seconds: float, width: int, height: int) -> None:
    thing = Scene(width, height, first=0.0, present=5.0, period=5.0).at(seconds)
    assert thing is not None
    left, top, w, h = thing.box
    assert left >= 0 and top >= 0 and left + w <= width and top + h <= height
    assert 0.0 < thing.confidence <= 1.0


def test_text_is_drawn_dot_by_dot() -> None:
    ink = ["".join("#" if value > 100 else "." for value in row) for row in text_rows("1:A", 1)]
    assert ink == [
        ".#.......#..",
        "##...#..#.#.",
        ".#......###.",
        ".#...#..#.#.",
        "###.....#.#.",
    ]
    assert {len(rows) for rows in GLYPHS.values()} == {5}


def test_the_picture_shows_the_object_where_it_is_said_to_be() -> None:
    pattern = Pattern(320, 240, 384, "monitor_3")
    empty, drawn = pattern.draw("09:10:50.0", None), pattern.draw("09:10:50.0", (100, 120, 40, 60))
    changed = [at for at in range(len(empty)) if empty[at] != drawn[at]]
    assert len(empty) == 384 * 240
    assert {at // 384 for at in changed} == set(range(120, 180))
    assert {at % 384 for at in changed} <= set(range(100, 140))
    assert pattern.draw("09:10:51.0", None) != empty


def test_each_stage_says_its_own_and_only_its_own() -> None:
    thing = YARD.at(13.5)
    assert thing is not None
    kinds = ["motion_gate", "motion_pixel_diff", "decode_detect", "tracker", "describe_vlm", "store", "output_mqtt"]
    stages = [Stage(kind, (1,)) for kind in kinds] + [Stage("motion_gate", (0,))]

    def said(detect: bool, new: bool) -> list[tuple[int, str]]:
        found = sightings(
            stages, thing, monitor_id=3, stream_id=1, pts_us=1_500_000, changed=90, frame=15, detect=detect, new=new
        )
        assert all(sighting.detail.get("stream_id", 1) == 1 for sighting in found)
        return [(sighting.code, sighting.kind) for sighting in found]

    motion = [(0x0301, "motion"), (0x0301, "motion")]
    objects = [(0x0301, "detection"), (0, "tracked_detection")]
    assert said(detect=False, new=False) == motion
    assert said(detect=True, new=False) == motion + objects
    assert said(detect=True, new=True) == [*motion, *objects, (0x0302, "description")]
