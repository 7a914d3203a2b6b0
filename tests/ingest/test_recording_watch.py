"""Whether a camera is recorded: judged by the file."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import pytest
from msgspec.structs import replace
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from zmtwist.ingest.recording_watch import (
    LONGEST_SECONDS,
    LOOK_SECONDS,
    MOVING_SECONDS,
    OPENS_SECONDS,
    SHORTEST_SECONDS,
    RecordingWatch,
    Wanted,
    look,
    patience,
)
from zmtwist.ingest.session.open_event import Clip
from zmtwist.ingest.session.options import SECOND
from zmtwist.ingest.session.scoring import Activity
from zmtwist.ingest.session.session import Session
from zmtwist.notifications import RecordingFailed, RecordingWell

T0 = 1_795_000_000 * SECOND


class Setting:
    """One camera at 10 frames and 100 kB a second whose recording is watched, and a storage that can hang."""

    def __init__(self, root: Path, continuous: bool = True) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.root = root
        self.told: list[object] = []
        self.session = Session(3, "run")
        self.hangs = False
        self.calls = 0
        self.watch = RecordingWatch(
            self.clock, self, lambda: T0 + round(self.clock.seconds() * SECOND), lambda _: self.session,
            dict, self.told.append,
        )  # type: ignore[arg-type]  # fmt: skip
        self.watch.want(3, Wanted(str(root), continuous))
        self.day = root / f"{datetime.fromtimestamp(T0 // SECOND + 1000):%Y-%m-%d}"
        self.day.mkdir()
        self.clip = self.day / "event-Monitor-3-0-10-00-00.mkv"

    def run(self, function, *args):
        """The disk."""
        self.calls += 1
        return Deferred() if self.hangs else maybeDeferred(function, *args)

    def film(self, seconds: float, grows: int = 0, moves: bool = True, refused: int = 0) -> None:
        """Time passes; each second the clip grows by so much, and so many frames are refused."""
        for _ in range(round(seconds)):
            self.clock.advance(1)
            if moves:
                self.watch.moved(3, 10.0, 100_000.0)
            for _ in range(refused):
                self.watch.refused(3)
            if grows:
                with self.clip.open("ab") as file:
                    file.write(bytes(grows))
            self.watch.tick()

    @property
    def reason(self) -> str | None:
        failing = self.watch.failing(3)
        return None if failing is None else failing.reason


@pytest.fixture
def recorded(tmp_path) -> Setting:
    return Setting(tmp_path)


@pytest.fixture
def triggered(tmp_path) -> Setting:
    return Setting(tmp_path, continuous=False)


def test_a_clip_that_grows_is_well(recorded):
    recorded.film(60, grows=100_000)
    assert recorded.reason is None
    assert recorded.told == []


def test_a_clip_that_does_not_grow(recorded):
    recorded.film(30, grows=100_000)
    recorded.film(SHORTEST_SECONDS + 2 * LOOK_SECONDS)
    assert recorded.reason == "frames come, but its clip does not grow"
    assert recorded.watch.failing(3).nothing
    assert [type(t) for t in recorded.told] == [RecordingFailed]
    recorded.film(10, grows=100_000)
    assert recorded.reason is None
    assert [type(t) for t in recorded.told] == [RecordingFailed, RecordingWell]


def test_a_recorder_that_refuses_every_frame_is_told_with_its_reason(recorded):
    recorded.film(20, grows=100_000)
    recorded.film(20, refused=10)
    assert recorded.reason == "frames come, but its clip does not grow: its recorder refuses frames"
    assert recorded.watch.failing(3).nothing


def test_a_part_that_is_refused(recorded):
    recorded.film(30, grows=40_000, refused=6)
    assert recorded.reason == "only a part is recorded: its recorder refuses frames (does the camera send B-frames?)"
    assert not recorded.watch.failing(3).nothing


def test_a_few_refused_frames_are_no_matter(recorded):
    recorded.film(30, grows=40_000)
    recorded.film(1, grows=40_000, refused=4)
    recorded.film(10, grows=40_000)
    assert recorded.reason is None


def test_between_two_clips_there_is_none_for_a_moment(recorded):
    recorded.film(30, grows=40_000)
    recorded.clip.unlink()
    recorded.film(OPENS_SECONDS - LOOK_SECONDS)
    assert recorded.reason is None
    recorded.film(2 * LOOK_SECONDS)
    assert recorded.reason == "frames come, but no clip is begun; are its keyframes larger than 1 MiB?"


def test_no_clip_at_all(recorded):
    recorded.film(OPENS_SECONDS)
    assert recorded.reason is None
    recorded.film(2 * LOOK_SECONDS)
    assert recorded.reason == "frames come, but no clip is begun; are its keyframes larger than 1 MiB?"


def test_where_no_frames_come_the_state_tells_all(recorded):
    recorded.film(20, grows=100_000)
    recorded.film(MOVING_SECONDS + 60, moves=False)
    assert recorded.reason is None
    recorded.film(SHORTEST_SECONDS - LOOK_SECONDS)
    assert recorded.reason is None, "it is judged anew from when they move again"


def test_a_worker_that_has_gone_is_not_judged_by_what_it_did(recorded):
    recorded.film(30)
    assert recorded.reason is not None
    recorded.watch.gone(3)
    assert recorded.reason is None
    assert isinstance(recorded.told[-1], RecordingWell)
    recorded.film(OPENS_SECONDS - LOOK_SECONDS)
    assert recorded.reason is None


def test_event_mode_waits_for_triggers(triggered):
    triggered.film(60)
    assert triggered.reason is None
    at = T0 + round(triggered.clock.seconds() * SECOND)
    triggered.session = replace(triggered.session, pending=(Activity(at, "motion", 5),))
    triggered.film(3)
    assert triggered.reason is None
    triggered.film(8)
    assert triggered.reason == "what triggers a clip (motion) has led to none"
    triggered.session = replace(triggered.session, pending=(), clips=(Clip("h", at, "motion", token="t"),))
    triggered.film(4, grows=1000)
    assert triggered.reason is None
    triggered.film(SHORTEST_SECONDS + 2 * LOOK_SECONDS)
    assert "does not grow" in triggered.reason


def test_a_storage_that_hangs_is_asked_once_and_decides_nothing(recorded):
    recorded.film(10, grows=1000)
    recorded.hangs, calls = True, recorded.calls
    recorded.film(60)
    assert recorded.calls == calls + 1
    assert recorded.reason is None


def test_nothing_is_judged_where_nothing_is_to_be_recorded(recorded):
    recorded.watch.want(3, None)
    recorded.film(60)
    assert recorded.reason is None


def test_the_clip_is_looked_for_in_its_place_then_under_the_workers_own_name(tmp_path):
    day = tmp_path / "2026-11-28"
    day.mkdir()
    mine = [day / f"event-Monitor-3-0-10-00-0{n}.mkv" for n in range(3)]
    for n, path in enumerate(mine):
        path.write_bytes(bytes(n))
        os.utime(path, (1000 + n, 1000 + n))
    (day / "event-Monitor-4-0-10-00-09.mkv").touch()
    (day / "notes.txt").touch()
    place = tmp_path / "5-video.mkv"
    days = ["2026-11-27", "2026-11-28"]
    found = look({3: str(place), 4: None, 5: None}, str(tmp_path), days)
    assert {n: Path(f.path) for n, f in found.items()} == {3: mine[2], 4: day / "event-Monitor-4-0-10-00-09.mkv"}
    place.write_bytes(b"x")
    assert look({3: str(place)}, str(tmp_path), days)[3].path == str(place)
    place.unlink()
    place.symlink_to(mine[0])
    assert look({3: str(place)}, str(tmp_path), [])[3].size != 0, "the link itself is looked at, not what it leads to"


def test_patience_goes_by_the_bit_rate():
    assert patience(1e6) == SHORTEST_SECONDS
    assert patience(2_000) == pytest.approx(393.2, abs=0.1)  # a worker writes 256 KiB at a time
    assert patience(10) == patience(0) == LONGEST_SECONDS
