"""Whose a clip's file is, by its own name and place."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.ingest.builders import T0
from tests.ingest.places import place_in
from zmtwist.ingest.session.clip_match import clip_saved, may_hold
from zmtwist.ingest.session.open_event import Clip
from zmtwist.ingest.session.options import Options
from zmtwist.wire.event_details import RecordingSaved

ROOTS = ("/srv/old/",)
MINE = [
    "/srv/e/2026-11-22/event-Monitor-3-0-09-10-50.mkv",
    "/srv/e/2026-11-22/event-Monitor-3-1-09-10-52-2.mkv",
    "/srv/e//2026-11-22/event-Monitor-3-0-09-10-55.mkv",
    "/srv/old/2026-11-22/event-Monitor-3-0-09-10-50.mkv",
    "{directory}/7-video.mkv",
    "{directory}/7-video.hevc.mkv",
]
OTHERS = [
    "",
    "event-Monitor-3-0-09-10-50.mkv",
    "2026-11-22/event-Monitor-3-0-09-10-50.mkv",
    "/srv/e/2026-11-22/event-Monitor-33-0-09-10-50.mkv",
    "/srv/e/2026-11-21/event-Monitor-3-0-09-10-50.mkv",
    "/srv/e/2026-11-22/event-Monitor-3-0-09-20-50.mkv",
    "/srv/e/../f/2026-11-22/event-Monitor-3-0-09-10-50.mkv",
    "/srv/f/2026-11-22/event-Monitor-3-0-09-10-50.mkv",
    "/srv/old/3/2026-11-22/7/7-video.mkv",
    "{directory}/77-video.mkv",
    "{directory}/7-video.mp4",
    "{directory}/../8/7-video.mkv",
]


@pytest.mark.parametrize("scheme", ["Deep", "Medium", "Shallow"])
@pytest.mark.parametrize("root", ["/srv/e", "/srv/e/"])
def test_a_clip_is_an_events_by_name_and_place_alone(scheme, root):
    place = place_in(Path(root), scheme=scheme)
    for path in MINE:
        assert may_hold(path.format(directory=place.directory), place, ROOTS, 0, UTC), path
    for path in OTHERS:
        assert not may_hold(path.format(directory=place.directory), place, ROOTS, 0, UTC), path


@pytest.mark.parametrize(("trigger", "mine"), [("continuous", False), ("motion", True)])
def test_the_clip_of_an_event_of_before_was_opened_with_it_but_for_triggered_ones(trigger, mine):
    left = Clip(handle="a", start_us=T0, trigger=trigger, token="", event_id=7, labels=("car",))
    saved = RecordingSaved(path="/srv/e/2026-11-22/event-Monitor-3-0-09-10-54.mkv")
    clip = clip_saved(saved, 3, [left], (), Options(pre_roll_us=5_000_000, zone=UTC), T0 + 60_000_000)
    assert (clip is left) == mine


@pytest.mark.parametrize(("event_id", "handle"), [(7, "a"), (8, "b"), (9, None)])
def test_a_save_is_of_the_clip_whose_event_its_name_says(event_id, handle):
    recording = [
        Clip(handle=name, start_us=0, trigger="continuous", token=name, event_id=number)
        for name, number in (("a", 7), ("b", 8))
    ]
    saved = RecordingSaved(path=f"/srv/e/3/2026-11-22/{event_id}/{event_id}-video.mkv", event_id=7, clip_token="a")
    clip = clip_saved(saved, 3, recording, (), Options(), 0)
    assert (clip and clip.handle) == handle


@pytest.mark.parametrize("fold", [0, 1])
def test_in_the_hour_that_autumn_repeats_a_save_is_of_either_second_of_its_name(fold):
    """The clock may have been set forward by an hour since the clip was opened."""
    zone = ZoneInfo("Europe/Berlin")
    opened = datetime(2026, 10, 25, 2, 59, 36, tzinfo=zone, fold=fold)
    opened_us = round(opened.timestamp()) * 1_000_000
    clip = Clip(handle="a", start_us=opened_us, opened_us=opened_us, trigger="continuous", token="t")
    saved = RecordingSaved(path="/srv/e/2026-10-25/event-Monitor-3-0-02-59-36.mkv")
    later_us = opened_us + 3_612_000_000
    assert clip_saved(saved, 3, [clip], (), Options(zone=zone), later_us) is clip


@pytest.mark.parametrize(("said", "handle"), [({"event_id": 8}, "b"), ({"clip_token": "b"}, "b"), ({}, "a")])
def test_a_save_under_no_name_that_tells_is_of_the_event_or_token_that_it_names_or_of_the_oldest_clip(said, handle):
    recording = [
        Clip(handle=name, start_us=0, trigger="continuous", token=name, event_id=number)
        for name, number in (("a", 7), ("b", 8))
    ]
    clip = clip_saved(RecordingSaved(path="/srv/e/x.mkv", **said), 3, recording, (), Options(), 0)
    assert clip.handle == handle
