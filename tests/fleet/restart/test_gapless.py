"""A worker is followed by one that was got ready beside it."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from tests.fleet.doubles import FakeProcess, FakeProcesses, Stage, killed, reconcile, started, worker_configured
from zmtwist.fleet import host_limits as hygiene
from zmtwist.fleet.host_limits import no_room_for_another
from zmtwist.fleet.process.cleanup import sweep
from zmtwist.fleet.process.lockfile import LockFile
from zmtwist.fleet.process.pidfile import heir_lock_path, lock_path, read_record, record_path
from zmtwist.fleet.process.preflight import ANOTHER_RING
from zmtwist.fleet.process.state import State
from zmtwist.fleet.restart import standby as heir_module

FREEZES, GOES_ON = signal.SIGSTOP, signal.SIGCONT


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """Monitor 1 is recorded without a break."""
    stage = Stage(tmp_path, overlap=True)
    stage.mode = "continuous"
    started(stage, 1)
    stage.opens(stage.process(1))
    return stage


def change(stage: Stage) -> tuple[FakeProcess, FakeProcess]:
    """Its document becomes another: its worker, and the one that is to follow."""
    stage.texts[1] = f'{{"plugins":[{len(stage.world.processes)}]}}'
    reconcile(stage)
    before, after = stage.world.alive(1)
    return before, after


def connects(stage: Stage, process: FakeProcess) -> None:
    """It has its camera's stream."""
    observer = stage.link_of(process).observer
    observer.linked()
    observer.stats()
    observer.media(15.0)


def follow(stage: Stage) -> tuple[FakeProcess, FakeProcess]:
    """As `change`, to the end."""
    before, after = change(stage)
    connects(stage, after)
    stage.opens(after)
    stage.advance(2)
    assert stage.world.alive(1) == [after]
    return before, after


def test_it_is_stopped_when_the_next_one_opens_which_goes_on_after_the_reaping(stage: Stage) -> None:
    before, after = change(stage)
    assert stage.state(1) is State.LIVE
    stage.advance(5)
    assert (before.signals, after.signals) == ([], []), "it takes its time to connect"
    connects(stage, after)
    assert before.signals == []
    stage.opens(after)
    assert (before.signals, after.signals) == ([signal.SIGTERM], [FREEZES])
    assert stage.state(1) is State.STOPPING
    assert [event.detail.clip_token for _, event in stage.sink.events] == [f"1-{before.pid}-1"], (
        "what the next one says is told when the first one is gone"
    )
    stage.advance(1)
    assert stage.world.alive(1) == [after]
    assert after.signals == [FREEZES, GOES_ON]
    assert stage.sink.ended == [1]
    assert [event.detail.clip_token for _, event in stage.sink.events] == [f"1-{before.pid}-1", f"1-{after.pid}-1"]
    assert stage.path(1)[-4:] == ["STOPPING", "STARTING", "LINKED", "LIVE"]
    [status] = stage.fleet.status()
    assert (status.pid, status.restart_due) == (after.pid, None)
    stage.live(1, 120)
    assert stage.world.alive(1) == [after]


def test_they_share_neither_socket_nor_frames_and_the_public_socket_is_the_ones_that_records(stage: Stage) -> None:
    first, second = follow(stage)
    _, third = follow(stage)
    _, fourth = follow(stage)
    assert [process.ring for process in (first, second, third, fourth)] == [1, 1 + ANOTHER_RING, 1, 1 + ANOTHER_RING]
    names = [Path(process.socket).name for process in (first, second, third, fourth)]
    assert names == ["stream_1.sock", "stream_1.odd.sock", "stream_1.even.sock", "stream_1.odd.sock"]


def test_a_clip_is_waited_for_first(stage: Stage) -> None:
    stage.sink.open_clips[1] = clip = Deferred()
    stage.texts[1] = "{}"
    reconcile(stage)
    assert len(stage.world.alive(1)) == 1
    clip.callback(None)
    stage.advance(0.1)
    assert len(stage.world.alive(1)) == 2


def test_one_that_records_what_moves_gets_time_for_its_pre_roll(tmp_path: Path) -> None:
    stage = Stage(tmp_path, overlap=True)
    stage.mode, stage.lead = "event", 4.0
    started(stage, 1)
    before, after = change(stage)
    connects(stage, after)
    stage.advance(3.5)
    assert before.signals == []
    stage.advance(1)
    assert (before.signals, after.signals) == ([signal.SIGTERM], [FREEZES])


def test_an_opening_that_only_its_log_tells_of_counts(stage: Stage) -> None:
    before, after = change(stage)
    after.protocol.outReceived(b"[PLUGIN][INFO] store: recording_opening token=1-9-1 cause=continuous\n")
    assert (before.signals, after.signals) == ([signal.SIGTERM], [FREEZES])
    assert [token for _, token, *_ in stage.sink.openings] == []
    stage.advance(1.5)
    assert [token for _, token, *_ in stage.sink.openings] == ["1-9-1"]


@pytest.mark.parametrize(
    "fails",
    [
        lambda stage, after: stage.advance(heir_module.READY_SECONDS + 1),
        lambda stage, after: after.end(4),
        lambda stage, after: stage.link_of(after).observer.stream(0, connected=False),
        lambda stage, after: after.protocol.outReceived(
            b"[PLUGIN][ERROR] [Stream 0] Max retry attempts reached, stopping stream\n"
        ),
    ],
    ids=["never ready", "ends", "loses the camera", "does not get the camera"],
)
def test_without_a_successor_it_is_restarted_as_ever(stage: Stage, fails: Any) -> None:
    before, after = change(stage)
    fails(stage, after)
    assert before.signals == [signal.SIGTERM]
    stage.advance(2)
    [now] = stage.world.alive(1)
    assert now not in (before, after)
    assert now.socket.endswith("stream_1.sock")
    stage.show_life(1)
    assert stage.state(1) is State.LIVE
    follow(stage)


def test_a_camera_that_has_one_connection_only_is_not_asked_for_two_again(stage: Stage) -> None:
    before, after = change(stage)
    stage.link_of(before).observer.stream(0, connected=False)
    assert signal.SIGKILL in after.signals
    stage.advance(5)
    stage.show_life(1)
    assert stage.state(1) is State.LIVE
    stage.texts[1] = '{"plugins":["another"]}'
    reconcile(stage)
    assert len(stage.world.alive(1)) == 1


def test_a_change_that_is_taken_back_needs_no_successor(stage: Stage) -> None:
    before, after = change(stage)
    stage.texts.clear()
    reconcile(stage)
    assert signal.SIGKILL in after.signals
    for _ in range(8):
        connects(stage, before)
        stage.advance(5)
    assert stage.world.alive(1) == [before]
    assert stage.fleet.status()[0].restart_due is None


@pytest.mark.parametrize("waits", [False, True], ids=["connects", "waits"])
@pytest.mark.parametrize("verb", ["hold", "stop"])
def test_who_stops_the_one_stops_both(stage: Stage, verb: str, waits: bool) -> None:
    _, after = change(stage)
    if waits:
        stage.opens(after)
    getattr(stage.fleet, verb)(1)
    stage.advance(2)
    assert stage.world.alive(1) == []
    assert stage.state(1) is State.HELD
    assert [path.name for path in (stage.directory / "run").iterdir()] == ["worker_1.lock"]


def test_a_plain_stop_ends_both_and_leaves_nothing(stage: Stage) -> None:
    change(stage)
    stopped = stage.fleet.stopService()
    stage.advance(2)
    assert stopped.called
    assert stage.world.alive() == []
    assert stage.world.getDelayedCalls() == []


def test_a_hand_over_leaves_the_one_that_records(stage: Stage) -> None:
    before, after = change(stage)
    assert stage.fleet.leave().called
    stage.advance(0.1)
    assert stage.world.alive(1) == [before]
    assert signal.SIGKILL in after.signals


@pytest.mark.parametrize("moment", ["connects", "waits", "follows"])
def test_sigkill_of_ours_leaves_one_which_the_next_start_has(stage: Stage, moment: str) -> None:
    before, after = change(stage)
    if moment != "connects":
        connects(stage, after)
        stage.opens(after)
    if moment == "follows":
        stage.advance(1.2)
    else:
        stage.texts.clear()  # else it would have another one at once
    killed(stage)
    [left] = [process for process in stage.world.alive(1) if not process.killed]
    assert left is (after if moment == "follows" else before)
    assert not left.frozen
    if moment == "waits":
        left.end(0)  # it was told to
    stage.advance(3)
    stage.show_life(1)
    assert stage.state(1) is State.LIVE
    if moment == "follows":
        assert stage.world.alive(1) == [after]
        [status] = stage.fleet.status()
        assert (status.adopted, status.pid) == (True, after.pid)
        assert stage.link(1).path == after.socket
    names = {path.name for path in (stage.directory / "run").iterdir()}
    assert names == {"worker_1.lock", "worker_1.json"}


@pytest.mark.parametrize("gone", ["worker_1.json", "nothing"])
def test_one_that_has_followed_is_known_again_and_can_be_followed(stage: Stage, gone: str) -> None:
    _, after = follow(stage)
    for path in (stage.directory / "run").glob(gone):
        path.unlink()
    killed(stage)
    connects(stage, after)
    [status] = stage.fleet.status()
    assert (status.adopted, status.pid) == (True, after.pid)
    if gone == "nothing":
        change(stage)
    # Of one without a record nobody knows its document: it is to be followed anyway.
    before, third = stage.world.alive(1)
    assert (before, third.ring) == (after, 1)


def test_a_second_one_that_lives_all_the_same_is_killed_at_the_next_start(stage: Stage) -> None:
    before, after = change(stage)
    after.leashed = False
    stage.world.die()
    with capturedLogs() as logs:
        assert sweep(stage.settings, FakeProcesses(stage.world), stage.world.kill_group)[1].pid == before.pid
    stage.advance(0.1)
    assert stage.world.alive(1) == [before]
    assert any("a second worker" in str(event.get("log_format")) for event in logs)
    assert sweep(stage.settings, FakeProcesses(stage.world))[1].pid == before.pid
    assert not Path(heir_lock_path(stage.settings.run, 1)).exists()


def test_something_that_still_has_the_lock_of_the_first_keeps_the_next_from_following(stage: Stage) -> None:
    before, after = change(stage)
    stage.opens(after)
    with LockFile.take(str(stage.directory / "other")):
        stray = FakeProcess(stage.world, after.protocol, ["sleep", "60"], {}, "/", before.lock)
        with capturedLogs() as logs:
            stage.advance(1.5)
    assert signal.SIGKILL in after.signals
    assert any("can't take over" in str(event.get("error")) for event in logs)
    assert read_record(record_path(stage.settings.run, 1), 1) is None
    stray.end()


def test_only_so_many_are_got_ready_at_once(tmp_path: Path) -> None:
    stage = Stage(tmp_path, overlap=True)
    stage.mode = "continuous"
    started(stage, *range(1, 8))
    stage.texts = dict.fromkeys(range(1, 8), "{}")
    reconcile(stage)
    assert len(stage.world.alive()) == 7 + 4
    [_, after] = stage.world.alive(1)
    stage.opens(after)
    stage.advance(0.5)
    assert len([n for n in range(1, 8) if len(stage.world.alive(n)) == 2]) == 5


@pytest.mark.parametrize("why", ["overlap", "room"])
def test_it_can_be_forbidden_and_needs_room(stage: Stage, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if why == "overlap":
        worker_configured(stage, overlap=False)
        killed(stage)
        stage.show_life(1)
    else:
        monkeypatch.setattr(hygiene, "ANOTHER_BYTES", 2**60)
    stage.texts[1] = "{}"
    reconcile(stage)
    assert [process.signals for process in stage.world.alive(1)] == [[signal.SIGTERM]]


def test_room(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 900000 kB\nMemAvailable:  524288 kB\n")
    assert no_room_for_another(str(tmp_path), str(meminfo)) is None
    meminfo.write_text("MemTotal: 900000 kB\nMemAvailable:  524287 kB\n")
    assert no_room_for_another(str(tmp_path), str(meminfo)) == "there is too little memory for a second worker"
    assert no_room_for_another(str(tmp_path), str(tmp_path / "none")) is None


def test_all_that_it_says_is_kept_in_its_order_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    class Sink:
        def hello(self, monitor_id: int, hello: Any) -> None:
            told.append("hello")

        def rate(self, monitor_id: int, frames: float, size: float) -> None:
            told.append(f"rate {frames}")

        def gap(self, monitor_id: int, missed: int) -> None:
            told.append(f"gap {missed}")

    monkeypatch.setattr(heir_module, "MOST_KEPT", 3)
    kept = heir_module._Kept(Sink(), lambda: None)  # type: ignore[arg-type]
    kept.hello(1, SimpleNamespace())  # type: ignore[arg-type]
    kept.rate(1, 5.0, 9.0)
    kept.gap(1, 2)
    kept.gap(1, 3)
    assert told == []
    kept.tell()
    assert told == ["hello", "rate 5.0", "gap 2"]
    kept.gap(1, 4)
    assert told[-1] == "gap 4"


def test_its_lock_is_the_monitors_after_that(stage: Stage) -> None:
    _, after = follow(stage)
    assert FakeProcesses(stage.world).holders(lock_path(stage.settings.run, 1)) == [after.pid]
    told = read_record(record_path(stage.settings.run, 1), 1)
    assert told is not None and told.pid == after.pid
    after.protocol.outReceived(b"[PLUGIN][INFO] store: recording_opening token=1-9-2 cause=continuous\n")
    assert [token for _, token, *_ in stage.sink.openings] == ["1-9-2"]
    after.end(0)
    assert stage.state(1) is State.BACKOFF
