"""The main job end to end: simulated workers, real processes and sockets, rows and clips on disk."""

from __future__ import annotations

import os
import signal

import av
import pytest
import pytest_twisted

from tests.service_case import Installation
from tests.waiting import until
from zmtwist.fleet.process.state import State, Transition
from zmtwist.notifications import EventClosed, EventOpened


@pytest.fixture
def zm(tmp_path):
    return Installation.make(tmp_path)


def measured(path):
    """Duration in seconds and number of frames, read off the packets of the file itself."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stamps = [float(p.pts * stream.time_base) for p in container.demux(stream) if p.pts is not None]
    return max(stamps) - min(stamps), len(stamps)


def check_closed(zm, event):
    """What every closed event with a clip owes ZoneMinder and its users."""
    assert event["EndDateTime"] is not None
    assert event["Scheme"] == "Medium"
    assert event["Name"] == f"Event-{event['Id']}"
    assert event["SaveJPEGs"] == 0
    assert event["DefaultVideo"] == f"{event['Id']}-video.h264.mkv"
    clip = zm.clip(event)
    seconds, frames = measured(clip)
    assert abs(seconds - event["Length"]) < 0.5
    assert frames == event["Frames"]
    assert event["DiskSpace"] == sum(p.stat().st_size for p in clip.parent.iterdir())
    rows = zm.frames(event["Id"])
    assert rows[0][0] == 1
    assert rows[-1][0] == event["Frames"] or rows[-1][0] <= event["Frames"]
    assert [r[0] for r in rows] == sorted({r[0] for r in rows})
    assert sum(r[1] == "Alarm" for r in rows) == event["AlarmFrames"]


@pytest_twisted.ensureDeferred
async def test_segments_become_closed_events_in_their_place(zm):
    zm.monitor(1, "Record", SectionLength=2)
    service = zm.service("[zmnext.pipeline]\ndetect = false")
    service.startService()
    try:
        await until(lambda: len(zm.told_of(EventClosed)) >= 2)
    finally:
        await service.stopService()
    events = zm.events()
    assert len(events) >= 3  # the last one was closed by the stop
    assert {e["Cause"] for e in events} == {"Continuous"}
    for event in events:
        check_closed(zm, event)
    assert [h.event_id for h in zm.told_of(EventOpened)] == [e["Id"] for e in events]
    assert list(zm.storage.glob("2*/event-Monitor-*")) == []


@pytest_twisted.ensureDeferred
async def test_a_detection_makes_a_clip_with_alarm_frames(zm):
    zm.monitor(2, "Modect")
    service = zm.service(
        "[zmnext.pipeline]\npre_roll_sec = 1\npost_roll_sec = 1\nmax_buffer_sec = 3",
        tuning={"ZM_CORE_SIM": "first=1.5,present=1,period=30"},
    )
    service.startService()
    try:
        await until(lambda: zm.told_of(EventClosed))
    finally:
        await service.stopService()
    event = zm.events()[0]
    check_closed(zm, event)
    assert event["Cause"].startswith("Detection: ")
    assert event["AlarmFrames"] > 2
    assert 0 < event["AvgScore"] <= event["MaxScore"] <= 100
    assert max(row[3] for row in zm.frames(event["Id"])) == event["MaxScore"]


@pytest_twisted.ensureDeferred
async def test_a_killed_worker_comes_back_and_its_clip_is_not_lost(zm):
    zm.monitor(1, "Record", SectionLength=60)
    service = zm.service("[zmnext.pipeline]\ndetect = false")
    service.startService()
    try:
        await until(lambda: zm.told_of(EventOpened))
        (status,) = service.fleet.status()
        await until(lambda: zm.clip(zm.events()[0]).exists())
        os.kill(status.pid, signal.SIGKILL)
        await until(lambda: len(zm.told_of(EventOpened)) == 2)
        await until(lambda: zm.told_of(EventClosed))
    finally:
        await service.stopService()
    first = zm.events()[0]
    assert first["EndDateTime"] is not None
    assert not first["DefaultVideo"] or zm.clip(first).stat().st_size > 0
    states = [t.to_state for t in zm.told_of(Transition)]
    assert State.BACKOFF in states


@pytest_twisted.ensureDeferred
async def test_a_clip_that_was_not_assigned_in_time_moves_into_the_tree(zm):
    zm.monitor(1, "Record", SectionLength=2)
    service = zm.service("[zmnext.pipeline]\ndetect = false", tuning={"ZM_CORE_SIM": "slow_assign=60"})
    service.startService()
    try:
        await until(lambda: zm.told_of(EventClosed))
    finally:
        await service.stopService()
    for event in zm.events():
        check_closed(zm, event)
    assert list(zm.storage.glob("2*/*")) == []


@pytest_twisted.ensureDeferred
async def test_cameras_do_not_disturb_each_other(zm):
    zm.monitor(1, "Record", SectionLength=2)
    zm.monitor(2, "Record")
    zm.monitor(3, "Record", Type="Local")
    service = zm.service("[zmnext.pipeline]\ndetect = false", tuning={"ZM_CORE_SIM_2": "exit=3"})
    service.startService()
    try:
        await until(lambda: zm.told_of(EventClosed))
        await until(lambda: {s.monitor_id: s.state for s in service.fleet.status()}.get(2) is State.FATAL)
        states = {s.monitor_id: s.state for s in service.fleet.status()}
        assert states[1] is State.LIVE
        assert states[3] is State.STOPPED or states[3] is State.FATAL
        assert "Local" in next(s.reason for s in service.fleet.status() if s.monitor_id == 3)
    finally:
        await service.stopService()
    assert {e["MonitorId"] for e in zm.events()} == {1}


@pytest_twisted.ensureDeferred
async def test_without_a_recorder_detections_make_events_without_a_clip(zm):
    zm.monitor(1, "Monitor")
    service = zm.service(
        "[zmnext.ingest]\nidle_finalize_seconds = 2", tuning={"ZM_CORE_SIM": "first=1,present=1,period=30"}
    )
    service.startService()
    try:
        await until(lambda: zm.told_of(EventClosed))
    finally:
        await service.stopService()
    event = zm.events()[0]
    assert (event["DefaultVideo"], event["EndDateTime"] is not None) == ("", True)
    assert event["AlarmFrames"] > 0
