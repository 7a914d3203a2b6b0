"""Real processes: small Python children in the worker's place, under the real reactor."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from tests.waiting import until
from zmtwist.config.model import Level
from zmtwist.fleet.process.child import CannotSpawn, ChildProcess, Command
from zmtwist.fleet.process.lockfile import LockFile
from zmtwist.fleet.process.output import Opening
from zmtwist.fleet.process.policy import Exit
from zmtwist.fleet.process.slot import of_monitor
from zmtwist.untrusted.budget import Budget, Kind
from zmtwist.untrusted.guard import Guard

pytestmark = pytest.mark.slow

CHILD = """
import json, os, signal, sys, time
print("pid", os.getpid(), "group", os.getpgrp(), "session", os.getsid(0), flush=True)
print("fds", sorted(int(n) for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}")), flush=True)
print("environment", json.dumps(dict(os.environ)), "directory", os.getcwd(), flush=True)
print("document", len(open("/dev/stdin").read()), flush=True)
"""

STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = os.fork()
print("grandchild", grandchild or os.getpid(), flush=True) if grandchild else None
while True:
    time.sleep(60)
"""


class Watcher:
    """Hears of one child."""

    def __init__(self) -> None:
        self.openings: list[Opening] = []
        self.exits: list[Exit] = []
        self.ended: Deferred[Exit] = Deferred()

    def opening_logged(self, told: Opening) -> None:
        self.openings.append(told)

    def child_exited(self, ended: Exit) -> None:
        self.exits.append(ended)
        self.ended.callback(ended)


def spawn(
    directory: Path, code: str, document: bytes = b"", stop_timeout: float = 10.0
) -> tuple[ChildProcess, Watcher]:
    watcher = Watcher()
    child = ChildProcess(reactor, of_monitor(7), watcher, Guard(["s3cret-word"]), Budget(), stop_timeout)
    command = Command(sys.executable, ("-c", code), {"PATH": os.defpath, "ZONE": "x"}, str(directory), document)
    with LockFile.take(str(directory / "lock")) as lock:
        child.spawn(reactor, command, lock.fd)
    return child, watcher


def there(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest_twisted.ensureDeferred
async def test_a_child_gets_its_document_its_own_group_and_nothing_else_of_ours(tmp_path: Path) -> None:
    document = b'{"plugins":[]}' * 50_000
    child, watcher = spawn(tmp_path, CHILD, document)
    pid = child.pid
    assert await watcher.ended.addTimeout(10, reactor) == Exit(code=0)
    said = dict(line.split(" ", 1) for line in child.lines())
    assert said["pid"] == f"{pid} group {pid} session {pid}", "setsid kept the pid"
    assert said["fds"] == "[0, 1, 2, 3]", "standard input and output, its lock, and nothing else"
    environment, directory = said["environment"].rsplit(" directory ", 1)
    assert json.loads(environment).items() >= {"PATH": os.defpath, "ZONE": "x"}.items()
    assert json.loads(environment).keys() <= {"PATH", "ZONE", "LC_CTYPE"}, "LC_CTYPE is of Python's own making"
    assert directory == str(tmp_path)
    assert said["document"] == str(len(document))


@pytest_twisted.ensureDeferred
async def test_a_stop_ends_a_stubborn_worker_and_its_grandchild(tmp_path: Path) -> None:
    child, watcher = spawn(tmp_path, STUBBORN, stop_timeout=0.3)
    await until(child.lines)
    grandchild = int(child.lines()[0].split()[1])
    assert there(grandchild)
    child.stop()
    child.stop()
    assert await watcher.ended.addTimeout(10, reactor) == Exit(signal=signal.SIGKILL)
    await until(lambda: not there(grandchild))
    assert watcher.exits == [Exit(signal=signal.SIGKILL)]


@pytest_twisted.ensureDeferred
async def test_a_polite_worker_gets_the_time_to_end_by_itself(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b'closing the clip\\n'), sys.exit(0)))\n"
        "os.write(1, b'up\\n')\n"  # print may not be interrupted by print
        "signal.pause()\n"
    )
    child, watcher = spawn(tmp_path, code)
    await until(child.lines)
    child.stop()
    assert await watcher.ended.addTimeout(10, reactor) == Exit(code=0)
    assert child.lines() == ("up", "closing the clip"), "its last words are read before its exit is told"


@pytest_twisted.ensureDeferred
async def test_a_grandchild_that_holds_the_output_is_swept_and_does_not_delay_the_exit(tmp_path: Path) -> None:
    code = "import os, time\nif os.fork() == 0: time.sleep(60)\nelse: print('bye', flush=True)\n"
    child, watcher = spawn(tmp_path, code)
    started = reactor.seconds()
    assert await watcher.ended.addTimeout(10, reactor) == Exit(code=0)
    assert reactor.seconds() - started < 5
    assert child.lines() == ("bye",)


@pytest_twisted.ensureDeferred
async def test_a_grandchild_in_a_group_of_its_own_delays_the_exit_only_shortly(tmp_path: Path) -> None:
    code = (
        "import os, time\npid = os.fork()\nif pid == 0:\n    os.setsid()\n    time.sleep(60)\nprint(pid, flush=True)\n"
    )
    child, watcher = spawn(tmp_path, code)
    assert await watcher.ended.addTimeout(10, reactor) == Exit(code=0)
    os.kill(int(child.lines()[0]), signal.SIGKILL)


@pytest_twisted.ensureDeferred
async def test_lines_of_both_streams_are_redacted_bounded_and_understood(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "print('[C][ERROR] rtsp://admin:s3cret-word@cam/ refused', file=sys.stderr)\n"
        "sys.stdout.write('z' * 300_000 + '\\n')\n"
        "print('store: recording_opening token=7-1-2 cause=continuous')\n"
        "sys.stdout.write('no end')\n"
        "sys.stdout.flush()\nsys.exit(3)\n"
    )
    child, watcher = spawn(tmp_path, code)
    assert await watcher.ended.addTimeout(10, reactor) == Exit(code=3)
    lines = child.lines()
    assert watcher.openings == [Opening("7-1-2", "continuous")]
    assert "no end" in lines
    assert max(map(len, lines)) == 1000
    assert not any("s3cret" in line for line in lines)
    errors = child.errors(Exit(code=3))
    assert len(errors) == 1
    assert "refused" in errors[0]


@pytest_twisted.ensureDeferred
async def test_a_child_that_never_reads_its_document_does_no_harm(tmp_path: Path) -> None:
    _, watcher = spawn(tmp_path, "import sys; sys.exit(2)", b"x" * 1_000_000)
    assert await watcher.ended.addTimeout(10, reactor) == Exit(code=2)


@pytest_twisted.ensureDeferred
async def test_a_program_that_can_not_be_run_shows_as_its_exit(tmp_path: Path) -> None:
    program = tmp_path / "broken"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    watcher = Watcher()
    child = ChildProcess(reactor, of_monitor(7), watcher, Guard(), Budget(), 1.0)
    with LockFile.take(str(tmp_path / "lock")) as lock:
        child.spawn(reactor, Command(str(program), (), {"PATH": os.defpath}, str(tmp_path)), lock.fd)
    assert (await watcher.ended.addTimeout(10, reactor)).code in (126, 127)
    assert child.errors(Exit(code=127))


def test_without_its_launcher_nothing_is_spawned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotSpawn, match=r"the program env \(coreutils\) is not installed"):
        spawn(tmp_path, "pass")


def test_a_flood_costs_no_redaction_but_of_what_is_logged_or_shown_and_its_openings_are_heard() -> None:
    guarded: list[str | bytes] = []

    class Noting(Guard):
        def text(self, said: str | bytes, most: int = 1000) -> str:
            guarded.append(said)
            return super().text(said, most)

    watcher = Watcher()
    child = ChildProcess(Clock(), of_monitor(7), watcher, Noting(["s3cret-word"]), Budget(), 1.0)
    with capturedLogs() as logs:
        child.errReceived(b"[A][ERROR] s3cret-word\n\n \n" * 1000)
        child.errReceived(b"store: recording_opening token=7-1-2 cause=zone\n[A][ERROR] s3cret-word at last\n")
    assert len(guarded) == len(logs) == 200
    assert watcher.openings == [Opening("7-1-2", "zone")]
    assert len(child.lines()) == 100
    assert child.lines()[-2:] == ("store: recording_opening token=7-1-2 cause=zone", "[A][ERROR] *** at last")
    assert child.errors(Exit(signal=9))[-1] == "[A][ERROR] *** at last"
    assert not any("s3cret" in line for line in child.lines())
    assert len(guarded) == 300, "each line that is shown, once"
    assert child.unlogged == 802


@pytest.mark.parametrize(("least", "logged"), [("debug", 5), ("info", 3), ("warn", 2), ("error", 1)])
def test_lines_below_the_level_that_is_asked_for_are_only_counted(least: Level, logged: int) -> None:
    watcher = Watcher()
    child = ChildProcess(Clock(), of_monitor(7), watcher, Guard(), Budget(), 1.0, least=least)
    with capturedLogs() as logs:
        child.outReceived(b"[C][DEBUG] a group of pictures\n[C][INFO] up\n[C][WARN] slow\n[C][ERROR] down\n")
        child.outReceived(b"[S][DEBUG] store: recording_opening token=7-1-2 cause=zone\n")
    assert tuple(log["line"] for log in logs) == child.lines()
    assert (len(child.lines()), child.unlogged) == (logged, 5 - logged)
    assert watcher.openings == [Opening("7-1-2", "zone")]


def test_a_worker_that_is_started_again_and_again_has_no_more_lines_for_that() -> None:
    clock, budget = Clock(), Budget()
    with capturedLogs() as logs:
        for _ in range(10):
            child = ChildProcess(clock, of_monitor(7), Watcher(), Guard(), budget, 1.0)
            child.outReceived(b"[A][ERROR] gives up\n" * 100)
        clock.advance(60)
        child.outReceived(b"[A][ERROR] again\n")
    told = [log["count"] for log in logs if "count" in log]
    assert (len(logs), told, budget.held[Kind.LINES]) == (202, [800], 800)
