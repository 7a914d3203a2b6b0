"""However a stream of changes is cut into batches, the rows are the same; and they always are what ZoneMinder's readers need."""

from __future__ import annotations

import itertools
import sqlite3
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zm.site import SECOND, SYDNEY, at
from zmtwist.changes import AddData, AddFrame, AddTag, Change, CloseEvent, OpenEvent, Tally, UpdateEvent
from zmtwist.pipeline.monitor import Monitor, Storage
from zmtwist.zm.db import embedded
from zmtwist.zm.db.dialect import SQLITE, Sql
from zmtwist.zm.db.schema import probe
from zmtwist.zm.write.batch import Batch, write
from zmtwist.zm.write.fold import fold

MONITORS = {n: Monitor(id=n, name=f"m{n}", width=64, height=48, storage=Storage(id=3, path="/srv")) for n in (1, 2)}
TEMPLATE = embedded.connect(":memory:")
SCHEMA = probe(Sql(TEMPLATE.cursor(), SQLITE), "memory")


@st.composite
def event(draw: Any, handle: str, monitor_id: int) -> list[Change]:
    """The changes of one event, in order."""
    changes: list[Change] = [
        OpenEvent(
            handle=handle,
            monitor_id=monitor_id,
            start_us=at("2026-03-01 12:00:00") + draw(st.integers(0, 100)) * SECOND,
            trigger="motion",
            cause="Motion",
            token=draw(st.sampled_from([None, "t"])),
            notes=draw(st.sampled_from(["", "first"])),
        )
    ]
    frame_id = 1
    score = st.integers(0, 100)
    if draw(st.booleans()):
        changes.append(AddFrame(handle, 1, 0, draw(st.integers(1, 100))))
    for kind in draw(
        st.lists(st.sampled_from(["frame", "frame", "frame", "update", "note", "tag", "data"]), max_size=12)
    ):
        if kind == "frame":
            frame_id += draw(st.integers(1, 30))
            changes.append(
                AddFrame(handle, frame_id, frame_id * 90_000, draw(score), draw(st.sampled_from(["Alarm", "Bulk"])))
            )
        elif kind == "update":
            tally = Tally(draw(score), draw(score), draw(score), frame_id)
            changes.append(
                UpdateEvent(handle=handle, length_us=frame_id * 90_000, frames=draw(st.integers(1, 200)), tally=tally)
            )
        elif kind == "tag":
            changes.append(AddTag(handle, draw(st.sampled_from(["person", "Person", "car"]))))
        elif kind == "data":
            number = len(changes)
            changes.append(AddData(handle, frame_id, changes[0].start_us + number * SECOND, f'{{"at":{number}}}'))
        else:
            changes.append(
                UpdateEvent(handle=handle, note=draw(st.sampled_from(["a person", "a car"])), cause="Detection")
            )
    if draw(st.booleans()):
        frames = draw(st.integers(1, 300))
        changes.append(
            CloseEvent(
                handle=handle,
                length_us=frames * 90_000,
                frames=frames,
                tally=Tally(3, 33, 22, 2),
                settle=frame_id > frames or draw(st.booleans()),  # as the session says
                video_name="v.mkv",
                disk_bytes=draw(st.integers(0, 10_000)),
                note="closed",
            )
        )
        changes += draw(st.lists(st.just(UpdateEvent(handle=handle, note="late", length_us=5)), max_size=1))
    return changes


@st.composite
def streams(draw: Any) -> list[Change]:
    """Some events' changes, interleaved."""
    pending = [draw(event(f"h{n}", n % 2 + 1)) for n in range(draw(st.integers(1, 4)))]
    merged: list[Change] = []
    while pending := [changes for changes in pending if changes]:
        merged.append(draw(st.sampled_from(pending)).pop(0))
    return merged


def written(batches: list[list[Change]]) -> tuple[sqlite3.Connection, dict[str, Any]]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    TEMPLATE.backup(connection)
    sql = Sql(connection.cursor(), SQLITE)
    places: dict[str, Any] = {}
    for changes in batches:
        places |= write(sql, SCHEMA, Batch(changes, places, MONITORS, SYDNEY)).places
        connection.commit()
    return connection, places


def content(connection: sqlite3.Connection, places: dict[str, Any]) -> dict[str, Any]:
    """All rows, by handle in place of id."""
    columns = (
        "MonitorId, StorageId, Cause, StartDateTime, EndDateTime, Length, Frames, AlarmFrames, TotScore, AvgScore, MaxScore, "
        "MaxScoreFrameId, Notes, DiskSpace, Videoed, Scheme, "
        # The name of an open event's video has its id in it, and comes with what is said of the event after its opening.
        "CASE WHEN EndDateTime IS NULL THEN '' ELSE DefaultVideo END"
    )
    found: dict[str, Any] = {
        "summaries": connection.execute("SELECT * FROM Event_Summaries ORDER BY MonitorId").fetchall()
    }
    for handle, place in places.items():
        found[handle] = (
            connection.execute(f"SELECT {columns} FROM Events WHERE Id = ?", (place.event_id,)).fetchall(),
            connection.execute(
                "SELECT FrameId, Type, TimeStamp, Delta, Score FROM Frames WHERE EventId = ? ORDER BY Id",
                (place.event_id,),
            ).fetchall(),
            connection.execute(
                "SELECT FrameId, Timestamp, Data FROM Event_Data WHERE EventId = ? ORDER BY Id", (place.event_id,)
            ).fetchall(),
            connection.execute(
                "SELECT t.Name FROM Events_Tags e JOIN Tags t ON t.Id = e.TagId WHERE e.EventId = ? ORDER BY t.Name",
                (place.event_id,),
            ).fetchall(),
        )
    return found


@settings(max_examples=settings.default.max_examples * 7 // 10, deadline=None)
@given(streams(), st.data())
def test_any_split_into_batches_gives_the_same_rows(changes, data):
    cuts = sorted(data.draw(st.sets(st.integers(0, len(changes)), max_size=6)))
    edges = [0, *cuts, len(changes)]
    batches = [changes[a:b] for a, b in itertools.pairwise(edges)]
    whole, in_parts = written([changes]), written(batches)
    assert content(*in_parts) == content(*whole)


@settings(max_examples=settings.default.max_examples * 7 // 10, deadline=None)
@given(streams())
def test_rows_are_what_readers_need(changes):
    connection, places = written([changes])
    for place in places.values():
        frames = connection.execute(
            "SELECT FrameId, Delta FROM Frames WHERE EventId = ? ORDER BY Id", (place.event_id,)
        ).fetchall()
        count, ended = connection.execute(
            "SELECT Frames, EndDateTime FROM Events WHERE Id = ?", (place.event_id,)
        ).fetchone()
        numbers = [number for number, _ in frames]
        assert numbers[0] == 1
        assert numbers == sorted(set(numbers))
        assert numbers[-1] <= count
        if ended is not None:
            assert numbers[-1] == count


@settings(max_examples=settings.default.max_examples // 2, deadline=None)
@given(streams())
def test_a_batch_that_is_written_again_after_its_opening_changes_nothing(changes):
    opens = [change for change in changes if isinstance(change, OpenEvent)]
    rest = [change for change in changes if not isinstance(change, OpenEvent)]
    once, twice = written([opens, rest]), written([opens, rest, rest])
    assert content(*twice) == content(*once)


def test_folding_keeps_what_was_said_last_and_the_highest_count():
    said = fold(
        [
            UpdateEvent(handle="a", length_us=1, frames=9, tally=Tally(1), cause="x"),
            UpdateEvent(handle="a", length_us=2, frames=5, note="n"),
            UpdateEvent(handle="b"),
        ]
    )
    assert said.keys() == {"a"}
    a = said["a"]
    assert (a.length_us, a.frames_seen, a.tally, a.cause, a.notes) == (2, 9, Tally(1), "x", ["n"])
