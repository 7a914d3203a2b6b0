"""The shared inference under the whole service: real processes, ours killed as well as theirs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from tests.ops.served import ask
from tests.service_case import Installation
from tests.waiting import until
from zmtwist.fleet.process.state import State
from zmtwist.ops.cli.format import status_lines
from zmtwist.service import ZmNext

STAND_IN = Path(__file__).parent / "infer_stand_in.py"
EXTRA = "[zmnext.share_inference]\nenabled = true"


@pytest.fixture
def zm(tmp_path: Path) -> Installation:
    made = Installation.make(tmp_path)
    made.monitor(1, "Record")
    program = tmp_path / "bin" / "zm-infer"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{STAND_IN.read_text()}")
    program.chmod(0o755)
    return made


def tuning(zm: Installation) -> dict[str, str]:
    return {
        "ZM_CORE_SIM": "fps=10",
        "PATH": f"{zm.directory}/bin:{os.environ['PATH']}",
        "INFER_MOOD": f"{zm.directory}/mood",
    }


def state(service: ZmNext) -> State | None:
    found = service.fleet.inference if service.fleet is not None else None
    return found.state if found is not None else None


def live(service: ZmNext) -> Any:
    return lambda: (
        state(service) is State.LIVE
        and service.fleet is not None
        and [told.state for told in service.fleet.status()] == [State.LIVE]
    )


@pytest_twisted.ensureDeferred
async def test_it_outlives_our_kill_is_kept_running_and_shown_and_ends_last(zm: Installation) -> None:
    config, mood = zm.directory / "zmnext.toml", zm.directory / "mood"
    text = zm.config(EXTRA, tuning=tuning(zm))
    config.write_text(text)
    twistd = [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", "zmnext", "--config", str(config)]
    first = subprocess.Popen(twistd, cwd=zm.directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        await until(lambda: zm.events())
    finally:
        first.kill()
        first.wait()
    service = zm.service_of(text)
    service.startService()
    try:
        await until(live(service), 30)
        found, [worker] = service.fleet.inference, service.fleet.status()
        assert found.adopted
        assert worker.adopted

        mood.write_text("crash")
        os.kill(found.pid, signal.SIGKILL)
        await until(lambda: state(service) is State.BACKOFF and "no GPU 0" in service.fleet.inference.reason)
        answer = await ask(f"{zm.directory}/run/api.sock", "/api/status")
        assert answer.json["inference"]["state"] == "BACKOFF"
        assert "[INFER][ERROR] no GPU 0" in answer.json["inference"]["log"]
        assert any("nothing is detected without it" in line for line in status_lines(answer.json))
        metrics = (await ask(f"{zm.directory}/run/api.sock", "/metrics")).body.decode()
        assert "zmnext_inference_up 0.0" in metrics

        mood.unlink()
        await until(lambda: state(service) is State.LIVE)
        assert [told.pid for told in service.fleet.status()] == [worker.pid], "the worker went on"
        pid = service.fleet.inference.pid
    finally:
        await service.stopService()
    assert not Path(f"/proc/{pid}").exists()
    assert [path.name for path in (zm.directory / "run").iterdir() if "infer" in path.name] == ["infer.lock"]
