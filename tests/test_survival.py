"""The service is killed, handed over and started twice, as a process of its own; the cameras go on recording."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import av
import pytest
import pytest_twisted

from tests.service_case import Installation
from tests.waiting import until, wait_for
from zmtwist.fleet import fleet as fleet_module
from zmtwist.fleet.process.state import State
from zmtwist.notifications import EventClosed, EventOpened

CTL = Path(sys.executable).with_name("zmnextctl")
TWISTD = Path(sys.executable).with_name("twistd")
NO_DETECTOR = "[zmnext.pipeline]\ndetect = false"
ENDED = (0, -signal.SIGTERM)
"""twistd ends by the signal that stopped it, once all is done."""

TUNING = {"ZM_CORE_SIM": "fps=10,gop=0.1,size=640x480"}
"""Ten full pictures a second: what is recorded reaches the disk soon."""


class Service:
    """`twistd zmnext` on an installation; its log in a file."""

    def __init__(self, zm: Installation, number: int, twistd: Sequence[str] = (str(TWISTD),)) -> None:
        self.log_path = zm.directory / f"log-{number}"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [*twistd, "-n", "--pidfile=", "zmnext", "--config", str(zm.directory / "zmnext.toml")],
                cwd=zm.directory,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def says(self, text: str) -> str:
        return wait_for(lambda: text in self.log and self.log, f"{text!r} in the log: {self.log[-2000:]}")

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


class Scene:
    """An installation, and every service that was started on it."""

    twistd: Sequence[str] = (str(TWISTD),)

    def __init__(self, directory: Path) -> None:
        self.zm = Installation.make(directory)
        self.services: list[Service] = []

    def configure(self, extra: str = "", **worker: object) -> None:
        lines = "".join(f"\n{name} = {json.dumps(value)}" for name, value in worker.items())
        text = self.zm.config(f"{NO_DETECTOR}\n{extra}", tuning=TUNING).replace(
            "min_backoff_seconds = 0.2", f"min_backoff_seconds = 0.2{lines}"
        )
        (self.zm.directory / "zmnext.toml").write_text(text)

    def start(self) -> Service:
        self.services.append(Service(self.zm, len(self.services), self.twistd))
        return self.services[-1]

    def worker(self, n: int) -> int:
        """The process that is written down for a monitor."""
        path = self.zm.directory / "run" / f"worker_{n}.json"
        return int(wait_for(lambda: path.exists() and json.loads(path.read_text()), f"{path}")["pid"])

    def workers(self) -> list[int]:
        """All processes that look like a worker of this installation."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    argv = (entry / "cmdline").read_bytes().split(b"\0")
                    zombie = (entry / "stat").read_bytes().rpartition(b") ")[2].startswith(b"Z")
                except OSError:
                    continue
                if os.fsencode(self.zm.directory / "run") in b"\0".join(argv) and b"--socket" in argv and not zombie:
                    found.append(int(entry.name))
        return found

    def clips(self) -> list[Path]:
        return list(self.zm.storage.rglob("*.mkv"))

    def recorded(self) -> int:
        size = 0
        for path in self.clips():
            with suppress(FileNotFoundError):  # moved meanwhile
                size += path.stat().st_size
        return size

    def grows(self) -> None:
        """Wait until there is more on disk than now."""
        before = self.recorded()
        wait_for(lambda: self.recorded() > before + 2000, "the clip grows")

    def end(self) -> None:
        """End every service and worker that is left."""
        for service in self.services:
            service.process.kill()
            service.process.wait()
        for pid in self.workers():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.end()


def largest_gap(clip: Path) -> tuple[float, float]:
    """The longest time between two neighbouring frames, and the clip's length, in seconds."""
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stamps = sorted(float(p.pts * stream.time_base) for p in container.demux(stream) if p.pts is not None)
    return max(b - a for a, b in pairwise(stamps)), stamps[-1] - stamps[0]


def test_sigkill_leaves_no_gap_and_the_next_start_adopts(scene: Scene) -> None:
    scene.zm.monitor(1, "Record", SectionLength=600)
    scene.configure()
    first = scene.start()
    first.says("LINKED -> LIVE")
    worker = scene.worker(1)
    wait_for(scene.clips, "a clip")
    killed_at = time.monotonic()
    first.end(signal.SIGKILL)
    scene.grows()

    second = scene.start()
    second.says(f"adopted as process {worker}")
    second.says("LINKED -> LIVE")
    assert scene.workers() == [worker]
    third = scene.start()
    assert third.process.wait(20) != 0
    assert (
        f"another zmnext service is running in [paths] run = {scene.zm.directory}/run (process {second.process.pid})"
        in third.log
    )
    assert "Traceback" not in third.log
    went_on = time.monotonic() - killed_at

    assert second.end() in ENDED
    assert scene.workers() == [], "a plain stop stops the adopted, too"
    [clip] = scene.clips()
    gap, length = largest_gap(clip)
    assert gap < 0.25, "ten frames a second"
    assert length > went_on
    assert [path.name for path in (scene.zm.directory / "run").glob("*.json")] == []


def test_a_killed_adopted_worker_is_replaced(scene: Scene) -> None:
    scene.zm.monitor(1, "Record", SectionLength=600)
    scene.configure()
    first = scene.start()
    first.says("LINKED -> LIVE")
    worker = scene.worker(1)
    first.end(signal.SIGKILL)
    second = scene.start()
    second.says("LINKED -> LIVE")
    os.kill(worker, signal.SIGKILL)
    second.says("LIVE -> BACKOFF: ended, it is not known how")
    wait_for(lambda: scene.worker(1) != worker, "another worker")
    assert len(scene.workers()) == 1
    assert second.end() in ENDED


def test_without_survive_restart_a_killed_service_takes_its_workers_along(scene: Scene) -> None:
    scene.zm.monitor(1, "Record", SectionLength=600)
    scene.configure(survive_restart=False)
    first = scene.start()
    first.says("LINKED -> LIVE")
    assert len(scene.workers()) == 1
    first.end(signal.SIGKILL)
    wait_for(lambda: scene.workers() == [], "the worker ends as well")


def test_a_worker_that_knows_nothing_of_broken_pipes_survives_as_well(scene: Scene) -> None:
    """Most programs end at SIGPIPE; a worker that logs after our death must not."""
    beat = scene.zm.directory / "beat"
    program = scene.zm.directory / "worker"
    program.write_text(f"#!/bin/sh\nwhile :; do echo a line; echo another >&2; echo . >> {beat}; sleep 0.05; done\n")
    program.chmod(0o755)
    scene.zm.monitor(1)
    scene.configure()
    config = scene.zm.directory / "zmnext.toml"
    config.write_text(config.read_text().replace(str(Path(sys.executable).with_name("zm-core-sim")), str(program)))
    first = scene.start()
    worker = scene.worker(1)
    wait_for(beat.exists, "the worker runs")
    first.end(signal.SIGKILL)
    size = beat.stat().st_size
    wait_for(lambda: beat.stat().st_size > size + 20, "the worker goes on")
    assert worker in scene.workers()


def test_what_a_worker_inherits_lets_the_web_user_read_and_us_have_many(scene: Scene) -> None:
    scene.zm.monitor(1, "Record", SectionLength=600)
    scene.configure()
    before = os.umask(0o077)
    try:
        first = scene.start()
    finally:
        os.umask(before)
    first.says("LINKED -> LIVE")
    wait_for(scene.clips, "a clip")
    worker = Path(f"/proc/{scene.worker(1)}")
    status = dict(line.split(":\t", 1) for line in (worker / "status").read_text().splitlines() if ":\t" in line)
    assert status["Umask"] == "0022"
    [limit] = [line for line in (worker / "limits").read_text().splitlines() if line.startswith("Max open files")]
    assert int(limit.split()[3]) >= 4096
    assert {path.name for path in (worker / "fd").iterdir()} >= {"0", "1", "2", "3"}
    assert (worker / "fd" / "3").readlink() == scene.zm.directory / "run" / "worker_1.lock"
    [clip] = scene.clips()
    assert clip.stat().st_mode & 0o444 == 0o444
    assert clip.parent.stat().st_mode & 0o555 == 0o555


@pytest_twisted.ensureDeferred
async def test_a_hand_over_within_one_process(tmp_path: Path) -> None:
    zm = Installation.make(tmp_path)
    zm.monitor(1, "Record", SectionLength=600)
    first = zm.service(NO_DETECTOR)
    first.startService()
    await until(lambda: zm.told_of(EventOpened))
    await until(lambda: first.fleet.status()[0].state is State.LIVE)
    worker = first.fleet.status()[0].pid
    await first.fleet.leave()
    await first.stopService()
    os.kill(worker, 0)

    second = zm.service(NO_DETECTOR)
    second.startService()
    try:
        await until(lambda: second.fleet and second.fleet.status() and second.fleet.status()[0].state is State.LIVE)
        assert (second.fleet.status()[0].pid, second.fleet.status()[0].adopted) == (worker, True)
    finally:
        await second.stopService()
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


@pytest_twisted.ensureDeferred
async def test_a_worker_that_grows_is_started_anew_at_a_clips_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_module, "WEIGH_SECONDS", 0.2)
    zm = Installation.make(tmp_path)
    zm.monitor(1, "Record", SectionLength=2)
    config = zm.config(NO_DETECTOR, tuning={"ZM_CORE_SIM": "fps=10,rss=40"})
    service = zm.service_of(config.replace("[zmnext.worker]", "[zmnext.worker]\nmax_rss_mb = 110"))
    service.startService()
    try:
        await until(lambda: service.fleet and service.fleet.status() and service.fleet.status()[0].restart_due)
        first = service.fleet.status()[0].pid
        assert service.fleet.status()[0].state is State.LIVE
        closed = len(zm.told_of(EventClosed))
        await until(lambda: service.fleet.status()[0].pid not in (None, first))
        # The row is closed a moment after the clip is; that it had its whole length shows that the worker waited for its end.
        await until(lambda: len(zm.told_of(EventClosed)) > closed)
        assert zm.told_of(EventClosed)[closed].length_us > 1_500_000
    finally:
        await service.stopService()


def rises(scene: Scene, n: int) -> None:
    """Another document for a monitor: its worker is to be followed by one that has it."""
    scene.zm.execute("UPDATE Monitors SET SectionLength = SectionLength + 1 WHERE Id = ?", n)


def heir(scene: Scene, n: int) -> tuple[int, str] | None:
    """The process that is to follow a monitor's worker, and its state as the kernel has it."""
    path = scene.zm.directory / "run" / f"worker_{n}.next.json"
    try:
        pid = int(json.loads(path.read_text())["pid"])
        return pid, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, ValueError):
        return None


def follows(scene: Scene) -> Service:
    """A service, and a camera that is recorded: its worker takes a second to connect, and has a keyframe every second."""
    scene.zm.monitor(1, "Record", SectionLength=2)
    scene.configure(overlap=True)
    config = scene.zm.directory / "zmnext.toml"
    text = config.read_text().replace("enabled = true", "enabled = true\nreconcile_seconds = 0.3")
    config.write_text(text.replace("fps=10,gop=0.1,size=640x480", "fps=10,gop=1,size=640x480,connect=1"))
    service = scene.start()
    service.says("LINKED -> LIVE")
    return service


def settled(scene: Scene, service: Service) -> list[dict[str, object]]:
    """Stop it. Each clip with something in it has one row, which is closed; the rows, by their start."""
    assert service.end() in ENDED
    assert scene.workers() == []
    events = scene.zm.events()
    assert all(event["EndDateTime"] for event in events)
    assert len([path for path in scene.clips() if path.stat().st_size]) == len(
        [event for event in events if event["DefaultVideo"]]
    )
    left = {path.name for path in (scene.zm.directory / "run").iterdir()}
    assert not {name for name in left if {"next", "odd", "even"} & set(name.split("."))}, left
    return events


def test_a_worker_is_followed_without_a_gap(scene: Scene) -> None:
    service = follows(scene)
    first = scene.worker(1)
    most = 0
    for _ in range(2):
        before = scene.worker(1)
        rises(scene, 1)
        deadline = time.monotonic() + 30
        while scene.worker(1) == before:
            most = max(most, len(scene.workers()))
            assert time.monotonic() < deadline, service.log[-3000:]
            time.sleep(0.02)
    assert most == 2
    wait_for(lambda: service.log.count("LINKED -> LIVE") == 3, "the third is LIVE")
    scene.grows()
    assert scene.worker(1) != first
    assert (scene.zm.directory / "run" / "stream_1.sock").is_socket()
    events = settled(scene, service)
    ends = [datetime.fromisoformat(str(event["EndDateTime"])).timestamp() for event in events]
    starts = [datetime.fromisoformat(str(event["StartDateTime"])).timestamp() for event in events]
    assert max(start - end for end, start in zip(ends, starts[1:], strict=False)) <= 1, "rows have whole seconds"


@pytest.mark.parametrize("moment", ["spawned", "connects", "frozen", "follows"])
def test_sigkill_while_a_worker_is_to_be_followed_leaves_one(scene: Scene, moment: str) -> None:
    service = follows(scene)
    before = scene.worker(1)
    lock = scene.zm.directory / "run" / "worker_1.next.lock"
    rises(scene, 1)
    if moment == "spawned":
        wait_for(lambda: lock.exists() and len(scene.workers()) == 2, "two of them")
    elif moment == "follows":
        wait_for(lambda: scene.worker(1) != before, "it has followed")
    else:
        wanted = "T" if moment == "frozen" else "S"
        wait_for(
            lambda: (found := heir(scene, 1)) is not None and found[1] == wanted, f"{moment}: {service.log[-2000:]}"
        )
    service.end(signal.SIGKILL)
    wait_for(lambda: len(scene.workers()) <= 1, "one of them is ended by the kernel")
    left = scene.workers()
    if moment in ("spawned", "connects"):
        assert left == [before]
    elif moment == "follows":
        assert left in ([], [scene.worker(1)]), "it is free a moment after it is written down"
    second = scene.start()
    second.says("LINKED -> LIVE")
    wait_for(lambda: len(scene.workers()) == 1 and not lock.exists(), "one, and nothing left of another")
    scene.grows()
    recovered = [str(CTL), "--config", str(scene.zm.directory / "zmnext.toml"), "recover"]
    assert subprocess.run(recovered, capture_output=True, timeout=60, check=False).returncode == 0
    settled(scene, second)
