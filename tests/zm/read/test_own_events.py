"""Reading back what was written, on every kind of database."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import pytest_twisted

from tests.zm.site import SECOND, alarms, at, closing, opening
from zmtwist.changes import Tally, UpdateEvent
from zmtwist.config.site import Site
from zmtwist.zm.read.own_events import CHUNK, LeftRow, Own, Reader, is_our_name, known_ids


async def reader(site: Any) -> Reader:
    own = {1: Own(site.monitors[1])}
    return Reader(await site.database.schema(), Site(events_dir="/srv/other"), own, site.zone)


async def read(site: Any) -> list[LeftRow]:
    made = await reader(site)
    ids = await site.database.interact(made.ids_after, 0)
    return list(await site.database.interact(made.rows, ids))


@pytest_twisted.ensureDeferred
async def test_the_place_of_an_event_is_what_it_was_when_it_was_opened(site):
    for scheme in ("Medium", "Deep", "Shallow"):
        site.run("UPDATE Storage SET Scheme = %s WHERE Id = 3", scheme)
        await site.read_monitors()
        opened = await site.opened(handle=scheme, start_us=at("2026-03-01 12:00:00"))
        await site.write(UpdateEvent(handle=scheme, length_us=SECOND), places={scheme: opened})
        [row] = [row for row in await read(site) if row.event_id == opened.event_id]
        assert row.place == opened
        assert (row.ended, row.has_clip, row.video) == (False, True, opened.video_name)
        assert row.start_us == at("2026-03-01 12:00:00")


@pytest_twisted.ensureDeferred
async def test_scores_are_those_of_the_stored_frames_whatever_the_row_says(site):
    places = await site.write(opening(), *alarms("a", [5, 6], 40), *alarms("a", [9, 12], 70))
    [row] = await read(site)
    assert (row.last_frame, row.tally) == (12, Tally(4, 220, 70, 9))
    await site.write(closing(tally=row.tally, video_name=row.place.video_name), places=places)
    [row] = await read(site)
    assert (row.ended, row.length_us, row.frames, row.disk_bytes) == (True, 10 * SECOND, 100, 1000)
    assert row.last_frame == 100


@pytest_twisted.ensureDeferred
async def test_open_and_recent_closed_events_are_found_and_other_monitors_are_not(site, monkeypatch):
    old = await site.write(opening(handle="old", start_us=at("2026-02-01 12:00:00")), closing("old"))
    new = await site.write(opening(handle="new", start_us=at("2026-03-01 12:00:00")), closing("new"))
    left = await site.write(opening(handle="left"), opening(handle="other", monitor_id=2))
    made = await reader(site)
    assert await site.database.interact(made.open_ids) == [left["left"].event_id]
    since = at("2026-03-01 12:00:00")
    assert await site.database.interact(made.closed_ids, since) == [new["new"].event_id]
    assert await site.database.interact(made.ids_after, old["old"].event_id) == [
        new["new"].event_id,
        left["left"].event_id,
    ]
    unfound = await site.write(
        opening(handle="unfound", start_us=at("2026-01-01 12:00:00")), closing("unfound", video_name=None)
    )
    found = [new["new"].event_id, unfound["unfound"].event_id]
    assert await site.database.interact(made.closed_ids, since) == found, "the clock may have been set since"
    monkeypatch.setattr("zmtwist.zm.read.own_events.LATEST", 0)
    assert await site.database.interact(made.closed_ids, since) == found[:1]
    nobody = attrs.evolve(made, own={})
    assert await site.database.interact(nobody.open_ids) == []


@pytest.mark.parametrize(
    "columns",
    [
        {"DefaultVideo": "incomplete.h264.mp4"},
        {"DefaultVideo": "{id}-video.mp4"},
        {"DefaultVideo": "9999-video.mkv"},
        {"SaveJPEGs": 3},
        {"Orientation": "ROTATE_90"},
    ],
)
@pytest_twisted.ensureDeferred
async def test_the_legacy_daemons_rows_are_never_read(site, columns):
    place = await site.opened()
    await site.write(UpdateEvent(handle="a", length_us=SECOND), places={"a": place})
    assert len(await read(site)) == 1
    for column, value in columns.items():
        value = value.format(id=place.event_id) if isinstance(value, str) else value
        site.run(f"UPDATE Events SET {column} = %s WHERE Id = %s", value, place.event_id)
    assert await read(site) == []


@pytest_twisted.ensureDeferred
async def test_a_row_that_has_no_name_and_no_frame_yet_may_be_the_daemons(site):
    place = await site.opened(token=None)
    [row] = await read(site)
    assert (row.has_clip, row.video) == (False, "")
    site.run("DELETE FROM Frames WHERE EventId = %s", place.event_id)
    assert await read(site) == []


@pytest_twisted.ensureDeferred
async def test_a_storage_that_has_no_row_any_more_is_zoneminders_default(site):
    place = await site.opened()
    site.run("UPDATE Events SET StorageId = 77 WHERE Id = %s", place.event_id)
    [row] = await read(site)
    assert (row.place.root, row.place.storage_id) == ("/srv/other", 0)


@pytest_twisted.ensureDeferred
async def test_known_ids_come_in_chunks(site):
    place = await site.opened()
    found = await site.database.interact(known_ids, [place.event_id, *range(10_000, 10_000 + 2 * CHUNK)])
    assert found == {place.event_id: 1}


def test_our_names():
    assert is_our_name(7, "7-video.mkv") and is_our_name(7, "7-video.h264.mkv")
    assert not any(
        is_our_name(7, name) for name in ("", "8-video.mkv", "7-video.mp4", "incomplete.mkv", "a/7-video.mkv")
    )


@pytest_twisted.ensureDeferred
async def test_in_the_hour_that_comes_twice_an_open_event_began_in_the_second_if_that_had_come(site):
    # Sydney: 2026-04-05, 03:00 is 02:00 once more.
    first = at("2026-04-05 02:30:00")
    places = await site.write(opening(handle="open", start_us=first), opening(handle="over", start_us=first))
    await site.write(closing("over", video_name=places["over"].video_name), places=places)
    made = await reader(site)
    ids = await site.database.interact(made.ids_after, 0)
    for now_us, second in ((None, False), (first + 60 * SECOND, False), (first + 3660 * SECOND, True)):
        rows = await site.database.interact(attrs.evolve(made, now_us=now_us).rows, ids)
        assert [row.start_us - first for row in rows] == [3600 * SECOND if second else 0, 0]
