"""Saved clips: of several storages, one of which hangs; and such as a worker must not name."""

from __future__ import annotations

import errno
import os
from collections import Counter
from datetime import UTC
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.structs import replace
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.task import Clock

from tests.ingest.builders import T0
from tests.ingest.places import place_in
from tests.media.clips import record
from zmtwist.changes import ClipSaved, Tally
from zmtwist.ingest.clips.finalizer import MEASURED_AT_ONCE, SETTLE_LAST_DELAY, SETTLED_AT_ONCE, Settling
from zmtwist.ingest.clips.placement import SettledClip
from zmtwist.ingest.session.open_event import Clip
from zmtwist.ingest.session.options import Options
from zmtwist.ingest.session.session import Ended, Session

HUNG, WELL = Path("/hung"), Path("/well")


class Disk:
    """Calls on one storage never end; those on the other end at once."""

    def __init__(self):
        self.hanging = Counter()

    def run(self, function, *arguments):
        place = next(a for a in arguments if hasattr(a, "root"))
        if place.root == str(HUNG):
            self.hanging[function.__name__] += 1
            return Deferred()
        if function.__name__ == "find_unheard":
            return succeed(saved(place.event_id, "/well/found.mkv"))
        return succeed(SettledClip(place.video_path, 7))


def saved(number, path):
    return ClipSaved(handle=f"3.r.{number}", path=path, duration_us=1, frames=1, tally=Tally())


def test_a_storage_that_hangs_holds_up_no_clip_of_another():
    disk, closed = Disk(), []
    storages = SimpleNamespace(holds=lambda root, path: None)
    session = Session(3, "r", Options(), codec_id=27)
    settling = Settling(Clock(), disk, storages, lambda _: session, lambda _, changes: closed.extend(changes))
    for number in range(10):
        Deferred.fromCoroutine(
            settling.settle(saved(number, place_in(HUNG, number).video_path), place_in(HUNG, number))
        )
        Deferred.fromCoroutine(settling.settle(saved(10 + number, ""), place_in(HUNG, 10 + number)))
    assert disk.hanging == {"settle_clip": SETTLED_AT_ONCE, "find_unheard": MEASURED_AT_ONCE - 1}
    for number, path in ((20, place_in(WELL, 20).video_path), (21, "")):
        Deferred.fromCoroutine(settling.settle(saved(number, path), place_in(WELL, number)))
    assert [change.handle for change in closed] == ["3.r.20", "3.r.21"]


def settled(root, path, told=None, roots=(), lost=None, fails=(), ended=(), clips=()):
    """The close that comes of a save of that path, for an event whose clip was opened at 09:10:50; and how often a look was put off."""
    closed, clock = [], Clock()

    async def doubted(_root):
        return False

    storages = SimpleNamespace(holds=lambda root, path: None, doubted=doubted)
    session = Session(3, "r", Options(zone=UTC), codec_id=27, ended=ended, clips=clips)
    troubles = iter(fails)

    def run(function, *arguments):
        trouble = next(troubles, None)
        return maybeDeferred(function, *arguments) if trouble is None else fail(trouble)

    disk = SimpleNamespace(run=run)
    settling = Settling(clock, disk, storages, lambda _: session, lambda _, changes: closed.extend(changes))
    settling.roots = lambda: roots
    settling.after_lost = [].append if lost is None else lost.append
    Deferred.fromCoroutine(settling.settle(told or saved(7, path), place_in(root)))
    for _ in fails:
        clock.advance(SETTLE_LAST_DELAY)
    (close,) = closed or [None]
    return close, len(clock.getDelayedCalls())


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "events"
    (made / "2026-11-22").mkdir(parents=True)
    return made


def test_a_save_moves_no_clip_that_can_not_be_its_own(root, tmp_path):
    day = root / "2026-11-22"
    clips = [
        day / "event-Monitor-4-0-09-10-50.mkv",  # another camera's
        day / "event-Monitor-3-0-09-05-50.mkv",  # another time's
        root / "4" / "2026-11-22" / "9" / "9-video.mkv",  # another event's
        root / "3" / "2026-11-22" / "7" / "8-video.mkv",
        root / "event-Monitor-3-0-09-10-50.mkv",
        day / "deeper" / "event-Monitor-3-0-09-10-50.mkv",
        day / "anything.mkv",
        tmp_path / "2026-11-22" / "event-Monitor-3-0-09-10-50.mkv",
    ]
    for clip in clips:
        record(clip, 5)
    for path in (*map(str, clips), f"{day}/../2026-11-22/event-Monitor-4-0-09-10-50.mkv"):
        close, again = settled(root, path)
        assert (close.video_name, again) == (None, 0)
        assert "no clip" in close.note
    assert all(clip.exists() for clip in clips)


def test_the_events_own_clip_is_found_although_the_save_names_another(root):
    other = record(root / "2026-11-22" / "event-Monitor-4-0-09-10-50.mkv", 5)
    mine = record(root / "2026-11-22" / "event-Monitor-3-0-09-10-50.mkv", 20)
    os.utime(mine, (T0 / 1e6, T0 / 1e6))
    close, _ = settled(root, str(other))
    assert (close.video_name, close.frames) == ("7-video.h264.mkv", 20)
    assert other.exists() and not mine.exists()


@pytest.mark.parametrize("obstacle", ["file", "loop"])
def test_a_path_that_leads_nowhere_is_not_waited_for(root, obstacle):
    day = root / "2026-11-22"
    day.rmdir()
    if obstacle == "file":
        day.write_bytes(b"x")
    else:
        day.symlink_to(day)
    (root / "3").mkdir()
    for path in (f"{day}/event-Monitor-3-0-09-10-50.mkv", "/dev/null/x/event-Monitor-3-0-09-10-50.mkv"):
        close, again = settled(root, path)
        assert (close.video_name, again) == (None, 0)


def test_what_a_worker_counts_of_a_clip_with_refused_frames_gives_way_to_what_is_in_it(root):
    path = place_in(root).video_path
    record(Path(path), frames=20)
    said = replace(saved(7, path), duration_us=90_000_000, frames=900)
    believed, _ = settled(root, path, said)
    assert (believed.frames, believed.length_us) == (900, 90_000_000)
    seen, _ = settled(root, path, replace(said, doubtful=True))
    assert (seen.frames, seen.settle) == (20, True)
    assert seen.length_us < 10_000_000
    clip = Clip(handle=said.handle, start_us=T0, trigger="continuous", refused=True)
    heard_later, _ = settled(root, path, said, ended=(Ended(clip, T0),))
    assert heard_later.frames == 20


def test_a_clip_on_a_storage_that_was_in_trouble_is_looked_into(root):
    path = place_in(root).video_path
    record(Path(path), frames=20)
    said = replace(saved(7, path), duration_us=2_100_000, frames=21)
    close, again = settled(root, path, said, fails=[OSError(errno.ENOSPC, "No space left on device")])
    assert (close.frames, close.settle, again) == (20, True, 0), "one more was refused at the end"


def test_a_clip_that_is_recorded_under_the_name_of_one_that_was_saved_stays(root):
    path = str(record(root / "2026-11-22" / "event-Monitor-3-0-09-10-50.mkv", frames=20))
    begun = Clip(handle="3.r.8", start_us=T0 + 800_000, opened_us=T0 + 800_000, trigger="continuous", token="t")
    assert settled(root, path, clips=(begun,)) == (None, 1), "it is waited for"
    assert Path(path).exists()
    close, _ = settled(root, path)
    assert close.video_name


def test_a_save_of_another_clip_than_that_in_the_events_place_says_nothing_of_it(root):
    mine = record(Path(place_in(root).video_path), frames=20)
    other = record(root / "2026-11-22" / "event-Monitor-3-0-09-10-51.mkv", frames=5)
    lost = []
    said = replace(saved(7, str(other)), duration_us=90_000_000, frames=900, earlier_us=1_000_000)
    close, _ = settled(root, str(other), said, lost=lost)
    assert (close.video_name, close.frames, close.settle, close.earlier_us) == (mine.name, 20, True, 0)
    assert close.length_us < 10_000_000
    assert other.exists()
    assert lost == [3], "the other clip is to be found an event"


def test_a_clip_that_was_moved_before_the_storage_failed_is_that_which_was_told_of(root):
    record(Path(place_in(root).video_path), frames=20)
    lost = []
    path = str(root / "2026-11-22" / "event-Monitor-3-0-09-10-51.mkv")
    close, _ = settled(root, path, replace(saved(7, path), earlier_us=1_000_000), lost=lost)
    assert (close.frames, close.earlier_us, lost) == (1, 1_000_000, [])


def test_a_clip_in_the_storage_that_its_worker_was_told_of_moves_to_its_events(root, tmp_path):
    before = tmp_path / "before"
    clip = record(before / "2026-11-22" / "event-Monitor-3-0-09-10-50.mkv", 5)
    close, _ = settled(root, str(clip))
    assert close.video_name is None and clip.exists(), "nobody knows of such a storage"
    (before / "3").mkdir()
    (root / "3").mkdir(exist_ok=True)
    close, _ = settled(root, str(clip), roots=[str(before)])
    assert close.video_name == "7-video.h264.mkv" and not clip.exists()
    clip = record(before / "2026-11-22" / "event-Monitor-3-0-09-10-50.mkv", 5)
    Path(place_in(root).video_path).unlink()
    before.rename(tmp_path / "away")
    assert settled(root, str(clip), roots=[str(before)]) == (None, 1), "it is waited for"
