"""Which events are in the database already, of those that a run had begun to write when it was killed."""

from __future__ import annotations

import pytest_twisted
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.zm.site import SECOND, alarms, at, closing, opening
from zmtwist.changes import UpdateEvent
from zmtwist.config.site import Site
from zmtwist.zm.write.store import EventStore

START = at("2026-03-01 12:00:00")


async def found(site, *openings, taken=(), closes=()):
    return await site.store.opened(openings, taken, site.monitors, {close.handle: close for close in closes})


@pytest_twisted.ensureDeferred
async def test_an_event_is_found_with_its_place_and_one_that_is_not_there_is_not(site):
    first, other = opening(handle="a"), opening(handle="b", monitor_id=2)
    places = await site.write(first, *alarms("a", [5]))
    assert await found(site, first, other) == {"a": places["a"]}
    later = opening(handle="c", start_us=START + 2 * SECOND)
    assert await found(site, later) == {}


@pytest_twisted.ensureDeferred
async def test_it_is_found_with_its_videos_name_and_after_a_close_of_the_same_transaction(site):
    places = await site.write(opening())
    assert await found(site, opening()) == places
    await site.write(UpdateEvent(handle="a", length_us=SECOND), places=places)
    assert await found(site, opening()) == places
    clipless = opening(handle="b", monitor_id=2, token=None)
    close = closing("b", video_name=None, disk_bytes=0)
    places = await site.write(clipless, close)
    assert await found(site, clipless, closes=[close]) == {"b": places["b"]}
    assert await found(site, clipless, closes=[replace(close, length_us=close.length_us + 5 * SECOND)]) == {}


@pytest_twisted.ensureDeferred
async def test_a_closed_event_is_not_that_of_an_opening_in_the_same_second(site):
    await site.write(opening(), closing("a"))
    later = opening(handle="b", start_us=START + SECOND // 2)
    assert await found(site, later) == {}
    await site.write(later)
    assert list(await found(site, later)) == ["b"]


@pytest_twisted.ensureDeferred
async def test_two_in_one_second_are_told_apart_by_their_order_and_known_ones_left_out(site):
    pair = [opening(handle="a"), opening(handle="b", start_us=START + 1)]
    places = await site.write(*pair)
    assert await found(site, *pair) == places
    assert await found(site, pair[1], taken=[places["a"].event_id]) == {"b": places["b"]}


@pytest_twisted.ensureDeferred
async def test_the_legacy_daemons_events_are_not_taken(site):
    for video, jpegs in (("incomplete.mp4", 0), ("1-video.mp4", 0), ("", 3)):
        site.run(
            "INSERT INTO Events (MonitorId, StorageId, StateId, Name, Cause, StartDateTime, DefaultVideo, SaveJPEGs, Orientation, "
            "Scheme, Notes) VALUES (1, 3, 7, 'New Event', 'Motion', '2026-03-01 12:00:00', %s, %s, 'ROTATE_0', 'Medium', '')",
            video,
            jpegs,
        )
    assert await found(site, opening()) == {}


@pytest_twisted.ensureDeferred
async def test_its_place_is_the_one_it_had_although_the_monitor_has_moved(site):
    places = await site.write(opening())
    site.run("INSERT INTO Storage (Id, Path, Name, Scheme) VALUES (9, '/other', 'new', 'Deep')")
    site.run("UPDATE Monitors SET StorageId = 9 WHERE Id = 1")
    await site.read_monitors()
    assert site.monitors[1].storage.path == "/other"
    try:
        assert await found(site, opening()) == places
    finally:
        site.run("UPDATE Monitors SET StorageId = 3 WHERE Id = 1")


@pytest_twisted.ensureDeferred
async def test_the_place_of_an_event_without_a_storage_or_with_a_relative_one_is_not_the_monitors_new_one(site):
    here = Site(events_dir="events", web_dir="/usr/share/zm")
    site.store = EventStore(site.database, zone=site.zone, site=here)
    site.run("INSERT INTO Storage (Id, Path, Name, Scheme) VALUES (9, 'more', 'relative', 'Medium')")
    places = await site.write(opening())
    for storage_id, root in ((0, "/usr/share/zm/events"), (9, "/usr/share/zm/more"), (3, "/srv/zm")):
        site.run("UPDATE Events SET StorageId = %s", storage_id)
        place = (await found(site, opening()))["a"]
        assert (place.storage_id, place.root) == (storage_id, root)
        assert place.directory == places["a"].directory.replace("/srv/zm", root)
    site.run("UPDATE Events SET StorageId = 9")
    site.run("DELETE FROM Storage WHERE Id = 9")
    place = (await found(site, opening()))["a"]
    assert (place.storage_id, place.root) == (0, "/usr/share/zm/events")


@pytest_twisted.ensureDeferred
async def test_a_commit_of_the_killed_run_that_is_still_under_way_is_waited_for(mysite):
    with mysite.server.connect(mysite.flavour) as old, old.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(
            "INSERT INTO Events (MonitorId, StorageId, StateId, Name, Cause, StartDateTime, DefaultVideo, SaveJPEGs, Orientation, "
            "Scheme, Notes) VALUES (1, 3, 7, 'New Event', 'Motion', '2026-03-01 12:00:00', '', 0, 'ROTATE_0', 'Medium', '')"
        )
        event_id = cursor.lastrowid
        asking = Deferred.fromCoroutine(found(mysite, opening()))
        waiting = "SELECT COUNT(*) FROM information_schema.INNODB_TRX WHERE trx_state = 'LOCK WAIT'"
        while not mysite.query(waiting)[0][0]:
            assert not asking.called
            await deferLater(mysite.reactor, 0.15)  # the server looks anew only if nobody asked for a tenth of a second
        assert not asking.called
        cursor.execute("COMMIT")
        assert (await asking)["a"].event_id == event_id
