"""A storage fills up, and another disk is mounted in its place: it is told, nothing is deleted, and all goes on by itself afterwards."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted

from tests.ops.cli.test_main_service import ctl_here
from tests.service_case import Installation
from tests.waiting import until
from zmtwist.fleet.process.state import State
from zmtwist.ingest.clips import storage_monitor
from zmtwist.notifications import EventClosed
from zmtwist.service import ZmNext

STATVFS = os.statvfs
NO_DETECTOR = "[zmnext.pipeline]\ndetect = false"


@pytest.fixture
def zm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    monkeypatch.setattr(storage_monitor, "LOOK_SECONDS", 0.2)
    made = Installation.make(tmp_path)
    made.monitor(1, "Record", SectionLength=2)
    return made


def files(root: Path) -> dict[Path, int]:
    """All there are, with their sizes."""
    return {path: path.stat().st_size for path in root.rglob("*") if path.is_file()}


def with_clip(zm: Installation, beyond: int = 0) -> list[dict[str, Any]]:
    """The closed events after this one that have a clip, which is there."""
    found = [e for e in zm.events() if e["Id"] > beyond and e["EndDateTime"] is not None and e["DefaultVideo"]]
    assert all(zm.clip(event).stat().st_size > 0 for event in found)
    return found


async def told(zm: Installation, *verb: object) -> str:
    ran = await ctl_here("--api", f"{zm.directory}/run/api.sock", *verb)
    assert ran.status == 0, ran
    return str(ran.out)


async def settled(zm: Installation, service: ZmNext) -> None:
    await until(lambda: service.fleet and service.fleet.status() and service.fleet.status()[0].state is State.LIVE)
    await until(lambda: with_clip(zm))


@pytest_twisted.ensureDeferred
async def test_full(zm: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a mount: the worker's files can't grow any more, and the file system says that nothing is left."""
    service = zm.service(NO_DETECTOR)
    service.startService()
    try:
        await settled(zm, service)
        worker = service.fleet.status()[0].pid
        before = files(zm.storage)
        monkeypatch.setattr(storage_monitor.os, "statvfs", nothing_left)
        soft, hard = resource.prlimit(worker, resource.RLIMIT_FSIZE)
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (0, hard))
        await until(lambda: service.ingest.storages.trouble_of(1))
        said = f"the storage {zm.storage} is full: 0 MiB are left"
        assert said in await told(zm, "why", 1)
        assert "free space" in await told(zm, "why", 1)
        assert f"storage   {said}; free space" in await told(zm, "status")
        closed = len(zm.told_of(EventClosed))
        await until(lambda: len(zm.told_of(EventClosed)) >= closed + 2)

        monkeypatch.undo()
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (soft, hard))
        last = zm.events()[-1]["Id"]
        await until(lambda: service.ingest.storages.trouble_of(1) is None)
        await until(lambda: with_clip(zm, beyond=last))
        assert "frames a second" in await told(zm, "why", 1)
        assert "storage" not in await told(zm, "status")
        assert service.fleet.status()[0].pid == worker, "it was not restarted"
    finally:
        await service.stopService()
    assert before.items() <= files(zm.storage).items()
    assert all(event["EndDateTime"] is not None for event in zm.events())


def nothing_left(path: str) -> SimpleNamespace:
    real = STATVFS(path)
    names = [name for name in dir(real) if name.startswith("f_")]
    return SimpleNamespace(**{name: getattr(real, name) for name in names} | {"f_bavail": 0})


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """The right one, and one on another file system."""
    (tmp_path / "disk").mkdir()
    other = Path(tempfile.mkdtemp(prefix="zmt-", dir="/dev/shm"))
    assert other.stat().st_dev != tmp_path.stat().st_dev
    yield tmp_path / "disk", other
    shutil.rmtree(other)


def mount(disk: Path, at: Path) -> None:
    """As a mount would have it, at once."""
    aside = at.with_name("aside")
    aside.symlink_to(disk)
    aside.rename(at)


@pytest_twisted.ensureDeferred
async def test_another_disk_in_its_place(zm: Installation, disks: tuple[Path, Path]) -> None:
    right, other = disks
    zm.storage.rmdir()
    mount(right, zm.storage)
    zm.execute("UPDATE Monitors SET SectionLength = 3")
    service = zm.service(NO_DETECTOR)
    service.startService()
    try:
        await settled(zm, service)
        await until(lambda: len(list(right.glob("1/*/*/*.mkv"))) > len(zm.told_of(EventClosed)))
        before = files(right)
        recording = zm.events()[-1]["Id"]
        mount(other, zm.storage)
        await until(lambda: service.ingest.storages.trouble_of(1))
        said = f"another disk than before is mounted at the storage {zm.storage}"
        assert said in await told(zm, "why", 1)
        assert "mount the right one again" in await told(zm, "status")
        await until(lambda: list(other.rglob("*.mkv")))  # the next clip: so the other one is not even empty
        await until(lambda: zm.events()[-1]["Id"] > recording)
        [event] = [event for event in zm.events() if event["Id"] == recording]
        assert event["EndDateTime"] is None, "its clip is waited for"

        mount(right, zm.storage)
        await until(lambda: recording in [event["Id"] for event in with_clip(zm)])
        await until(lambda: service.ingest.storages.trouble_of(1) is None)
        last = zm.events()[-1]["Id"]
        await until(lambda: with_clip(zm, beyond=last))
    finally:
        await service.stopService()
    after = files(right)
    assert before.keys() <= after.keys()
    assert all(after[path] >= size for path, size in before.items())
    assert list(other.rglob("*.mkv")), "what was recorded there is there still"
    assert all(event["EndDateTime"] is not None for event in zm.events())
