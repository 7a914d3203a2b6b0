"""Ingest's shell: what it learns of monitors, and what it tells of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher

from tests.ingest.builders import T0, detection, opening, saved, us
from tests.ingest.places import place_in
from zmtwist.changes import AddData, AddFrame, AddTag, ClipSaved, CloseEvent, OpenEvent, Tally
from zmtwist.config.model import IngestConfig, Mode
from zmtwist.ingest.assigner import Assigner
from zmtwist.ingest.clips.finalizer import SETTLE_LAST_DELAY
from zmtwist.ingest.clips.locate import as_measured
from zmtwist.ingest.clips.placement import settle_clip
from zmtwist.ingest.service import Ingest
from zmtwist.ingest.session.options import Options, options_of
from zmtwist.ingest.writer.writer import COMPANY_SECONDS
from zmtwist.pipeline.document import Document
from zmtwist.pipeline.monitor import Monitor, Storage, Zone
from zmtwist.wire.encode import MAX_EVENT_ID
from zmtwist.wire.event_details import EVENT_REVIEW_ASSETS, Lifecycle
from zmtwist.wire.messages import Event, Response


class Now:
    """Threads and workers that answer at once. No clip can be looked into, which takes a process."""

    def run(self, function: Any, *args: Any) -> Deferred[Any]:
        if function is as_measured:
            return succeed(args[0])
        try:
            return succeed(function(*args))
        except Exception as error:
            return fail(error)

    def command(self, *_args: Any, **_fields: Any) -> Deferred[Any]:
        return succeed(Response(ok=True))


@pytest.fixture
def warnings():
    seen: list[Any] = []

    def observe(event: Any) -> None:
        if event["log_level"] >= LogLevel.warn:
            seen.append(event)

    globalLogPublisher.addObserver(observe)
    yield seen
    globalLogPublisher.removeObserver(observe)


class SlowStorage(Now):
    """As `Now`, but whoever asks for a clip waits until `answer`."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Deferred[Any], Any]] = []

    def run(self, function: Any, *args: Any) -> Deferred[Any]:
        if function is not settle_clip:
            return super().run(function, *args)
        asked: Deferred[Any] = Deferred()
        self.waiting.append((asked, lambda: function(*args)))
        return asked

    def answer(self) -> None:
        for asked, look in self.waiting:
            asked.callback(look())
        self.waiting.clear()


class Store:
    """Commits whatever it is given."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.committed: list[Any] = []
        self.places: dict[str, Any] = {}

    def commit(self, changes: Any, places: Any, monitors: Any) -> Deferred[Any]:
        self.committed.append(changes)
        opened = {c.handle: place_in(self.root, n, c.monitor_id) for n, c in enumerate(of(OpenEvent, changes), 1)}
        self.places |= opened
        return succeed(opened)


class Setting:
    def __init__(self, root: Path, config: IngestConfig | None = None, disk: Now | None = None) -> None:
        self.clock = Clock()
        self.store = Store(root)
        self.ingest = Ingest(
            self.clock, self.store, Now(), disk or Now(), run="run", wall=lambda: T0, announce=lambda _: None,
            options=options_of(config or IngestConfig()),
        )  # type: ignore[arg-type]  # fmt: skip
        self.monitor = Monitor(id=3, width=640, height=360, storage=Storage(id=1, path=str(root)))

    def know(self, *, mode: Mode = "continuous", zones: tuple[Zone, ...] = (), lead: float = 0.0) -> None:
        document = Document(self.monitor.id, "{}", mode, str(self.store.root), lead_sec=lead, detect_size=(640, 360))
        self.ingest.know(attrs.evolve(self.monitor, zones=zones), document, bulk_interval=0)

    def say(self, *events: Event) -> list[Any]:
        """All that is committed once these are heard."""
        for event in events:
            self.ingest.event(3, event, event.wall_us or us(0))
            for _ in range(6):
                self.clock.advance(COMPANY_SECONDS / 4)
        return [change for batch in self.store.committed for change in batch]


def of(kind: type, changes: list[Any]) -> list[Any]:
    return [change for change in changes if isinstance(change, kind)]


def test_objects_count_by_the_zones_that_are_known_and_a_bad_zone_is_told_of_once(tmp_path, warnings):
    s = Setting(tmp_path)
    bad, good = Zone(1, "Odd", coords="1,2"), Zone(2, "Far", coords="90.0,90.0 99.0,90.0 99.0,99.0")
    for _ in range(3):
        s.know(zones=(bad, good))
    assert [event["problem"][:10] for event in warnings] == ['zone 1 "Od']
    changes = s.say(opening(0, "t"), detection(1, "person", 0.9))  # its box is at the upper left
    assert of(AddFrame, changes) == []
    s.know(zones=())
    assert len(of(AddFrame, s.say(detection(2, "person", 0.9)))) == 1
    s.know(zones=(bad,))
    assert len(warnings) == 2


def test_what_the_operator_wishes_reaches_the_sessions(tmp_path):
    assert options_of(IngestConfig()) == Options()
    assert options_of(IngestConfig(timezone="Europe/Berlin")).zone is None, (
        "workers name their files by the host's time"
    )
    config = IngestConfig(tags=False, max_data_per_minute=0, events_without_recording=False)
    s = Setting(tmp_path, config)
    s.know(mode="none")
    assert s.say(detection(1, "person", 0.9)) == []
    s.know()
    changes = s.say(opening(2, "t"), detection(3, "person", 0.9))
    assert len(of(OpenEvent, changes)) == len(of(AddFrame, changes)) == 1
    assert of(AddTag, changes) == of(AddData, changes) == []


@pytest.mark.parametrize(("mode", "lead", "before"), [("continuous", 0.0, 5), ("both", 0.0, 0), ("event", 2.0, 2)])
def test_a_worker_may_go_on_with_its_document_of_before_and_trigger(tmp_path, mode, lead, before):
    s = Setting(tmp_path)
    s.know(mode="event", lead=5.0)
    s.know(mode=mode, lead=lead)
    (opened,) = of(OpenEvent, s.say(opening(60, "t", "motion")))
    assert opened.start_us == us(60 - before)


def test_health_and_what_was_left_out_can_be_asked_for(tmp_path):
    s = Setting(tmp_path, IngestConfig(max_frames_per_second=1, max_data_per_minute=1))
    s.say(Event(0x0101, wall_us=us(0), detail=Lifecycle(type="connection_failed", message="no")))
    assert s.ingest.health[3].troubles[0].since_us == us(0)
    s.say(opening(0, "t"), *(detection(1 + n / 10, "person", 0.9) for n in range(10)))
    frames, data = s.ingest.folded(3)
    assert (frames, data) == (8, 9)


def test_review_assets_are_noted_once_their_clip_is_in_its_place(tmp_path):
    s = Setting(tmp_path)
    s.know()
    clip = tmp_path / "own.mkv"
    clip.write_bytes(b"x")
    assets = Event(EVENT_REVIEW_ASSETS, wall_us=us(11))  # the wire cut its detail
    (opened,) = of(OpenEvent, s.say(opening(0, "t")))
    place = s.store.places[opened.handle]
    synopsis = Path(place.directory) / "synopsis"
    synopsis.mkdir(parents=True)
    (synopsis / "manifest.json").write_text('{"type":"review_assets","event_id":1,"tubes":[{"label":"cat"}]}')
    (noted,) = of(AddData, s.say(saved(10, str(clip), 9.9, 100), assets))
    assert (noted.handle, json.loads(noted.json)["labels"]) == (opened.handle, ["cat"])
    assert s.ingest.synopses.noted == 1


def test_a_stop_waits_for_clips_that_are_being_seen_to(tmp_path):
    disk = SlowStorage()
    s = Setting(tmp_path, disk=disk)
    s.know()
    clip = tmp_path / "2026-11-22" / "event-Monitor-3-0-09-10-50.mkv"
    clip.parent.mkdir()
    clip.write_bytes(b"x")
    s.say(opening(0, "t"), saved(10, str(clip), 9.9, 100))
    assert len(disk.waiting) == 1
    finished = Deferred.fromCoroutine(s.ingest.finish())
    s.clock.advance(5)
    assert not finished.called
    disk.answer()
    for _ in range(6):
        s.clock.advance(COMPANY_SECONDS / 4)
    assert finished.called
    (closed,) = of(CloseEvent, [change for batch in s.store.committed for change in batch])
    assert closed.video_name is not None


def test_an_event_whose_clip_is_missing_is_closed_without_one(tmp_path):
    s = Setting(tmp_path)
    s.know()
    (tmp_path / "3").mkdir()  # what the storage holds else: it is mounted
    (closed,) = of(CloseEvent, s.say(opening(0, "t"), saved(10, "", 9.9, 100)))
    assert closed.video_name is None
    assert "no clip" in closed.note


@pytest.mark.slow  # the clip is measured, by a child
def test_a_clip_that_is_missing_while_another_disk_is_mounted_is_waited_for(tmp_path):
    s = Setting(tmp_path)
    s.know()
    (tmp_path / "3").mkdir()
    doubt = [True]

    async def doubted(_root: str) -> bool:
        return doubt[0]

    s.ingest.storages.doubted = doubted
    clip = tmp_path / "2026-11-22" / "event-Monitor-3-0-09-10-50.mkv"
    assert of(CloseEvent, s.say(opening(0, "t"), saved(10, str(clip), 9.9, 100))) == []
    s.clock.advance(SETTLE_LAST_DELAY)
    assert of(CloseEvent, s.say()) == []
    clip.parent.mkdir()
    clip.write_bytes(b"x")
    doubt[0] = False
    for _ in range(400):
        s.clock.advance(0.25)
    (closed,) = of(CloseEvent, [change for batch in s.store.committed for change in batch])
    assert closed.video_name is not None


@pytest.mark.parametrize(("run", "looked_into"), [("run", False), ("before", True)])
def test_a_clip_whose_save_an_earlier_run_heard_is_looked_into(tmp_path, run, looked_into):
    asked = []

    class Asked(Now):
        def run(self, function: Any, *args: Any) -> Deferred[Any]:
            asked.append(function)
            return super().run(function, *args)

    s = Setting(tmp_path, disk=Asked())
    s.know()
    place = place_in(tmp_path)
    Path(place.directory).mkdir(parents=True)
    Path(place.video_path).write_bytes(b"x")
    saved_before = ClipSaved(handle=f"3.{run}.1", path=place.video_path, duration_us=1, frames=1, tally=Tally())
    s.ingest._effect(saved_before, place)
    assert settle_clip in asked
    assert (as_measured in asked) == looked_into


@pytest.mark.parametrize(("event_id", "told"), [(MAX_EVENT_ID, True), (MAX_EVENT_ID + 1, False)])
def test_an_event_id_that_a_worker_cannot_hold_is_not_told_it(tmp_path, event_id, told):
    commands: list[Any] = []
    worker = Now()
    worker.command = lambda *args, **fields: commands.append(fields["event_id"]) or succeed(Response(ok=True))
    assigner = Assigner(Clock(), worker)
    assert Deferred.fromCoroutine(assigner.assign("3.run.1", "t", place_in(tmp_path, event_id))).called
    assert commands == [event_id] * told
