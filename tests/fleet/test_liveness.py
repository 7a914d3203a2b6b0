from __future__ import annotations

import errno
import os
import signal
import subprocess

import pytest
from msgspec.structs import replace

from zmtwist.fleet.liveness import left_running, living
from zmtwist.fleet.process.lockfile import LockFile
from zmtwist.fleet.process.pidfile import Record, heir_record_path, lock_path, record_path, write_record
from zmtwist.fleet.process.procfs import Linux

NOBODY = 1 << 30


def noted(linux, seen, at_us):
    return Record(
        monitor_id=3, pid=seen.pid, started=seen.started, boot=linux.boot, program="zm-core", arguments=(), socket="s", digest="d",
        at_us=at_us,
    )  # fmt: skip


def test_a_worker_of_an_earlier_boot_does_not_live_although_its_number_does(tmp_path):
    linux = Linux(None)
    seen = linux.look(os.getpid())
    record = noted(linux, seen, 5)
    for changed, lives in (({}, True), ({"boot": "another"}, False), ({"started": seen.started + 1}, False)):
        write_record(record_path(str(tmp_path), 3), replace(record, **changed))
        assert (3 in living(str(tmp_path), linux)) == lives


@pytest.fixture
def writer(tmp_path):
    """A process that leads a group, and a child of it that has `clip` open and says so."""
    clip = tmp_path / "clip.mkv"
    program = f"exec 3>{clip}; echo open; read line; exec 3>&-; mv {clip} {clip}.over; echo closed; read line"
    shell = subprocess.Popen(
        ["sh", "-c", f"sh -c '{program}'; true"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert shell.stdout.readline() == "open\n"
    yield shell, clip
    with shell:
        os.killpg(shell.pid, signal.SIGKILL)


def test_what_a_worker_and_its_children_have_open_is_told_until_it_is_closed(tmp_path, writer):
    shell, clip = writer
    linux = Linux(None)
    seen = linux.look(shell.pid)
    write_record(record_path(str(tmp_path), 3), noted(linux, seen, 5))
    assert str(clip) in living(str(tmp_path), linux)[3]
    print("", file=shell.stdin, flush=True)
    assert shell.stdout.readline() == "closed\n"
    assert not {path for path in living(str(tmp_path), linux)[3] if "clip" in path}
    assert living(str(tmp_path), linux, {4: os.getpgid(0)}).keys() == {3, 4}


@pytest.mark.parametrize("path", [record_path, heir_record_path])
def test_what_a_worker_that_is_to_follow_has_open_is_its_monitors_as_well(tmp_path, writer, path):
    shell, clip = writer
    linux = Linux(None)
    write_record(path(str(tmp_path), 3), noted(linux, linux.look(shell.pid), 5))
    assert str(clip) in living(str(tmp_path), linux, {3: os.getpgid(0)})[3]


def test_what_can_not_be_told_of_a_living_worker_is_none(tmp_path, monkeypatch, writer):
    shell, _ = writer
    linux = Linux(None)

    def refuse(_path: object) -> list[str]:
        raise PermissionError(errno.EACCES, "Permission denied")

    pids = linux._pids()
    monkeypatch.setattr(linux, "_pids", lambda: pids)
    monkeypatch.setattr("os.listdir", refuse)
    assert linux.open_files({shell.pid, NOBODY}) == {shell.pid: None, NOBODY: frozenset()}
    monkeypatch.undo()
    with LockFile.take(lock_path(str(tmp_path), 3)):
        assert left_running(str(tmp_path), linux) == {3: None}, "it has no record"
    assert left_running(str(tmp_path), linux) == {}
