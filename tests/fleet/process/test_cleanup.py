"""The sweep: all that dead workers left, and nothing of the living."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from twisted.logger import capturedLogs

from tests.fleet.doubles import FakeProcesses, Stage, wanted
from zmtwist.fleet.process.adoption import runs
from zmtwist.fleet.process.cleanup import clear, end_survivors, sweep
from zmtwist.fleet.process.lockfile import LockFile
from zmtwist.fleet.process.pidfile import Record, lock_path, read_record, record_path, write_record
from zmtwist.fleet.process.preflight import socket_path
from zmtwist.fleet.process.procfs import Linux, Seen
from zmtwist.fleet.process.state import State

KNOWN = Record(1, 100, 700, FakeProcesses.boot, "/zm-core", ("--x",), "/s", "d1", 1)


def names(stage: Stage, directory: str) -> list[str]:
    return sorted(path.name for path in (stage.directory / directory).iterdir())


def left_by_a_dead_worker(stage: Stage, n: int) -> Path:
    """Everything that a worker killed with SIGKILL leaves; its socket."""
    LockFile.take(lock_path(stage.settings.run, n)).close()
    write_record(record_path(stage.settings.run, n), msgspec.structs.replace(KNOWN, monitor_id=n))
    (stage.directory / "rings" / f"zm_shmring_{n}").write_bytes(b"frames")
    path = Path(socket_path(stage.settings, n))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    return path


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(["sleep", "60"])
    yield child
    child.kill()
    child.wait()


def test_a_dead_workers_traces_go(stage: Stage) -> None:
    path = left_by_a_dead_worker(stage, 4)
    (stage.directory / "run" / "worker_5.json.new").write_text("{half")
    (stage.directory / "run" / "zmnext.lock").write_text("1")
    assert sweep(stage.settings, FakeProcesses(stage.world)) == {}
    assert names(stage, "run") == ["zmnext.lock"]
    assert names(stage, "rings") == []
    assert not path.exists()


def test_what_is_not_of_a_worker_of_ours_stays(stage: Stage) -> None:
    (stage.directory / "rings" / "zm_shmring_9").write_bytes(b"another ZoneMinder's")
    (stage.directory / "rings" / "zm_mmap_4").write_bytes(b"zmc's")
    left_by_a_dead_worker(stage, 4)
    sweep(stage.settings, FakeProcesses(stage.world))
    assert names(stage, "rings") == ["zm_mmap_4", "zm_shmring_9"]


def test_a_living_workers_things_stay(stage: Stage) -> None:
    """The lock is held, by nothing that we know: neither record nor socket nor ring is touched, and the reason says who it is."""
    path = left_by_a_dead_worker(stage, 4)
    with LockFile.take(lock_path(stage.settings.run, 4)), capturedLogs() as logs:
        assert sweep(stage.settings, FakeProcesses(stage.world)) == {}
    assert "fuser" in logs[0]["reason"]
    assert path.exists()
    assert names(stage, "rings") == ["zm_shmring_4"]
    assert names(stage, "run") == ["worker_4.json", "worker_4.lock"]


def test_a_ring_of_a_worker_that_someone_else_runs_stays(stage: Stage) -> None:
    left_by_a_dead_worker(stage, 4)
    stage.world.strangers.append(Seen(9, 9, ("zm-core", "--socket", "/other/stream_4.sock", "--monitor-id", "4")))
    sweep(stage.settings, FakeProcesses(stage.world))
    assert names(stage, "rings") == ["zm_shmring_4"]
    # Beside it, ours would show the other camera's picture as its own.
    stage.catalog.put(wanted(4))
    stage.fleet.startService()
    stage.advance(1)
    assert stage.state(4) is State.BACKOFF
    assert "process 9 is a worker of the same number" in stage.fleet.status()[0].reason
    stage.world.strangers.clear()
    stage.advance(3)
    assert stage.process(4).alive


def test_a_socket_that_is_listened_at_stays(stage: Stage) -> None:
    path = left_by_a_dead_worker(stage, 4)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as living, capturedLogs() as logs:
        living.bind(str(path))
        living.listen()
        sweep(stage.settings, FakeProcesses(stage.world))
        assert path.exists()
    assert "listens at" in next(log["error"] for log in logs if log.get("what") == "its socket stays")


def test_what_can_not_be_removed_is_said(stage: Stage) -> None:
    (stage.directory / "rings" / "zm_shmring_4").mkdir()
    with capturedLogs() as logs:
        clear(stage.settings, 4, FakeProcesses(stage.world))
    assert [log["what"] for log in logs] == ["its shared memory stays"]


def test_a_record_that_makes_no_sense_is_none(stage: Stage) -> None:
    path = Path(record_path(stage.settings.run, 4))
    for text in (b"", b"{", b"\xff", b"[]", b'{"monitor_id":4}', msgspec.json.encode(KNOWN)):
        path.write_bytes(text)
        assert read_record(str(path), 4) is None
    assert read_record(record_path(stage.settings.run, 5), 5) is None
    write_record(str(path), KNOWN)
    assert read_record(str(path), 1) == KNOWN


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("/zm-core", "--pipeline", "-", "--socket", "/s", "--monitor-id", "7"), True),
        (("/usr/bin/python3", "/zm-core", "--monitor-id", "7", "--socket", "/s"), True),
        (("/usr/bin/env", "--ignore-signal=PIPE", "setsid", "/zm-core", "--socket", "/s", "--monitor-id", "7"), True),
        (("/zm-core", "--socket", "/s", "--monitor-id", "77"), False),
        (("/zm-core", "--socket", "/t", "--monitor-id", "7"), False),
        (("/other", "--socket", "/s", "--monitor-id", "7"), False),
        (("twistd", "-n", "zmnext"), False),
        ((), False),
    ],
)
def test_command_lines(argv: tuple[str, ...], expected: bool) -> None:
    assert runs(argv, "/s", [("--monitor-id", "7")], "/zm-core") is expected


def test_processes_as_the_kernel_shows_them(sleeper: subprocess.Popen[bytes]) -> None:
    linux = Linux(object())
    while not Path(f"/proc/{sleeper.pid}/cmdline").read_bytes().startswith(b"sleep"):
        assert sleeper.poll() is None  # spawned, but not yet what it is to be
    seen = linux.look(sleeper.pid)
    assert seen is not None
    assert (seen.pid, seen.argv) == (sleeper.pid, ("sleep", "60"))
    assert linux.look(sleeper.pid) == seen
    assert seen in list(linux.everyone())
    assert 100 < (linux.resident_kb(sleeper.pid) or 0) < 100_000
    assert len(linux.boot) == 36
    sleeper.send_signal(signal.SIGKILL)
    while Path(f"/proc/{sleeper.pid}/stat").read_text().split()[2] != "Z":
        pass
    assert linux.look(sleeper.pid) is None, "dead, though not reaped"
    assert linux.resident_kb(2**22 + 1) is None


def test_a_holder_is_found_by_its_lock(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with LockFile.take(path) as lock:
        child = subprocess.Popen(["bash", "-c", f"exec sleep 60 3>&{lock.fd}"], pass_fds=[lock.fd])
    try:
        while Linux(object()).holders(path) != [child.pid]:
            assert child.poll() is None
    finally:
        child.kill()
        child.wait()


def test_survivors_are_ended_where_nobody_will_adopt_them(stage: Stage) -> None:
    with LockFile.take(lock_path(stage.settings.run, 4)) as lock:
        argv = ["zm-core", "--pipeline", "-", "--socket", socket_path(stage.settings, 4), "--monitor-id", "4"]
        stage.world.spawnProcess(_Deaf(), "/usr/bin/env", argv, childFDs={0: "w", 1: "r", 2: "r", 3: lock.fd})
    found = sweep(stage.settings, FakeProcesses(stage.world))[4]
    assert (found.pid, found.digest) == (stage.process(4).pid, "")
    end_survivors(stage.settings, FakeProcesses(stage.world), stage.world.kill_group)
    assert stage.process(4).signals == [signal.SIGTERM]


class _Deaf:
    """A protocol that takes no notice."""

    def makeConnection(self, transport: object) -> None: ...
