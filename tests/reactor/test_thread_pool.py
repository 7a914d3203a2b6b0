from __future__ import annotations

import threading

import pytest
import pytest_twisted
from twisted.internet import reactor

from tests.waiting import until
from zmtwist.reactor import thread_pool as disk
from zmtwist.reactor.thread_pool import Disk


@pytest_twisted.ensureDeferred
async def test_a_stop_waits_for_what_is_under_way():
    files = Disk(reactor)
    files.startService()
    gate, done = threading.Event(), []
    files.run(lambda: (gate.wait(10), done.append(True)))
    stopped = files.stopService()
    assert not stopped.called
    gate.set()
    await stopped
    assert done == [True]


@pytest_twisted.ensureDeferred
async def test_a_storage_that_hangs_keeps_nobody_from_ending(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(disk, "STOP_SECONDS", 0.05)
    files = Disk(reactor)
    files.startService()
    gate, running = threading.Event(), []
    work = files.run(lambda: (running.append(threading.current_thread()), gate.wait(30)))
    await until(lambda: running)
    await files.stopService()
    assert running[0].is_alive()
    assert running[0].daemon, "it must not hold up the interpreter's end either"
    gate.set()
    await work
