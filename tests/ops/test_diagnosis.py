from __future__ import annotations

import pytest

from zmtwist.fleet.process.policy import Exit
from zmtwist.fleet.process.state import State
from zmtwist.fleet.status import WorkerStatus
from zmtwist.ingest.session.camera_health import CameraTrouble, Health, StreamHealth
from zmtwist.ops.api.views import health_view, why_view
from zmtwist.ops.diagnosis import absent, advise
from zmtwist.untrusted.guard import leaving

SECOND = 1_000_000


def told(state: State, reason: str, **fields) -> str:
    status = WorkerStatus(3, state, 0, reason, **fields)
    return why_view(status, "Yard", 100 * SECOND)["line"]


@pytest.mark.parametrize(
    ("line", "state", "reason", "fields"),
    [
        ("is LIVE: 15.0 frames a second, for 1 min 40 s", State.LIVE, "media move", {"frames_per_second": 15.0}),
        (
            "is LIVE: media move, for 1 min 40 s; it is started anew when its clip ends: its document changed",
            State.LIVE,
            "media move",
            {"restart_due": "its document changed"},
        ),
        ("is LIVE: media move, for 1 min 40 s. ZoneMinder has started", State.LIVE, "-", {"legacy": "ZoneMinder has started"}),
        ("is HELD: an operator holds it; `zmnextctl release 3` lets it go on", State.HELD, "an operator holds it", {}),
        (
            "is FATAL: exit 4: could not load a plugin (tried again in 60 s); a plugin is missing: `zmnextctl doctor`",
            State.FATAL,
            "exit 4: could not load a plugin",
            {"last_exit": Exit(code=4), "next_start_us": 160 * SECOND},
        ),
        ("is BACKOFF: signal 11; it was killed or has crashed", State.BACKOFF, "signal 11", {"last_exit": Exit(signal=11)}),
        (
            "is BACKOFF: the storage /x is not there: is its disk mounted?; mount it; it is tried again by itself",
            State.BACKOFF,
            "the storage /x is not there: is its disk mounted?",
            {},
        ),
        ("is STARTING: it waits for its turn to be started; wait", State.STARTING, "wanted", {}),
        ("is STARTING: spawned as process 7; its socket has not answered yet", State.STARTING, "spawned as process 7", {"pid": 7}),
        ("is LINKED: its worker answers, but no picture has come for 1 min 40 s; check that the camera", State.LINKED, "linked", {}),
        ("is STALLED: no media for 31 s; check the camera", State.STALLED, "no media for 31 s", {}),
        ("is STOPPING: an operator stopped it; wait", State.STOPPING, "an operator stopped it", {}),
        ("is STOPPED: refused: type Local; change the monitor in ZoneMinder", State.STOPPED, "refused: type Local", {}),
    ],
)  # fmt: skip
def test_what_is_wrong_and_what_to_do(line, state, reason, fields):
    assert told(state, reason, **fields).startswith(f"monitor 3 (Yard) {line}")


@pytest.mark.parametrize("state", State)
def test_there_is_a_word_for_every_state(state):
    advice = advise(WorkerStatus(1, state, 0, "some reason", last_exit=Exit(code=9)), SECOND)
    assert advice.what
    assert advice.well == (state is State.LIVE)
    assert advice.remedy or state in (State.LIVE, State.STOPPED)


def test_monitors_that_are_elsewhere():
    assert (
        "Monitors.UseZmNext" in absent("not opted in: neither Monitors.UseZmNext nor [zmnext] monitors names it").remedy
    )
    assert "record" in absent("Function is None").remedy
    assert absent("it is deleted").remedy == ""


def test_a_password_in_a_reason_is_not_told():
    assert b"hush" not in leaving(told(State.BACKOFF, "exit 1: can't open rtsp://bob:hush@camera/1"))


def test_what_the_worker_says_of_its_camera_is_told_with_it():
    away = StreamHealth(1, "reconnecting", 40 * SECOND, "no route to rtsp://bob:hush@camera/1")
    health = Health(
        troubles=(CameraTrouble("capture", 70 * SECOND, "end of file"),),
        streams=(StreamHealth(0, "connected", 0), away),
    )
    live = WorkerStatus(3, State.LIVE, 0, "media move", frames_per_second=15.0)
    told = why_view(live, "Yard", 100 * SECOND, None, health)
    assert (told["well"], told["do"]) == (False, "check the camera and its network")
    assert told["what"].startswith(
        "15.0 frames a second, for 1 min 40 s. Its worker says: capture has failed for 30 s (end of file); "
    )
    assert "stream 1 is reconnecting for 1 min (no route to rtsp://" in told["what"] and b"hush" not in leaving(told)
    stalled = WorkerStatus(3, State.STALLED, 0, "no media for 31 s")
    assert why_view(stalled, "Yard", SECOND, None, health)["do"].count("check the camera") == 1
    assert why_view(live, "Yard", 100 * SECOND, None, Health(failures=3))["well"]


def test_a_camera_whose_frames_are_not_recorded_is_not_well():
    failing = ("frames come, but its clip does not grow", 43.4)
    live = WorkerStatus(3, State.LIVE, 0, "media move", frames_per_second=15.0, not_recording=failing)
    told = why_view(live, "Yard", 100 * SECOND)
    assert not told["well"]
    assert told["what"].startswith("NOT RECORDING for 43 s: frames come, but its clip does not grow (15.0 frames")
    assert "zmnextctl logs 3" in told["do"]


@pytest.mark.parametrize(
    ("age", "rate", "told"),
    [(2.9, 15.0, False), (3.0, 15.0, True), (8.2, 15.0, True), (5.0, 0.5, False), (6.5, 0.5, True), (8.0, None, True)],
)
def test_that_no_frames_come_is_told_from_the_third_second_on(age, rate, told):
    live = WorkerStatus(3, State.LIVE, 0, "media move", frames_per_second=rate, media_age_seconds=age)
    advice = advise(live, 100 * SECOND)
    assert advice.what.startswith("no frames for") == told
    assert advice.well != told


def test_what_was_held_back_is_told():
    live = WorkerStatus(3, State.LIVE, 0, "media move", frames_per_second=15.0)
    told = why_view(live, "Yard", 100 * SECOND, held={"rows": 1200, "openings": 7})
    assert not told["well"]
    assert "7 openings, 1200 rows were held back" in told["what"]
    assert "zmnextctl logs 3" in told["do"]
    assert why_view(live, "Yard", 100 * SECOND, held={})["well"]


def test_what_the_document_could_not_be_given_is_told():
    live = WorkerStatus(3, State.LIVE, 0, "media move", frames_per_second=15.0)
    told = why_view(live, "Yard", 100 * SECOND, warnings=["the stored graph (x) is not used: it is no JSON", "another"])
    assert told["well"]
    assert told["what"].endswith(". Of its document: the stored graph (x) is not used: it is no JSON; another")
    assert told["do"] == "`zmnextctl pipeline 3` shows it"


def test_the_health_of_a_camera_in_full():
    health = Health(
        troubles=(CameraTrouble("connection", SECOND, "rtsp://bob:hush@camera"),), streams=(StreamHealth(0, "disconnected", 2 * SECOND),),
        failures=2, failed_us=2 * SECOND,
    )  # fmt: skip
    shown = health_view(health)
    assert shown["troubles"][0]["since"] == "1970-01-01T00:00:01.000Z" and b"hush" not in leaving(shown)
    assert shown["streams"] == [
        {"id": 0, "state": "disconnected", "since": "1970-01-01T00:00:02.000Z", "message": "", "attempt": None}
    ]
    assert (shown["well"], shown["failures"], shown["last_restored"], shown["state"]) == (False, 2, None, None)
    assert health_view(None) is None
