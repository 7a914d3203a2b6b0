"""Tags and Event_Data, and an alarm on the first frame, on every kind of database."""

from __future__ import annotations

import json
from typing import Any

import pytest
import pytest_twisted

from tests.zm.site import SECOND, alarms, at, closing, opening
from zmtwist.changes import AddData, AddFrame, AddTag
from zmtwist.ingest.writer.spool import Spool
from zmtwist.ingest.writer.spool_file import Known, SpoolFile
from zmtwist.ingest.writer.writer import Writer
from zmtwist.reactor.thread_pool import Disk
from zmtwist.zm.write.batch import Batch, write

NOON = at("2026-03-01 12:00:00")


def data(handle: str, frame_id: int, seconds: float, **facts: Any) -> AddData:
    row = {"type": "detection", "at": seconds, **facts}
    return AddData(handle, frame_id, NOON + round(seconds * SECOND), json.dumps(row))


def tags(site: Any) -> list[tuple[str, int]]:
    """Names with the events that have them."""
    return sorted(
        site.query(
            "SELECT t.Name, e.EventId FROM Events_Tags e JOIN Tags t ON t.Id = e.TagId ORDER BY t.Name, e.EventId"
        )
    )


@pytest_twisted.ensureDeferred
async def test_labels_become_tags_once_per_event_case_and_all(site):
    places = await site.write(opening(), AddTag("a", "person"), AddTag("a", "Person"), AddTag("a", "person"))
    places = await site.write(
        opening(handle="b"), AddTag("b", "person"), AddTag("a", "dör 🐕"), AddTag("a", "x" * 90), places=places
    )
    if site.flavour == "zm136":
        return  # it has no tags, and the batch is written all the same
    a, b = places["a"].event_id, places["b"].event_id
    dog = "dör 🐕" if site.flavour == "sqlite" else "dör ?"
    assert tags(site) == sorted([("Person", a), (dog, a), ("person", a), ("person", b), ("x" * 64, a)])
    assert len(site.rows("Tags")) == 4
    assert all(row["CreateDate"] and row["LastAssignedDate"] for row in site.rows("Tags"))
    assert all(row["AssignedBy"] is None and row["AssignedDate"] for row in site.rows("Events_Tags"))


@pytest_twisted.ensureDeferred
async def test_a_tag_that_was_deleted_is_made_again(site):
    places = await site.write(opening(), AddTag("a", "person"))
    if site.flavour == "zm136":
        return
    if site.server is None:
        site.run("PRAGMA foreign_keys = ON")
    site.run("DELETE FROM Tags")
    assert tags(site) == []
    await site.write(AddTag("a", "person"), AddTag("a", "car"), places=places)
    assert [name for name, _ in tags(site)] == ["car", "person"]


@pytest_twisted.ensureDeferred
async def test_tags_of_an_event_that_is_closed_and_of_one_that_is_gone(site):
    places = await site.write(opening(), opening(handle="b"), closing())
    site.run("DELETE FROM Frames WHERE EventId = %s", places["b"].event_id)
    site.run("DELETE FROM Events WHERE Id = %s", places["b"].event_id)
    late = [AddTag("a", "late"), AddTag("b", "gone"), data("a", 1, 20), data("b", 1, 20)]
    await site.write(*late, places=places)
    if site.flavour == "zm136":
        return
    assert tags(site) == [("late", places["a"].event_id)]
    assert [row["EventId"] for row in site.rows("Event_Data")] == [places["a"].event_id]


@pytest_twisted.ensureDeferred
async def test_data_is_written_as_it_was_said(site):
    row = data("a", 12, 1.1, objects=[{"label": "100% 'cat'", "zone": ["Dr\\ive"]}])
    places = await site.write(opening(), *alarms("a", [12]), row)
    if site.flavour == "zm136":
        return
    (stored,) = site.rows("Event_Data")
    assert (stored["EventId"], stored["MonitorId"], stored["FrameId"]) == (places["a"].event_id, 1, 12)
    assert stored["Timestamp"].startswith("2026-03-01 12:00:01.1")
    assert json.loads(stored["Data"]) == json.loads(row.json)


@pytest_twisted.ensureDeferred
async def test_the_same_data_and_tags_again_are_there_once(site):
    places = await site.write(opening())
    rows = [data("a", 1, n / 10) for n in range(150)]
    rows.insert(1, AddData("a", 1, rows[0].at_us, '{"type": "face", "at": 0.0}'))  # in the same millisecond
    await site.write(*rows[:40], AddTag("a", "person"), places=places)
    await site.write(*rows, AddTag("a", "person"), places=places)
    await site.write(*rows[-20:], AddTag("a", "person"), places=places)
    if site.flavour == "zm136":
        return
    assert [row["Data"] for row in site.rows("Event_Data")] == [row.json for row in rows]
    assert len(tags(site)) == 1


@pytest_twisted.ensureDeferred
async def test_a_batch_of_tags_and_data_only_leaves_no_witness_and_may_be_written_twice(mysite):
    places = await mysite.write(opening(token=None))
    batch = Batch([AddTag("a", "person"), data("a", 1, 1)], places, mysite.monitors, mysite.zone)
    schema = await mysite.database.schema()
    for _ in range(2):
        written = await mysite.database.interact(write, schema, batch)
        assert written.witness is None
    if mysite.flavour != "zm136":
        assert len(tags(mysite)) == len(mysite.rows("Event_Data")) == 1


@pytest_twisted.ensureDeferred
async def test_data_follows_its_frame_when_frames_are_renumbered(site):
    places = await site.write(opening(), *alarms("a", [21, 41]), data("a", 1, 0), data("a", 21, 2.0))
    rest = [*alarms("a", [61]), data("a", 61, 6.0), closing(frames=200, length_us=10 * SECOND, settle=True)]
    await site.write(*rest, data("a", 61, 12.0), places=places)  # it was 20 frames a second
    if site.flavour == "zm136":
        return
    before = site.rows("Event_Data")
    assert [(row["FrameId"], row["Timestamp"][17:19]) for row in before] == [
        (1, "00"),
        (41, "02"),
        (120, "06"),
        (61, "12"),
    ]
    await site.write(*rest, places=places)
    assert site.rows("Event_Data") == before


@pytest.mark.parametrize("apart", [True, False])
@pytest_twisted.ensureDeferred
async def test_the_first_frame_becomes_an_alarm(site, apart):
    first = AddFrame("a", 1, 40_000, 77)
    if apart:
        places = await site.write(opening())
        site.run("UPDATE Frames SET TimeStamp = '2026-03-01 12:00:00'")
        await site.write(first, places=places)
        await site.write(first, *alarms("a", [2]), places=places)
    else:
        places = await site.write(opening(), first, *alarms("a", [2]))
    rows = site.frames(places["a"].event_id)
    assert [(r["FrameId"], r["Type"], r["Delta"], r["Score"]) for r in rows] == [
        (1, "Alarm", 0.0, 77),
        (2, "Alarm", 0.1, 50),
    ]
    assert rows[0]["TimeStamp"] == "2026-03-01 12:00:00"


@pytest.mark.parametrize("apart", [True, False])
@pytest_twisted.ensureDeferred
async def test_an_alarm_on_the_first_frame_stays_through_a_settling(site, apart):
    places = await site.write(opening())
    said = [AddFrame("a", 1, 0, 77), *alarms("a", [11, 21])]
    end = closing(frames=200, length_us=10 * SECOND, settle=True)
    for batch in [said, [end]] if apart else [[*said, end]]:
        await site.write(*batch, places=places)
    await site.write(*said, end, places=places)
    rows = site.frames(places["a"].event_id)
    assert [(r["FrameId"], r["Score"]) for r in rows] == [(1, 77), (21, 50), (41, 50), (200, 0)]
    event = site.event(places["a"].event_id)
    assert (event["AlarmFrames"], event["MaxScore"], event.get("MaxScoreFrameId", 1)) == (3, 77, 1)


@pytest_twisted.ensureDeferred
async def test_an_alarm_numbered_by_a_guess_moves_onto_the_first_frame(site):
    """A clip with motion on all its frames has as many rows as frames, and none is dropped."""
    places = await site.write(opening(), *(AddFrame("a", n + 1, (n - 1) * 100_000, n) for n in range(1, 31)))
    await site.write(closing(frames=30, length_us=2_900_000, settle=True), places=places)
    event_id = places["a"].event_id
    assert [(r["FrameId"], r["Score"]) for r in site.frames(event_id)] == [(n, n) for n in range(1, 31)]
    assert site.event(event_id)["AlarmFrames"] == 30


@pytest_twisted.ensureDeferred
async def test_data_and_tags_that_the_spool_brings_again_after_a_kill_are_there_once(site, tmp_path):
    """They were committed, and we were killed before they were taken out of the spool."""
    places = await site.write(opening(), opening(handle="b"), closing("b"))
    said = [change for n in range(60) for change in (data("a", 1, n / 10), AddTag("a", f"label {n % 3}"))]
    said += [data("b", 1, 20, text="said late"), AddTag("b", "late"), *alarms("a", [5]), data("a", 5, 9.0)]
    file = SpoolFile(str(tmp_path / "spool"))
    file.open()
    known = {handle: Known(place, None) for handle, place in places.items()}
    for number, first in enumerate(range(0, len(said), 40), 1):
        file.put(number, said[first : first + 40], known)
    await site.write(*said, places=places)
    file.close()
    written = () if site.flavour == "zm136" else ("Events_Tags", "Event_Data")
    before = [site.rows(table) for table in written]
    thread = Disk(site.reactor, 1)
    thread.startService()
    writer = Writer(
        site.reactor, site.store, lambda: site.monitors, lambda *_: None, spool=Spool(thread, str(tmp_path / "spool"))
    )
    writer.startService()
    await writer.resume()
    await writer.drained()
    await writer.stopService()
    thread.stopService()
    assert (writer.figures.committed, writer.figures.refused, writer.figures.orphaned) == (len(said), 0, 0)
    assert before == [site.rows(table) for table in written]
    assert [len(rows) for rows in before] in ([], [4, 62])
