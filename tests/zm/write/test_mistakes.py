"""The mistakes of doc/reference/zoneminder.md, Mistakes of an event's writer, that concern rows: one test for each, by its number."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

import attrs
import pytest
import pytest_twisted

from tests.zm.site import SECOND, SYDNEY, alarms, at, closing, opening
from zmtwist.changes import AddFrame, Tally, UpdateEvent
from zmtwist.zm.db.dialect import Sql
from zmtwist.zm.db.errors import Refused, Retryable
from zmtwist.zm.write.monitor_status import CameraStatus, StatusWriter

BUCKETS = ("Hour", "Day", "Week", "Month")


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that is run, in order, with its values in place of marks where they are texts or numbers."""
    seen: list[str] = []
    run, rows, run_all = Sql.run, Sql.rows, Sql.run_all

    def note(statement: str, args: Any) -> None:
        seen.append(statement % tuple(repr(a) for a in args))

    def noted_run(self: Sql, statement: str, *args: Any) -> int:
        note(statement, args)
        return run(self, statement, *args)

    def noted_rows(self: Sql, statement: str, *args: Any) -> Any:
        note(statement, args)
        return rows(self, statement, *args)

    def noted_run_all(self: Sql, given: Any) -> list[int]:
        given = list(given)
        if self.dialect.name == "mysql":
            for statement, args in given:
                note(statement, args)
        return run_all(self, given)

    monkeypatch.setattr(Sql, "run", noted_run)
    monkeypatch.setattr(Sql, "rows", noted_rows)
    monkeypatch.setattr(Sql, "run_all", noted_run_all)
    return seen


def assert_counts_are_right(site: Any) -> None:
    """Buckets and summaries say what a recount of Events says."""
    events = site.rows("Events")
    for bucket in BUCKETS:
        kept = {row["EventId"]: row for row in site.rows(f"Events_{bucket}")}
        assert kept.keys() == {event["Id"] for event in events}
        for event in events:
            assert kept[event["Id"]]["StartDateTime"] == event["StartDateTime"]
            assert (kept[event["Id"]]["DiskSpace"] or 0) == (event["DiskSpace"] or 0)
    summaries = {row["MonitorId"]: row for row in site.rows("Event_Summaries")}
    assert summaries.keys() == {event["MonitorId"] for event in events}
    for monitor_id, row in summaries.items():
        mine = [event for event in events if event["MonitorId"] == monitor_id]
        for kind in ("Total", *BUCKETS):
            assert row[f"{kind}Events"] == len(mine)
            assert (row[f"{kind}EventDiskSpace"] or 0) == sum(event["DiskSpace"] or 0 for event in mine)


@pytest_twisted.ensureDeferred
async def test_mistake_01_buckets_and_summaries_count_each_event_once(site):
    places = await site.write(opening(), opening(handle="b", monitor_id=2), opening(handle="c"))
    assert_counts_are_right(site)
    await site.write(closing("a", disk_bytes=10), closing("b", disk_bytes=200), places=places)
    assert_counts_are_right(site)
    await site.write(closing("c", disk_bytes=3000), opening(handle="d"), closing("d", disk_bytes=7), places=places)
    assert_counts_are_right(site)
    for event in site.rows("Events"):
        site.run("DELETE FROM Frames WHERE EventId = %s", event["Id"])
    site.run("DELETE FROM Events WHERE MonitorId = 1")
    (one, two) = site.rows("Event_Summaries")
    assert (one["TotalEvents"], one["HourEvents"], one["TotalEventDiskSpace"]) == (0, 0, 0)
    assert (two["TotalEvents"], two["HourEvents"], two["TotalEventDiskSpace"]) == (1, 1, 200)


@pytest_twisted.ensureDeferred
async def test_mistake_01_holds_where_the_trigger_is_hidden_from_us(mysite):
    schema = attrs.evolve(await mysite.database.schema(), insert_trigger=None)
    mysite.database._schema = schema
    await mysite.write(opening(), opening(handle="b", monitor_id=2))
    assert_counts_are_right(mysite)


@pytest_twisted.ensureDeferred
async def test_mistake_02_sizes_come_by_update(site, statements):
    await site.write(opening(), closing(disk_bytes=4321))
    (insert,) = [s for s in statements if s.startswith("INSERT INTO Events (")]
    assert "DiskSpace" not in insert
    assert site.rows("Events")[0]["DiskSpace"] == 4321


@pytest_twisted.ensureDeferred
async def test_mistake_03_a_storage_grows_once_and_from_null(site):
    places = await site.write(opening(), opening(handle="b"))
    assert site.rows("Storage")[0]["DiskSpace"] is None
    await site.write(closing("a", disk_bytes=1000), closing("b", disk_bytes=500), places=places)
    await site.until(lambda: site.rows("Storage")[0]["DiskSpace"] == 1500)
    await site.write(closing("a", disk_bytes=1000), places=places)  # the same again
    await site.database.stopService()
    assert site.rows("Storage")[0]["DiskSpace"] == 1500


@pytest_twisted.ensureDeferred
async def test_mistake_04_times_are_the_servers_local_ones(site):
    place = await site.opened(start_us=at("2026-07-01 09:30:15") + 700_000)
    event = site.event(place.event_id)
    assert event["StartDateTime"] == "2026-07-01 09:30:15"
    assert site.frames(place.event_id)[0]["TimeStamp"] == "2026-07-01 09:30:15"
    if site.server is not None:
        ((row, frame),) = site.query(
            "SELECT UNIX_TIMESTAMP(e.StartDateTime), UNIX_TIMESTAMP(f.TimeStamp) FROM Events e JOIN Frames f ON f.EventId = e.Id"
        )
        assert int(row) == int(frame) == at("2026-07-01 09:30:15") // SECOND


@pytest.mark.parametrize(
    ("start_us", "local"),
    [
        (at("2026-02-28 23:59:59") + 999_999, "2026-02-28 23:59:59"),
        (at("2026-03-01 00:00:00"), "2026-03-01 00:00:00"),
        (at("2026-10-04 01:59:59") + 500_000, "2026-10-04 01:59:59"),  # an hour is skipped
        (at("2026-10-04 01:59:59") + SECOND, "2026-10-04 03:00:00"),
        (at("2026-04-05 02:30:00", fold=0), "2026-04-05 02:30:00"),  # and one comes twice
        (at("2026-04-05 02:30:00", fold=1), "2026-04-05 02:30:00"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_mistake_05_row_and_directory_are_of_the_same_whole_second(site, start_us, local):
    place = await site.opened(start_us=start_us)
    assert site.event(place.event_id)["StartDateTime"] == local
    assert place.directory == f"/srv/zm/1/{local[:10]}/{place.event_id}"


@pytest_twisted.ensureDeferred
async def test_mistake_05_ends_and_frames_follow_the_clock_over_daylight_savings_ends(site):
    places = await site.write(
        opening(start_us=at("2026-10-04 01:59:50")),
        opening(handle="b", start_us=at("2026-04-05 02:59:50", fold=0)),
        opening(handle="c", start_us=at("2026-02-28 23:59:50")),
    )
    for handle in "abc":
        await site.write(*alarms(handle, [51]), closing(handle, length_us=20 * SECOND, frames=200), places=places)
    assert site.event(places["a"].event_id)["EndDateTime"] == "2026-10-04 03:00:10"
    assert site.event(places["b"].event_id)["EndDateTime"] == "2026-04-05 02:00:10"
    assert site.event(places["c"].event_id)["EndDateTime"] == "2026-03-01 00:00:10"
    stamps = {h: [f["TimeStamp"] for f in site.frames(places[h].event_id)] for h in "abc"}
    assert stamps["a"] == ["2026-10-04 01:59:50", "2026-10-04 01:59:55", "2026-10-04 03:00:10"]
    assert stamps["c"] == ["2026-02-28 23:59:50", "2026-02-28 23:59:55", "2026-03-01 00:00:10"]
    for handle in "abc":
        assert site.event(places[handle].event_id)["Length"] == 20.0


@pytest.mark.parametrize("scheme", ["Deep", "Medium", "Shallow"])
@pytest_twisted.ensureDeferred
async def test_mistakes_06_and_07_the_row_says_the_scheme_that_the_place_has(site, scheme):
    site.run("UPDATE Storage SET Scheme = %s WHERE Id = 3", scheme)
    await site.read_monitors()
    place = await site.opened()
    event = site.event(place.event_id)
    assert (event["Scheme"], event["StorageId"]) == (place.scheme, place.storage_id) == (scheme, 3)


@pytest_twisted.ensureDeferred
async def test_mistake_07_no_storage_means_the_events_directory_in_the_medium_scheme(site):
    site.run("UPDATE Monitors SET StorageId = 0")
    await site.read_monitors()
    place = await site.opened()
    event = site.event(place.event_id)
    assert (event["Scheme"], event["StorageId"]) == ("Medium", 0)
    assert place.directory == f"/var/cache/zoneminder/events/1/2026-03-01/{place.event_id}"


@pytest_twisted.ensureDeferred
async def test_mistake_08_the_state_is_the_one_that_is_active_or_none(site):
    site.run("INSERT INTO States (Id, Name, Definition, IsActive) VALUES (9, 'night', '', 0)")
    assert site.event((await site.opened()).event_id)["StateId"] == 7
    site.run("UPDATE States SET IsActive = 1")
    assert site.event((await site.opened()).event_id)["StateId"] == 0
    site.run("UPDATE States SET IsActive = 0")
    assert site.event((await site.opened()).event_id)["StateId"] == 0


@pytest_twisted.ensureDeferred
async def test_mistake_09_no_event_is_without_frames(site):
    places = await site.write(
        opening(), opening(handle="b", token=None), closing("b", frames=0, video_name=None, disk_bytes=0)
    )
    for place in places.values():
        assert [f["FrameId"] for f in site.frames(place.event_id)][:1] == [1]


@pytest_twisted.ensureDeferred
async def test_mistake_10_frames_keep_the_ordinals_they_are_given(site):
    place = await site.opened()
    await site.write(AddFrame("a", 100, 9_900_000, 0, "Bulk"), *alarms("a", [130]), places={"a": place})
    assert [(f["FrameId"], f["Type"]) for f in site.frames(place.event_id)] == [
        (1, "Normal"),
        (100, "Bulk"),
        (130, "Alarm"),
    ]


@pytest_twisted.ensureDeferred
async def test_mistake_11_the_count_is_never_below_the_highest_frame(site, statements):
    place = await site.opened()
    for change in (
        AddFrame("a", 50, 5 * SECOND, 10),
        UpdateEvent(handle="a", frames=20),
        AddFrame("a", 60, 6 * SECOND, 10),
    ):
        del statements[:]
        await site.write(change, places={"a": place})
        assert site.event(place.event_id)["Frames"] >= max(f["FrameId"] for f in site.frames(place.event_id))
        raised = next(i for i, s in enumerate(statements) if s.startswith("UPDATE Events ") and "Frames = " in s)
        assert all(i > raised for i, s in enumerate(statements) if s.startswith("INSERT INTO Frames"))
    await site.write(closing(frames=10, length_us=SECOND), places={"a": place})
    assert site.event(place.event_id)["Frames"] == 10
    assert max(f["FrameId"] for f in site.frames(place.event_id)) == 10


@pytest_twisted.ensureDeferred
async def test_mistake_12_the_first_and_the_last_frame_are_there(site):
    places = await site.write(opening())
    assert [f["FrameId"] for f in site.frames(places["a"].event_id)] == [1]
    await site.write(closing(frames=77), places=places)
    last = site.frames(places["a"].event_id)[-1]
    assert (last["FrameId"], last["Delta"], last["Type"]) == (77, 10.0, "Normal")


@pytest_twisted.ensureDeferred
async def test_mistake_13_frames_come_after_their_event_and_in_order(site):
    changes = [
        *alarms("a", [4]),
        opening(),
        *alarms("a", [9]),
        *alarms("a", [6]),
        AddFrame("a", 9, 900_000, 5),
        *alarms("a", [12]),
    ]
    places = await site.write(*changes)
    assert [f["FrameId"] for f in site.frames(places["a"].event_id)] == [1, 4, 9, 12]


@pytest_twisted.ensureDeferred
async def test_mistake_14_time_stamps_stay_start_plus_delta_when_rows_are_renumbered(site, statements):
    places = await site.write(opening(), *alarms("a", [21, 41, 61]))
    await site.write(closing(frames=333, settle=True), places=places)
    start = datetime.fromisoformat(site.event(places["a"].event_id)["StartDateTime"])
    for frame in site.frames(places["a"].event_id):
        assert datetime.fromisoformat(frame["TimeStamp"]) == start + timedelta(seconds=int(frame["Delta"]))
    assert not [s for s in statements if s.startswith("UPDATE Frames")]
    assert all("TimeStamp" in s for s in statements if s.startswith("INSERT INTO Frames"))


@pytest_twisted.ensureDeferred
async def test_mistake_15_the_average_is_over_alarm_frames_and_nothing_is_negative(site):
    places = await site.write(opening(), opening(handle="b"))
    await site.write(
        closing("a", frames=1000, tally=Tally(3, 100, 60, 20)), closing("b", tally=Tally(0, -1, -1, 1)), places=places
    )
    a, b = site.event(places["a"].event_id), site.event(places["b"].event_id)
    assert (a["AvgScore"], a["TotScore"], a["MaxScore"], a["AlarmFrames"]) == (33, 100, 60, 3)
    assert (b["AvgScore"], b["TotScore"], b["MaxScore"], b["AlarmFrames"]) == (0, 0, 0, 0)


@pytest_twisted.ensureDeferred
async def test_mistake_16_no_jpegs_are_promised_and_the_picture_is_upright(site):
    site.run("UPDATE Monitors SET Orientation = 'ROTATE_90' WHERE Id = 1")
    await site.read_monitors()
    event = site.event((await site.opened()).event_id)
    assert (event["SaveJPEGs"], event["Orientation"]) == (0, "ROTATE_0")
    assert (event["Width"], event["Height"]) == (360, 640)


@pytest_twisted.ensureDeferred
async def test_mistake_17_the_name_is_what_this_versions_player_looks_for(site):
    place, other = await site.opened(), await site.opened(codec_id=0)
    codec = "" if site.flavour == "zm136" else "h264."
    assert place.video_name == f"{place.event_id}-video.{codec}mkv"
    assert other.video_name == f"{other.event_id}-video.mkv"


@pytest_twisted.ensureDeferred
async def test_mistake_18_the_video_is_a_bare_name(site):
    place = await site.opened()
    await site.write(UpdateEvent(handle="a", length_us=SECOND), places={"a": place})
    assert site.event(place.event_id)["DefaultVideo"] == place.video_name
    assert len(place.video_name.encode()) <= 64
    assert PurePosixPath(place.video_name).name == place.video_name
    assert place.video_path == f"{place.directory}/{place.video_name}"


@pytest_twisted.ensureDeferred
async def test_mistake_20_a_name_that_a_user_gave_stays(site):
    places = await site.write(opening(), opening(handle="b"))
    site.run("UPDATE Events SET Name = 'burglar' WHERE Id = %s", places["a"].event_id)
    await site.write(closing("a"), closing("b"), places=places)
    assert site.event(places["a"].event_id)["Name"] == "burglar"
    assert site.event(places["b"].event_id)["Name"] == f"Event-{places['b'].event_id}"


@pytest_twisted.ensureDeferred
async def test_mistake_21_the_cause_is_cut_to_the_column(site):
    cause = "Detection: person, bicycle, motorcycle, elephant"
    places = await site.write(opening(cause=cause), UpdateEvent(handle="a", cause=cause + ", car"))
    expected = cause[:32] if site.flavour == "zm136" else cause + ", car"
    assert site.event(places["a"].event_id)["Cause"] == expected


@pytest_twisted.ensureDeferred
async def test_mistake_22_the_status_says_when_it_was_written(site):
    writer = StatusWriter(site.database)
    await writer.write([CameraStatus(1, True, 9.876, 1234.5), CameraStatus(2, False, 9.0, 9.0)])
    one, two = site.rows("Monitor_Status")
    assert (one["Status"], one["CaptureFPS"], one["CaptureBandwidth"]) == ("Connected", 9.88, 1234)
    assert (two["Status"], two["CaptureFPS"], two["CaptureBandwidth"]) == ("NotRunning", 0.0, 0)
    if "UpdatedOn" in one:
        site.run("UPDATE Monitor_Status SET UpdatedOn = '2001-01-01 00:00:00'")
        await writer.write([CameraStatus(1, True, 10.0)])
        one, two = site.rows("Monitor_Status")
        assert one["UpdatedOn"] > "2026"
        assert two["UpdatedOn"] == "2001-01-01 00:00:00"


@pytest_twisted.ensureDeferred
async def test_mistake_29_locks_are_taken_in_the_documented_order(mysite, statements):
    places = await mysite.write(opening(token=None), opening(handle="b", monitor_id=2, token=None))
    del statements[:]
    await mysite.write(closing("b"), closing("a"), opening(handle="c", token=None), places=places)
    order = [next(t for t in TABLES if f" {t} " in s) for s in statements if s.endswith("FOR UPDATE")]
    storage = ["Storage"] if mysite.flavour == "zm136" else []  # its triggers take it there
    assert order == ["Events", *storage, "Events_Hour", "Events_Day", "Events_Week", "Events_Month", "Event_Summaries"]
    first_write = next(i for i, s in enumerate(statements) if s.startswith(("INSERT", "UPDATE")))
    batch = [s for s in statements if "Storage SET" not in s]
    assert all("FOR UPDATE" not in s for s in batch[first_write:])
    ids = [int(s.rsplit(" ", 1)[1]) for s in batch if s.startswith("UPDATE Events SET") and "EndDateTime =" in s]
    assert ids == sorted(ids)


TABLES = ("Events_Hour", "Events_Day", "Events_Week", "Events_Month", "Event_Summaries", "Storage", "Events")


@pytest_twisted.ensureDeferred
async def test_mistake_29_storage_stays_out_of_the_batchs_transaction(site, statements):
    places = await site.write(opening())
    del statements[:]
    await site.write(closing(), places=places)
    await site.until(lambda: site.rows("Storage")[0]["DiskSpace"] == 1000)
    raised = [s for s in statements if s.startswith("UPDATE Storage")]
    assert len(raised) == (0 if site.flavour == "zm136" else 1)
    assert statements[-len(raised) :] == raised if raised else True


@pytest_twisted.ensureDeferred
async def test_mistake_30_a_deadlock_is_tried_again_whole(mysite):
    """Another writer takes our two events in the other order, having more to lose."""
    places = await mysite.write(opening(token=None), opening(handle="b", token=None))
    first, second = sorted((places["a"], places["b"]), key=lambda place: place.event_id)
    other = mysite.another()
    cursor = other.cursor()
    cursor.execute("BEGIN")
    for number in range(900, 950):
        cursor.execute(f"INSERT INTO Monitors (Id, Name) VALUES ({number}, 'x')")
    cursor.execute(f"UPDATE Events SET Notes = 'theirs' WHERE Id = {second.event_id}")
    trying = mysite.store.commit([*alarms("a", [5]), closing("a"), *alarms("b", [5]), closing("b")], places, {})
    await mysite.until(lambda: waits(mysite))
    cursor.execute(f"UPDATE Events SET Notes = 'theirs' WHERE Id = {first.event_id}")
    with pytest.raises(Retryable) as failed:
        await trying
    assert failed.value.code == 1213
    other.commit()
    assert [f["FrameId"] for f in mysite.frames(first.event_id)] == [1]
    await mysite.write(*alarms("a", [5]), closing("a"), *alarms("b", [5]), closing("b"), places=places)
    for place in (first, second):
        assert [f["FrameId"] for f in mysite.frames(place.event_id)] == [1, 5, 100]
        assert mysite.event(place.event_id)["Notes"] == "theirs"
    assert_counts_are_right(mysite)


def waits(site: Any) -> bool:
    """Whether the store has been at locking its events for so long that it must be waiting for someone."""
    locking = "INFO LIKE 'SELECT e.Id%%FOR UPDATE' AND DB = DATABASE() AND TIME_MS > 100"
    return bool(site.query(f"SELECT 1 FROM information_schema.PROCESSLIST WHERE {locking}"))


@pytest_twisted.ensureDeferred
async def test_mistake_32_an_open_event_shows_its_length_and_its_frames(site):
    places = await site.write(opening())
    await site.write(UpdateEvent(handle="a", length_us=5_250_000, frames=53, tally=Tally(1, 9, 9, 30)), places=places)
    event = site.event(places["a"].event_id)
    assert (event["Length"], event["Frames"], event["MaxScore"], event["EndDateTime"]) == (5.25, 53, 9, None)


@pytest_twisted.ensureDeferred
async def test_a_monitor_that_is_gone_is_refused_by_name(site):
    with pytest.raises(Refused, match="event a is of monitor 5"):
        await site.write(opening(monitor_id=5))


def test_the_zone_has_both_ends_of_daylight_saving():
    assert datetime(2026, 1, 1, tzinfo=SYDNEY).utcoffset() != datetime(2026, 7, 1, tzinfo=SYDNEY).utcoffset()
