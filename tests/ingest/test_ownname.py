from datetime import UTC
from zoneinfo import ZoneInfo

import pytest

from zmtwist.ingest.ownname import opened_us

OPENED = 1_795_338_639_000_000  # 2026-11-22 09:10:39 UTC


def test_the_time_in_the_name_is_local():
    assert opened_us("/srv/e/2026-11-22/event-Monitor-3-0-09-10-39.mkv", UTC) == OPENED
    assert opened_us("/srv/e/2026-11-22/event-Monitor-3-0-20-10-39-2.mkv", ZoneInfo("Australia/Sydney")) == OPENED


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/srv/e/3/2026-11-22/501/501-video.mkv",
        "/srv/e/2026-11-22/event-Monitor-3-0-09-10-39.mp4",
        "/srv/e/2026-13-22/event-Monitor-3-0-09-10-39.mkv",
        "/srv/e/2026-11-22/event-Monitor-3-0-25-10-39.mkv",
    ],
)
def test_other_names_have_none(path):
    assert opened_us(path, UTC) is None
