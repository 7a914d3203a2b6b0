"""A camera that is away: its worker goes at once, and comes back as soon as the camera answers."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol

from tests.fleet.doubles import WATCHDOG, Stage, started
from tests.ops.served import free_port
from zmtwist.fleet.camera_loss import connect_by
from zmtwist.fleet.policy import UNRESPONSIVE_SECONDS
from zmtwist.fleet.process.output import sign
from zmtwist.fleet.process.state import State
from zmtwist.ingest.recording_watch import Failing

CAMERA = ("cam.example", 554)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    made = Stage(tmp_path)
    made.camera = CAMERA
    return made


def lose(stage: Stage, monitor_id: int) -> None:
    """What the worker says when its camera hangs up."""
    stage.link(monitor_id).observer.stream(0, False)


def test_a_lost_connection_ends_the_worker_and_the_next_one_comes_at_once(stage: Stage) -> None:
    started(stage, 1)
    stage.live(1, 100)
    first = stage.process(1)
    lose(stage, 1)
    assert first.signals == [signal.SIGTERM]
    stage.advance(1.5)  # a second to close its clip
    assert stage.process(1) is not first
    assert stage.state(1) is State.STARTING


def test_the_second_streams_connection_is_no_reason(stage: Stage) -> None:
    started(stage, 1)
    stage.link(1).observer.stream(1, False)
    stage.link(1).observer.stream(0, True)
    assert stage.state(1) is State.LIVE


def test_while_the_camera_is_away_nothing_is_started_and_once_it_answers_at_once(stage: Stage) -> None:
    started(stage, 1)
    stage.live(1, 100)
    stage.answers = False
    lose(stage, 1)
    stage.advance(2)
    assert stage.state(1) is State.BACKOFF
    assert (
        stage.fleet.status()[0].reason
        == "the camera at cam.example:554 does not answer; its worker is started when it does"
    )
    tries, spawned = stage.tries, len(stage.world.processes)
    stage.advance(140)
    assert stage.tries - tries >= 138
    assert len(stage.world.processes) == spawned
    assert stage.state(1) is State.BACKOFF
    stage.answers = True
    stage.advance(1.5)
    assert stage.process(1).alive
    assert stage.fleet.status()[0].reason.startswith("spawned")


def test_a_camera_that_says_nothing_is_away_too(stage: Stage) -> None:
    started(stage, 1)
    stage.answers = None
    lose(stage, 1)
    stage.advance(5)
    assert "does not answer" in stage.fleet.status()[0].reason


def test_a_camera_that_goes_again_before_its_picture_has_come(stage: Stage) -> None:
    """Connecting to it may hold the worker for minutes, long after it is back."""
    started(stage, 1)
    lose(stage, 1)
    stage.advance(1.5)
    stage.link(1).observer.linked()
    stage.answers = False
    stage.advance(5)
    assert stage.state(1) is State.BACKOFF
    stage.answers = True
    stage.advance(1.5)
    assert stage.process(1).alive


def test_a_camera_that_answers_and_gives_no_picture_is_tried_at_the_backoffs_pace(stage: Stage) -> None:
    started(stage, 1)
    for _ in range(40):
        if stage.world.alive(1):
            stage.process(1).protocol.outReceived(b"[Stream 0] Connection failed, retrying in 4000 ms (attempt 3)\n")
        stage.advance(2)
    assert len(stage.world.processes) < 9, "1, 2, 4, 8, 16, 32 s apart"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"[capture][ERROR] [Stream 0] Max retry attempts reached, stopping stream", "unconnected"),
        (b"[Stream 0] Connection failed, retrying in 1000 ms (attempt 1)", None),
        (b"[Stream 0] Connection failed, retrying in 4100 ms (attempt 3)", "unconnected"),
        (b"[Stream 1] Max retry attempts reached, stopping stream", None),
        (b"[Stream 0] Connection failed, retrying in 1 ms (attempt 99999999999999999999)", None),
        (b"[STORE][ERROR] store: write_frame failed: Invalid argument", "refused"),
        (b"store: saved /x/1.mkv", None),
    ],
)
def test_lines_that_tell_of_the_recording(line: bytes, said: str | None) -> None:
    assert sign(line) == said


def test_frames_that_the_recorder_refuses_are_counted(stage: Stage) -> None:
    started(stage, 7)
    stage.process(7).protocol.errReceived(b"[STORE][ERROR] store: write_frame failed: Invalid argument\n" * 3)
    assert stage.sink.refused == [7, 7, 7]


def test_cameras_that_are_known_to_be_away_are_not_the_hosts_fault(stage: Stage) -> None:
    """A switch without power: all cameras fall silent at once, and none says so. The guard would wait for one more window."""
    ids = (1, 2, 3)
    started(stage, *ids)
    stage.answers = False
    stage.advance(WATCHDOG + 10)
    assert {stage.state(n) for n in ids} == {State.BACKOFF}


def test_a_frozen_worker_is_killed_soon(stage: Stage) -> None:
    stage.world.stubborn = True
    started(stage, 1)
    first = stage.process(1)
    stage.advance(WATCHDOG + 6)
    assert first.signals == [signal.SIGTERM]
    stage.advance(UNRESPONSIVE_SECONDS)
    assert signal.SIGKILL in first.signals
    stage.advance(2)
    assert stage.process(1) is not first


def test_one_that_a_signal_has_stopped_is_killed_at_once(stage: Stage) -> None:
    started(stage, 1)
    first = stage.process(1)
    first.take(signal.SIGSTOP)
    stage.advance(WATCHDOG + 6)
    assert first.signals[1:] == [signal.SIGTERM, signal.SIGKILL]
    assert stage.process(1) is not first


def test_while_a_camera_is_away_nothing_is_announced_over_and_over(stage: Stage) -> None:
    stage.camera = ("camera.example", 554)
    started(stage, 1)
    stage.answers = False
    stage.link(1).observer.stream(0, connected=False)
    stage.advance(2)
    stage.transitions.clear()
    stage.advance(600)
    assert stage.path(1) == []
    [status] = stage.fleet.status()
    assert status.state is State.BACKOFF
    assert "does not answer" in status.reason
    assert status.next_start_us is not None and status.next_start_us > stage.world.wall()
    stage.answers = True
    stage.advance(3)
    stage.show_life(1)
    assert stage.path(1) == ["STARTING", "LINKED", "LIVE"]


def test_a_worker_that_records_nothing_is_replaced_but_not_again_and_again(stage: Stage) -> None:
    started(stage, 1)
    first = stage.process(1)

    def fail_for(seconds: int) -> None:
        for _ in range(seconds // 5):
            stage.show_life(1)
            stage.sink.failings[1] = Failing(
                "frames come, but its clip does not grow", stage.world.seconds() - WATCHDOG - 1, True
            )
            stage.advance(5, step=5)

    fail_for(10)
    stage.advance(3)
    second = stage.process(1)
    assert second is not first
    fail_for(300)
    assert stage.process(1) is second
    fail_for(400)
    assert stage.process(1) is not second


def test_partial_recordings_are_told_and_left_alone(stage: Stage) -> None:
    started(stage, 1)
    stage.sink.failings[1] = Failing("only a part is recorded", 0.0, False)
    stage.live(1, 60)
    assert stage.state(1) is State.LIVE


@pytest_twisted.ensureDeferred
async def test_a_real_connection() -> None:
    hung_up: Deferred[None] = Deferred()

    class Camera(Protocol):
        def connectionLost(self, reason: object = None) -> None:
            hung_up.callback(None)

    port = reactor.listenTCP(0, Factory.forProtocol(Camera), interface="127.0.0.1")
    await connect_by(reactor)(("127.0.0.1", port.getHost().port))
    await hung_up
    await port.stopListening()
    with pytest.raises(Exception, match="refused"):
        await connect_by(reactor)(("127.0.0.1", free_port()))
