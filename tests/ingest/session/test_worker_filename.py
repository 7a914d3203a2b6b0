from datetime import UTC
from zoneinfo import ZoneInfo

import pytest

from zmtwist.ingest.session.worker_filename import is_day, own_name

OPENED = 1_795_338_639_000_000  # 2026-11-22 09:10:39 UTC


def opened(path, zone, until_us=None):
    named = own_name(path, zone, until_us)
    return None if named is None else named.opened_us


def test_the_time_in_the_name_is_local():
    assert opened("/srv/e/2026-11-22/event-Monitor-3-0-09-10-39.mkv", UTC) == OPENED
    assert opened("/srv/e/2026-11-22/event-Monitor-3-0-20-10-39-2.mkv", ZoneInfo("Australia/Sydney")) == OPENED


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/srv/e/3/2026-11-22/501/501-video.mkv",
        "/srv/e/2026-11-22/event-Monitor-3-0-09-10-39.mp4",
        "/srv/e/2026-13-22/event-Monitor-3-0-09-10-39.mkv",
        "/srv/e/2026-11-22/event-Monitor-3-0-25-10-39.mkv",
        "/srv/e/0001-01-01/event-Monitor-3-0-00-00-00.mkv",
        "/srv/e/9999-12-31/event-Monitor-3-0-23-59-59.mkv",
    ],
)
def test_other_names_have_none(path):
    assert opened(path, UTC) is None
    assert own_name(path, None) is None


def test_no_worker_opens_clips_in_a_directory_of_a_day_that_can_not_be():
    assert is_day("1970-01-01") and is_day("2026-11-28")
    assert not any(map(is_day, ("0000-00-00", "0001-01-01", "9999-12-31", "2026-11-2", "2026-11-28x")))


def test_in_the_hour_that_autumn_repeats_it_is_the_second_only_if_that_has_come():
    path, zone = "/srv/e/2026-10-25/event-Monitor-3-0-02-30-00.mkv", ZoneInfo("Europe/Berlin")
    first = opened(path, zone)
    hour = 3_600_000_000
    assert opened(path, zone, first + hour - 1) == first
    assert opened(path, zone, first + hour) == first + hour
    usual = "/srv/e/2026-10-25/event-Monitor-3-0-05-30-00.mkv"
    assert opened(usual, zone, first + 9 * hour) == opened(usual, zone)
