"""Clips whose save was not heard, on a real disk."""

from __future__ import annotations

import os
from datetime import UTC
from pathlib import Path

import attrs
import pytest

from tests.ingest.builders import T0
from tests.ingest.places import place_in
from tests.media.clips import record
from zmtwist.changes import ClipSaved, Tally
from zmtwist.ingest.clips.locate import as_measured, find_unheard
from zmtwist.ingest.clips.placement import ClipMissing

SECOND = 1_000_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "events"
    made.mkdir()
    return made


def own(root: Path, clock: str, *, ended: float = 2.5, **options: object) -> Path:
    """A clip of monitor 3 under its own name; the tests' event began at 09:10:50 UTC."""
    path = record(root / "2026-11-22" / f"event-Monitor-3-0-{clock}.mkv", **options)
    os.utime(path, (T0 / SECOND + ended, T0 / SECOND + ended))
    return path


def find_at(root: Path, start_us: int) -> ClipSaved:
    """The clip of an event whose opening was heard then, to the microsecond."""
    saved = ClipSaved(handle="h", path="", duration_us=3 * SECOND, frames=99, tally=Tally())
    return find_unheard(saved, attrs.evolve(place_in(root), start_us=start_us), 0, UTC)


def find(root: Path, seconds: float = 3, pre_roll: float = 0) -> ClipSaved:
    saved = ClipSaved(handle="h", path="", duration_us=round(seconds * SECOND), frames=99, tally=Tally())
    return find_unheard(saved, place_in(root), round(pre_roll * SECOND), UTC)


def test_the_clip_in_its_place_comes_first_and_says_how_long_it_is(root):
    own(root, "09-10-50")
    wanted = record(Path(place_in(root).video_path), 20)
    found = find(root)
    assert (found.path, found.duration_us, found.frames, found.settle) == (str(wanted), 1_900_000, 20, True)


@pytest.mark.parametrize(("said", "earlier"), [(1.8, 1_000_000), (2.0, 1_000_000), (9.0, 0)])
def test_when_a_clip_began_is_reckoned_from_its_end_only_where_its_length_was_right(root, said, earlier):
    path = record(Path(place_in(root).video_path), 20)
    tally = Tally(1, 90, 90, 30, max_score_us=4_000_000)
    saved = ClipSaved(
        handle="h", path=str(path), duration_us=round(said * SECOND), frames=99, tally=tally, earlier_us=1_000_000
    )
    seen = as_measured(saved, str(path), str(root))
    assert (seen.frames, seen.doubtful, seen.earlier_us) == (20, False, earlier)
    assert seen.tally.max_score_us == 3_000_000 + earlier


def test_a_clip_without_a_picture_is_set_aside_though_its_worker_counted_some(root):
    path = record(Path(place_in(root).video_path), frames=0)
    assert path.stat().st_size
    saved = ClipSaved(handle="h", path=str(path), duration_us=SECOND, frames=99, tally=Tally())
    with pytest.raises(ClipMissing, match="holds no picture"):
        as_measured(saved, str(path), str(root))
    assert not path.exists()


def test_under_its_own_name_it_is_known_by_its_opening(root):
    own(root, "09-10-40")
    mine = own(root, "09-10-50", cut=40)
    assert find(root).path == str(mine)


def test_a_triggered_clip_was_opened_by_the_pre_roll_after_its_beginning(root):
    mine = own(root, "09-10-55")
    with pytest.raises(ClipMissing):
        find(root)
    assert find(root, pre_roll=5).path == str(mine)


def test_what_is_still_written_to_is_the_next_workers(root):
    own(root, "09-10-51", ended=4)
    with pytest.raises(ClipMissing):
        find(root, seconds=3)


def test_what_holds_nothing_in_its_place_is_set_aside_and_the_note_says_where(root):
    empty = Path(place_in(root).video_path)
    empty.parent.mkdir(parents=True)
    empty.touch()
    aside = root / "zmnext-set-aside" / "3_2026-11-22_7_7-video.h264.mkv"
    with pytest.raises(ClipMissing, match=str(aside)):
        find(root)
    assert aside.exists()


def test_under_a_workers_own_name_it_may_be_the_next_clip_and_stays(root):
    empty = root / "2026-11-22" / "event-Monitor-3-0-09-10-50.mkv"
    empty.parent.mkdir()
    empty.touch()
    os.utime(empty, (T0 / SECOND, T0 / SECOND))
    with pytest.raises(ClipMissing, match="holds no picture"):
        find(root)
    assert empty.exists()


def test_a_clip_that_was_opened_after_the_event_began_is_another_ones(root):
    own(root, "09-10-51")
    with pytest.raises(ClipMissing):
        find_at(root, T0 + SECOND // 2)
    mine = own(root, "09-10-50")
    assert find_at(root, T0 + SECOND // 2).path == str(mine)


def test_a_storage_that_is_away_is_waited_for(root):
    with pytest.raises(OSError, match="empty: is it mounted"):
        find(root)
    root.rmdir()
    with pytest.raises(OSError, match="missing: is it mounted"):
        find(root)


def test_it_may_be_in_the_storage_that_its_worker_went_on_recording_to(root, tmp_path):
    before = tmp_path / "before"
    clip = own(before, "09-10-50", frames=20)
    saved = ClipSaved(handle="h", path="", duration_us=3 * SECOND, frames=99, tally=Tally())
    (root / "3").mkdir()
    assert find_unheard(saved, place_in(root), 0, UTC, [str(root), str(before)]).path == str(clip)
    mine = own(root, "09-10-50", frames=20)
    assert find_unheard(saved, place_in(root), 0, UTC, [str(before)]).path == str(mine)
