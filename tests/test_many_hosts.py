"""Two hosts on one database: each has its own cameras, and one takes over those of the other when that is gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.endurance.host import Host
from tests.mariadb import Server
from zmtwist.recovery.fsck import check

CAMERAS = {1: 1, 2: 1, 3: 2}
"""Monitors, and whose they are."""

TUNING = "fps=15,gop=0.06,size=640x480"
"""Whole pictures, so that they soon reach the disk."""


@pytest.fixture
def hosts(mariadb: Server) -> Iterator[tuple[Host, Host]]:
    first = Host(mariadb, cameras=0, tuning=TUNING, server_id=1)
    second = Host(mariadb, cameras=0, tuning=TUNING, server_id=2, beside=first)
    for number, server_id in CAMERAS.items():
        first.execute(
            "INSERT INTO Monitors (Id, Name, Type, Path, Width, Height, StorageId, ServerId, `Function`, SectionLength) "
            "VALUES (%s, 'm', 'File', 'sim:yard', 640, 480, %s, %s, 'Record', 3600)",
            number,
            first.storage_id if server_id == 1 else second.storage_id,
            server_id,
        )
    yield first, second
    second.remove()
    first.remove()


def test_one_host_is_gone_and_the_other_takes_its_cameras(hosts: tuple[Host, Host]) -> None:
    first, second = hosts
    service, other = first.start_plain(), second.start_plain()
    second.until(lambda: recording(first) == {1, 2}, "pictures of both cameras of the first host on disk")
    second.until(lambda: recording(second) == {3}, "pictures of that of the second")
    assert "monitor 3" not in first.log
    assert not {"monitor 1", "monitor 2"} & {line.partition("] ")[2][:9] for line in second.log.splitlines()}

    service.kill()
    service.wait()
    first.end_workers()
    abandoned = {event_id for event_id, monitor_id, storage_id in still_open(first) if storage_id == first.storage_id}
    assert len(abandoned) == 2
    first.execute("UPDATE Monitors SET ServerId = 2, StorageId = %s WHERE ServerId = 1", second.storage_id)
    second.ctl("reconcile")
    second.until(lambda: recording(second) == {1, 2, 3}, "all cameras are recorded on the second host")
    second.until(lambda: not abandoned & {row[0] for row in still_open(first)}, "what was abandoned is closed")

    again = first.start_plain()
    first.until(first.running, "its service runs")
    assert "0: none" in first.status()
    for process in (again, other):
        process.terminate()
        process.wait(40)
    whole(second)
    assert "Traceback" not in first.log + second.log


def still_open(host: Host) -> list[tuple[int, int, int]]:
    return host.rows("SELECT Id, MonitorId, StorageId FROM Events WHERE EndDateTime IS NULL")


def recording(host: Host) -> set[int]:
    """The monitors whose open clips have reached the host's disk, so that a kill leaves something."""
    clips = (
        (monitor_id, clip)
        for event_id, monitor_id, _ in still_open(host)
        for clip in host.storage.glob(f"{monitor_id}/*/{event_id}/*.mkv")
    )
    return {monitor_id for monitor_id, clip in clips if clip.stat().st_size}


def whole(host: Host) -> None:
    """Every event is closed and has its clip where its storage is; no clip has two, and none has no event."""
    roots = dict(host.rows("SELECT Id, Path FROM Storage"))
    rows = host.rows("SELECT Id, MonitorId, StartDateTime, EndDateTime, DefaultVideo, StorageId, Frames FROM Events")
    clips = Counter[str]()
    for event_id, monitor_id, start, end, video, storage_id, frames in rows:
        assert end is not None
        assert frames > 0
        clips[f"{roots[storage_id]}/{monitor_id}/{start:%Y-%m-%d}/{event_id}/{video}"] += 1
    assert set(clips.values()) == {1}
    assert set(clips) == {str(path) for root in roots.values() for path in Path(root).rglob("*.mkv")}
    assert check(str(host.config), str(host.zm_conf)).wrong == []
