from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.service_case import SIMULATOR, Installation
from tests.waiting import wait_for
from zmtwist.ops.cli import try_monitor
from zmtwist.ops.cli.main import main
from zmtwist.ops.cli.try_monitor import trial_of

CTL = SIMULATOR.with_name("zmnextctl")
SECRET = "Zebra1Front"


@pytest.fixture
def zm(tmp_path):
    return Installation.make(tmp_path)


@pytest.fixture
def trials(monkeypatch):
    """Where trials are made: a short path, as sockets need, and empty afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="t-"))
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    yield directory
    assert list(directory.iterdir()) == []
    assert processes_at(directory) == []
    shutil.rmtree(directory)


def processes_at(directory):
    """Processes that are told of this directory."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(directory).encode() in each.read_bytes():
                found.append(each)
        except OSError:
            continue
    return found


@pytest.fixture
def ring(monkeypatch):
    """The ring of the trial's worker: it was there, and is gone afterwards."""
    free_id, made = try_monitor._free_id, []

    def noted():
        made.append(free_id())
        return made[-1]

    monkeypatch.setattr(try_monitor, "_free_id", noted)
    yield
    assert [ring_of(number).exists() for number in made] == [False]


def ring_of(worker_id):
    return Path(f"/dev/shm/zm_shmring_{worker_id}")


def config(zm, extra="", **options):
    file = zm.directory / "zmnext.toml"
    file.write_text(zm.config(extra, **options))
    return str(file)


def tried(capsys, file, monitor_id=1, seconds=4):
    """Exit status, findings by what they are about, and all that was written."""
    arguments = ["--json", "--config", file, "--zm-conf", "/nonexistent"]
    status = main(["try", str(monitor_id), "--seconds", str(seconds), *arguments])
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    if "error" in answer:
        return status, answer["error"], captured.out + captured.err
    assert answer["ok"] == (status == 0)
    return status, {one["what"]: one for one in answer["findings"]}, captured.out + captured.err


def test_a_good_camera(zm, trials, ring, capsys):
    pytest.importorskip("av")
    zm.monitor(1, "Modect")
    status, found, _ = tried(capsys, config(zm, tuning={"ZM_CORE_SIM": "fps=10,shm,first=0,period=2"}))
    assert (status, {one["verdict"] for one in found.values()}) == (0, {"ok"})
    assert found["codec"]["found"] == "H.264, 320x240"
    assert "can be played" in found["clip"]["found"]
    assert "would have begun a clip" in found["detector"]["found"]
    assert zm.events() == []
    assert list(zm.storage.iterdir()) == []


def test_a_dead_input(zm, trials, capsys):
    zm.monitor(1)
    status, found, _ = tried(capsys, config(zm, tuning={"ZM_CORE_SIM": "light,dead"}))
    assert (status, found["camera"]["verdict"]) == (1, "FAIL")
    assert "No such file" in found["camera"]["found"]


def test_a_crash_and_its_ring(zm, trials, ring, capsys):
    zm.monitor(1)
    status, found, _ = tried(capsys, config(zm, tuning={"ZM_CORE_SIM": "light,shm,crash_after=1"}))
    assert (status, found["worker"]["verdict"]) == (1, "FAIL")
    assert "SIGSEGV" in found["worker"]["found"]


def test_a_worker_that_does_not_end(zm, trials, capsys, monkeypatch):
    monkeypatch.setattr("zmtwist.ops.cli.try_monitor.END_SECONDS", 0.5)
    zm.monitor(1)
    _, found, _ = tried(capsys, config(zm, tuning={"ZM_CORE_SIM": "light,refuse_term"}), seconds=3)
    assert "had to be killed" in found["worker"]["found"]


def test_b_frames(zm, trials, capsys):
    zm.monitor(1)
    status, found, _ = tried(capsys, config(zm, tuning={"ZM_CORE_SIM": "light,bframes=2"}))
    assert (status, found["B-frames"]["verdict"]) == (1, "FAIL")


def test_a_monitor_that_is_refused(zm, trials, capsys):
    zm.monitor(1, Type="Local", Path="", Device="/dev/video0")
    status, found, _ = tried(capsys, config(zm))
    assert (status, list(found)) == (1, ["document"])
    assert "stays with the legacy daemon" in found["document"]["found"]


def test_a_monitor_that_does_not_record_or_run(zm, trials, capsys):
    zm.monitor(1, "Monitor")
    extra = "[[zmnext.monitor]]\nid = 1\nenabled = false"
    file = config(zm, extra, tuning={"ZM_CORE_SIM": "light"})
    assert main(["try", "1", "--seconds", "3", "--config", file, "--zm-conf", "/nonexistent"]) == 0
    out = capsys.readouterr().out
    assert "it is not to record" in out
    assert "it does not run on zm-next" in out
    assert "clip " in out


def test_no_such_monitor_and_other_misuse(zm, trials, capsys):
    status, error, _ = tried(capsys, config(zm), monitor_id=7)
    assert (status, error["code"]) == (4, "no_such_monitor")
    status, error, _ = tried(capsys, "/nonexistent.toml")
    assert status in (1, 2)
    for seconds in ("1", "601", "x"):
        with pytest.raises(SystemExit) as ended:
            main(["try", "1", "--seconds", seconds])
        assert ended.value.code == 2


def test_a_storage_that_is_not_there(zm, trials, capsys):
    zm.monitor(1)
    zm.storage.rmdir()
    status, found, _ = tried(capsys, config(zm))
    assert (status, list(found)) == (1, ["worker"])
    assert "is its disk mounted?" in found["worker"]["found"]


def test_a_password_is_told_nobody(zm, trials, capsys):
    """This worker says all that it knows."""
    worker = zm.directory / "talker"
    worker.write_text(
        '#!/bin/sh\ncat /dev/stdin\necho\necho "cannot open with $(tr -d "{}" < /dev/stdin)" >&2\nexit 3\n'
    )
    worker.chmod(0o755)
    (zm.directory / "plugins" / "store").mkdir(parents=True)
    for kind in ("capture_rtsp_multi", "store"):
        folder = zm.directory / "plugins" / kind
        folder.mkdir(exist_ok=True)
        (folder / f"{kind}.so").touch()
    zm.monitor(1, Type="Ffmpeg", Path="rtsp://127.0.0.1:9/live", User="bob", Pass=SECRET)
    status, found, written = tried(capsys, config(zm, binary=worker))
    assert (status, "exit 3" in found["worker"]["found"]) == (1, True)
    assert "rtsp://***@127.0.0.1:9/live" in found["worker"]["found"]
    assert SECRET not in written


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(zm, trials, number):
    zm.monitor(1)
    file = config(zm, tuning={"ZM_CORE_SIM": "light,shm"})
    with subprocess.Popen(
        [CTL, "try", "1", "--seconds", "300", "--config", file, "--zm-conf", "/nonexistent"],
        env={**os.environ, "TMPDIR": str(trials)},
    ) as ctl:
        wait_for(lambda: list(trials.glob("*/clips/*/*.mkv")), "a clip is opened")
        command = next(told for told in map(Path.read_bytes, processes_at(trials)) if b"--monitor-id" in told)
        ring = ring_of(int(command.split(b"\0")[-2]))
        assert ring.exists()
        ctl.send_signal(number)
        assert ctl.wait(20) == 130
    assert not ring.exists()


def test_a_trial_s_document():
    store = {"id": "record", "kind": "store", "cfg": {"mode": "event", "root": "/a", "trigger_types": ["motion"]}}
    gate = {"id": "m", "kind": "motion_gate", "cfg": {}, "children": [store]}
    tells = {"id": "mqtt", "kind": "output_mqtt", "cfg": {"password": "p"}}
    capture = {"id": "c", "kind": "capture_file", "cfg": {}, "children": [gate, tells]}
    trial = trial_of(json.dumps({"name": "n", "plugins": [capture]}), "/b")
    (root,) = json.loads(trial.text)["plugins"]
    (kept,) = root["children"]
    cfg = kept["children"][0]["cfg"]
    assert (cfg["mode"], cfg["root"], cfg["trigger_types"]) == ("both", "/b", ["motion"])
    assert (trial.looks, trial.triggers, trial.left_out) == (("motion_gate",), {"motion"}, ("output_mqtt",))
