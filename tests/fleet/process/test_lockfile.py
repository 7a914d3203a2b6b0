"""Locks: held by whoever has the descriptor, gone with the last of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from zmtwist.fleet.process.lockfile import (
    AlreadyRunning,
    Held,
    LockFile,
    check_service_lock,
    say_that_it_ends,
    take_service_lock,
    wait_for_service_lock,
)


def test_a_lock_is_held_once(tmp_path: Path) -> None:
    path = str(tmp_path / "worker_1.lock")
    with LockFile.take(path):
        with pytest.raises(Held):
            LockFile.take(path)
        assert Path(path).stat().st_mode & 0o777 == 0o600
    LockFile.take(path).remove()
    assert not Path(path).exists()


def test_a_process_that_inherited_it_holds_it_after_us(tmp_path: Path) -> None:
    path = str(tmp_path / "worker_1.lock")
    with LockFile.take(path) as lock:
        child = subprocess.Popen(["sleep", "60"], pass_fds=[lock.fd])
    try:
        with pytest.raises(Held):
            LockFile.take(path)
    finally:
        child.kill()
        child.wait()
    LockFile.take(path).close()


def test_a_lock_file_that_was_removed_meanwhile_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "worker_1.lock"
    opened = os.open

    def open_and_lose(name: str, *rest: int) -> int:
        fd = opened(name, *rest)
        monkeypatch.undo()
        path.unlink()
        return fd

    monkeypatch.setattr(os, "open", open_and_lose)
    with LockFile.take(str(path)) as lock, pytest.raises(Held):
        assert os.fstat(lock.fd).st_ino == path.stat().st_ino
        LockFile.take(str(path))


def test_a_second_service_is_told_who_is_there(tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    check_service_lock(run)
    assert not Path(run).exists(), "a look changes nothing"
    lock = take_service_lock(run)
    for attempt in (check_service_lock, take_service_lock):
        with pytest.raises(AlreadyRunning, match=rf"paths. run = {run} \(process {os.getpid()}\): stop that one first"):
            attempt(run)
    lock.close()
    check_service_lock(run)
    take_service_lock(run).close()


def wait(run: str, *, then: Callable[[], None] = lambda: None, seconds: float = 1.0) -> list[tuple[object, ...]]:
    """What is given while the lock is waited for; `then` happens in the third pause."""
    now, pauses = [0.0], []

    def sleep(pause: float) -> None:
        now[0] += pause
        pauses.append(pause)
        if len(pauses) == 3:
            then()

    return [attrs.astuple(other) for other in wait_for_service_lock(run, seconds, clock=lambda: now[0], sleep=sleep)]


def test_a_service_that_is_ending_is_waited_for(tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    assert wait(run) == []
    lock = take_service_lock(run)
    with pytest.raises(AlreadyRunning, match="stop that one first"):
        wait(run)
    say_that_it_ends(lock)
    assert wait(run, then=lock.close) == 3 * [(run, str(os.getpid()), True)]
    lock = take_service_lock(run)
    say_that_it_ends(lock)
    with pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"):
        wait(run)  # it takes too long
    lock.close()
    with take_service_lock(run), pytest.raises(AlreadyRunning):
        wait(run)  # another has taken its place meanwhile
    say_that_it_ends(None)


def test_a_killed_service_leaves_no_lock(tmp_path: Path) -> None:
    code = "import sys, time\nfrom zmtwist.fleet.process.lockfile import *\n"
    code += "x = take_service_lock(sys.argv[1]); print(flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    with pytest.raises(AlreadyRunning, match=str(child.pid)):
        check_service_lock(str(tmp_path))
    child.kill()
    child.wait()
    take_service_lock(str(tmp_path)).close()
