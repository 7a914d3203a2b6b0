"""Events' pictures: what is in them, when they are made, and what a child that hangs or crashes costs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import av
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.ingest.places import place_in
from tests.media.clips import record
from tests.media.stand_ins import stand_in
from tests.service_case import Installation
from tests.waiting import until
from zmtwist.changes import CloseEvent, Tally, UpdateEvent
from zmtwist.ingest.clips.placement import directory_bytes
from zmtwist.ingest.thumbnails import queue as module
from zmtwist.ingest.thumbnails.generator import Done, Job, do
from zmtwist.ingest.thumbnails.queue import CLIP_SECONDS, MOST_WAITING, PATIENCE_SECONDS, Thumbnails, job_of, possible
from zmtwist.reactor.thread_pool import Disk

SECOND = 1_000_000
NO_ALARM = Tally()


def close(
    event_id: int = 7, *, tally: Tally = NO_ALARM, video: str | None = "7-video.h264.mkv", size: int = 1
) -> CloseEvent:
    return CloseEvent(
        handle=f"3.r.{event_id}", length_us=2_900_000, frames=30, tally=tally, video_name=video, disk_bytes=size
    )


def brightness(path: Path) -> int:
    """Of a flat picture."""
    with av.open(str(path)) as container:
        (frame,) = container.decode(video=0)
        assert (frame.width, frame.height) == (64, 48)
        return bytes(frame.planes[0])[64 * 24 + 32]


def of_frame(number: int) -> int:
    """How bright that frame of `record`'s clips is, on a picture's scale (video's own begins at 16)."""
    return min(255, max(0, round((number * 7 % 256 - 16) * 255 / 219)))


# What is to be made


@pytest.mark.parametrize(
    ("tally", "alarm_us"),
    [
        (Tally(), None),
        (Tally(3, 150, 80, 13, 1_200_000), 1_200_000),
        (Tally(1, 80, 80, 1, 0), 0),  # on the first frame
        (Tally(3, 150, 80, 13), 1_200_000),  # of an earlier run, that kept the number only
        (Tally(3, 150, 80, 99), 2_900_000),
    ],
)
def test_the_best_alarm_frame_is_found_by_time(tally, alarm_us):
    assert job_of(close(tally=tally), "/e") == Job("/e", "7-video.h264.mkv", alarm_us)


def test_an_event_without_a_clip_has_no_pictures():
    assert job_of(close(video=None), "/e") is None


# The pictures themselves


@pytest.mark.parametrize(("offset", "number"), [(0, 0), (1.46, 15), (2.9, 29), (60, 29)])
def test_the_pictures_are_of_the_first_and_the_best_frame(tmp_path, offset, number):
    clip = record(tmp_path / "a.mkv")
    clip.chmod(0o640)
    assert do(Job(str(tmp_path), "a.mkv", round(offset * SECOND))) == Done(made=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mkv", "alarm.jpg", "snapshot.jpg"]
    assert abs(brightness(tmp_path / "snapshot.jpg") - of_frame(0)) <= 2
    assert abs(brightness(tmp_path / "alarm.jpg") - of_frame(number)) <= 2
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o640}


def test_a_clip_that_was_cut_off_has_pictures_too(tmp_path):
    record(tmp_path / "a.mkv", cut=40)
    assert do(Job(str(tmp_path), "a.mkv", SECOND)) == Done(made=2)
    assert abs(brightness(tmp_path / "alarm.jpg") - of_frame(10)) <= 2


def test_a_picture_that_is_there_is_left_as_it_is(tmp_path):
    record(tmp_path / "a.mkv")
    (tmp_path / "snapshot.jpg").write_bytes(b"ZoneMinder's own")
    assert do(Job(str(tmp_path), "a.mkv", 0)) == Done(made=1)
    assert (tmp_path / "snapshot.jpg").read_bytes() == b"ZoneMinder's own"
    assert do(Job(str(tmp_path), "a.mkv", 0)) == Done()


def test_what_gives_no_picture(tmp_path):
    (tmp_path / "a.mkv").write_bytes(b"\x1a\x45\xdf\xa3" + bytes(500))
    (tmp_path / "list.mkv").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/secret\n")
    assert do(Job(str(tmp_path), "gone.mkv")) == Done(gone=True)
    assert do(Job(str(tmp_path / "gone"), "a.mkv")) == Done(gone=True)
    os.mkfifo(tmp_path / "fifo.mkv")
    record(tmp_path / "elsewhere" / "b.mkv")
    (tmp_path / "link.mkv").symlink_to(tmp_path / "elsewhere" / "b.mkv")
    names = ["a.mkv", "fifo.mkv", "link.mkv", "list.mkv"]
    for name in names:
        done = do(Job(str(tmp_path), name))
        assert done.made == 0 and done.problem, name
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file() or path.is_fifo()) == names


# When they are made


class Full(Clock):
    """A host that has no room for one more process."""

    def spawnProcess(self, *_args: Any, **_options: Any) -> None:
        raise OSError(11, "Resource temporarily unavailable")


class Waiting:
    """Thumbnails on a clock, on a host that is as busy as one says. No child is ever needed."""

    def __init__(self, *, busy: bool = True, queued: int = 0) -> None:
        self.clock = Full()
        self.busy, self.queued = busy, queued
        self.thumbnails = Thumbnails(
            self.clock, None, lambda *_: None, lambda: self.queued, long_queue=10, argv=["/none"],
            overloaded=lambda: self.busy,
        )  # type: ignore[arg-type]  # fmt: skip

    def closed(self, event_id: int) -> None:
        self.thumbnails.closed(close(event_id), place_in(Path("/e"), event_id))

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            self.clock.advance(1)

    @property
    def skipped(self) -> dict[str, int]:
        return {reason: count for reason, count in self.thumbnails.figures.skipped.items() if count}


@pytest.fixture
def host():
    hosts: list[Waiting] = []

    def make(**state: Any) -> Waiting:
        hosts.append(Waiting(**state))
        return hosts[-1]

    yield make
    for one in hosts:
        assert Deferred.fromCoroutine(one.thumbnails.finish()).called
        assert one.clock.getDelayedCalls() == []


@pytest.mark.parametrize(("reason", "busy", "queued"), [("load", True, 0), ("queue", False, 11)])
def test_while_there_is_more_important_work_nothing_is_begun_and_what_has_waited_long_is_left_out(
    host, reason, busy, queued
):
    host = host(busy=busy, queued=queued)
    host.closed(1)
    host.wait(PATIENCE_SECONDS - 60)
    host.closed(2)
    host.wait(30)
    assert host.skipped == {}
    host.wait(40)
    assert host.skipped == {reason: 1}
    host.busy, host.queued = False, 0
    host.wait(3)
    assert host.thumbnails.figures.failed == 1  # the second was begun
    assert host.skipped == {reason: 1}


def test_the_oldest_give_way_when_too_many_wait(host):
    host = host()
    for number in range(MOST_WAITING + 5):
        host.closed(number)
    assert host.skipped == {"backlog": 5}


def test_a_stop_does_not_wait_for_a_host_that_is_busy(host):
    host = host()
    host.closed(1)
    host.closed(2)
    assert Deferred.fromCoroutine(host.thumbnails.finish()).called
    assert host.skipped == {"load": 2}
    assert host.clock.getDelayedCalls() == []


# The child


class Shop:
    """Thumbnails with a real child, or a stand-in that behaves as `script` says; `resized` are the changes they ask for."""

    def __init__(self, root: Path, script: str | None = None) -> None:
        self.root = root
        self.disk = Disk(reactor)
        self.disk.startService()
        self.resized: list[Any] = []
        self.thumbnails = Thumbnails(
            reactor, self.disk, lambda _, changes: self.resized.extend(changes), lambda: 0, long_queue=9,
            argv=None if script is None else stand_in(script),
            overloaded=lambda: False,
        )  # fmt: skip

    def closed(self, event_id: int, **fields: Any) -> Path:
        place = place_in(self.root, event_id)
        directory = Path(place.directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.thumbnails.closed(close(event_id, **fields), place)
        return directory

    async def end(self) -> None:
        await self.thumbnails.finish()
        self.disk.stopService()


@pytest.fixture
def shop(tmp_path):
    shops: list[Shop] = []

    def make(script: str | None = None) -> Shop:
        shops.append(Shop(tmp_path, script))
        return shops[-1]

    yield make
    for one in shops:
        pytest_twisted.blockon(Deferred.fromCoroutine(one.end()))


@pytest_twisted.ensureDeferred
async def test_one_child_makes_them_all_and_each_events_size_is_told_anew(shop, monkeypatch):
    monkeypatch.setattr(module, "CLIP_SECONDS", 200)  # it takes only what nobody else wants, which may be little
    monkeypatch.setattr(module, "FINISH_SECONDS", 200)
    made = shop()
    places = [place_in(made.root, number) for number in (1, 2)]
    for place in places:
        record(Path(place.directory, "c.mkv"))
    made.closed(1, video="c.mkv", tally=Tally(1, 90, 90, 11, SECOND))
    made.closed(2, video="c.mkv", size=4)
    await until(lambda: made.thumbnails.figures.made == 3 and len(made.resized) == 2, 200)
    assert made.resized == [
        UpdateEvent(handle=f"3.r.{number}", disk_bytes=directory_bytes(Path(place.directory)))
        for number, place in enumerate(places, 1)
    ]
    child = made.thumbnails._child
    assert child is not None
    assert os.getpriority(os.PRIO_PROCESS, child.transport.pid) == 19
    made.closed(2, video="c.mkv", size=made.resized[1].disk_bytes)  # as a close that is repeated by the spool
    await made.thumbnails.finish()
    await until(lambda: not child.lives)  # it was told to end, or was killed
    assert (made.thumbnails.figures.made, len(made.resized)) == (3, 2)


@pytest_twisted.ensureDeferred
async def test_a_child_that_crashes_or_talks_nonsense_costs_one_picture(shop):
    made = shop(
        """
if b"crash.mkv" in asked:
    os.write(2, b"no memory")
    os.kill(os.getpid(), signal.SIGSEGV)
say({"made": "x"} if b"odd.mkv" in asked else {"made": 2})
"""
    )
    for number, name in enumerate(("crash.mkv", "good.mkv", "odd.mkv", "good.mkv"), 1):
        made.closed(number, video=name)
    await until(lambda: made.thumbnails.figures.made == 4)
    assert (made.thumbnails.figures.failed, made.thumbnails._making is not None) == (2, True)


@pytest_twisted.ensureDeferred
async def test_a_child_that_hangs_is_ended_and_what_it_left_is_removed(shop, monkeypatch):
    monkeypatch.setattr(module, "CLIP_SECONDS", 1.5)
    made = shop("time.sleep(100 if b'hang.mkv' in asked else 0)\nsay({'made': 1})")
    directory = Path(place_in(made.root, 1).directory)
    directory.mkdir(parents=True)
    Path(directory, ".snapshot.jpg.part").write_bytes(b"half a picture")
    made.closed(1, video="hang.mkv")
    made.closed(2, video="good.mkv")
    await until(lambda: made.thumbnails.figures.made == 1)
    assert made.thumbnails.figures.failed == 1
    assert list(directory.iterdir()) == []


@pytest_twisted.ensureDeferred
async def test_a_stop_does_not_wait_long_for_a_child_that_hangs(shop, monkeypatch):
    monkeypatch.setattr(module, "FINISH_SECONDS", 0.3)
    assert CLIP_SECONDS > 10
    made = shop("time.sleep(100)")
    made.closed(1)
    await until(lambda: made.thumbnails._child is not None)
    child = made.thumbnails._child
    await made.thumbnails.finish()
    await until(lambda: not child.lives)


# In the service


def test_they_are_made_where_pyav_is_unless_the_operator_says_no(monkeypatch):
    assert possible(None) and possible(True) and not possible(False)
    monkeypatch.setattr(module, "major_version", lambda _distribution: None)
    assert not (possible(None) or possible(True) or possible(False))


@pytest_twisted.ensureDeferred
async def test_events_of_the_service_have_pictures_and_their_true_size(tmp_path, monkeypatch):
    monkeypatch.setattr(module.os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    zm = Installation.make(tmp_path)
    zm.monitor(1)
    service = zm.service("[zmnext.ingest]\nthumbnails = true\n[zmnext.pipeline]\ndetect = false\nsegment_max_secs = 1")
    service.startService()
    try:
        await until(lambda: service.ingest is not None and service.ingest.thumbnails.figures.made)
    finally:
        await service.stopService()
    events = zm.events()
    for event in events:
        directory = zm.clip(event).parent
        assert (directory / "snapshot.jpg").stat().st_size > 100
        assert event["DiskSpace"] == directory_bytes(directory)
        assert not (directory / "alarm.jpg").exists()
    total = sum(event["DiskSpace"] for event in events)
    assert zm.execute("SELECT DiskSpace FROM Storage WHERE Id = 1") == [(total,)]
    assert zm.execute("SELECT TotalEventDiskSpace FROM Event_Summaries") == [(total,)]
