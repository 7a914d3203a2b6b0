"""`zmnextctl` and the API against a fleet that has a monitor in each state."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import pytest_twisted

from tests.ops.cli.test_main_service import ctl_here
from tests.ops.served import Nothing, Served
from zmtwist.fleet.process.policy import Exit
from zmtwist.fleet.process.state import State
from zmtwist.fleet.status import WorkerStatus
from zmtwist.pipeline.document import Document

SECOND = 1_000_000
NOW = 1_700_000_000 * SECOND

WORKERS = {
    State.STOPPED: ({"reason": "refused: type Local"}, "refused: type Local; change the monitor in ZoneMinder"),
    State.STARTING: ({"reason": "spawned as process 7", "pid": 7}, "its socket has not answered yet; wait"),
    State.LINKED: ({"reason": "its socket answered", "pid": 7}, "no picture has come for 1 min 40 s; check that the camera"),
    State.LIVE: ({"reason": "media move", "pid": 7, "frames_per_second": 12.5}, "12.5 frames a second, for 1 min 40 s"),
    State.STALLED: ({"reason": "no media for 31 s", "pid": 7}, "no media for 31 s; check the camera and its network"),
    State.STOPPING: ({"reason": "the document changed", "pid": 7}, "the document changed; wait: what does not end is killed"),
    State.BACKOFF: (
        {"reason": "signal 11", "last_exit": Exit(signal=11), "next_start_us": NOW + 8 * SECOND},
        "signal 11 (tried again in 8 s); it was killed or has crashed: `zmnextctl logs 7`",
    ),
    State.FATAL: (
        {"reason": "exit 3: not loadable", "last_exit": Exit(code=3), "next_start_us": NOW + 60 * SECOND},
        "exit 3: not loadable (tried again in 60 s); see what it was given with `zmnextctl pipeline 8`",
    ),
    State.HELD: ({"reason": "an operator holds it"}, "an operator holds it; `zmnextctl release 9` lets it go on"),
}  # fmt: skip
"""What is known of a worker in that state, and what `why` has to say of it."""

NUMBERS = {state: number for number, state in enumerate(State, 1)}


GRAPH = "the stored graph (/g/monitor_4.json) is not used: it is not UTF-8"
DOCUMENTS = {NUMBERS[State.LIVE]: Document(NUMBERS[State.LIVE], "{}", "continuous", None, warnings=(GRAPH,))}


class Running(Nothing):
    """A service whose workers are in all states at once."""

    waiting_for = None
    recovery = None
    names = {number: f"Camera {number}" for number in NUMBERS.values()}  # noqa: RUF012
    fleet = SimpleNamespace(
        running=True,
        catalog_error=None,
        inference=None,
        unwanted={},
        status=lambda: tuple(
            WorkerStatus(number, state, NOW - 100 * SECOND, **WORKERS[state][0]) for state, number in NUMBERS.items()
        ),
        documents=lambda number: (DOCUMENTS.get(number), None),
    )


@pytest_twisted.async_yield_fixture
async def api(tmp_path):
    served = await Served.on(tmp_path, running=Running())
    yield f"{tmp_path}/api.sock"
    await served.service.stopService()


@pytest_twisted.ensureDeferred
async def test_status_and_monitors_show_each_state(api):
    status = await ctl_here("--api", api, "status")
    assert status.status == 0, status
    assert "service   RUNNING" in status.out
    assert "monitors  9: " + ", ".join(f"1 {state}" for state in State) in status.out
    rows = (await ctl_here("--api", api, "monitors")).out.splitlines()[1:]
    assert [row.split()[3] for row in rows if row.strip() and "Camera" in row] == list(State)
    told = (await ctl_here("--api", api, "--json", "monitors")).json["monitors"]
    assert {one["id"]: one["state"] for one in told} == {number: state.value for state, number in NUMBERS.items()}


@pytest.mark.parametrize("state", State)
@pytest_twisted.ensureDeferred
async def test_why_says_what_is_wrong_and_what_to_do(api, state):
    number = NUMBERS[state]
    ran = await ctl_here("--api", api, "why", number)
    assert ran.status == 0, ran
    assert ran.out.startswith(f"monitor {number} (Camera {number}) is {state.value}: ")
    assert WORKERS[state][1] in ran.out
    assert len(ran.out.splitlines()) == 1
    answer = (await ctl_here("--api", api, "--json", "why", number)).json
    assert (answer["state"], answer["well"]) == (state.value, state is State.LIVE)
    assert (GRAPH in answer["line"]) is (state is State.LIVE)
