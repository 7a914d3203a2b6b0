"""Every verb of `zmnextctl`, as a process of its own, against a running service."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
import pytest_twisted
from twisted.internet.defer import fail, succeed
from twisted.internet.threads import deferToThread

from tests.ops.served import free_port
from tests.service_case import Installation
from tests.waiting import until
from zmtwist.fleet.process.adoption import CannotLeave
from zmtwist.fleet.process.state import State
from zmtwist.notifications import EventClosed
from zmtwist.ops.cli.main import main
from zmtwist.ops.commands import ORDERS

VERBS = {"status", "monitors", "why", "logs", "pipeline", "events", "watch", "reconcile", *ORDERS}
PROGRAM = Path(sys.executable).with_name("zmnextctl")


@attrs.frozen
class Ran:
    status: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


def ctl(*arguments):
    def run():
        ended = subprocess.run([str(PROGRAM), *map(str, arguments)], capture_output=True, text=True, timeout=30)
        return Ran(ended.returncode, ended.stdout, ended.stderr)

    return deferToThread(run)


def ctl_here(*arguments):
    """As `ctl`, in a thread of this process, which takes a tenth of the time."""

    def run():
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = main([str(argument) for argument in arguments])
            except SystemExit as exit_:
                status = exit_.code
        return Ran(status, out.getvalue(), err.getvalue())

    return deferToThread(run)


@pytest.fixture
def zm(tmp_path):
    made = Installation.make(tmp_path)
    made.monitor(
        1, "Record", SectionLength=2, Name="Front \x1b[31mdoor", Type="Ffmpeg", Path="rtsp://bob:hush@127.0.0.1/yard"
    )
    made.monitor(2, "Record", Type="Local")
    made.monitor(3, "None")
    return made


@pytest_twisted.ensureDeferred
async def test_every_verb(zm):
    service = zm.service("[zmnext.pipeline]\ndetect = false")
    config = zm.directory / "zmnext.toml"
    config.write_text(f'[paths]\nrun = "{zm.directory}/run"\n')
    api = f"{zm.directory}/run/api.sock"
    said, run_as_program = [], set()

    async def run(*arguments, status=0):
        # Each verb as a program once; what else is asked of it is quicker here.
        first = not any(verb in arguments for verb in run_as_program)
        run_as_program.update(set(arguments) & VERBS if first else ())
        ran = await (ctl if first else ctl_here)("--api", api, *arguments)
        said.append(ran.out + ran.err)
        assert ran.status == status, ran
        return ran

    def state():
        return service.fleet.status()[0].state

    service.startService()
    try:
        await until(lambda: zm.told_of(EventClosed) and state() is State.LIVE)
        assert "service   RUNNING" in (await run("status")).out
        assert (await ctl_here("status", "--json", "--config", config)).json["monitors"]["by_state"] == {
            "STOPPED": 1,
            "LIVE": 1,
        }

        table = (await run("monitors")).out.splitlines()
        assert table[0].split() == ["Id", "Name", "State", "For", "Fps", "Restarts/h", "Event", "Reason"]
        assert "LIVE" in table[2] and "Front  [31mdoor" in table[2]
        assert "Not on zm-next:" in table and "Function is None" in table[-1]
        assert (await run("--json", "monitors")).json["elsewhere"][0]["id"] == 3

        assert "monitor 1 (Front  [31mdoor) is LIVE: " in (await run("why", 1)).out
        assert "refused: " in (await run("why", 2)).out
        assert "does not run on zm-next: Function is None" in (await run("why", 3)).out
        assert "no monitor 9" in (await run("why", 9, status=4)).err
        assert (await run("--json", "stop", 9, status=4)).json["error"]["code"] == "no_such_monitor"
        assert "Function is None" in (await run("stop", 3, status=4)).err

        document = json.loads((await run("pipeline", 1)).out)
        assert document["plugins"][0]["cfg"]["streams"][0]["url"] == "rtsp://***@127.0.0.1/yard"
        assert (await run("pipeline", 1, "--diff")).out == "monitor 1: nothing would change\n"
        zm.execute("UPDATE Monitors SET SectionLength = 3 WHERE Id = 1")
        assert '"max_secs": 3' in (await run("pipeline", 1, "--diff")).out
        assert (await run("pipeline", 1, "--diff", "--json")).json["same"] is False
        zm.execute("UPDATE Monitors SET SectionLength = 2 WHERE Id = 1")

        assert "store: recording_opening" in (await run("logs", 1)).out
        events = (await run("events", "--monitor", 1, "--limit", 3)).out.splitlines()
        assert events[0].split()[:3] == ["Id", "Monitor", "Cause"] and len(events) >= 3
        followed = (await run("events", "--follow", "--count", 1)).out
        assert "monitor 1: " in followed
        assert "LIVE" in (await run("watch", "--count", 2, "--interval", 0.05)).out
        assert (await run("watch", "--count", 1, "--json")).json["monitors"][0]["id"] == 1

        assert "monitor 1 " in (await run("hold", 1)).out
        await until(lambda: state() is State.HELD)
        assert "HELD" in (await run("why", 1)).out
        await run("release", 1)
        await until(lambda: state() is State.LIVE)
        await run("stop", 1)
        await until(lambda: state() is State.HELD)
        await run("start", 1)
        await until(lambda: state() is State.LIVE)
        pid = service.fleet.status()[0].pid
        await run("restart", 1)
        await until(lambda: state() is State.LIVE and service.fleet.status()[0].pid != pid)
        await run("reload", 1)
        assert "2 monitors" in (await run("reconcile")).out
    finally:
        await service.stopService()
    assert "no service answers" in (await run("status", status=3)).err
    assert (await run("--json", "monitors", status=3)).json["error"]["code"] == "unreachable"
    assert not any("hush" in text or "\x1b" in text for text in said)
    assert run_as_program == VERBS


@pytest_twisted.ensureDeferred
async def test_over_tcp(zm):
    port = free_port()
    service = zm.service(f'[zmnext.pipeline]\ndetect = false\n[api]\nweb = "tcp:{port}:interface=127.0.0.1"')
    service.startService()
    try:
        await until(lambda: service.fleet and service.fleet.status())
        at = ["--api", f"http://127.0.0.1:{port}"]
        token = zm.directory / "state" / "api.token"
        assert (await ctl(*at, "--token-file", token, "monitors")).status == 0
        missing = await ctl_here(*at, "--token-file", zm.directory / "nothing", "monitors")
        assert (missing.status, "no such file" in missing.err) == (5, True)
        wrong = zm.directory / "wrong"
        wrong.write_text("x" * 40)
        wrong.chmod(0o600)
        assert (await ctl_here(*at, "--token-file", wrong, "monitors")).status == 5
    finally:
        await service.stopService()


@pytest_twisted.ensureDeferred
async def test_handoff(zm, monkeypatch):
    service = zm.service("[zmnext.pipeline]\ndetect = false")
    asked = []
    service.startService()
    try:
        await until(lambda: service.fleet and any(told.pid for told in service.fleet.status()))
        api = f"{zm.directory}/run/api.sock"
        # Ending the process is tests/test_survival.py's; this one has to go on.
        monkeypatch.setattr(service, "handoff", lambda: fail(CannotLeave("[zmnext.worker] survive_restart is false")))
        ran = await ctl("--api", api, "handoff")
        assert (ran.status, "survive_restart" in ran.err) == (1, True)
        monkeypatch.setattr(service, "handoff", lambda: succeed(asked.append(1)))
        ran = await ctl("--api", api, "handoff", "--wait", "0")
        assert (ran.status, ran.out.startswith("1 workers go on recording")) == (0, True)
        ran = await ctl_here("--api", api, "--json", "handoff", "--wait", "0.2")
        assert (ran.status, ran.json) == (1, {"workers": 1, "ended": False})
        ran = await ctl_here("--api", api, "handoff", "--wait", "0.2")
        assert (ran.status, f"(process {os.getpid()}) is ending, and has not ended within 0.2 s" in ran.out) == (
            1,
            True,
        )
        assert asked == [1, 1, 1]
    finally:
        await service.stopService()


@pytest_twisted.ensureDeferred
async def test_wrong_usage(tmp_path):
    for arguments in (
        ["--api", "nowhere", "status"],
        ["stop", "one"],
        ["stop"],
        ["recover", "--days", "x"],
        ["status", "--config", tmp_path / "no.toml"],
    ):
        ran = await ctl_here(*arguments)
        assert ran.status == 2, ran
        assert "Traceback" not in ran.err
