"""The process: options, exit statuses, signals, its log, its socket's file (doc/reference/worker.md, Command line)."""

from __future__ import annotations

import json
import os
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.sim.harness import COMMAND, DEADLINE, Client, Sim, document, node
from tests.waiting import crowd, wait_for
from zmtwist.sim.document import UnknownPlugin
from zmtwist.sim.main import Usage, main, make_camera, parse_options
from zmtwist.sim.tuning import Tuning
from zmtwist.wire.messages import Bye

Start = Callable[..., Sim]
LIGHT = "light,fps=20,gop=0.2"


def segments(root: Path, **store: Any) -> dict[str, Any]:
    return document(node("store", mode="continuous", root=str(root), monitor_id=3, **{"max_secs": 1, **store}))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "missing --pipeline, --socket, --monitor-id"),
        (["--pipeline", "p", "--socket", "s"], "missing --monitor-id"),
        (["--pipeline", "p", "--socket", "s", "--monitor-id", "three"], "--monitor-id must be a number"),
        (["--pipeline", "p", "--socket", "s", "--monitor-id"], "--monitor-id needs a value"),
        (["--pipeline", "p", "--socket", "s", "--monitor-id", "3", "--daemon", "1"], "unknown option --daemon"),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], told: str) -> None:
    with pytest.raises(Usage, match=told):
        parse_options(arguments)


def test_options_may_stand_in_any_order() -> None:
    assert parse_options(["--monitor-id=3", "--socket", "s", "--pipeline", "p"]) == ("p", "s", 3)


def test_1_3_and_4_are_usage_no_document_no_plugin(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bad, foreign = tmp_path / "bad.json", tmp_path / "foreign.json"
    bad.write_text('{"plugins": [')
    foreign.write_text(json.dumps(document(node("teleport"))))

    def status(pipeline: Path, tuning: str = "light") -> int:
        options = ["--pipeline", str(pipeline), "--socket", str(tmp_path / "s"), "--monitor-id", "3"]
        return main(options, {"ZM_CORE_SIM": tuning})

    assert main(["--pipeline", "p"], {}) == 1
    assert status(bad, "speed=3") == 1
    assert status(tmp_path / "none.json") == 3
    assert status(bad) == 3
    assert status(foreign) == 4
    assert status(bad, "exit=7") == 7
    assert not (tmp_path / "s").exists()
    told = capfd.readouterr().err
    assert all(
        words in told for words in ("usage:", "speed", "Cannot open file", "Exception parsing JSON", "teleport.so")
    )


def test_without_pyav_the_status_is_4_and_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "zmtwist.sim.camera", raising=False)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UnknownPlugin, match=r"install zmtwist\[sim\], or set ZM_CORE_SIM=light"):
        make_camera("yard", Tuning())


def test_help_tells_of_options_and_tuning(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"], {}) == 0
    told = capfd.readouterr().out
    assert "--monitor-id" in told and "crash_after" in told


def test_the_statuses_are_the_processes_own(start: Start, tmp_path: Path) -> None:
    bad, nowhere = start(b"{", "light"), start(document(), "light", socket_path=tmp_path / "none" / "s")
    assert bad.ended() == 3
    assert nowhere.ended() == 5
    assert "Failed to start worker link" in nowhere.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_clean_stop_closes_the_clip_announces_it_says_bye_and_ends_with_0(
    start: Start, tmp_path: Path, number: signal.Signals
) -> None:
    sim = start(segments(tmp_path / "e", max_secs=60), LIGHT)
    client = sim.connect()
    token = client.event(0x0304).detail.clip_token
    sim.terminate(number)
    *_, saved, bye = client.to_the_end()
    assert isinstance(bye, Bye)
    assert (saved.code, saved.detail.event_id) == (0x0303, 0)
    assert Path(saved.detail.path).exists() and Path(saved.detail.path + ".json").exists()
    assert sim.ended() == 0
    assert not sim.path.exists()
    assert f"[PLUGIN][INFO] store: recording_opening token={token} cause=continuous\n" in sim.log
    assert "[WorkerLink] " in sim.log


def test_sighup_is_ignored(start: Start, tmp_path: Path) -> None:
    sim = start(segments(tmp_path / "e"), LIGHT)
    client = sim.connect()
    client.event(0x0304)
    sim.terminate(signal.SIGHUP)
    client.event(0x0304)
    assert sim.process.poll() is None


def test_the_socket_is_bound_first_with_0660_in_place_of_a_stale_one(start: Start, tmp_path: Path) -> None:
    stale = tmp_path / "stale.sock"
    stale.touch()
    sim = start(segments(tmp_path / "e"), f"{LIGHT},connect=1.5", socket_path=stale)
    wait_for(lambda: stale.is_socket(), "the socket")
    assert not (tmp_path / "e").exists()
    client = sim.connect()
    assert stat.S_IMODE(sim.path.stat().st_mode) == 0o660
    assert client.event(0x0304).sequence == 0


def test_a_file_inputs_first_clip_opens_soon_after_the_bind(start: Start, tmp_path: Path) -> None:
    sim = start(segments(tmp_path / "e", max_secs=60), LIGHT, awaits=False)
    (clip,) = wait_for(lambda: list((tmp_path / "e").glob("*/*.mkv")), "a clip")
    after_ms = (clip.parent.stat().st_mtime_ns - sim.path.stat().st_mtime_ns) / 1e6
    assert 0 <= after_ms < 100 * crowd()


def test_the_exit_unlinks_the_path_even_where_it_is_a_newer_ones(start: Start, tmp_path: Path) -> None:
    older = start(document(), LIGHT, socket_path=tmp_path / "s")
    older.connect()
    newer = start(document(), LIGHT, socket_path=tmp_path / "s")
    wait_for(lambda: "listening" in newer.log, "the newer one")
    newer.connect()
    older.terminate()
    assert older.ended() == 0
    assert not newer.path.exists()
    assert newer.process.poll() is None


def test_it_outlives_its_parent_and_its_pipes(start: Start, tmp_path: Path) -> None:
    """The parent holds the reading ends of both pipes and dies by SIGKILL; recording goes on."""
    path, pipeline = tmp_path / "s", tmp_path / "p.json"
    pipeline.write_text(json.dumps(segments(tmp_path / "e", max_secs=0.3)))
    program = (
        "import subprocess, sys, time\n"
        "p = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.PIPE)\n"
        "print(p.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    worker = [*COMMAND, "--pipeline", str(pipeline), "--socket", str(path), "--monitor-id", "3"]
    parent = subprocess.Popen(
        [sys.executable, "-c", program, *worker],
        stdout=subprocess.PIPE,
        env={**os.environ, "ZM_CORE_SIM": LIGHT},
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    pidfd = os.pidfd_open(pid)
    try:
        sim = Sim.__new__(Sim)  # a client's view of a process that is not ours
        sim.path, sim.process, sim.clients, sim.log_path = path, parent, [], pipeline
        client: Client = sim.connect()
        client.event(0x0304)
        parent.kill()
        parent.wait()
        for _ in range(3):
            client.event(0x0303)
        os.kill(pid, signal.SIGTERM)
        assert isinstance(client.to_the_end()[-1], Bye)
        assert select.select([pidfd], [], [], DEADLINE)[0]
        client.connection.close()
    finally:
        parent.kill()
        parent.stdout.close()
        if not select.select([pidfd], [], [], 0)[0]:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)
