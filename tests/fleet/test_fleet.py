"""Fleet and workers over a pretended reactor: each behaviour by its visible states, processes and signals."""

from __future__ import annotations

import shutil
import signal
import socket
from pathlib import Path

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from zope.interface.verify import verifyObject

from tests.fleet.doubles import FakeCatalog, FakeSink, Stage, reconcile, started, wanted
from zmtwist.config.model import PipelineConfig
from zmtwist.fleet.fleet import Fleet, NotInFleet
from zmtwist.fleet.process.policy import Exit
from zmtwist.fleet.process.preflight import socket_path
from zmtwist.fleet.process.state import State
from zmtwist.interfaces import ICatalog, ICommander, IEventSink, ILinkObserver
from zmtwist.pipeline.document import Document, Refusal
from zmtwist.wire.link import NotLinked
from zmtwist.wire.messages import Response


def test_the_parts_keep_their_promises(stage: Stage) -> None:
    started(stage, 1)
    verifyObject(ICommander, stage.fleet)
    verifyObject(IEventSink, FakeSink())
    verifyObject(ICatalog, FakeCatalog())
    verifyObject(ILinkObserver, stage.link(1).observer)


def test_what_the_database_asks_for_is_spawned(stage: Stage) -> None:
    stage.catalog.put(wanted(3))
    stage.fleet.startService()
    stage.advance(1)
    process = stage.process(3)
    assert process.arguments == [
        shutil.which("env"),
        "--ignore-signal=PIPE",
        shutil.which("setsid"),
        str(stage.binary),
        "--pipeline",
        "/dev/stdin",
        "--socket",
        f"{stage.directory}/stream_3.sock",
        "--monitor-id",
        "3",
    ]
    assert process.environment == {"PATH": "/usr/bin:/bin", "TZ": "Asia/Tokyo"}, "nothing else of ours, no secrets"
    assert process.path == str(stage.directory)
    assert process.stdin == b'{"plugins":[]}'
    assert process.stdin_closed
    assert stage.link(3).calls == ["start"]
    stage.show_life(3)
    [status] = stage.fleet.status()
    assert (status.state, status.pid, status.frames_per_second) == (State.LIVE, process.pid, 15.0)
    assert stage.path(3) == ["STARTING", "LINKED", "LIVE"]


def test_starts_are_spread(tmp_path: Path) -> None:
    stage = Stage(tmp_path, starts_per_second=4.0)
    stage.catalog.put(*(wanted(n) for n in range(1, 9)))
    stage.fleet.startService()
    [waiting] = [told for told in stage.fleet.status() if told.monitor_id == 8]
    assert waiting.state is State.STARTING
    assert waiting.pid is None
    assert waiting.next_start_us == stage.world.wall() + 1_750_000
    stage.advance(3, step=0.05)
    gaps = [b - a for a, b in zip(stage.world.spawned_at, stage.world.spawned_at[1:], strict=False)]
    assert len(gaps) == 7
    assert min(gaps) >= 0.25 - 0.051


def test_a_crash_is_followed_by_backoff_and_a_new_worker(stage: Stage) -> None:
    started(stage, 1)
    first = stage.process(1)
    first.protocol.errReceived(b"[CAP][ERROR] s3cret-word lost\n")
    first.end(None, 11)
    [status] = stage.fleet.status()
    assert status.state is State.BACKOFF
    assert status.last_exit == Exit(signal=11)
    assert status.reason == "signal 11 (SIGSEGV): [CAP][ERROR] *** lost"
    assert status.next_start_us == stage.world.wall() + 1_000_000
    assert stage.link(1).calls == ["start", "drain", "abort"]
    assert stage.sink.ended == [1]
    stage.advance(1.5)
    assert stage.process(1).pid != first.pid
    stage.show_life(1)
    [status] = stage.fleet.status()
    assert status.restarts_last_hour == 1
    assert status.lines == ("[CAP][ERROR] *** lost",), "kept beyond the process that said it"
    stage.live(1, 3605)
    assert stage.fleet.status()[0].restarts_last_hour == 0


def test_the_next_worker_waits_until_the_dead_ones_socket_is_read(stage: Stage) -> None:
    started(stage, 1)
    stage.link(1).drain_waits = True
    stage.process(1).end(0)
    assert stage.sink.ended == []
    stage.link(1).drained.callback(None)
    assert stage.sink.ended == [1]
    assert stage.state(1) is State.BACKOFF


def test_a_socket_that_does_not_end_is_dropped(stage: Stage) -> None:
    started(stage, 1)
    stage.link(1).drain_waits = True
    stage.process(1).end(0)
    stage.advance(2.5)
    assert stage.link(1).calls[-1] == "abort"
    assert stage.sink.ended == [1]


def test_output_held_open_by_a_grandchild_delays_the_next_worker_only_shortly(stage: Stage) -> None:
    started(stage, 1)
    process = stage.process(1)
    process.end(0, pipes=False)
    assert stage.state(1) is State.LIVE
    stage.advance(1.5)
    assert stage.state(1) is State.BACKOFF


def test_a_bad_document_is_fatal_until_it_changes(stage: Stage) -> None:
    started(stage, 1)
    process = stage.process(1)
    process.protocol.errReceived(b"[CORE][INFO] start\n[CORE][ERROR] no plugin named foo\n")
    process.end(4)
    assert stage.state(1) is State.FATAL
    [status] = stage.fleet.status()
    assert status.reason == "exit 4: could not load a plugin: [CORE][ERROR] no plugin named foo"
    reconcile(stage)
    assert stage.state(1) is State.FATAL
    stage.texts[1] = '{"plugins":[1]}'
    reconcile(stage)
    assert stage.process(1).stdin == b'{"plugins":[1]}'


def test_a_missing_binary_is_fatal_until_it_is_there(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.binary.unlink()
    stage.catalog.put(wanted(1))
    stage.fleet.startService()
    stage.advance(1)
    [status] = stage.fleet.status()
    assert status.state is State.FATAL
    assert "no such program" in status.reason
    reconcile(stage)
    assert stage.state(1) is State.FATAL
    stage.binary.write_text("#!/bin/sh\n")
    stage.binary.chmod(0o755)
    reconcile(stage)
    assert stage.process(1).alive


def test_a_spawn_that_fails_is_tried_again(stage: Stage) -> None:
    stage.world.refuse = BlockingIOError(11, "Resource temporarily unavailable")
    stage.catalog.put(wanted(1))
    stage.fleet.startService()
    stage.advance(0.5)
    assert stage.fleet.status()[0].reason == "cannot start a process: Resource temporarily unavailable"
    assert stage.state(1) is State.BACKOFF
    assert stage.link(1).calls == ["start", "abort"]
    stage.world.refuse = None
    stage.advance(2)
    assert stage.process(1).alive


def test_a_storage_that_is_not_there_is_told_and_retried(stage: Stage) -> None:
    root = stage.directory / "events"
    stage.compose = lambda monitor: Document(monitor.id, "{}", "continuous", str(root))  # type: ignore[method-assign]
    stage.fleet = stage.new_fleet()
    stage.catalog.put(wanted(1))
    stage.fleet.startService()
    stage.advance(0.5)
    assert stage.state(1) is State.BACKOFF
    assert stage.fleet.status()[0].reason == f"the storage {root} is not there: is its disk mounted?"
    root.mkdir()
    stage.advance(2)
    assert stage.process(1).alive


def test_a_dead_workers_socket_goes_before_the_next_start(stage: Stage) -> None:
    path = Path(socket_path(stage.settings, 1))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    started(stage, 1)
    assert not path.exists()
    assert stage.process(1).alive


def test_a_killed_workers_socket_is_removed_when_it_is_reaped(stage: Stage) -> None:
    started(stage, 1)
    path = Path(socket_path(stage.settings, 1))
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    stage.fleet.stopService()
    stage.advance(2)
    assert stage.state(1) is State.STOPPED
    assert not path.exists()


def test_something_else_in_the_sockets_place_is_left_alone(stage: Stage) -> None:
    path = Path(socket_path(stage.settings, 1))
    path.write_text("precious")
    stage.catalog.put(wanted(1))
    stage.fleet.startService()
    stage.advance(0.5)
    assert "no socket" in stage.fleet.status()[0].reason
    assert path.read_text() == "precious"


def test_delivery_by_file(stage: Stage) -> None:
    documents = stage.directory / "documents"
    documents.mkdir()
    zmnext = attrs.evolve(stage.settings.zmnext, pipeline=PipelineConfig(delivery="file", dir=str(documents)))
    stage.settings = attrs.evolve(stage.settings, zmnext=zmnext)
    stage.fleet = stage.new_fleet()
    started(stage, 1)
    path = documents / "pipeline_1.json"
    process = stage.process(1)
    assert process.arguments[process.arguments.index("--pipeline") + 1] == str(path)
    assert (process.stdin, process.stdin_closed) == (b"", True)
    assert path.read_text() == '{"plugins":[]}'
    assert path.stat().st_mode & 0o777 == 0o600
    stage.fleet.stopService()
    stage.advance(2)
    assert list(documents.iterdir()) == []


def test_openings_in_the_log_are_reported(stage: Stage) -> None:
    started(stage, 5)
    process = stage.process(5)
    process.protocol.outReceived(b"[STORE][INFO] store: recording_opening token=5-17")
    process.protocol.outReceived(b"95-2 cause=motion\n")
    process.protocol.outReceived(b"store: recording_opening token=s3cret-word cause=x\n")
    process.protocol.outReceived(b"store: recording_opening token=5-3 cause=\x1b s3cret-word\n")
    now = stage.world.wall()
    assert stage.sink.openings == [(5, "5-1795-2", "motion", now), (5, "5-3", "***", now)]


def test_lines_are_logged_by_monitor_redacted_bounded_and_the_last_kept(stage: Stage) -> None:
    started(stage, 1)
    process = stage.process(1)
    with capturedLogs() as logs:
        process.protocol.outReceived(b"[A][WARN] login s3cret-word\n" + b"y" * 5000 + b"\n")
        process.protocol.outReceived(b"".join(b"line %d\n" % n for n in range(10_000)))
    lines = [log for log in logs if "line" in log]
    assert lines[0]["line"] == "[A][WARN] login ***"
    assert (lines[0]["monitor_id"], lines[0]["log_level"].name, lines[0]["stream"]) == (1, "warn", "stdout")
    assert len(lines[1]["line"]) == 1000
    assert len(lines) <= 200
    kept = stage.fleet.status()[0].lines
    assert len(kept) == 100
    assert kept[-1] == "line 9999"


def test_a_stop_is_term_then_kill_and_the_link_is_drained_meanwhile(stage: Stage) -> None:
    started(stage, 1)
    stage.world.stubborn = True
    process, link = stage.process(1), stage.link(1)
    link.drain_waits = True
    stage.catalog.rows.clear()
    reconcile(stage)
    assert stage.state(1) is State.STOPPING
    assert process.signals == [signal.SIGTERM]
    assert link.calls == ["start", "drain"]
    stage.advance(29)
    assert process.signals == [signal.SIGTERM]
    stage.advance(1)
    assert process.signals == [signal.SIGTERM, signal.SIGKILL]
    link.drained.callback(None)
    stage.advance(0.5)
    assert stage.world.alive() == []
    assert link.calls == ["start", "drain", "abort"], "drained once"
    assert stage.fleet.status() == ()
    assert stage.path(1)[-2:] == ["STOPPING", "STOPPED"]


def test_a_stop_of_the_service_waits_until_every_worker_is_reaped(stage: Stage) -> None:
    started(stage, 1, 2, 3)
    stage.process(3).end(5)
    stage.world.stubborn = True
    stopping = stage.fleet.stopService()
    assert [stage.state(n) for n in (1, 2, 3)] == [State.STOPPING, State.STOPPING, State.STOPPED]
    stage.advance(29)
    assert not stopping.called
    stage.advance(2)
    assert stopping.called
    assert stage.world.alive() == []
    stage.advance(200)
    assert stage.world.alive() == []
    assert stage.world.getDelayedCalls() == [], "nothing is left behind"
    with pytest.raises(NotInFleet, match="service is not running"):
        stage.fleet.start(1)


def test_a_stop_of_the_service_while_the_database_is_read(stage: Stage) -> None:
    answer: Deferred[list[object]] = Deferred()
    stage.catalog.monitors = lambda: answer  # type: ignore[method-assign,assignment,return-value]
    stage.fleet.startService()
    assert stage.fleet.stopService().called
    assert stage.world.getDelayedCalls() == [], "it is not waited for"
    answer.callback([wanted(1)])
    stage.advance(5)
    assert stage.world.processes == []
    assert stage.fleet.catalog_error is None


def test_a_changed_document_restarts_its_worker_after_the_reaping(stage: Stage) -> None:
    started(stage, 1, 2)
    first, other = stage.process(1), stage.process(2)
    stage.texts[1] = '{"plugins":[2]}'
    reconcile(stage)
    assert stage.state(1) is State.STOPPING
    reconcile(stage)
    stage.advance(2)
    second = stage.process(1)
    assert second is not first
    assert second.stdin == b'{"plugins":[2]}'
    assert stage.process(2) is other
    assert stage.fleet.status()[0].reason.startswith("spawned as process")


def test_reconciles_by_itself_and_leaves_what_is_right_alone(stage: Stage) -> None:
    started(stage, 1)
    process = stage.process(1)
    stage.live(1, 200)
    assert stage.catalog.reads == 1 + 200 // 60
    assert stage.process(1) is process


def test_a_failed_read_leaves_the_fleet_as_it_is(stage: Stage) -> None:
    started(stage, 1)
    stage.catalog.away = ConnectionError("no route to the database")
    stage.catalog.rows.clear()
    reconcile(stage)
    assert stage.state(1) is State.LIVE
    assert stage.fleet.catalog_error == "no route to the database"
    stage.catalog.away = None
    reconcile(stage)
    assert stage.state(1) is State.STOPPING
    assert stage.fleet.catalog_error is None


def test_a_read_that_never_ends_counts_as_failed(stage: Stage) -> None:
    started(stage, 1)
    stage.catalog.monitors = lambda: Deferred()  # type: ignore[method-assign,assignment,return-value]
    done = stage.fleet.reconcile()
    stage.live(1, 70)
    assert done.called
    assert stage.fleet.catalog_error
    assert stage.state(1) is State.LIVE


def test_a_row_that_makes_no_sense_keeps_its_worker_and_starts_none(stage: Stage) -> None:
    started(stage, 1)
    stage.catalog.rows.clear()
    stage.catalog.unreadable = {1: "Width: not a number", 2: "Width: not a number"}
    reconcile(stage)
    assert stage.state(1) is State.LIVE
    assert stage.state(2) is None
    assert stage.fleet.unwanted[2] == "its row makes no sense: Width: not a number"


def test_a_refused_monitor_is_listed_and_not_started(stage: Stage) -> None:
    stage.texts[1] = Refusal(1, "Type WebSite has no video")
    started(stage, 2)
    stage.catalog.put(wanted(1))
    reconcile(stage)
    status = stage.fleet.status()[0]
    assert (status.monitor_id, status.state, status.reason) == (1, State.STOPPED, "refused: Type WebSite has no video")
    stage.fleet.start(1)
    stage.advance(1)
    assert stage.world.alive(1) == []
    assert stage.fleet.status()[0].reason == "refused: Type WebSite has no video"
    stage.texts[1] = "{}"
    reconcile(stage)
    assert stage.process(1).alive
    stage.show_life(1)
    stage.texts[1] = Refusal(1, "its address is empty")
    reconcile(stage)
    stage.advance(2)
    assert stage.state(1) is State.STOPPED
    assert stage.state(2) is State.LIVE


def test_a_compose_that_breaks_costs_its_own_monitor_only(stage: Stage) -> None:
    whole = stage.compose

    def compose(monitor: object) -> Document | Refusal:
        if monitor.id == 1:  # type: ignore[attr-defined]
            raise KeyError("x")
        return whole(monitor)  # type: ignore[arg-type]

    stage.compose = compose  # type: ignore[method-assign]
    stage.fleet = stage.new_fleet()
    stage.catalog.put(wanted(1), wanted(2))
    with capturedLogs() as logs:
        stage.fleet.startService()
    stage.advance(1)
    assert stage.process(2).alive
    assert "internal error" in stage.fleet.status()[0].reason
    assert any("log_failure" in log for log in logs)


def test_hold_and_release(stage: Stage) -> None:
    started(stage, 1)
    stage.fleet.hold(1)
    stage.advance(2)
    assert stage.state(1) is State.HELD
    reconcile(stage)
    stage.fleet.restart(1)
    stage.advance(100)
    assert stage.state(1) is State.HELD

    stage.catalog.rows.clear()
    reconcile(stage)
    assert stage.fleet.status() == ()
    stage.catalog.put(wanted(1))
    reconcile(stage)
    assert stage.state(1) is State.HELD, "remembered without its worker"

    stage.fleet.release(1)
    stage.advance(1)
    assert stage.process(1).alive


def test_an_operators_stop_wins_and_a_start_ends_it(stage: Stage) -> None:
    started(stage, 1)
    stage.fleet.stop(1)
    stage.advance(2)
    reconcile(stage)
    assert stage.state(1) is State.HELD
    stage.fleet.start(1)
    stage.advance(1)
    stage.show_life(1)
    assert stage.state(1) is State.LIVE


def test_a_start_does_not_wait_for_the_backoff(stage: Stage) -> None:
    started(stage, 1)
    stage.chance = 1.0
    stage.process(1).end(5)
    reconcile(stage)
    assert stage.state(1) is State.BACKOFF
    stage.fleet.start(1)
    stage.advance(0.1)
    assert stage.process(1).alive


def test_a_restart_by_the_operator(stage: Stage) -> None:
    started(stage, 1)
    first = stage.process(1)
    stage.fleet.restart(1)
    stage.advance(2)
    assert stage.process(1) is not first


def test_a_reload_reads_the_database_anew(stage: Stage) -> None:
    started(stage, 1)
    stage.texts[1] = '{"plugins":[9]}'
    stage.fleet.reload(1)
    stage.advance(2)
    assert stage.process(1).stdin == b'{"plugins":[9]}'
    failures: list[object] = []
    stage.fleet.reload(9).addErrback(lambda failure: failures.append(str(failure.value)))
    assert failures == ["monitor 9 does not run on zm-next: there is no such monitor on this server"]


def test_verbs_name_the_reason_why_a_monitor_is_not_there(stage: Stage) -> None:
    started(stage, 1)
    stage.catalog.put(wanted(2), attrs.evolve(wanted(3), capturing="None"))
    stage.catalog.put(attrs.evolve(wanted(2), use_zm_next=False))
    reconcile(stage)
    with pytest.raises(NotInFleet, match="monitor 2 does not run on zm-next: not opted in"):
        stage.fleet.hold(2)
    with pytest.raises(NotInFleet, match="Capturing is None"):
        stage.fleet.restart(3)


def test_what_a_worker_answers_is_guarded(stage: Stage) -> None:
    started(stage, 1)
    got: list[Response] = []
    stage.link(1).answer = "no \x1b[2Jentry for s3cret-word\nor s%33cret%2Dword " + "x" * 100_000
    stage.fleet.command(1, "assign_recording").addCallback(got.append)
    assert got[0].message == "no  [2Jentry for *** or *** ".ljust(300, "x")


def test_commands_go_to_the_workers_link(stage: Stage) -> None:
    started(stage, 1)
    got: list[object] = []
    stage.fleet.command(1, "assign_recording", event_id=5).addCallback(got.append)
    stage.fleet.command(9, "assign_recording").addErrback(lambda failure: got.append(failure.type))
    stage.fleet.hold(1)
    stage.advance(2)
    stage.fleet.command(1, "assign_recording").addErrback(lambda failure: got.append(failure.type))
    assert got == [Response(ok=True, message="assign_recording {'event_id': 5}"), NotLinked, NotLinked]


def others_live(stage: Stage, seconds: float, *ids: int) -> None:
    for _ in range(round(seconds / 5)):
        for n in ids:
            stage.show_life(n)
        stage.advance(5, step=5)


def test_a_stalled_worker_is_replaced(stage: Stage) -> None:
    started(stage, 1, 2, 3)
    process = stage.process(1)
    others_live(stage, 40, 2, 3)
    assert stage.path(1)[3:5] == ["STALLED", "STOPPING"]
    assert stage.fleet.status()[0].frames_per_second is None
    assert process.signals[0] == signal.SIGTERM
    others_live(stage, 5, 2, 3)
    assert stage.process(1) is not process
    stage.show_life(1)
    assert stage.path(1)[3:] == ["STALLED", "STOPPING", "BACKOFF", "STARTING", "LINKED", "LIVE"]
    assert stage.path(2) == ["STARTING", "LINKED", "LIVE"]


def test_a_worker_that_never_answers_is_replaced(stage: Stage) -> None:
    stage.catalog.put(wanted(1))
    stage.fleet.startService()
    stage.advance(1)
    stage.advance(36, step=5)
    told = next(told for told in stage.transitions if told.to_state is State.STALLED)
    assert "socket has not answered" in told.reason


def test_many_stalls_at_once_are_the_hosts_fault_for_one_window(stage: Stage) -> None:
    started(stage, 1, 2, 3, 4)
    with capturedLogs() as logs:
        others_live(stage, 45, 1)
    assert [stage.state(n) for n in (1, 2, 3, 4)] == [State.LIVE, State.STALLED, State.STALLED, State.STALLED]
    said = [log["reason"] for log in logs if "the host looks ill" in (log["log_format"] or "")]
    assert said == ["3 of 4 workers stalled within 30 s"]
    stage.show_life(2)
    assert stage.state(2) is State.LIVE, "it came back by itself"
    others_live(stage, 35, 1, 2)
    assert stage.state(2) is State.LIVE
    assert [len(stage.world.alive(n)) for n in (1, 2)] == [1, 1]
    assert len(stage.world.processes) > 4, "the others are replaced when the window is over"


def test_a_late_loop_of_ours_is_not_the_workers_fault(stage: Stage) -> None:
    started(stage, 1, 2, 3)
    stage.world.advance(120)
    stage.advance(4, step=1)
    for n in (1, 2, 3):
        stage.show_life(n)
    others_live(stage, 60, 1, 2, 3)
    assert len(stage.world.processes) == 3
    assert all("STOPPING" not in stage.path(n) for n in (1, 2, 3))


def test_a_late_exit_of_the_link_changes_nothing_by_itself(stage: Stage) -> None:
    started(stage, 1)
    stage.link(1).observer.unlinked("connection lost")
    [status] = stage.fleet.status()
    assert (status.state, status.frames_per_second) == (State.LIVE, None)
    stage.show_life(1)
    assert stage.path(1) == ["STARTING", "LINKED", "LIVE"]


def test_a_worker_that_sends_no_video_lives_by_its_stats(stage: Stage) -> None:
    stage.catalog.put(wanted(1))
    stage.fleet.startService()
    stage.advance(1)
    link = stage.link(1)
    link.observer.linked()
    link.observer.stats()
    assert stage.state(1) is State.LINKED, "no stream announced yet: media are waited for"
    link.status.audio = object()
    for _ in range(20):
        link.observer.stats()
        stage.advance(5, step=5)
    assert stage.path(1) == ["STARTING", "LINKED", "LIVE"]
    stage.advance(40, step=5)
    assert stage.path(1)[3] == "STALLED"


def test_warnings_of_a_document_are_logged_once(stage: Stage) -> None:
    stage.compose = lambda monitor: Document(monitor.id, "{}", "none", None, warnings=("no zones",))  # type: ignore[method-assign]
    stage.fleet = stage.new_fleet()
    with capturedLogs() as logs:
        started(stage, 1)
        for _ in range(3):
            reconcile(stage)
    assert [log["warning"] for log in logs if "warning" in log] == ["no zones"]


def test_a_fleet_that_is_started_again_works(stage: Stage) -> None:
    started(stage, 1)
    stage.fleet.stopService()
    stage.advance(3)
    assert isinstance(stage.fleet, Fleet)
    stage.fleet.startService()
    stage.advance(1)
    assert stage.process(1).alive


@pytest.mark.parametrize("order", ["start", "restart", "release"])
def test_one_that_is_ending_because_nobody_wants_it_is_not_started_again(stage: Stage, order: str) -> None:
    started(stage, 1)
    stage.world.stubborn = True
    stage.catalog.put(attrs.evolve(wanted(1), capturing="None"))
    reconcile(stage)
    assert stage.state(1) is State.STOPPING
    with pytest.raises(NotInFleet) as refused:
        getattr(stage.fleet, order)(1)
    assert refused.value.reason == stage.fleet.unwanted[1]
    stage.advance(60)
    assert stage.world.alive(1) == []
    assert len(stage.world.processes) == 1
    assert stage.state(1) is None


def test_one_that_is_ending_because_its_row_is_gone_is_not_started_again(stage: Stage) -> None:
    started(stage, 1)
    del stage.catalog.rows[1]
    assert stage.fleet.reconcile().called
    assert stage.state(1) is State.STOPPING
    with pytest.raises(NotInFleet, match="there is no such monitor"):
        stage.fleet.start(1)
    stage.advance(10)
    assert stage.world.alive(1) == []
