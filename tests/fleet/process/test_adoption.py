"""We end and start again: what becomes of the workers, by their visible states, processes and signals."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from tests.fleet.doubles import Stage, killed, started, wanted, worker_configured
from zmtwist.fleet.fleet import NotInFleet
from zmtwist.fleet.process.adoption import NO_LINES, CannotLeave
from zmtwist.fleet.process.lockfile import LockFile
from zmtwist.fleet.process.pidfile import lock_path, record_path
from zmtwist.fleet.process.state import State
from zmtwist.pipeline.document import Refusal


def test_a_worker_is_adopted_as_it_is(stage: Stage) -> None:
    started(stage, 1)
    process = stage.process(1)
    killed(stage)
    assert stage.process(1) is process
    [status] = stage.fleet.status()
    assert (status.pid, status.adopted, status.lines) == (process.pid, True, (NO_LINES,))
    assert status.reason == f"adopted as process {process.pid}"
    assert stage.sink.adoptions == [1]
    assert stage.link(1).calls == ["start"]
    stage.live(1, 120)
    assert stage.path(1) == ["STARTING", "LINKED", "LIVE"]
    assert process.signals == []
    assert len(stage.world.processes) == 1


def test_all_are_adopted_at_once_whatever_the_pace_of_starts(tmp_path: Path) -> None:
    stage = started(Stage(tmp_path, starts_per_second=50.0), *range(1, 40))
    worker_configured(stage, starts_per_second=0.1)
    killed(stage)
    assert sorted(stage.sink.adoptions) == list(range(1, 40))


def test_an_adopted_worker_that_ends_is_followed_by_a_child_of_ours(stage: Stage) -> None:
    started(stage, 1)
    first = stage.process(1)
    killed(stage)
    stage.show_life(1)
    first.end(None, 11)
    stage.advance(0.1)
    [status] = stage.fleet.status()
    assert (status.state, status.reason) == (State.BACKOFF, "ended, it is not known how")
    assert stage.sink.ended == [1]
    stage.advance(2)
    assert stage.process(1).pid != first.pid
    assert stage.fleet.status()[0].adopted is False


def test_an_adopted_worker_is_stopped_in_time(stage: Stage) -> None:
    started(stage, 1)
    process = stage.process(1)
    killed(stage)
    stage.world.stubborn = True
    stopping = stage.fleet.stopService()
    assert process.signals == [signal.SIGTERM]
    stage.advance(29.5)
    assert not stopping.called
    stage.advance(1)
    assert process.signals == [signal.SIGTERM, signal.SIGKILL]
    assert stopping.called
    assert stage.world.getDelayedCalls() == []
    assert not Path(record_path(stage.settings.run, 1)).exists()


def test_one_that_is_not_wanted_any_more_is_stopped_and_still_known(stage: Stage) -> None:
    started(stage, 1, 2, 3)
    stage.catalog.put(attrs.evolve(wanted(1), use_zm_next=False))
    del stage.catalog.rows[2]
    composed: list[int] = []
    whole = stage.compose
    stage.compose = lambda monitor: composed.append(monitor.id) or whole(monitor)  # type: ignore[method-assign]
    killed(stage)
    assert composed == [1, 3], "its recording is on its way to the database"
    stage.advance(2)
    assert [status.monitor_id for status in stage.fleet.status()] == [3]
    assert [process.monitor_id for process in stage.world.alive()] == [3]


def test_one_that_is_refused_now_is_stopped(stage: Stage) -> None:
    started(stage, 1)
    stage.texts[1] = Refusal(1, "its address is empty")
    killed(stage)
    stage.advance(2)
    assert stage.world.alive() == []
    assert stage.state(1) is State.STOPPED


def test_one_whose_row_makes_no_sense_now_goes_on(stage: Stage) -> None:
    started(stage, 1)
    stage.catalog.rows.clear()
    stage.catalog.unreadable = {1: "Width: not a number"}
    killed(stage)
    stage.show_life(1)
    assert stage.state(1) is State.LIVE


def test_the_database_is_waited_for_and_meanwhile_they_record(stage: Stage) -> None:
    started(stage, 1)
    stage.catalog.away = OSError("no route")
    killed(stage)
    stage.advance(50)
    assert stage.fleet.status() == ()
    assert stage.process(1).signals == []
    stage.catalog.away = None
    stage.advance(61)
    assert stage.sink.adoptions == [1]


def test_a_stop_before_the_database_was_read_stops_them(stage: Stage) -> None:
    started(stage, 1)
    stage.catalog.away = OSError("no route")
    killed(stage)
    stopping = stage.fleet.stopService()
    stage.advance(2)
    assert stopping.called
    assert stage.world.alive() == []


def test_another_document_restarts_it_at_the_end_of_its_clip(stage: Stage) -> None:
    started(stage, 1)
    first = stage.process(1)
    stage.texts[1] = '{"plugins":[2]}'
    stage.sink.open_clips[1] = clip = Deferred()
    killed(stage)
    stage.show_life(1)
    stage.fleet.reconcile()
    stage.advance(20)
    [status] = stage.fleet.status()
    assert (status.state, status.restart_due) == (State.LIVE, "its document changed")
    clip.callback(None)
    stage.advance(3)
    assert first.signals == [signal.SIGTERM]
    assert stage.process(1).stdin == b'{"plugins":[2]}'
    assert stage.fleet.status()[0].restart_due is None


def test_a_clip_that_does_not_end_is_waited_for_a_minute(stage: Stage) -> None:
    started(stage, 1)
    first = stage.process(1)
    stage.texts[1] = '{"plugins":[2]}'
    stage.sink.open_clips[1] = Deferred()
    stage.fleet.reconcile()
    stage.advance(0.1)
    stage.live(1, 55)
    assert first.signals == []
    stage.advance(6)
    assert first.signals == [signal.SIGTERM]


def test_a_document_that_changes_back_restarts_nothing(stage: Stage) -> None:
    started(stage, 1)
    stage.texts[1] = '{"plugins":[2]}'
    stage.sink.open_clips[1] = Deferred()
    stage.fleet.reconcile()
    stage.advance(1)
    del stage.texts[1]
    stage.fleet.reconcile()
    assert stage.fleet.status()[0].restart_due is None
    stage.live(1, 100)
    assert len(stage.world.processes) == 1


def test_many_changed_documents_stop_one_worker_after_the_other(tmp_path: Path) -> None:
    stage = Stage(tmp_path, starts_per_second=4.0)
    stage.catalog.put(*(wanted(n) for n in range(1, 9)))
    stage.fleet.startService()
    stage.advance(3)
    for n in range(1, 9):
        stage.show_life(n)
        stage.texts[n] = '{"plugins":[2]}'
    stage.fleet.reconcile()
    fewest = 8
    for _ in range(60):
        stage.advance(0.1, step=0.1)
        fewest = min(fewest, len(stage.world.alive()))
    assert len(stage.world.processes) == 16
    assert fewest >= 2, "each is away for its own second or so"


def test_a_restart_that_an_operator_asks_for_waits_for_nothing(stage: Stage) -> None:
    started(stage, 1)
    stage.sink.open_clips[1] = Deferred()
    stage.fleet.restart(1)
    assert stage.process(1).signals == [signal.SIGTERM]


def test_too_much_memory_restarts_at_a_clips_end(tmp_path: Path) -> None:
    stage = started(Stage(tmp_path, max_rss_mb=100), 1)
    process = stage.process(1)
    stage.sink.open_clips[1] = clip = Deferred()
    stage.world.resident[process.pid] = 100 * 1024
    stage.live(1, 15)
    assert stage.fleet.status()[0].restart_due is None
    stage.world.resident[process.pid] += 1
    stage.live(1, 15)
    assert stage.fleet.status()[0].restart_due == "it uses 100 MiB of memory, max_rss_mb is 100"
    clip.callback(None)
    stage.advance(2)
    assert stage.process(1).pid != process.pid


def test_a_hand_over_leaves_everything_running(stage: Stage) -> None:
    started(stage, 1, 2, 3, 4)
    stage.process(2).end(5)  # waits for its next try
    stage.world.stubborn = True
    stage.fleet.hold(3)  # is being stopped
    stage.sink.open_clips[4] = Deferred()
    stage.texts[4] = '{"plugins":[2]}'
    stage.fleet.reconcile()  # waits for the end of a clip
    stage.advance(0.1)
    assert stage.fleet.leave().called
    assert stage.fleet.stopService().called
    assert stage.world.getDelayedCalls() == [], "no timer of ours goes on"
    assert stage.link(1).calls[-1] == "abort"
    assert [process.monitor_id for process in stage.world.alive()] == [1, 3, 4]
    assert stage.sink.ended == [2], "nothing has ended for those who listen"
    with pytest.raises(NotInFleet, match="not running"):
        stage.fleet.restart(1)
    killed(stage)
    stage.world.stubborn = False
    stage.advance(40)
    assert stage.process(1).signals == []
    assert stage.state(3) is State.HELD, "a hold outlives us"


def test_output_and_exit_after_a_hand_over_go_nowhere(stage: Stage) -> None:
    started(stage, 1)
    process = stage.process(1)
    stage.fleet.leave()
    process.protocol.outReceived(b"store: recording_opening token=1-2-3 cause=motion\n")
    process.end(0)
    stage.advance(5)
    assert (stage.sink.openings, stage.sink.ended) == ([], [])
    assert len(stage.world.processes) == 1


def test_without_survive_restart_they_end_with_us(tmp_path: Path) -> None:
    stage = started(Stage(tmp_path, survive_restart=False), 1)
    process = stage.process(1)
    at = next(n for n, word in enumerate(process.arguments) if word.endswith("/setpriv"))
    assert process.arguments[at : at + 4] == [process.arguments[at], "--pdeathsig", "TERM", str(stage.binary)]
    failures: list[object] = []
    stage.fleet.leave().addErrback(lambda failure: failures.append(failure.type))
    assert failures == [CannotLeave]
    assert stage.state(1) is State.LIVE


def test_one_that_was_started_to_survive_is_replaced_by_one_that_does_not(stage: Stage) -> None:
    started(stage, 1)
    first = stage.process(1)
    worker_configured(stage, survive_restart=False)
    killed(stage)
    stage.advance(2)
    assert not first.alive
    assert "--pdeathsig" in stage.process(1).arguments


def test_we_were_killed_before_the_record_was_written(stage: Stage) -> None:
    started(stage, 1)
    process = stage.process(1)
    Path(record_path(stage.settings.run, 1)).unlink()
    killed(stage)
    assert stage.sink.adoptions == [1], "found by its lock and its command line"
    stage.show_life(1)
    stage.fleet.reconcile()
    stage.advance(3)
    assert process.signals == [signal.SIGTERM], "but nothing tells what document it runs"
    assert len(stage.world.alive(1)) == 1


@pytest.mark.parametrize("change", [{"started": 1}, {"boot": "another"}, {"pid": 99999}, {"program": "/bin/other"}])
def test_a_record_that_does_not_agree_with_the_process_is_not_believed(stage: Stage, change: dict[str, Any]) -> None:
    started(stage, 1)
    path = Path(record_path(stage.settings.run, 1))
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    killed(stage)
    stage.show_life(1)
    stage.advance(3)
    assert stage.world.processes[0].signals == [signal.SIGTERM]
    assert len(stage.world.alive(1)) == 1


def test_a_record_of_a_dead_worker_adopts_nobody(stage: Stage) -> None:
    started(stage, 1)
    stage.world.die()
    stage.process(1).end(None, 9)
    killed(stage)
    stage.advance(1)
    assert stage.sink.adoptions == []
    assert stage.process(1) is stage.world.processes[1]


def test_one_that_ends_between_the_sweep_and_the_first_read(stage: Stage) -> None:
    started(stage, 1)
    stage.catalog.away = OSError("no route")
    killed(stage)
    stage.process(1).end(None, 9)
    stage.catalog.away = None
    stage.fleet.reconcile()
    stage.advance(1)
    assert stage.sink.adoptions == []
    assert stage.process(1) is stage.world.processes[1]


def test_nothing_is_started_beside_a_stranger_that_has_the_lock(stage: Stage) -> None:
    with LockFile.take(lock_path(stage.settings.run, 1)), capturedLogs() as logs:
        stage.catalog.put(wanted(1))
        stage.fleet.startService()
        stage.advance(1)
        assert stage.world.processes == []
        assert "none is started beside it" in stage.fleet.status()[0].reason
    assert any("fuser" in log.get("reason", "") for log in logs)
    stage.advance(10)
    assert stage.process(1).alive


def test_a_worker_that_has_the_lock_at_a_start_is_adopted_instead(stage: Stage) -> None:
    """Not seen at the sweep: its launcher had not become it yet."""
    started(stage, 1)
    stage.world.die()
    Path(record_path(stage.settings.run, 1)).unlink()
    real = stage.process(1).arguments
    stage.process(1).arguments = ["python3", "twistd", "--pipeline", "x"]
    killed(stage)
    assert stage.state(1) is State.BACKOFF
    stage.process(1).arguments = real
    stage.advance(2)
    assert stage.sink.adoptions == [1]
    assert stage.fleet.status()[0].adopted


def test_holds_are_kept_and_a_broken_file_is_put_aside(stage: Stage) -> None:
    started(stage, 1, 2)
    stage.fleet.hold(1)
    stage.fleet.stop(2)
    stage.advance(2)
    kept = stage.directory / "state" / "held.json"
    assert json.loads(kept.read_text()) == {"held": [1]}
    killed(stage)
    assert stage.state(1) is State.HELD
    assert stage.process(2).alive, "a stop lasts until the next start only"
    stage.fleet.release(1)
    assert json.loads(kept.read_text()) == {"held": []}

    kept.write_text("{")
    with capturedLogs() as logs:
        killed(stage)
    assert any("none is" in log["log_format"] for log in logs if log["log_format"])
    assert kept.with_suffix(".bad").exists()


def test_a_hold_that_can_not_be_kept_holds_now_and_is_said(stage: Stage) -> None:
    started(stage, 1)
    (stage.directory / "state").rmdir()
    with capturedLogs() as logs:
        stage.fleet.hold(1)
        stage.advance(2)
    assert stage.state(1) is State.HELD
    assert any("forgotten at the next restart" in log["log_format"] for log in logs if log["log_format"])


def test_little_shared_memory_is_said_once(stage: Stage) -> None:
    stage.settings = attrs.evolve(stage.settings, rings=str(stage.directory / "nowhere"))
    stage.fleet = stage.new_fleet()
    with capturedLogs() as logs:
        started(stage, 1)
        stage.fleet.reconcile()
    assert len([log for log in logs if "nowhere can't be looked at" in log.get("warning", "")]) == 1
