"""How a process and its group are made to end: whom each signal reaches, and when."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import Clock, deferLater

from tests.fleet.test_host_limits import Reports, adopted
from zmtwist.fleet.process.procfs import Linux
from zmtwist.fleet.process.slot import of_monitor
from zmtwist.fleet.process.termination import Ending

TERM, KILL = signal.SIGTERM, signal.SIGKILL


class Group:
    """A process and its group, on a clock; `leads`: the process has become the leader of one."""

    def __init__(self, *, leads: bool = True, seconds: float = 10.0) -> None:
        self.clock = Clock()
        self.leads = leads
        self.got: list[tuple[str, int]] = []
        self.ending = Ending(self.clock, of_monitor(1), 77, seconds, self.kill_group, self.signal_alone)

    def kill_group(self, pid: int, number: int) -> None:
        assert pid == 77
        if not self.leads:
            raise ProcessLookupError
        self.got.append(("group", number))

    def signal_alone(self, number: signal.Signals) -> None:
        self.got.append(("alone", number))


def test_the_whole_group_is_asked_to_end_then_killed():
    group = Group()
    group.ending.begin()
    group.ending.begin()
    group.clock.advance(9.9)
    assert group.got == [("group", TERM)]
    group.clock.advance(0.2)
    assert group.got == [("group", TERM), ("group", KILL)]


def test_a_process_that_leads_no_group_yet_is_signalled_alone():
    group = Group(leads=False)
    group.ending.begin(at_most=1.0)
    group.clock.advance(1.0)
    assert group.got == [("alone", TERM), ("alone", KILL)]


def test_what_it_leaves_in_its_group_ends_with_it_and_nothing_follows():
    group = Group()
    group.ending.begin()
    group.ending.over()
    group.clock.advance(60)
    assert group.got == [("group", TERM), ("group", KILL)]
    assert group.clock.getDelayedCalls() == []


def test_what_ended_by_itself_leaves_nothing_in_its_group_either():
    group = Group()
    group.ending.over()
    assert group.got == [("group", KILL)]


LEADER = """
import os, signal, subprocess, sys
left = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, 1); print(flush=True); time.sleep(60)"],
                        stdout=subprocess.PIPE)
left.stdout.readline()
print(left.pid, flush=True)
signal.pause()
"""


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest_twisted.ensureDeferred
async def test_a_helper_that_a_worker_left_behind_holds_its_camera_no_longer() -> None:
    process: Any = subprocess.Popen([sys.executable, "-c", LEADER], stdout=subprocess.PIPE, start_new_session=True)
    helper, reports = int(process.stdout.readline()), Reports()
    try:
        seen = Linux(reactor).look(process.pid)
        assert seen is not None
        adopted(process.pid, seen.started, reports).stop()
        await reports.ended.addTimeout(10, reactor)
        process.wait()
        for _ in range(500):
            if not runs(helper):
                break
            await deferLater(reactor, 0.01)
        assert not runs(helper)
    finally:
        process.stdout.close()
        for pid in (process.pid, helper):
            with suppress(ProcessLookupError):
                os.kill(pid, KILL)
