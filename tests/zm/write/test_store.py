"""Events and Frames rows, on every kind of database."""

from __future__ import annotations

import attrs
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs, formatEvent
from zope.interface.verify import verifyObject

from tests.zm.site import SECOND, alarms, at, closing, opening
from zmtwist.changes import AddFrame, ClipSaved, Tally, UpdateEvent
from zmtwist.interfaces import IEventStore
from zmtwist.zm.db.errors import CommitLost, Refused, Retryable, Unusable
from zmtwist.zm.write.batch_result import Written
from zmtwist.zm.write.commit_check import add_to_storage
from zmtwist.zm.write.store import SKIPPED, EventStore


@pytest_twisted.ensureDeferred
async def test_an_event_from_its_opening_to_its_close(site):
    assert verifyObject(IEventStore, site.store)
    places = await site.write(
        opening(), *alarms("a", [12, 13]), UpdateEvent(handle="a", length_us=2 * SECOND, frames=21)
    )
    place = places["a"]
    event = site.event(place.event_id)
    assert event["StartDateTime"] == "2026-03-01 12:00:00"
    assert event["EndDateTime"] is None
    assert (event["Name"], event["Cause"], event["Length"], event["Frames"]) == ("New Event", "Continuous", 2.0, 21)
    assert (event["Width"], event["Height"]) == (640, 360)
    assert event["DefaultVideo"] == place.video_name
    await site.write(
        *alarms("a", [30], 80),
        closing(tally=Tally(3, 180, 80, 30), video_name=place.video_name, disk_bytes=4321),
        places=places,
    )
    event = site.event(place.event_id)
    assert event["Name"] == f"Event-{place.event_id}"
    assert event["EndDateTime"] == "2026-03-01 12:00:10"
    assert (event["Length"], event["Frames"], event["AlarmFrames"], event["TotScore"]) == (10.0, 100, 3, 180)
    assert (event["AvgScore"], event["MaxScore"], event["DiskSpace"]) == (60, 80, 4321)
    assert event.get("MaxScoreFrameId", 30) == 30
    frames = site.frames(place.event_id)
    assert [(f["FrameId"], f["Type"], f["Delta"], f["Score"]) for f in frames] == [
        (1, "Normal", 0.0, 0),
        (12, "Alarm", 1.1, 50),
        (13, "Alarm", 1.2, 50),
        (30, "Alarm", 2.9, 80),
        (100, "Normal", 10.0, 0),
    ]
    assert [f["TimeStamp"][-8:] for f in frames] == ["12:00:00", "12:00:01", "12:00:01", "12:00:02", "12:00:10"]


@pytest_twisted.ensureDeferred
async def test_an_event_that_is_opened_and_closed_in_one_batch(site):
    places = await site.write(opening(), *alarms("a", [5]), closing(tally=Tally(1, 50, 50, 5), disk_bytes=77))
    event = site.event(places["a"].event_id)
    assert (event["Frames"], event["DiskSpace"], event["Name"]) == (100, 77, f"Event-{event['Id']}")
    assert [f["FrameId"] for f in site.frames(event["Id"])] == [1, 5, 100]
    (summary,) = site.rows("Event_Summaries")
    assert (summary["TotalEvents"], summary["TotalEventDiskSpace"], summary["HourEventDiskSpace"]) == (1, 77, 77)


@pytest_twisted.ensureDeferred
async def test_a_bucket_row_that_an_earlier_event_of_this_id_left_gives_way(site):
    """Unlike the newer schemas, that of 1.36 has triggers of its own for this, and they are not ours to mend."""
    if (await site.database.schema()).insert_trigger:
        return
    first = (await site.opened()).event_id
    for number in (first + 1, first + 2):
        site.run(
            "INSERT INTO Events_Hour (EventId, MonitorId, StartDateTime, DiskSpace) VALUES (%s, 2, '2020-01-01 00:00:00', 99)",
            number,
        )
    places = await site.write(opening(handle="b"), opening(handle="c", monitor_id=2))
    assert {place.event_id for place in places.values()} == {first + 1, first + 2}
    rows = {row["EventId"]: row for row in site.rows("Events_Hour")}
    for place in places.values():
        row = rows[place.event_id]
        assert (row["MonitorId"], row["StartDateTime"]) == (place.monitor_id, "2026-03-01 12:00:00")
        assert row["DiskSpace"] is None


@pytest_twisted.ensureDeferred
async def test_an_event_without_a_clip_has_no_video(site):
    places = await site.write(opening(token=None), closing(frames=1, length_us=0, video_name=None, disk_bytes=0))
    event = site.event(places["a"].event_id)
    assert (event["DefaultVideo"], event["Videoed"], event["DiskSpace"]) == ("", 0, 0)
    assert [f["FrameId"] for f in site.frames(event["Id"])] == [1]


@pytest_twisted.ensureDeferred
async def test_a_clip_that_never_came_leaves_no_name_behind(site):
    places = await site.write(opening())
    await site.write(UpdateEvent(handle="a", length_us=SECOND), places=places)
    assert site.event(places["a"].event_id)["DefaultVideo"] == places["a"].video_name
    await site.write(closing(video_name=None, disk_bytes=0), places=places)
    event = site.event(places["a"].event_id)
    assert (event["DefaultVideo"], event["Videoed"]) == ("", 0)


@pytest_twisted.ensureDeferred
async def test_notes_are_added_and_what_the_user_wrote_stays(site):
    places = await site.write(opening(notes="seen before"), UpdateEvent(handle="a", note="a person"))
    event_id = places["a"].event_id
    site.run("UPDATE Events SET Notes = 'by hand' WHERE Id = %s", event_id)
    await site.write(UpdateEvent(handle="a", note="a car"), UpdateEvent(handle="a", note="a car"), places=places)
    assert site.event(event_id)["Notes"] == "by hand\na car"
    await site.write(closing(note="a dog"), places=places)
    await site.write(UpdateEvent(handle="a", note="late words"), places=places)
    assert site.event(event_id)["Notes"] == "by hand\na car\na dog\nlate words"


@pytest_twisted.ensureDeferred
async def test_a_closed_event_keeps_its_figures(site):
    places = await site.write(opening(), closing())
    before = site.event(places["a"].event_id), site.frames(places["a"].event_id)
    late = [
        AddFrame("a", 200, 20 * SECOND, 9),
        UpdateEvent(handle="a", length_us=99, frames=999, cause="Motion", tally=Tally(9, 9, 9, 9)),
    ]
    await site.write(*late, places=places)
    assert (site.event(places["a"].event_id), site.frames(places["a"].event_id)) == before


@pytest_twisted.ensureDeferred
async def test_settling_gives_each_row_the_ordinal_of_its_time(site):
    places = await site.write(opening(), *alarms("a", [21, 41]))  # numbered at 10 frames a second
    await site.write(
        *alarms("a", [61]), closing(frames=200, length_us=10 * SECOND, settle=True), places=places
    )  # it was 20
    frames = site.frames(places["a"].event_id)
    assert [(f["FrameId"], f["Delta"]) for f in frames] == [(1, 0.0), (41, 2.0), (81, 4.0), (120, 6.0), (200, 10.0)]
    assert [f["TimeStamp"][-2:] for f in frames] == ["00", "02", "04", "06", "10"]
    event = site.event(places["a"].event_id)
    assert (event["Frames"], event["AlarmFrames"], event["TotScore"], event["MaxScore"]) == (200, 3, 150, 50)
    assert event.get("MaxScoreFrameId", 41) == 41
    # Another close, after a crash: what it counts goes by the numbers that the frames had before.
    await site.write(
        closing(frames=200, length_us=10 * SECOND, tally=Tally(3, 150, 50, 21), video_name=None), places=places
    )
    event = site.event(places["a"].event_id)
    assert (event["AlarmFrames"], event["DefaultVideo"], event.get("MaxScoreFrameId", 41)) == (3, "", 41)


@pytest_twisted.ensureDeferred
async def test_frames_beyond_a_clips_end_are_brought_within_it(site):
    places = await site.write(opening(), *alarms("a", [10, 20, 30]))
    await site.write(closing(frames=3, length_us=SECOND, tally=Tally(3, 150, 50, 10)), places=places)
    event_id = places["a"].event_id
    assert [f["FrameId"] for f in site.frames(event_id)] == [1, 2, 3]
    event = site.event(event_id)
    assert (event["Frames"], event["AlarmFrames"], event["TotScore"]) == (3, 2, 100)


@pytest_twisted.ensureDeferred
async def test_the_same_batch_again_changes_nothing(site):
    batch = [
        *alarms("a", [5, 6]),
        UpdateEvent(handle="a", length_us=SECOND, frames=11, note="a person"),
        closing(settle=True, frames=50, tally=Tally(2, 100, 50, 5)),
    ]
    places = await site.write(opening())
    await site.write(*batch, places=places)
    before = (
        site.rows("Events"),
        [{**f, "Id": 0} for f in site.frames(places["a"].event_id)],
        site.rows("Event_Summaries"),
    )
    await site.write(*batch, places=places)
    after = (
        site.rows("Events"),
        [{**f, "Id": 0} for f in site.frames(places["a"].event_id)],
        site.rows("Event_Summaries"),
    )
    assert after == before


@pytest_twisted.ensureDeferred
async def test_what_is_said_of_a_deleted_event_is_left_out_and_the_rest_is_written(site):
    places = await site.write(opening(), opening(handle="b", monitor_id=2))
    site.run("DELETE FROM Frames WHERE EventId = %s", places["a"].event_id)
    site.run("DELETE FROM Events WHERE Id = %s", places["a"].event_id)
    await site.write(*alarms("a", [5]), closing("a"), *alarms("b", [5]), closing("b"), places=places)
    assert site.rows("Events", f"Id = {places['a'].event_id}") == []
    assert site.frames(places["a"].event_id) == []
    assert [f["FrameId"] for f in site.frames(places["b"].event_id)] == [1, 5, 100]


@pytest_twisted.ensureDeferred
async def test_nothing_is_written_of_a_batch_that_fails(site):
    with pytest.raises(Refused, match="event nobody was never opened"):
        await site.write(opening(), AddFrame("nobody", 2, 0))
    with pytest.raises(Refused, match="monitor 99, which is not known"):
        await site.write(opening(), opening(handle="b", monitor_id=99))
    assert site.rows("Events") == []


@pytest_twisted.ensureDeferred
async def test_a_time_that_is_none_is_refused(site):
    with pytest.raises(Refused, match="makes no sense"):
        await site.write(opening(start_us=10**20))


@pytest_twisted.ensureDeferred
async def test_an_upgrade_under_way_does_no_harm_to_good_rows(site, monkeypatch):
    def half_done(*args):
        raise Unusable("db", ["Events.Notes"])

    places = await site.write(opening())
    site.database.saw_version("another")
    with monkeypatch.context() as patch:
        patch.setattr("zmtwist.zm.db.pool.probe", half_done)
        with pytest.raises(Retryable, match=r"Events\.Notes"):
            await site.write(closing(), places=places)
    await site.write(closing(), places=places)
    assert site.event(places["a"].event_id)["EndDateTime"] is not None


@pytest_twisted.ensureDeferred
async def test_bad_data_is_refused_with_the_drivers_code(mysite):
    """MariaDB's strict mode: a size that no column takes."""
    places = await mysite.write(opening())
    with pytest.raises(Refused) as refused:
        await mysite.write(closing(disk_bytes=1 << 70), places=places)
    assert refused.value.code == 1264
    assert mysite.event(places["a"].event_id)["EndDateTime"] is None


@pytest_twisted.ensureDeferred
async def test_a_saved_clip_writes_nothing_by_itself(site):
    saved = ClipSaved(handle="a", path="/x.mkv", duration_us=5, frames=3, tally=Tally())
    places = await site.write(opening(), saved)
    before = site.event(places["a"].event_id)
    assert await site.write(saved, places=places) == places
    assert site.event(places["a"].event_id) == before


@pytest_twisted.ensureDeferred
async def test_values_beyond_the_columns_are_cut_to_them(site):
    huge = 10**15
    places = await site.write(
        opening(cause="C" * 50_000, notes="n" * 70_000),
        AddFrame("a", 2, huge, 10**9),
        closing(length_us=huge * 1000, tally=Tally(huge, huge, huge, 2), frames=5, note="more"),
    )
    event = site.event(places["a"].event_id)
    assert (event["AvgScore"], event["MaxScore"], event["TotScore"]) == (1, 65535, 4294967295)
    assert site.frames(event["Id"])[1]["Delta"] == 999999.99
    assert site.frames(event["Id"])[1]["Score"] == 65535


@pytest_twisted.ensureDeferred
async def test_emoji_and_other_scripts_never_fail(site):
    places = await site.write(opening(cause="Detection: 🐕 собака"), UpdateEvent(handle="a", note="a 🐕 at the dør"))
    event = site.event(places["a"].event_id)
    if site.flavour == "zm136":  # its tables are latin1 here
        assert (event["Cause"], event["Notes"]) == ("Detection: ? ??????", "a ? at the dør")
    else:
        assert (event["Cause"], event["Notes"]) == ("Detection: 🐕 собака", "a 🐕 at the dør")


@pytest_twisted.ensureDeferred
async def test_an_event_name_of_the_operators_takes_the_place_of_the_prefix(site):
    site.store = EventStore(site.database, zone=site.zone, event_name="zm-next 🐕")
    places = await site.write(opening(), closing())
    assert site.event(places["a"].event_id)["Name"] == f"zm-next {'?' if site.flavour == 'zm136' else '🐕'}"


@pytest_twisted.ensureDeferred
async def test_many_events_of_many_monitors_in_one_batch(site):
    for number in range(3, 30):
        site.run("INSERT INTO Monitors (Id, Name, Width, Height, StorageId) VALUES (%s, 'm', 4, 4, 3)", number)
    await site.read_monitors()
    changes = [
        opening(handle=f"h{n}", monitor_id=n % 29 + 1, start_us=at("2026-03-01 12:00:00") + n) for n in range(120)
    ]
    places = await site.write(*changes)
    frames = [change for n in range(120) for change in alarms(f"h{n}", range(2, 20))]
    assert len(frames) > 2000
    await site.write(*frames, places=places)
    for handle, place in places.items():
        event = site.event(place.event_id)
        assert event["MonitorId"] == place.monitor_id == int(handle[1:]) % 29 + 1
        assert event["Frames"] == 19
    assert len(site.rows("Frames")) == 120 * 19


@pytest_twisted.ensureDeferred
async def test_an_event_that_has_grown_since_its_close_is_counted_with_its_size_once(site):
    """Pictures are made of it."""
    places = await site.write(
        opening(), opening(handle="b"), closing(disk_bytes=700), closing("b", disk_bytes=50, video_name="b.mkv")
    )
    for _ in range(2):
        grown = [UpdateEvent(handle=handle, disk_bytes=size) for handle, size in (("a", 900), ("b", 60))]
        await site.write(*grown, UpdateEvent(handle="a", length_us=1, frames=999), places=places)
    assert [event["DiskSpace"] for event in site.rows("Events")] == [900, 60]
    assert (site.event(places["a"].event_id)["Length"], site.event(places["a"].event_id)["Frames"]) == (10.0, 100)
    (summary,) = site.rows("Event_Summaries")
    assert (summary["TotalEvents"], summary["TotalEventDiskSpace"], summary["HourEventDiskSpace"]) == (2, 960, 960)
    await site.until(lambda: site.rows("Storage")[0]["DiskSpace"] == 960)
    # Its close again, as the spool may bring it, and then what has followed from that the first time.
    await site.write(closing(disk_bytes=700), UpdateEvent(handle="a", disk_bytes=900), places=places)
    assert site.event(places["a"].event_id)["DiskSpace"] == 900
    await site.until(lambda: site.rows("Storage")[0]["DiskSpace"] == 960)


@pytest_twisted.ensureDeferred
async def test_the_size_of_an_event_that_is_open_or_gone_is_not_written(site):
    places = await site.write(opening(), opening(handle="b"), closing("b"))
    site.run("DELETE FROM Frames WHERE EventId = %s", places["b"].event_id)
    site.run("DELETE FROM Events WHERE Id = %s", places["b"].event_id)
    await site.write(*(UpdateEvent(handle=handle, disk_bytes=5) for handle in ("a", "b")), places=places)
    assert [event["DiskSpace"] for event in site.rows("Events")] == [None]


class Storages:
    """A database of which nothing is asked but to add to storages: each addition waits for its answer."""

    def __init__(self):
        self.asked = []

    def interact(self, function, stored):
        assert function is add_to_storage
        self.asked.append((dict(stored), Deferred()))
        return self.asked[-1][1]

    @property
    def wanted(self):
        return [stored for stored, _ in self.asked]

    def answer(self, result=None):
        self.asked[-1][1].callback(result) if result is None else self.asked[-1][1].errback(result)


def batch_of(**stored):
    return Written(places={}, stored={int(number[1:]): size for number, size in stored.items()})


def test_what_could_not_be_added_to_a_storage_is_added_with_the_next_batchs():
    database = Storages()
    store = EventStore(database)
    store._afterwards(batch_of(s3=100, s4=7))
    database.answer(Retryable("lock wait timeout", 1205))
    store._afterwards(batch_of(s3=20))
    assert database.wanted == [{3: 100, 4: 7}, {3: 120, 4: 7}]
    database.answer()
    store._afterwards(batch_of(s3=1))
    assert database.wanted[2:] == [{3: 1}]


def test_one_addition_to_storages_is_under_way_at_a_time():
    database = Storages()
    store = EventStore(database)
    for size in (1, 20, 300):
        store._afterwards(batch_of(s3=size))
    assert database.wanted == [{3: 1}]
    database.answer()
    assert database.wanted == [{3: 1}, {3: 320}]
    database.answer(Retryable("gone away", 2006))
    assert len(database.asked) == 2
    store._afterwards(batch_of())
    assert len(database.asked) == 2


def test_an_addition_whose_commit_was_lost_is_not_made_twice():
    database = Storages()
    store = EventStore(database)
    with capturedLogs() as logs:
        store._afterwards(batch_of(s3=100))
        database.answer(CommitLost("lost connection", 2013, None))
    (event,) = [event for event in logs if event["log_level"] is LogLevel.warn]
    assert formatEvent(event) == "Storage.DiskSpace was not raised (bytes by storage: {3: 100}): lost connection"
    store._afterwards(batch_of(s3=1))
    assert database.wanted == [{3: 100}, {3: 1}]


@pytest_twisted.ensureDeferred
async def test_a_clip_that_began_earlier_than_was_thought(site):
    places = await site.write(opening(), *alarms("a", [51, 53], 80))
    end = closing(frames=150, length_us=15 * SECOND, tally=Tally(2, 160, 80, 51), settle=True, earlier_us=2_600_000)
    for _ in range(2):  # it may be written again, by the spool
        await site.write(end, places=places)
        event = site.event(places["a"].event_id)
        assert (event["StartDateTime"], event["EndDateTime"]) == ("2026-03-01 11:59:57", "2026-03-01 12:00:12")
        assert (event["Length"], event["Frames"], event["AlarmFrames"]) == (15.0, 150, 2)
        frames = [row for row in site.frames(event["Id"]) if row["Type"] == "Alarm"]
        assert [(row["FrameId"], row["Delta"], row["TimeStamp"][-8:]) for row in frames] == [
            (76, 7.6, "12:00:04"),
            (78, 7.8, "12:00:04"),
        ]


@pytest_twisted.ensureDeferred
async def test_a_start_that_its_directory_depends_on_stays(site):
    """Midnight lies between: the directory is that of the day on which the clip was thought to begin."""
    begin = at("2026-03-01 00:00:00")
    places = await site.write(opening(start_us=begin), *[AddFrame("a", 51, 5 * SECOND, 80)])
    await site.write(closing(length_us=10 * SECOND, settle=True, earlier_us=2_000_000), places=places)
    event = site.event(places["a"].event_id)
    assert (event["StartDateTime"], event["EndDateTime"]) == ("2026-03-01 00:00:00", "2026-03-01 00:00:10")
    [alarm] = [row for row in site.frames(event["Id"]) if row["Type"] == "Alarm"]
    assert (alarm["Delta"], alarm["TimeStamp"][-8:]) == (7.0, "00:00:05")


async def _lose_last(site, first):
    """A replica takes over which has no events from this one on, and gives their ids again."""
    for table in ("Frames", "Events_Hour", "Events_Day", "Events_Week", "Events_Month"):
        site.run(f"DELETE FROM {table} WHERE EventId >= {first}")
    site.run(f"DELETE FROM Events WHERE Id >= {first}")
    if site.server is None:
        site.run(f"UPDATE sqlite_sequence SET seq = {first - 1} WHERE name = 'Events'")
    else:
        site.run(f"ALTER TABLE Events AUTO_INCREMENT = {first}")


@pytest_twisted.ensureDeferred
async def test_no_id_is_used_that_an_event_had_whose_row_the_database_has_lost(site):
    await site.write(opening(handle="a"))
    lost = await site.write(opening(handle="b"))
    await _lose_last(site, lost["b"].event_id)
    with capturedLogs() as logged:
        places = await site.write(opening(handle="c"), *alarms("c", [5]), opening(handle="d"), places=lost)
    above = lost["b"].event_id + SKIPPED  # for events that nobody here knows of
    assert sorted(places[handle].event_id for handle in "cd") == [above + 1, above + 2]
    assert sum("has a database taken over" in formatEvent(event) for event in logged) == 1
    later = await site.write(opening(handle="e"))
    assert later["e"].event_id == above + 3
    for place in (places["c"], places["d"], later["e"]):
        assert site.frames(place.event_id)[0]["FrameId"] == 1
    counted = site.query("SELECT EventId FROM Events_Hour ORDER BY EventId")
    assert list(counted) == list(site.query("SELECT Id FROM Events ORDER BY Id"))


@pytest_twisted.ensureDeferred
async def test_an_id_that_a_lost_event_had_and_another_monitors_has_now_is_not_written_to(site):
    lost = await site.write(opening(handle="b"))
    other = await site.write(opening(handle="x", monitor_id=2))
    taken = {"b": attrs.evolve(lost["b"], event_id=other["x"].event_id)}
    with capturedLogs() as logged:
        await site.write(closing("b", disk_bytes=77), places=taken)
    assert site.event(other["x"].event_id)["EndDateTime"] is None
    assert any("deleted while they were recorded" in formatEvent(event) for event in logged)


@pytest_twisted.ensureDeferred
async def test_ids_are_left_out_where_storages_do_not_show_what_was_given(site):
    await site.store.go_on_above(0, sure=False)
    before = (await site.write(opening(handle="a")))["a"].event_id
    with capturedLogs() as logged:
        await site.store.go_on_above(0, sure=False)
        places = await site.write(opening(handle="b"), opening(handle="c"))
        later = await site.write(opening(handle="d"))
    ids = [*sorted(place.event_id for place in places.values()), later["d"].event_id]
    assert ids == [before + SKIPPED + n for n in (1, 2, 3)]
    assert not logged, "nothing is wrong with the database"


@pytest_twisted.ensureDeferred
async def test_ids_go_on_above_what_storages_show_unless_that_makes_no_sense(site):
    before = (await site.write(opening(handle="a")))["a"].event_id
    await site.store.go_on_above(before + 5)
    assert (await site.write(opening(handle="b")))["b"].event_id == before + SKIPPED + 6
    await site.store.go_on_above(2_000_000_000)
    await site.store.go_on_above(before)
    assert (await site.write(opening(handle="c")))["c"].event_id == before + SKIPPED + 7
