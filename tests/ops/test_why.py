from __future__ import annotations

import pytest

from zmtwist.fleet.policy import Exit
from zmtwist.fleet.status import State, WorkerStatus
from zmtwist.ops.view import why_view
from zmtwist.ops.why import absent, advise

SECOND = 1_000_000


def told(state: State, reason: str, **fields) -> str:
    status = WorkerStatus(3, state, 0, reason, **fields)
    return why_view(status, "Yard", 100 * SECOND)["line"]


@pytest.mark.parametrize(
    ("line", "state", "reason", "fields"),
    [
        ("is LIVE: 15.0 frames a second, for 1 min 40 s", State.LIVE, "media move", {"frames_per_second": 15.0}),
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
    assert "hush" not in told(State.BACKOFF, "exit 1: can't open rtsp://bob:hush@camera/1")
