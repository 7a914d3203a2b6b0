"""Directories, names and local times."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.zm.site import SECOND, SYDNEY, at
from zmtwist.pipeline.monitor import Monitor, Storage
from zmtwist.zm.event_paths import CODECS, EventPlace, Link, final_name, place, video_name
from zmtwist.zm.event_times import local_time

MONITOR = Monitor(id=7, name="Front door", storage=Storage(id=3, path="/srv/zm", scheme="Medium"))


def placed(scheme: str, start: str, event_id: int = 42) -> EventPlace:
    monitor = attrs.evolve(MONITOR, storage=attrs.evolve(MONITOR.storage, scheme=scheme))
    return place(event_id, monitor, at(start) + 999_999, SYDNEY, video_name="v.mkv", final_name="n")


@pytest.mark.parametrize(
    ("scheme", "directory", "link", "marker"),
    [
        ("Deep", "/srv/zm/7/26/03/09/08/05/01", Link("/srv/zm/7/26/03/09/.42", "08/05/01"), None),
        ("Medium", "/srv/zm/7/2026-03-09/42", None, None),
        ("Shallow", "/srv/zm/7/42", None, "/srv/zm/7/42/.42"),
    ],
)
def test_each_scheme_has_its_directory(scheme, directory, link, marker):
    here = placed(scheme, "2026-03-09 08:05:01")
    assert (here.directory, here.link, here.marker) == (directory, link, marker)
    assert here.start == datetime(2026, 3, 9, 8, 5, 1)
    assert (here.root, here.scheme, here.storage_id) == ("/srv/zm", scheme, 3)
    assert here.video_path == f"{directory}/v.mkv"


@given(st.integers(0, 4_000_000_000 * SECOND))
def test_the_directory_is_always_of_the_rows_own_second(start_us):
    here = place(1, MONITOR, start_us, SYDNEY, video_name="v", final_name="n")
    assert here.start == local_time(start_us // SECOND * SECOND, SYDNEY)
    assert here.start.microsecond == 0
    assert here.directory == f"/srv/zm/7/{here.start.date().isoformat()}/1"


def test_midnight_and_both_ends_of_daylight_saving():
    assert placed("Medium", "2026-02-28 23:59:59").directory.split("/")[-2] == "2026-02-28"
    assert local_time(at("2026-10-04 01:59:59") + SECOND, SYDNEY) == datetime(2026, 10, 4, 3, 0, 0)
    first, second = at("2026-04-05 02:30:00", fold=0), at("2026-04-05 02:30:00", fold=1)
    assert second - first == 3600 * SECOND
    assert local_time(first, SYDNEY) == local_time(second, SYDNEY) == datetime(2026, 4, 5, 2, 30)


def test_the_hosts_zone_is_the_default(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "Australia/Sydney")
    time.tzset()
    try:
        assert local_time(at("2026-07-01 10:00:00"), None) == datetime(2026, 7, 1, 10)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_names_carry_the_codec_on_newer_versions_and_never_end_in_mp4():
    assert video_name(5, 27, modern=True) == "5-video.h264.mkv"
    assert video_name(5, 173, modern=True) == "5-video.hevc.mkv"
    assert video_name(5, 226, modern=True) == video_name(5, 225, modern=True) == "5-video.av1.mkv"
    assert (
        video_name(5, 27, modern=False)
        == video_name(5, 0, modern=True)
        == video_name(5, 99_999, modern=True)
        == "5-video.mkv"
    )
    assert all(len(video_name(2**63, codec, modern=True)) <= 64 for codec in CODECS)


@pytest.mark.parametrize(
    ("prefix", "modern", "name"),
    [
        ("Event-", True, "Event-42"),
        ("%Y/%m-", True, "2026/03-42"),
        ("%Y-", False, "%Y-42"),
        ("%N %H:%M:%S.%f %Q", True, "Front door 08:05:01.50 42"),
        ("p" * 64, True, "p" * 62 + "42"),
        ("", True, "42"),
    ],
)
def test_an_event_is_called_by_prefix_and_id(prefix, modern, name):
    monitor = attrs.evolve(MONITOR, event_prefix=prefix)
    assert final_name(42, monitor, at("2026-03-09 08:05:01") + 500_000, SYDNEY, modern=modern) == name


def test_or_by_the_name_that_the_operator_gave():
    assert final_name(42, MONITOR, 0, ZoneInfo("UTC"), modern=True, event_name="zm-next") == "zm-next"
    assert len(final_name(42, MONITOR, 0, None, modern=True, event_name="x" * 99)) == 64
