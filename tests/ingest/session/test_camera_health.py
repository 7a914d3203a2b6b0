"""What is known of a camera from what its worker says."""

from __future__ import annotations

from zmtwist.ingest.session.camera_health import CameraTrouble, Health, StreamHealth
from zmtwist.wire.event_details import Lifecycle, StreamState
from zmtwist.wire.messages import Event


def lifecycle(code: int, kind: str = "", message: str | None = None) -> Event:
    return Event(code, detail=Lifecycle(type=kind, message=message))


def stream(event: str, number: int = 0, **facts: object) -> Event:
    return Event(0, detail=StreamState(event=event, stream_id=number, **facts))  # type: ignore[arg-type]


def test_a_failure_lasts_until_it_is_restored():
    health = Health().told(lifecycle(0x0101, "connection_failed", "no route to the camera"), 10)
    health = health.told(lifecycle(0x0105, "capture_failed", "no frames"), 20)
    assert health.troubles == (
        CameraTrouble("connection", 10, "no route to the camera"),
        CameraTrouble("capture", 20, "no frames"),
    )
    assert (health.well, health.failures, health.failed_us) == (False, 2, 20)
    health = health.told(lifecycle(0x0102, "connection_restored"), 30)
    assert [trouble.what for trouble in health.troubles] == ["capture"]
    health = health.told(lifecycle(0x0106, "capture_resumed"), 40)
    assert (health.well, health.restored_us) == (True, 40)


def test_a_failure_that_is_said_again_is_one():
    health = Health().told(lifecycle(0x0103, message="first"), 10).told(lifecycle(0x0103, message="again"), 20)
    assert health.troubles == (CameraTrouble("prime capture", 10, "again"),)
    assert (health.failures, health.failed_us) == (1, 20)


def test_the_snapshot_on_connect_tells_of_what_went_before():
    assert Health().told(lifecycle(0x0001, "connection_failed", "away"), 5).troubles == (
        CameraTrouble("connection", 5, "away"),
    )
    assert Health().told(Event(0x0001, health=0x0105, message="no frames"), 5).troubles == (
        CameraTrouble("capture", 5, "no frames"),
    )
    assert Health().told(Event(0x0001), 5) == Health()


def test_streams_come_and_go():
    health = Health().told(stream("StreamConnected"), 10).told(stream("StreamConnected", 1), 11)
    assert (health.well, health.failures) == (True, 0)
    health = health.told(stream("StreamReconnecting", 1, attempt=3, error="the camera refused"), 20)
    assert health.streams == (
        StreamHealth(0, "connected", 10),
        StreamHealth(1, "reconnecting", 20, "the camera refused", 3),
    )
    health = health.told(stream("StreamReconnecting", 1, attempt=4), 25)
    assert (health.streams[1].since_us, health.streams[1].attempt, health.failures) == (20, 4, 1)
    assert not health.well
    health = health.told(stream("StreamConnected", 1), 30)
    assert (health.well, health.restored_us) == (True, 30)
    assert health.ended(40).streams == ()
    assert health.ended(40).failures == 1


def test_the_state_is_kept_by_name():
    health = Health().told(Event(0x0201, state=2, previous_state=1, state_name="CAPTURING"), 10)
    assert (health.state, health.state_us) == ("CAPTURING", 10)
    assert Health().told(Event(0x0201), 10) == Health()


def test_events_of_other_kinds_leave_it_as_it_is():
    health = Health()
    assert health.told(Event(0x0301), 5) is health
    assert health.told(Event(0x0999, message="x"), 5) is health
