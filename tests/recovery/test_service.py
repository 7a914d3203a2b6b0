"""The recovery on an embedded database, with real clips on disk and no worker."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import pytest_twisted
from msgspec.structs import replace
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.logger import globalLogPublisher

from tests.ingest.builders import saved
from tests.media.clips import RATE, record
from tests.service_case import Installation
from tests.waiting import until
from zmtwist.changes import OpenEvent, UpdateEvent
from zmtwist.config.database_url import parse_url
from zmtwist.config.site import Site
from zmtwist.ingest.clips import scan
from zmtwist.ingest.clips.placement import directory_bytes
from zmtwist.ingest.service import Ingest
from zmtwist.ingest.writer.backlog import Backlog
from zmtwist.notifications import EventClosed
from zmtwist.reactor.thread_pool import Disk
from zmtwist.recovery import inventory
from zmtwist.recovery import service as reconcile
from zmtwist.recovery.actions import CloseEmpty, CloseFromFile, HoldBack, LeaveOpen, MakeEvent, Report, SetAside
from zmtwist.recovery.service import RecoveryService
from zmtwist.service import wall_us
from zmtwist.wire.messages import Event
from zmtwist.zm.db.pool import Database
from zmtwist.zm.read.catalog import Catalog
from zmtwist.zm.read.own_events import Own, Reader
from zmtwist.zm.write.store import EventStore

SECOND = 1_000_000


class Life:
    """One run of the service, without its fleet."""

    def __init__(
        self, zm: Installation, run: str, recording: dict[int, frozenset[str] | None], **options: bool
    ) -> None:
        self.zm, self.told = zm, []
        self.database = Database(reactor, parse_url(f"sqlite:///{zm.directory}/zm.db"))
        self.disk = Disk(reactor)
        self.database.startService()
        self.disk.startService()
        self.ingest = Ingest(
            reactor,
            EventStore(self.database),
            self,
            self.disk,
            run=run,
            wall=wall_us,
            announce=self.told.append,
            **options,
        )
        catalog = Catalog(self.database, Site())

        async def own() -> dict[int, Own]:
            return {monitor.id: Own(monitor) for monitor in await catalog.monitors()}

        async def open_files() -> dict[int, frozenset[str] | None]:
            return dict(recording)

        self.own = own
        self.recovery = RecoveryService(
            reactor, self.database, Site(), self.disk, self.ingest, own, open_files, wall=wall_us
        )
        self.recovery.startService()

    def command(self, *_args: object, **_fields: object) -> Deferred:
        return fail(RuntimeError("there is no worker"))

    async def open(self, handle: str, start_us: int, monitor_id: int = 1) -> int:
        """Write a row as it is while its clip is recorded; its id."""
        monitors = {n: one.monitor for n, one in (await self.own()).items()}
        event = OpenEvent(
            handle=handle,
            monitor_id=monitor_id,
            start_us=start_us,
            trigger="continuous",
            cause="Continuous",
            token="t",
            codec_id=27,
        )
        refreshed = UpdateEvent(handle=handle, length_us=0)  # from then on it has its clip's name
        places = await EventStore(self.database).commit([event, refreshed], {}, monitors)
        return places[handle].event_id

    async def end(self) -> None:
        self.recovery.stopService()
        await self.ingest.finish()
        self.disk.stopService()
        await self.database.stopService()


@pytest.fixture
def zm(tmp_path):
    made = Installation.make(tmp_path)
    made.monitor(1, "Record")
    made.monitor(2, "Record")
    return made


@pytest.fixture
def live(zm):
    lives = []

    def begin(recording: dict[int, frozenset[str] | None] | None = None, **options: bool) -> Life:
        lives.append(Life(zm, f"r{len(lives)}", recording or {}, **options))
        return lives[-1]

    yield begin
    for life in lives:
        pytest_twisted.blockon(Deferred.fromCoroutine(life.end()))


@pytest.fixture
def logs():
    seen = []
    globalLogPublisher.addObserver(seen.append)
    yield seen
    globalLogPublisher.removeObserver(seen.append)


def ago(seconds: float) -> int:
    return (wall_us() // SECOND - round(seconds)) * SECOND


def own_path(zm: Installation, opened_us: int, monitor_id: int = 1) -> Path:
    at = datetime.fromtimestamp(opened_us / SECOND)
    return zm.storage / f"{at:%Y-%m-%d}" / f"event-Monitor-{monitor_id}-0-{at:%H-%M-%S}.mkv"


def hear(life: Life, event: Event) -> None:
    """The worker says it now."""
    life.ingest.event(1, replace(event, wall_us=wall_us()), wall_us())


def in_place(zm: Installation, event_id: int) -> Path:
    (event,) = [e for e in zm.events() if e["Id"] == event_id]
    return zm.clip({**event, "DefaultVideo": event["DefaultVideo"] or f"{event_id}-video.h264.mkv"})


def check(zm: Installation, event_id: int, frames: int) -> None:
    (event,) = [e for e in zm.events() if e["Id"] == event_id]
    assert event["EndDateTime"] is not None
    assert event["DefaultVideo"] == f"{event_id}-video.h264.mkv"
    assert zm.clip(event).stat().st_size > 0
    assert (event["Frames"], event["Length"]) == (frames, (frames - 1) / RATE)
    assert event["DiskSpace"] >= zm.clip(event).stat().st_size
    assert zm.frames(event["Id"])[0][0] == 1


@pytest_twisted.ensureDeferred
async def test_everything_at_once_and_then_nothing_more(zm, live):
    life = live()
    here, moved, lost = [await life.open(name, ago(s)) for name, s in (("a", 400), ("b", 300), ("c", 200))]
    record(in_place(zm, here), 20, cut=40)
    record(own_path(zm, ago(300)), 30)
    record(own_path(zm, ago(100)), 25, sidecar='{"cause": "motion", "text": "a red van"}')
    empty = own_path(zm, ago(50), monitor_id=2)
    empty.touch()
    foreign = own_path(zm, ago(50), monitor_id=9)
    foreign.touch()

    dry = await life.recovery.recover(dry_run=True)
    assert [type(a) for a in dry.plan.actions] == [CloseFromFile, CloseFromFile, CloseEmpty, MakeEvent, SetAside]
    assert not dry.done and [e["EndDateTime"] for e in zm.events()] == [None] * 3
    done = await life.recovery.recover()
    assert done.done and done.failed == ()
    assert len(zm.events()) == 4
    check(zm, here, zm.events()[0]["Frames"])
    check(zm, moved, 30)
    check(zm, 4, 25)
    assert (zm.events()[3]["Cause"], zm.events()[3]["Notes"]) == ("Motion", "a red van")
    closed = zm.events()[2]
    assert (closed["Id"], closed["DefaultVideo"], closed["EndDateTime"] is None) == (lost, "", False)
    assert "no clip of it" in closed["Notes"]
    assert not empty.exists() and len(list((zm.storage / "zmnext-set-aside").iterdir())) == 1
    assert foreign.exists(), "monitor 9 is none of ours"
    assert [h.event_id for h in life.told if isinstance(h, EventClosed)].count(here) == 1
    again = await life.recovery.recover()
    assert again.plan.actions == ()


@pytest_twisted.ensureDeferred
async def test_a_clip_that_a_worker_still_records_is_closed_by_its_save(zm, live):
    first = await live().open("a", ago(60))
    clip = record(in_place(zm, first), 40)
    life = live({1: frozenset({str(clip)})})
    await life.recovery.at_start()
    life.ingest.adopted(1)
    assert life.ingest.in_hand().event_ids == {first}
    busy = await life.recovery.recover()
    assert busy.plan.actions == ()
    hear(life, saved(0, str(clip), 3.9, 40, event_id=first))
    await until(lambda: zm.events()[0]["EndDateTime"])
    check(zm, first, 40)
    assert len(zm.events()) == 1


@pytest_twisted.ensureDeferred
async def test_a_worker_that_takes_a_clip_up_while_the_directories_are_looked_at_keeps_it(zm, live, monkeypatch):
    first = await live().open("a", ago(60))
    clip = record(in_place(zm, first), 40)
    recording: dict[int, frozenset[str] | None] = {2: frozenset()}

    def clips_in(directories):
        found = scan.clips_in(directories)
        recording[1] = frozenset({str(clip)})
        return found

    monkeypatch.setattr(inventory, "clips_in", clips_in)
    seen = await live(recording).recovery.recover(dry_run=True)
    assert [type(action) for action in seen.plan.actions] == [LeaveOpen]


@pytest_twisted.ensureDeferred
async def test_a_save_of_the_next_clip_is_not_taken_for_the_one_that_was_missed(zm, live):
    """The old clip is finished right after it was seen to be open; its save is heard by nobody."""
    first = await live().open("a", ago(60))
    old = record(in_place(zm, first), 40)
    life = live({1: frozenset({str(old)})})
    await life.recovery.at_start()
    await life.ingest.resume([one.monitor for one in (await life.own()).values()])
    life.ingest.adopted(1)
    new = record(own_path(zm, ago(30)), 20)
    hear(life, saved(0, str(new), 1.9, 20))
    await until(lambda: len(zm.events()) == 2 and all(e["EndDateTime"] for e in zm.events()))
    check(zm, first, 40)
    assert old.exists()
    assert zm.events()[1]["Frames"] == 20


@pytest_twisted.ensureDeferred
async def test_what_was_finished_while_nobody_listened_is_not_left_open(zm, live):
    first = await live().open("a", ago(60))
    record(in_place(zm, first), 40, sidecar="{}")
    life = live({1: frozenset()})
    await life.recovery.at_start()
    await until(lambda: zm.events()[0]["EndDateTime"])
    check(zm, first, 40)
    await until(lambda: not life.ingest.in_hand().events)
    life.ingest.adopted(1)
    assert not life.ingest.in_hand().events


@pytest.mark.parametrize("away", ["missing", "empty"])
@pytest_twisted.ensureDeferred
async def test_a_storage_that_is_not_mounted_costs_no_row(zm, live, away):
    await live().open("a", ago(60))
    zm.storage.rmdir()
    if away == "empty":
        zm.storage.mkdir()
    life = live()
    await life.recovery.at_start()
    stopped = await life.recovery.recover()
    assert stopped.plan.actions == () and "mounted" in stopped.plan.stopped[0]
    assert zm.events()[0]["EndDateTime"] is None


@pytest_twisted.ensureDeferred
async def test_a_worker_that_was_killed_before_anything_was_heard_of_its_clip(zm, live, monkeypatch):
    monkeypatch.setattr("zmtwist.recovery.service.GONE_SECONDS", 0.01)
    life = live()
    clip = record(own_path(zm, ago(20)), 15)
    os.utime(clip, (wall_us() / SECOND - 10,) * 2)
    life.ingest.gone(1)
    await until(lambda: zm.events() and zm.events()[0]["EndDateTime"])
    check(zm, 1, 15)


@pytest_twisted.ensureDeferred
async def test_a_storage_that_hangs_keeps_no_camera_from_starting(zm, live, monkeypatch):
    monkeypatch.setattr("zmtwist.recovery.service.START_SECONDS", 0.2)
    first = await live().open("a", ago(60))
    record(in_place(zm, first), 10)
    life = live({1: None})
    real = life.disk.run
    monkeypatch.setattr(life.disk, "run", lambda *_args, **_fields: Deferred())
    await life.recovery.at_start()
    life.ingest.adopted(1)
    assert life.ingest.in_hand().event_ids == {first}, "its worker may be recording it"
    monkeypatch.setattr(life.disk, "run", real)


@pytest_twisted.ensureDeferred
async def test_a_stray_waits_until_the_spool_is_empty_and_becomes_an_event_then(zm, live, monkeypatch):
    monkeypatch.setattr(reconcile, "HELD_BACK_SECONDS", 0.05)
    life = live()
    waiting = True
    monkeypatch.setattr(Backlog, "openings_wait", property(lambda _: waiting))
    clip = record(own_path(zm, ago(100)), 25)
    held = await life.recovery.recover()
    assert [type(action) for action in held.plan.actions] == [HoldBack]
    assert held.failed == () and clip.exists() and zm.events() == []
    assert not life.recovery.figures.acted
    waiting = False
    await until(lambda: [event for event in zm.events() if event["EndDateTime"]])
    check(zm, 1, 25)


@pytest_twisted.ensureDeferred
async def test_a_recovered_event_has_pictures(zm, live):
    life = live(thumbnails=True)
    life.ingest.thumbnails._overloaded = lambda: False
    first = await life.open("a", ago(400))
    clip = record(in_place(zm, first), 20)
    alarm = "INSERT INTO Frames (EventId, FrameId, Type, Delta, Score) VALUES (?, 11, 'Alarm', 1.0, 80)"
    zm.execute(alarm, first)
    assert (await life.recovery.recover()).failed == ()
    await until(lambda: life.ingest.thumbnails.figures.made == 2)
    await until(lambda: zm.events()[0]["DiskSpace"] == directory_bytes(clip.parent))
    assert sorted(path.name for path in clip.parent.iterdir()) == sorted([clip.name, "alarm.jpg", "snapshot.jpg"])


def between(life: Life, monkeypatch: pytest.MonkeyPatch, name: str, happens: Callable[[], object]) -> None:
    """Have something happen once a function of this name has looked at the disk."""
    real = life.disk.run

    def run(function, *args, **kwargs):
        work = real(function, *args, **kwargs)
        if function.__name__ == name:
            work.addCallback(lambda result: (happens(), result)[1])
        return work

    monkeypatch.setattr(life.disk, "run", run)


@pytest_twisted.ensureDeferred
async def test_a_clip_that_a_worker_began_during_the_look_is_the_living_workers(zm, live, monkeypatch):
    recording = {2: frozenset({"/another"})}
    life = live(recording)
    begun = own_path(zm, ago(0))
    begun.parent.mkdir()
    begun.touch()
    between(
        life,
        monkeypatch,
        "strays_of",
        lambda: recording.update({1: frozenset({f"/mnt/linked/{begun.parent.name}/{begun.name}"})}),
    )
    assert (await life.recovery.recover()).plan.actions == ()
    assert begun.exists()


@pytest_twisted.ensureDeferred
async def test_what_has_changed_by_the_time_it_was_measured_is_left_for_the_next_look(zm, live, monkeypatch):
    life = live()
    first, second = await life.open("a", ago(400)), await life.open("b", ago(300))
    record(in_place(zm, first), 20)
    growing = record(in_place(zm, second), 20)
    gone = record(own_path(zm, ago(200)), 20)

    def change() -> None:
        zm.execute("UPDATE Events SET EndDateTime = '2026-01-01 00:00:00', Frames = 77 WHERE Id = ?", first)
        with growing.open("ab") as file:
            file.write(b"x")
        gone.unlink()

    between(life, monkeypatch, "measure_files", change)
    done = await life.recovery.recover()
    assert done.plan.actions == () and done.failed == ()
    assert [(event["Frames"], event["EndDateTime"] is None) for event in zm.events()] == [(77, False), (1, True)]
    assert 1 in life.recovery._due, "it is looked at again"


@pytest_twisted.ensureDeferred
async def test_a_clip_in_the_storage_that_its_monitor_recorded_to_before_gets_its_event_there(zm, live):
    before, other = zm.storage, zm.directory / "other"
    other.mkdir()
    (other / "1").mkdir()
    life = live()
    opened = await life.open("a", ago(400))
    mine, lost = record(own_path(zm, ago(400)), 20), record(own_path(zm, ago(300)), 30)
    zm.execute("INSERT INTO Storage (Id, Path, Name, Scheme) VALUES (9, ?, 'other', 'Medium')", str(other))
    zm.execute("UPDATE Monitors SET StorageId = 9")
    done = await life.recovery.recover()
    assert [type(action) for action in done.plan.actions] == [CloseFromFile, MakeEvent] and done.failed == ()
    assert [(event["Id"], event["StorageId"], event["Frames"]) for event in zm.events()] == [
        (opened, 1, 20),
        (2, 1, 30),
    ]
    assert not mine.exists() and not lost.exists()
    assert len(list(before.rglob("*-video.h264.mkv"))) == 2
    assert (await life.recovery.recover()).plan.actions == ()


def hostile(zm: Installation) -> None:
    """What a storage may be full of, none of which is a clip."""
    day = own_path(zm, ago(300)).parent
    for name in ("0001-01-01", "0000-00-00", "9999-12-31", day.name):
        (zm.storage / name).mkdir(exist_ok=True)
    record(zm.storage / "0001-01-01" / "event-Monitor-1-0-00-00-00.mkv", 5)
    record(zm.storage / "9999-12-31" / "event-Monitor-1-0-23-59-59.mkv", 5)
    record(day / f"event-Monitor-{'9' * 200}-0-00-00-01.mkv", 5)
    record(day / "event-Monitor-1-0-99-99-99.mkv", 5)
    os.mkfifo(day / "event-Monitor-1-0-00-00-02.mkv")
    (day / "event-Monitor-1-0-00-00-03.mkv").mkdir()
    (day / "event-Monitor-1-0-00-00-04.mkv").symlink_to("/etc/passwd")
    (day / "event-Monitor-1-0-00-00-05.mkv").symlink_to("event-Monitor-1-0-00-00-05.mkv")
    (zm.storage / "2026-01-01").symlink_to(zm.storage / "2026-01-01")
    (zm.storage / "2026-01-02").write_bytes(b"no directory")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as made:
        made.bind(str(zm.directory / "s"))
    (zm.directory / "s").rename(day / "event-Monitor-1-0-00-00-06.mkv")


SIDECARS = {
    "nested": b"[" * 2000,
    "deep": b'{"cause":' + b'{"a":' * 100_000,
    "large": b'{"cause":"motion","text":"' + b"x" * (100 << 20) + b'"}',
    "bytes": b'{"cause":"\xff\xfe"}',
    "wrong": b'{"cause":5,"text":[]}',
    "none": b"",
}


@pytest.mark.parametrize("sidecar", SIDECARS)
@pytest_twisted.ensureDeferred
async def test_what_nobody_understands_keeps_nothing_else_from_being_recovered(zm, live, sidecar):
    hostile(zm)
    clip = record(own_path(zm, ago(300)), 25)
    Path(f"{clip}.json").write_bytes(SIDECARS[sidecar])
    life = live()
    await life.open("a", ago(60), monitor_id=1)  # so it was recorded lately
    before = {path for path in zm.storage.rglob("*") if path != clip and path.name != clip.name + ".json"}
    await life.recovery.at_start()
    await until(lambda: len([event for event in zm.events() if event["EndDateTime"]]) == 2)
    assert [event["Frames"] for event in zm.events()] == [1, 25]
    assert zm.events()[1]["Cause"] == "Continuous"
    assert before <= set(zm.storage.rglob("*")), "nothing of it was touched"
    assert life.recovery.figures.trouble is None


@pytest.mark.parametrize("error", [errno.EIO, errno.ESTALE, errno.EACCES])
@pytest_twisted.ensureDeferred
async def test_a_storage_that_can_not_be_read_stops_no_start_and_no_other_storage(zm, live, monkeypatch, error):
    other = zm.directory / "other"
    other.mkdir()
    zm.execute("INSERT INTO Storage (Id, Path, Name, Scheme) VALUES (9, ?, 'other', 'Medium')", str(other))
    zm.execute("UPDATE Monitors SET StorageId = 9 WHERE Id = 2")
    life = live()
    first = await life.open("a", ago(60))
    second = await life.open("b", ago(60), monitor_id=2)
    record(
        other / "2" / f"{datetime.fromtimestamp(ago(60) / SECOND):%Y-%m-%d}" / str(second) / f"{second}-video.h264.mkv",
        10,
    )
    record(in_place(zm, first), 20)
    real, bad = os.scandir, True

    def scandir(path):
        if bad and str(path).startswith(str(zm.storage)):
            raise OSError(error, os.strerror(error), str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    await life.recovery.at_start()
    await until(lambda: zm.events()[1]["EndDateTime"])
    assert zm.events()[0]["EndDateTime"] is None
    seen = await life.recovery.recover()
    (stopped,) = seen.plan.stopped
    assert str(zm.storage) in stopped and os.strerror(error) in stopped
    assert life.recovery.figures.stopped == 1 and set(life.recovery._due) >= {1, 2}
    bad = False
    await life.recovery.recover()
    check(zm, first, 20)


@pytest_twisted.ensureDeferred
async def test_one_directory_that_can_not_be_read_concerns_one_event(zm, live, monkeypatch):
    life = live()
    first, second = await life.open("a", ago(400)), await life.open("b", ago(300))
    blind = record(in_place(zm, first), 20).parent
    record(in_place(zm, second), 30)
    real = os.scandir

    def scandir(path):
        if str(path) == str(blind):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    done = await life.recovery.recover()
    assert [type(action) for action in done.plan.actions] == [Report, CloseFromFile]
    assert "Input/output error" in done.plan.actions[0].text
    assert zm.events()[0]["EndDateTime"] is None
    check(zm, second, 30)
    monkeypatch.setattr(os, "scandir", real)
    await life.recovery.recover()
    check(zm, first, 20)


@pytest_twisted.ensureDeferred
async def test_no_failure_at_all_stops_the_start_and_it_is_tried_again(zm, live, monkeypatch, logs):
    monkeypatch.setattr(reconcile, "AGAIN_SECONDS", 0.05)
    life = live()
    first = await life.open("a", ago(60))
    record(in_place(zm, first), 20)
    real, broken = Reader.rows, True

    def rows(self, sql, event_ids):
        if broken:
            raise MemoryError("a defect")
        return real(self, sql, event_ids)

    monkeypatch.setattr(Reader, "rows", rows)
    await life.recovery.at_start()
    assert "MemoryError" in life.recovery.figures.trouble
    await until(lambda: len([e for e in logs if "log_failure" in e]) > 1)
    broken = False
    await until(lambda: zm.events()[0]["EndDateTime"])
    check(zm, first, 20)
    await until(lambda: life.recovery.figures.trouble is None)


@pytest_twisted.ensureDeferred
async def test_at_the_start_events_that_were_closed_in_the_last_hour_are_looked_at_too(zm, live):
    life = live()
    first = await life.open("a", ago(600))
    record(in_place(zm, first), 20)
    zm.execute("UPDATE Events SET EndDateTime = StartDateTime, DefaultVideo = '', Videoed = 0")
    await life.recovery.at_start()
    await until(lambda: zm.events()[0]["DefaultVideo"])
    check(zm, first, 20)


@pytest_twisted.ensureDeferred
async def test_a_closed_event_that_is_given_a_clip_does_not_say_what_it_said_of_the_one_before_in_between(
    zm, live, monkeypatch
):
    life = live()
    first = await life.open("a", ago(600))
    zm.execute(
        "UPDATE Events SET EndDateTime = StartDateTime, DefaultVideo = ?, Videoed = 1, DiskSpace = 9000000",
        f"{first}-video.h264.mkv",
    )
    record(own_path(zm, ago(600)), 20)
    sizes = []
    between(life, monkeypatch, "settle_clip", lambda: sizes.append(zm.events()[0]["DiskSpace"]))
    await life.recovery.recover()
    check(zm, first, 20)
    assert sizes == [0], "and so it is looked into, had we been killed then"


@pytest_twisted.ensureDeferred
async def test_one_pass_waits_for_the_other(zm, live, monkeypatch):
    life = live()
    under_way = most = 0
    real = reconcile.Inventory.scene

    async def scene(*args):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return await real(*args)
        finally:
            under_way -= 1

    monkeypatch.setattr(reconcile.Inventory, "scene", scene)
    await gatherResults([life.recovery.recover() for _ in range(3)])
    assert most == 1
