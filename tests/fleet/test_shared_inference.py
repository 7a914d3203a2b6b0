"""The shared inference over a pretended reactor: that workers wait for it, but never long, and that it is kept like one of them."""

from __future__ import annotations

import json
import shutil
import signal
import socket
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from tests.fleet.doubles import FakeProcess, Stage, killed, reconcile, started, wanted, worker_configured
from zmtwist.config.model import ShareInferenceConfig
from zmtwist.fleet.process.cleanup import end_survivors
from zmtwist.fleet.process.lockfile import LockFile
from zmtwist.fleet.process.policy import Exit
from zmtwist.fleet.process.state import State
from zmtwist.fleet.shared_inference import PATIENCE_SECONDS, WAITS
from zmtwist.fleet.status import InferenceStatus


class Sharing:
    """A stage whose monitors share `zm-infer`."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.binary = stage.directory / "zm-infer"
        self.binary.write_text("#!/bin/sh\n")
        self.binary.chmod(0o755)
        self.socket = stage.directory / "zm_infer_gpu0.sock"
        self.listeners: list[socket.socket] = []
        stage.sharing = {1, 2}
        self.configure()
        stage.fleet = stage.new_fleet()

    def configure(self, **share: Any) -> None:
        zmnext = self.stage.settings.zmnext
        config = ShareInferenceConfig(**{"enabled": True, **share})
        self.stage.settings = attrs.evolve(self.stage.settings, zmnext=attrs.evolve(zmnext, share_inference=config))

    def listen(self) -> None:
        """It has bound its socket, and closes it with its end; the file stays."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.socket))
        listener.listen(8)
        self.listeners.append(listener)
        if process := self.stage.world.shared():
            process.listening.append(listener)

    @property
    def process(self) -> FakeProcess:
        found = self.stage.world.shared()
        assert found is not None
        return found

    @property
    def status(self) -> InferenceStatus:
        found = self.stage.fleet.inference
        assert found is not None
        return found


@pytest.fixture
def sharing(stage: Stage) -> Iterator[Sharing]:
    made = Sharing(stage)
    yield made
    for listener in made.listeners:
        listener.close()


@pytest.fixture
def live(sharing: Sharing) -> Sharing:
    """It answers, and both workers run."""
    started(sharing.stage)
    sharing.stage.catalog.put(*(wanted(n) for n in (1, 2)))
    reconcile(sharing.stage)
    sharing.listen()
    sharing.stage.advance(1)
    for n in (1, 2):
        sharing.stage.show_life(n)
    return sharing


def test_it_comes_first_and_workers_when_it_answers(sharing: Sharing) -> None:
    stage = sharing.stage
    stage.catalog.put(wanted(1), wanted(3))
    stage.fleet.startService()
    stage.advance(5)
    assert sharing.process.arguments == [
        shutil.which("env"),
        "--ignore-signal=PIPE",
        shutil.which("setsid"),
        str(sharing.binary),
        "--gpu",
        "0",
        "--socket",
        str(sharing.socket),
    ]
    assert sharing.process.environment == {"PATH": "/usr/bin:/bin", "TZ": "Asia/Tokyo"}
    assert (sharing.process.path, sharing.process.stdin_closed) == (str(stage.directory), True)
    assert stage.process(3).alive, "it does not share"
    assert stage.world.alive(1) == []
    assert stage.fleet.status()[0].reason == WAITS
    assert (sharing.status.state, sharing.status.pid) == (State.STARTING, sharing.process.pid)
    sharing.listen()
    stage.advance(1)
    assert stage.process(1).alive
    assert sharing.status.state is State.LIVE


def test_a_camera_is_zoneminders_until_its_worker_can_start(sharing: Sharing) -> None:
    """To wait for the inference with `zmc` already stopped would be a gap in the recording."""
    taken: list[int] = []
    legacy: Any = sharing.stage.fleet._legacy
    legacy.take = lambda monitor_id: taken.append(monitor_id) or ""
    started(sharing.stage)
    sharing.stage.catalog.put(wanted(1))
    reconcile(sharing.stage)
    assert taken == []
    sharing.listen()
    sharing.stage.advance(1)
    assert taken == [1]


def test_workers_do_not_wait_for_ever(sharing: Sharing) -> None:
    stage = sharing.stage
    stage.catalog.put(wanted(1))
    with capturedLogs() as logs:
        stage.fleet.startService()
        stage.advance(PATIENCE_SECONDS - 1)
        assert stage.world.alive(1) == []
        stage.advance(2)
    assert stage.process(1).alive
    assert [log["reason"] for log in logs if "workers are started without it" in (log["log_format"] or "")] == [
        f"spawned as process {sharing.process.pid}"
    ]
    assert sharing.status.state is State.STARTING, "it may still be loading; nobody ends it for that"
    stage.advance(600)
    assert sharing.process.signals == []


def test_without_the_program_workers_start_at_once_and_the_reason_is_told(sharing: Sharing) -> None:
    sharing.binary.unlink()
    stage = sharing.stage
    stage.catalog.put(wanted(1))
    with capturedLogs() as logs:
        stage.fleet.startService()
        stage.advance(1)
    assert stage.process(1).alive
    assert sharing.status.state is State.FATAL
    assert sharing.status.reason.startswith("[zmnext.share_inference] binary 'zm-infer': no such program")
    assert any("workers are started without it" in (log["log_format"] or "") for log in logs)
    stage.show_life(1)
    reconcile(stage)
    assert stage.world.shared() is None
    sharing.binary.write_text("#!/bin/sh\n")
    sharing.binary.chmod(0o755)
    reconcile(stage)
    assert sharing.process.alive, "it is there now"


def test_when_it_dies_workers_go_on_and_it_comes_back(live: Sharing) -> None:
    stage, first = live.stage, live.process
    first.protocol.errReceived(b"[INFER][ERROR] CUDA: out of memory at rtsp://me:hush@cam/\n")
    workers = [stage.process(n) for n in (1, 2)]
    live.process.end(None, 9)
    status = live.status
    assert (status.state, status.last_exit, status.pid) == (State.BACKOFF, Exit(signal=9), None)
    assert status.reason == "signal 9 (SIGKILL): [INFER][ERROR] CUDA: out of memory at rtsp://***@cam/"
    assert status.next_start_us == stage.world.wall() + 1_000_000
    assert not live.socket.exists(), "what a dead one leaves is removed"
    stage.advance(2)
    assert live.process.pid != first.pid
    assert live.status.restarts_last_hour == 1
    live.listen()
    stage.advance(1)
    assert live.status.state is State.LIVE
    assert [stage.process(n) for n in (1, 2)] == workers
    assert [worker.signals for worker in workers] == [[], []]


def test_a_worker_that_is_started_anew_does_not_wait_again(live: Sharing) -> None:
    live.process.end(None, 9)
    live.stage.process(1).end(None, 11)
    live.stage.advance(2)
    assert live.stage.process(1).alive


@pytest.mark.parametrize(("code", "state"), [(1, State.BACKOFF), (3, State.BACKOFF), (127, State.FATAL)])
def test_what_its_exits_mean_is_not_known(live: Sharing, code: int, state: State) -> None:
    live.process.end(code)
    assert live.status.state is state


def test_it_is_stopped_after_the_workers(live: Sharing) -> None:
    stage, ended = live.stage, []
    stage.fleet.stopService().addCallback(ended.append)
    assert live.process.signals == []
    stage.advance(1.1)
    assert stage.world.alive() == [live.process]
    assert live.process.signals == [signal.SIGTERM]
    assert not ended
    stage.advance(1.1)
    assert ended
    assert stage.world.getDelayedCalls() == []


def test_one_that_does_not_end_is_killed(live: Sharing) -> None:
    process, ended = live.process, []
    live.stage.fleet.stopService().addCallback(ended.append)
    live.stage.world.stubborn = True
    live.stage.advance(32)
    assert process.signals == [signal.SIGTERM, signal.SIGKILL]
    assert ended


def test_a_stop_while_it_waits_for_another_try(live: Sharing) -> None:
    live.process.end(None, 9)
    ended: list[None] = []
    live.stage.fleet.stopService().addCallback(ended.append)
    live.stage.advance(1.1)
    assert ended
    assert live.stage.world.alive() == []
    assert live.stage.world.getDelayedCalls() == []


def test_it_outlives_us_and_is_adopted(live: Sharing) -> None:
    process = live.process
    killed(live.stage)
    assert live.process is process
    assert process.signals == []
    assert (live.status.state, live.status.adopted, live.status.pid) == (State.LIVE, True, process.pid)
    live.process.end(None, 9)
    live.stage.advance(0.1)
    assert str(live.status.last_exit) == "ended, it is not known how"
    live.stage.advance(2)
    assert live.process.pid != process.pid
    assert not live.status.adopted


def test_a_hand_over_leaves_it_running(live: Sharing) -> None:
    process = live.process
    assert live.stage.fleet.leave().called
    assert live.stage.fleet.stopService().called
    assert live.stage.world.getDelayedCalls() == []
    killed(live.stage)
    assert live.process is process
    assert live.status.state is State.LIVE


@pytest.mark.parametrize("how", ["gpu", "survive", "record"])
def test_one_of_other_settings_is_replaced(live: Sharing, how: str) -> None:
    first = live.process
    if how == "gpu":
        live.configure(gpu_id=1, socket_name=live.socket.name)
    elif how == "survive":
        worker_configured(live.stage, survive_restart=False)
    else:
        (live.stage.directory / "run" / "infer.json").unlink()
    killed(live.stage)
    live.stage.advance(2)
    assert first.signals == [signal.SIGTERM]
    assert live.process.arguments[-4:-2] == ["--gpu", "1" if how == "gpu" else "0"]


def test_not_shared_any_more_it_is_stopped(live: Sharing) -> None:
    live.configure(enabled=False)
    live.stage.sharing = set()
    live.stage.texts = dict.fromkeys((1, 2), '{"plugins":["own"]}')
    killed(live.stage)
    live.stage.advance(2)
    assert live.stage.world.shared() is None
    assert live.stage.fleet.inference is None


def test_it_is_not_started_for_nobody(sharing: Sharing) -> None:
    sharing.stage.sharing = set()
    started(sharing.stage, 1)
    assert sharing.stage.world.shared() is None
    assert sharing.status.state is State.STOPPED


def test_the_last_worker_takes_it_along(live: Sharing) -> None:
    live.stage.catalog.rows.clear()
    live.stage.sink.open_clips[1] = Deferred()
    reconcile(live.stage)
    assert live.process.signals == [], "its workers are still ending"
    live.stage.advance(2)
    reconcile(live.stage)
    assert live.process.signals == [signal.SIGTERM]


def test_wanted_again_while_it_ends(live: Sharing) -> None:
    stage, first = live.stage, live.process
    rows = dict(stage.catalog.rows)
    stage.catalog.rows.clear()
    reconcile(stage)
    stage.advance(2)
    reconcile(stage)
    stage.catalog.rows.update(rows)
    stage.fleet.reconcile()
    stage.advance(2)
    assert first.signals == [signal.SIGTERM]
    assert live.process is not first


def test_nothing_is_started_beside_a_stranger(sharing: Sharing) -> None:
    stage = sharing.stage
    stage.catalog.put(wanted(1))
    with LockFile.take(str(stage.directory / "run" / "infer.lock")):
        stage.fleet.startService()
        stage.advance(1)
        assert "none is started beside it" in sharing.status.reason
        assert stage.world.shared() is None
    sharing.listen()
    stage.advance(3)
    assert "a process that is not ours listens at" in sharing.status.reason
    assert stage.world.shared() is None


def test_a_dead_ones_traces_go(live: Sharing) -> None:
    live.stage.world.die()
    live.process.end(None, 9)
    run = live.stage.directory / "run"
    assert json.loads((run / "infer.json").read_text())["monitor_id"] is None
    live.stage.fleet = live.stage.new_fleet()
    live.stage.catalog.away = OSError("no route")
    live.stage.fleet.startService()
    assert [path.name for path in run.iterdir() if path.name.startswith("infer")] == []
    assert not live.socket.exists()


def test_it_is_ended_where_nobody_will_adopt_it(live: Sharing) -> None:
    live.stage.world.die()
    processes = live.stage.fleet._around.processes
    end_survivors(live.stage.settings, processes, live.stage.world.kill_group)
    assert live.process.signals == [signal.SIGTERM]
