"""The recovery on an embedded database, with real clips on disk and no worker."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import pytest
import pytest_twisted
from msgspec.structs import replace
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail

from tests.ingest.builders import saved
from tests.ingest.video import RATE, record
from tests.service_case import Installation, until
from zmtwist.changes import OpenEvent, UpdateEvent
from zmtwist.happenings import EventClosed
from zmtwist.ingest import reconcile
from zmtwist.ingest.backlog import Backlog
from zmtwist.ingest.clips import directory_bytes
from zmtwist.ingest.disk import Disk
from zmtwist.ingest.ingest import Ingest
from zmtwist.ingest.reconcile import Reconciler
from zmtwist.ingest.reconcile_actions import CloseEmpty, CloseFromFile, HoldBack, MakeEvent, SetAside
from zmtwist.service import wall_us
from zmtwist.wire.messages import Event
from zmtwist.zm.catalog import Catalog, Site
from zmtwist.zm.left import Own
from zmtwist.zm.pool import Database
from zmtwist.zm.store import EventStore
from zmtwist.zm.url import parse_url

SECOND = 1_000_000


class Life:
    """One run of the service, without its fleet."""

    def __init__(self, zm: Installation, run: str, living: dict[int, int], **options: bool) -> None:
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

        async def lives() -> dict[int, int]:
            return living

        self.own = own
        self.recovery = Reconciler(reactor, self.database, Site(), self.disk, self.ingest, own, lives, wall=wall_us)
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

    def begin(living: dict[int, int] | None = None, **options: bool) -> Life:
        lives.append(Life(zm, f"r{len(lives)}", living or {}, **options))
        return lives[-1]

    yield begin
    for life in lives:
        pytest_twisted.blockon(Deferred.fromCoroutine(life.end()))


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
    life = live({1: ago(100)})
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
async def test_a_save_of_the_next_clip_is_not_taken_for_the_one_that_was_missed(zm, live):
    """The old clip is finished right after it was seen to be open; its save is heard by nobody."""
    first = await live().open("a", ago(60))
    old = record(in_place(zm, first), 40)
    life = live({1: ago(100)})
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
    life = live({1: ago(100)})
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
    monkeypatch.setattr("zmtwist.ingest.reconcile.GONE_SECONDS", 0.01)
    life = live()
    clip = record(own_path(zm, ago(20)), 15)
    os.utime(clip, (wall_us() / SECOND - 10,) * 2)
    life.ingest.gone(1)
    await until(lambda: zm.events() and zm.events()[0]["EndDateTime"])
    check(zm, 1, 15)


@pytest_twisted.ensureDeferred
async def test_a_storage_that_hangs_keeps_no_camera_from_starting(zm, live, monkeypatch):
    monkeypatch.setattr("zmtwist.ingest.reconcile.START_SECONDS", 0.2)
    first = await live().open("a", ago(60))
    record(in_place(zm, first), 10)
    life = live({1: 0})
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
