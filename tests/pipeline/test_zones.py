from __future__ import annotations

import math
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmtwist.pipeline.geometry import area, clip, contains, outside, to_camera, to_upright
from zmtwist.pipeline.monitor import Monitor, Zone
from zmtwist.pipeline.zones import Area, classify, intrusion_rules, parse_zones, zone_rows

FRAME = (1001, 501)
CAMERA = Monitor(id=1, width=1001, height=501)


def areas(*zones: Zone, **changes: Any) -> tuple[Area, ...]:
    found, problems = parse_zones(attrs.evolve(CAMERA, zones=zones, **changes))
    assert problems == ()
    return found


def corners(zone: Zone, **changes: Any) -> list[tuple[int, int]]:
    camera = attrs.evolve(CAMERA, **changes)
    return areas(zone, **changes)[0].pixels((camera.width, camera.height), camera.orientation)


@pytest.mark.parametrize(
    ("coords", "units", "expected"),
    [
        ("0,0 500,0 500,250", "Pixels", [(0, 0), (500, 0), (500, 250)]),
        (
            "0,0 500,0 500,250",
            "Percent",
            [(0, 0), (500, 0), (500, 250)],
        ),  # 1.36's default zone: pixels, whatever Units says
        ("0.00,0.00 50.00,0.00 50.00,100.00", "Pixels", [(0, 0), (500, 0), (500, 500)]),  # a point decides, not Units
        ("0,0 50,0 50,100", "Percent", [(0, 0), (500, 0), (500, 500)]),  # PHP's reading
        ("0,0 50,0 50,100", "Pixels", [(0, 0), (50, 0), (50, 100)]),
        ("  0,0   9999,0 9999,9999 0,9999 ", "Pixels", [(0, 0), (1000, 0), (1000, 500), (0, 500)]),
        ("-50.0,0 50,0 50,100 -50,100", "Percent", [(0, 0), (500, 0), (500, 500), (0, 500)]),
    ],
)
def test_coordinates(coords: str, units: str, expected: list[tuple[int, int]]) -> None:
    assert corners(Zone(1, "z", coords=coords, units=units)) in [
        expected[n:] + expected[:n] for n in range(len(expected))
    ]


@pytest.mark.parametrize(
    ("zone", "changes", "problem"),
    [
        (Zone(7, "a", coords="1,2 3,4"), {}, 'zone 7 "a" is left out: its Coords are not three'),
        (Zone(7, "a", coords="1,2 3,4 five,6"), {}, "not three"),
        (Zone(7, "a", coords="1,1 2,2 3,3"), {}, "nothing of it is inside"),
        (Zone(7, "a", coords="2000,0 3000,0 3000,90"), {}, "nothing of it is inside"),
        (Zone(7, "a", coords="1,1 20,2 3,300"), {"width": 0}, "Width and Height are not known"),
        (Zone(7, "a", type="Odd", coords="1,1 20,2 3,300"), {}, 'its type is "Odd"'),
    ],
)
def test_what_cannot_be_read_is_reported_and_left_out(zone: Zone, changes: dict[str, Any], problem: str) -> None:
    good = Zone(8, "b", coords="0.0,0.0 9.0,0.0 9.0,9.0")
    found, problems = parse_zones(attrs.evolve(CAMERA, zones=(zone, good), **changes))
    assert [one.id for one in found] == [8]
    assert len(problems) == 1
    assert problem in problems[0]


# The upper left quarter of the upright picture, in the camera's picture of 1001 by 501.
@pytest.mark.parametrize(
    ("orientation", "left", "top"),
    [
        ("ROTATE_0", 0, 0),
        ("ROTATE_90", 0, 250),
        ("ROTATE_180", 500, 250),
        ("ROTATE_270", 500, 0),
        ("FLIP_HORI", 500, 0),
        ("FLIP_VERT", 0, 250),
    ],
)
def test_turned_pictures(orientation: str, left: int, top: int) -> None:
    quarter = Zone(1, "z", coords="0.0,0.0 50.0,0.0 50.0,50.0 0.0,50.0")
    found = corners(quarter, orientation=orientation)
    assert set(found) == {(x, y) for x in (left, left + 500) for y in (top, top + 250)}


def test_an_object_stands_at_the_lower_edge_of_the_upright_picture() -> None:
    [lower] = areas(Zone(1, "lower half", coords="0.0,50.0 100.0,50.0 100.0,100.0 0.0,100.0"))
    assert classify([lower], (100, 10, 50, 300), FRAME).zones == (lower,)
    assert not classify([lower], (100, 10, 50, 100), FRAME).counts
    # Turned clockwise, the right side of the camera's picture is the ground.
    assert classify([lower], (400, 10, 300, 50), FRAME, "ROTATE_90").counts
    assert not classify([lower], (0, 450, 300, 50), FRAME, "ROTATE_90").counts
    # Turned the other way, the left side is; upside down, the top.
    assert classify([lower], (0, 10, 300, 50), FRAME, "ROTATE_270").counts
    assert not classify([lower], (600, 10, 300, 50), FRAME, "ROTATE_270").counts
    assert classify([lower], (0, 10, 300, 50), FRAME, "ROTATE_180").counts
    assert not classify([lower], (0, 450, 300, 50), FRAME, "ROTATE_180").counts


def box(x: int) -> tuple[int, int, int, int]:
    return (x - 10, 100, 20, 100)


def test_an_object_counts_by_the_zones_it_is_in() -> None:
    def strip(number: int, kind: str, left: int, right: int) -> Zone:
        return Zone(number, kind, type=kind, coords=f"{left},0 {right},0 {right},500 {left},500")

    zones = areas(
        strip(1, "Active", 0, 200),
        strip(2, "Preclusive", 100, 400),
        strip(3, "Exclusive", 500, 600),
        strip(4, "Privacy", 700, 800),
    )
    assert [zone.id for zone in classify(zones, box(50), FRAME).zones] == [1]
    assert [zone.id for zone in classify(zones, box(150), FRAME).zones] == [1]
    for nowhere in (300, 450, 750):
        assert classify(zones, box(nowhere), FRAME) == classify(zones, box(950), FRAME)
        assert not classify(zones, box(nowhere), FRAME).counts
    assert classify(zones, box(550), FRAME).counts

    without = zones[1:2]
    assert classify((), box(50), FRAME).counts
    assert classify(without, box(50), FRAME).counts
    assert not classify(without, box(300), FRAME).counts


@pytest.mark.parametrize("bbox", [(float("nan"), 0, 1, 1), (0, 0, float("inf"), 1)])
def test_what_makes_no_sense_counts(bbox: tuple[float, float, float, float]) -> None:
    zones = areas(Zone(1, "z", coords="0,0 10,0 10,10"))
    assert classify(zones, bbox, FRAME).counts
    assert classify(zones, box(500), (0, 0)).counts


def test_rows_for_the_worker() -> None:
    found = areas(
        Zone(
            1,
            "Gate",
            coords="0.00,0.00 50.00,0.00 50.00,50.00 0.00,50.00",
            min_alarm_pixels=10.0,
            max_alarm_pixels=5000,
            min_blobs=1,
        ),
        Zone(2, "Hidden", type="Privacy", coords="0,0 500,0 500,250"),
    )
    [row] = zone_rows(found, FRAME, "ROTATE_0")
    # 10 percent of the zone's area, 500 by 250 pixels; a figure above 100 can only be pixels already.
    assert row == {
        "Id": 1,
        "Name": "Gate",
        "Type": "Active",
        "Coords": "0,0 500,0 500,250 0,250",
        "CheckMethod": "Blobs",
        "MinAlarmPixels": 12500,
        "MaxAlarmPixels": 5000,
        "MinBlobs": 1,
    }
    [rule] = intrusion_rules(found, FRAME, "FLIP_HORI")
    assert rule == {"name": "Gate", "type": "intrusion", "polygon": [[1000, 0], [500, 0], [500, 250], [1000, 250]]}


UNIT = st.floats(0, 1)
ANYWHERE = st.floats(-3, 3)


@given(st.lists(st.tuples(ANYWHERE, ANYWHERE), min_size=3, max_size=8))
def test_clipping_leaves_the_unit_square_only(polygon: list[tuple[float, float]]) -> None:
    clipped = clip(polygon)
    assert all(-1e-9 <= value <= 1 + 1e-9 for point in clipped for value in point)


@given(UNIT, UNIT, UNIT, UNIT, ANYWHERE, ANYWHERE)
def test_clipping_a_rectangle(x1: float, x2: float, y1: float, y2: float, dx: float, dy: float) -> None:
    left, right, top, bottom = min(x1, x2) + dx, max(x1, x2) + dx, min(y1, y2) + dy, max(y1, y2) + dy
    clipped = clip([(left, top), (right, top), (right, bottom), (left, bottom)])
    wide, high = (max(0.0, min(high, 1.0) - max(low, 0.0)) for low, high in ((left, right), (top, bottom)))
    assert area(clipped) == pytest.approx(wide * high, abs=1e-9)


@given(UNIT, UNIT, st.sampled_from(["ROTATE_0", "ROTATE_90", "ROTATE_180", "ROTATE_270", "FLIP_HORI", "FLIP_VERT"]))
def test_turning_there_and_back(x: float, y: float, orientation: str) -> None:
    assert to_upright(to_camera((x, y), orientation), orientation) == pytest.approx((x, y))


def test_containment_of_edges_and_dents() -> None:
    dented = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.5), (0.0, 1.0)]
    assert contains(dented, (0.5, 0.25))
    assert contains(dented, (0.5, 0.5))
    assert contains(dented, (1.0, 0.5))
    assert not contains(dented, (0.5, 0.9))


grid = st.tuples(st.integers(0, 20), st.integers(0, 20)).map(lambda corner: (corner[0] / 20, corner[1] / 20))
boxes = st.tuples(grid, grid).filter(lambda two: two[0][0] != two[1][0] and two[0][1] != two[1][1])
rectangles = boxes.map(lambda two: (two[0], (two[1][0], two[0][1]), two[1], (two[0][0], two[1][1])))
triangles = st.tuples(grid, grid, grid).filter(lambda three: area(three) > 1e-3)


@given(
    st.lists(rectangles | triangles, max_size=5),
    st.lists(st.tuples(st.floats(0.003, 0.997), st.floats(0.003, 0.997)), max_size=30),
)
def test_what_is_outside_of_all_polygons(polygons, points):
    gaps = outside(polygons)
    assert sum(map(area, gaps)) <= 1 + 1e-6
    for point in points:
        if any(near(polygon, point) for polygon in (*polygons, *gaps)):
            continue
        covered = sum(contains(gap, point) for gap in gaps)
        assert covered == (not any(contains(polygon, point) for polygon in polygons))


def near(polygon, point):
    """Whether a point is so close to an edge that rounding may decide."""
    x, y = point
    for (x1, y1), (x2, y2) in zip(polygon, [*polygon[1:], *polygon[:1]], strict=True):
        length = math.hypot(x2 - x1, y2 - y1)
        if length and abs((x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)) / length < 1e-4:
            return True
    return False


def test_nothing_is_outside_of_a_zone_over_all():
    assert outside([((0, 0), (1, 0), (1, 1), (0, 1))]) == []
    assert outside([]) == [((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))]
