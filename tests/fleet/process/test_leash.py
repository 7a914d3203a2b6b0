from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zmtwist.fleet.process.termination import Leash

HOLDER = """
import os, signal, subprocess, sys
from zmtwist.fleet.process.termination import Leash
leash = Leash()
child = subprocess.Popen(["sleep", "60"], pass_fds=[leash.fd], start_new_session=True)
leash.hold(child.pid)
if "frozen" in sys.argv:
    os.kill(child.pid, signal.SIGSTOP)
if "free" in sys.argv:
    leash.let_go()
print(child.pid, flush=True)
sys.stdin.read()
"""


def state(pid: int) -> str:
    """Z or nothing where it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0].strip("Z")
    except OSError:
        return ""


@pytest.mark.parametrize("words", [["frozen"], [], ["free"]], ids=["frozen", "runs", "free"])
def test_what_is_held_ends_with_a_process_that_is_killed_and_what_is_free_goes_on(words: list[str]) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdin is not None
    pid = int(holder.stdout.readline())
    try:
        assert state(pid)
        holder.kill()
        holder.wait()
        deadline = time.monotonic() + (0.3 if words == ["free"] else 10)
        while state(pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert bool(state(pid)) is (words == ["free"])
    finally:
        if state(pid):
            os.kill(pid, signal.SIGKILL)
        holder.stdin.close()
        holder.stdout.close()


def test_one_that_is_cut_kills_at_once_and_one_that_was_let_go_never_does() -> None:
    for free in (False, True):
        leash = Leash()
        child = subprocess.Popen(["sleep", "60"], pass_fds=[leash.fd])
        leash.hold(child.pid)
        if free:
            leash.let_go()
        leash.cut()
        if free:
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(0.2)
            child.kill()
        assert child.wait(10) == -signal.SIGKILL
