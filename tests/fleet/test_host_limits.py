"""What workers inherit, what the host must have, and processes that are not our children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from zmtwist.fleet.host_limits import RING_BYTES, forbid_core_files, shm_warning
from zmtwist.fleet.process.adoption import Adopted, Survivor
from zmtwist.fleet.process.policy import Exit
from zmtwist.fleet.process.procfs import Linux
from zmtwist.fleet.process.slot import of_monitor


@pytest.mark.parametrize(("before", "after"), [(0o077, 0o022), (0o027, 0o027), (0o002, 0o002)])
def test_only_twistds_own_umask_is_undone(before: int, after: int) -> None:
    code = "import os, sys; from zmtwist.fleet.host_limits import open_umask; open_umask(); print(os.umask(0))"
    process = subprocess.run(
        [sys.executable, "-c", f"import os; os.umask({before}); {code}"], capture_output=True, check=True
    )
    assert int(process.stdout) == after


@pytest.mark.parametrize(("soft", "hard", "expected"), [(64, 256, 256), (64, 1024, 512), (600, 1024, 600)])
def test_the_file_limit_is_raised_as_far_as_it_goes(soft: int, hard: int, expected: int) -> None:
    code = (
        f"import resource as r; r.setrlimit(r.RLIMIT_NOFILE, ({soft}, {hard}))\n"
        "from zmtwist.fleet import host_limits; host_limits.OPEN_FILES = 512\n"
        "print(host_limits.raise_file_limit(), *r.getrlimit(r.RLIMIT_NOFILE))"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert process.stdout.split() == [str(n).encode() for n in (expected, expected, hard)]


@pytest.mark.parametrize(("hard", "kept"), [(-1, -1), (4096, 4096)])
def test_no_core_files_of_workers_either(hard: int, kept: int) -> None:
    """As a worker sees it, which is a child: without memory, too, for handlers that take no notice of limits."""
    code = (
        f"import resource as r, subprocess, sys; r.setrlimit(r.RLIMIT_CORE, ({hard}, {hard}))\n"
        "from zmtwist.fleet.host_limits import forbid_core_files; forbid_core_files()\n"
        "see = 'import resource as r; print(*r.getrlimit(r.RLIMIT_CORE), open(\"/proc/self/coredump_filter\").read())'\n"
        "subprocess.run([sys.executable, '-c', see], check=True)"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    limit, most, memory = process.stdout.split()
    assert (int(limit), int(most), int(memory, 16)) == (0, kept, 0)
    forbid_core_files("/nowhere")


def test_little_shared_memory_is_a_warning_that_says_what_to_do(tmp_path: Path) -> None:
    found = os.statvfs(tmp_path)
    enough = found.f_blocks * found.f_frsize // RING_BYTES
    assert shm_warning(enough, str(tmp_path)) is None
    assert "mount -o remount,size=" in (shm_warning(enough + 1, str(tmp_path)) or "")


class Reports:
    def __init__(self) -> None:
        self.ended: Deferred[Exit] = Deferred()

    def opening_logged(self, told: object) -> None: ...

    def child_exited(self, ended: Exit) -> None:
        self.ended.callback(ended)


def adopted(pid: int, started: int, reports: Reports, seconds: float = 10.0) -> Adopted:
    survivor = Survivor(of_monitor(1), pid, started, "/nowhere")
    return Adopted(reactor, survivor, reports, Linux(reactor), seconds, os.killpg)


def stubborn() -> subprocess.Popen[bytes]:
    """A process in a group of its own that takes no notice of SIGTERM, and is not the reactor's child to reap."""
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest_twisted.ensureDeferred
async def test_an_adopted_process_is_watched_and_ended_without_being_a_child() -> None:
    process, reports = stubborn(), Reports()
    seen = Linux(reactor).look(process.pid)
    assert seen is not None
    child = adopted(process.pid, seen.started, reports, seconds=0.2)
    child.stop()
    child.stop()
    assert await reports.ended.addTimeout(10, reactor) == Exit()
    assert process.wait(5) == -signal.SIGKILL


@pytest_twisted.ensureDeferred
async def test_a_process_that_got_the_number_of_another_is_left_alone() -> None:
    process, reports = stubborn(), Reports()
    seen = Linux(reactor).look(process.pid)
    assert seen is not None
    readers = len(reactor.getReaders())
    with pytest.raises(ProcessLookupError):
        adopted(process.pid, seen.started + 1, reports)
    assert len(reactor.getReaders()) == readers
    assert process.poll() is None
    adopted(process.pid, seen.started, reports).leave()
    assert len(reactor.getReaders()) == readers
    process.kill()
    process.wait()
    with pytest.raises(ProcessLookupError):
        adopted(process.pid, seen.started, reports)
