from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest_twisted

from tests.conftest import TIME_ZONE
from zmtwist.zm.db.server_clock import compare, hours


@pytest_twisted.ensureDeferred
async def test_the_servers_zone_is_set_against_ours(mysite):
    same = await mysite.database.interact(compare, ZoneInfo(TIME_ZONE))
    assert same.ours == same.servers
    assert abs(same.apart) < 5
    other = await mysite.database.interact(compare, ZoneInfo("Asia/Kolkata"))
    assert (other.ours, other.servers) == (19800, same.servers)


@pytest_twisted.ensureDeferred
async def test_zones_that_part_within_the_year_are_found(mysite):
    """The server's is Sydney's: of one without summer time, each is right for half a year."""
    assert TIME_ZONE == "Australia/Sydney"
    zones = [ZoneInfo("Australia/Brisbane"), ZoneInfo("Pacific/Guadalcanal")]
    told = [await mysite.database.interact(compare, zone) for zone in zones]
    assert all(clocks.ours != clocks.servers for clocks in told)
    assert sorted(bool(clocks.when) for clocks in told) == [False, True]


def test_an_offset_is_written_as_people_do():
    assert [hours(seconds) for seconds in (0, 19800, -12600, 39600)] == [
        "UTC+00:00",
        "UTC+05:30",
        "UTC-03:30",
        "UTC+11:00",
    ]
