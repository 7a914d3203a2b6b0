"""Where objects count: the zones of a monitor, as ingest applies them."""

from __future__ import annotations

import attrs

from zmtwist.ingest.session.zone_filter import zoning_of
from zmtwist.pipeline.monitor import Monitor, Zone
from zmtwist.wire.event_details import DetectedObject

WHOLE = "0,0 639,0 639,359 0,359"
LEFT = "0.00,0.00 50.00,0.00 50.00,100.00 0.00,100.00"
CAMERA = Monitor(id=3, width=640, height=360)
AT_LEFT = DetectedObject("cat", 0.5, (10, 10, 20, 20))
AT_RIGHT = DetectedObject("dog", 0.5, (600, 10, 20, 20))


def zoning(*zones: Zone, size: tuple[int, int] | None = (640, 360), **columns: object):
    return zoning_of(attrs.evolve(CAMERA, zones=zones, **columns), size)


def test_objects_count_by_the_zones_they_are_in():
    found, _ = zoning(Zone(1, "Left", coords=LEFT), Zone(2, "All", "Inclusive", coords=WHOLE))
    assert found.counting([AT_LEFT, AT_RIGHT]) == ((AT_LEFT, AT_RIGHT), (("Left", "All"), ("All",)))
    found, _ = zoning(Zone(1, "Left", coords=LEFT))
    assert found.counting([AT_LEFT, AT_RIGHT]) == ((AT_LEFT,), (("Left",),))


def test_zones_of_the_whole_picture_are_everywhere_whatever_the_picture_is():
    found, _ = zoning(Zone(1, "All", coords=WHOLE), size=None)
    assert found.counting([AT_RIGHT, DetectedObject("owl")]) == (
        (AT_RIGHT, DetectedObject("owl")),
        (("All",), ("All",)),
    )
    found, _ = zoning(Zone(1, "Nowhere", "Preclusive", coords=WHOLE))
    assert found.counting([AT_RIGHT]) == ((), ())


def test_the_picture_is_turned_as_zoneminder_shows_it():
    # The camera's left is the top of a picture that is turned clockwise.
    found, _ = zoning(Zone(1, "Top", coords="0.0,0.0 100.0,0.0 100.0,50.0 0.0,50.0"), orientation="ROTATE_90")
    assert found.counting([AT_LEFT, AT_RIGHT])[0] == (AT_LEFT,)


def test_no_zones_and_those_that_only_hide_make_no_difference():
    assert zoning() == (None, ())
    assert zoning(Zone(1, "Window", "Privacy", coords=LEFT), Zone(2, "Old", "Inactive", coords=LEFT)) == (None, ())


def test_a_zone_that_cannot_be_read_is_told_and_left_out():
    found, (problem,) = zoning(Zone(1, "Left", coords=LEFT), Zone(2, "Odd", coords="1,2 3"))
    assert problem.startswith('zone 2 "Odd" is left out')
    assert found.counting([AT_RIGHT]) == ((), ())
