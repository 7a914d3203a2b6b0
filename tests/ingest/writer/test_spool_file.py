"""The spool's file: order, what a crash leaves at any point, a full disk, and files that make no sense."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ingest.places import place_in
from zmtwist.changes import AddFrame, AddTag, Change, ClipSaved, CloseEvent, OpenEvent, Tally, UpdateEvent
from zmtwist.ingest.writer import spool_file as spoolfile
from zmtwist.ingest.writer.spool_file import NAME, SpoolFile, SpoolTrouble
from zmtwist.ingest.writer.spool_format import Known

ROOT = Path(__file__).parents[3]
ALL = 10**9


def opening(n: int) -> OpenEvent:
    return OpenEvent(handle=f"1.r.{n}", monitor_id=1, start_us=n, trigger="motion", cause="Motion", token=f"t{n}")


def frames(n: int, count: int) -> list[Change]:
    return [AddFrame(f"1.r.{n}", k + 2, k * 100_000, 50) for k in range(count)]


def saved(n: int) -> ClipSaved:
    return ClipSaved(handle=f"1.r.{n}", path=f"/e/{n}.mkv", duration_us=5, frames=7, tally=Tally(1, 50, 50, 2))


def opened(directory: Path, **options: int) -> SpoolFile:
    file = SpoolFile(str(directory), **options)
    file.open()
    return file


def everything(file: SpoolFile) -> list[Change]:
    changes: list[Change] = []
    last = 0
    while (group := file.read(last, ALL, 100)) is not None:
        changes += group.changes
        last = group.upto
    return changes


def test_groups_come_back_in_order_and_stay_until_they_are_done(tmp_path):
    file = opened(tmp_path)
    for n in range(1, 6):
        file.put(n, [opening(n), *frames(n, 30)], {})
    first = file.read(0, ALL, 62)
    assert first.changes == (opening(1), *frames(1, 30), opening(2), *frames(2, 30))
    assert file.read(0, ALL, 1).upto == 1  # one group at least, and the same again until it is done
    file.done(first.upto, {})
    file.close()
    again = SpoolFile(str(tmp_path))
    left = again.open()
    assert (left.last, left.changes) == (5, 93)
    assert [c for c in everything(again) if isinstance(c, OpenEvent)] == [opening(3), opening(4), opening(5)]
    again.done(5, {})
    assert again.read(0, ALL, 100) is None


def test_what_was_read_by_a_run_that_ended_is_doubtful(tmp_path):
    file = opened(tmp_path)
    file.put(1, [opening(1)], {}, tried=True)
    file.put(2, [opening(2)], {})
    file.put(3, [opening(3)], {})
    assert file.read(1, ALL, 1).doubtful == ()
    file.close()
    group = opened(tmp_path).read(0, ALL, 100)
    assert group.changes == (opening(1), opening(2), opening(3))
    assert group.doubtful == (opening(1), opening(2))


def test_places_stay_as_long_as_anything_may_speak_of_them(tmp_path):
    place = place_in(Path("/e"), 7, 1, "Deep")
    file = opened(tmp_path)
    file.put(1, frames(1, 3), {"1.r.1": Known(place)})
    file.put(2, [opening(2)], {})
    file.done(1, {"1.r.2": Known(place, saved(2))})
    file.close()
    file = SpoolFile(str(tmp_path))
    assert file.open().events == {"1.r.1": Known(place), "1.r.2": Known(place, saved(2))}
    file.done(2, {})
    file.close()
    assert SpoolFile(str(tmp_path)).open().events == {"1.r.2": Known(place, saved(2))}  # its clip is yet to be seen to
    file = opened(tmp_path)
    file.done(None, {"1.r.2": None})
    assert SpoolFile(str(tmp_path)).open().events == {}


CHANGES = st.lists(
    st.one_of(
        st.builds(opening, st.integers(1, 9)),
        st.builds(saved, st.integers(1, 9)),
        st.builds(AddFrame, st.text(), st.integers(0, 2**40), st.integers(0, 2**60)),
        st.builds(UpdateEvent, handle=st.text(), note=st.text() | st.none(), tally=st.none() | st.just(Tally(1, 2))),
        st.builds(AddTag, st.text(), st.text()),
        st.builds(
            CloseEvent,
            handle=st.text(),
            length_us=st.integers(0, 2**60),
            frames=st.integers(0, 2**40),
            tally=st.just(Tally()),
        ),
    ),
    min_size=1,
    max_size=5,
)


@given(CHANGES)
def test_changes_come_back_as_they_were(changes):
    data = msgspec.msgpack.encode(changes)
    assert msgspec.msgpack.decode(data, type=list[Change]) == changes


def test_a_change_that_nothing_can_hold_is_left_out(tmp_path):
    file = opened(tmp_path)
    senseless = CloseEvent(handle="1.r.1", length_us=10**300, frames=1, tally=Tally())
    assert file.put(1, [opening(1), senseless, AddTag("1.r.1", "\ud800"), saved(1)], {}) == 2
    assert everything(file) == [opening(1), saved(1)]


def test_a_copy_taken_at_any_moment_holds_what_was_put_before_it(tmp_path):
    """A power cut: the files as they are after each call, the file and its log alone."""
    file = opened(tmp_path / "s")
    put: list[int] = []
    done = 0
    for n in range(1, 31):
        file.put(n, [opening(n), *frames(n, 40)], {})
        put.append(n)
        if n % 7 == 0:
            done = file.read(done, ALL, 100).upto
            file.done(done, {})
        copy = tmp_path / f"copy{n}"
        copy.mkdir()
        for ending in ("", "-wal"):
            shutil.copy(tmp_path / "s" / f"{NAME}{ending}", copy)
        handles = [c.handle for c in everything(opened(copy)) if isinstance(c, OpenEvent)]
        assert handles == [f"1.r.{k}" for k in put if k > done]


CHILD = """
import sys
from tests.ingest.writer.test_spool_file import frames, opened, opening
from pathlib import Path
file = opened(Path(sys.argv[1]))
for n in range(1, 100000):
    file.put(n, [opening(n), *frames(n, 100)], {})
    print(n, flush=True)
    if n % 10 == 0:
        file.done(file.read(n - 10, n, 300).upto, {})
        print("done", n - 10 + 2, flush=True)
"""


@pytest.mark.parametrize("after", [1, 25, 60])
def test_a_kill_loses_nothing_that_was_put(tmp_path, after):
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT, bufsize=1
    )
    said = []
    for line in child.stdout:
        said.append(line.split())
        if said[-1] == [str(after)]:
            os.kill(child.pid, signal.SIGKILL)
            break
    said += [line.split() for line in child.stdout]  # what it still got out
    child.wait()
    child.stdout.close()
    last = max(int(words[0]) for words in said if len(words) == 1)
    done = max((int(words[1]) for words in said if len(words) == 2), default=0)
    handles = [int(c.handle[4:]) for c in everything(opened(tmp_path)) if isinstance(c, OpenEvent)]
    assert handles == list(range(handles[0], handles[-1] + 1))
    assert handles[0] <= done + 1 or done == 0
    assert handles[-1] in (last, last + 1)  # the one whose answer the kill cut off may be there


def test_a_full_disk_takes_the_oldest_frames_first_and_openings_never(tmp_path):
    file = opened(tmp_path, most_pages=400)
    n = 0
    with pytest.raises(SpoolTrouble, match="is full"):
        while True:
            n += 1
            file.put(n, [opening(n), *frames(n, 200), saved(n)], {})
            if n == 200:
                kept = everything(opened_copy(file, tmp_path))
                numbers = [int(c.handle[4:]) for c in kept if isinstance(c, AddFrame)]
                assert numbers == sorted(numbers)
                assert min(numbers) > 1  # the oldest went, the newest are there
                assert max(numbers) == n
                assert file.gave_way == (n * 200 - len(numbers))
    assert n > 200
    kept = everything(file)
    assert [c.handle for c in kept if isinstance(c, OpenEvent)] == [f"1.r.{k}" for k in range(1, n)]
    assert [c.handle for c in kept if isinstance(c, ClipSaved)] == [f"1.r.{k}" for k in range(1, n)]
    file.done(n // 2, {})  # and what leaves makes room again
    file.put(n, [opening(n), *frames(n, 200)], {})
    assert everything(file)[-1] == frames(n, 200)[-1]


def opened_copy(file: SpoolFile, directory: Path) -> SpoolFile:
    copy = directory / "copy"
    copy.mkdir()
    for ending in ("", "-wal"):
        shutil.copy(directory / f"{NAME}{ending}", copy)
    return opened(copy)


def test_reading_and_forgetting_need_no_more_room_than_there_is(tmp_path, monkeypatch):
    """A disk that has become full: nothing can be had from the file system any more."""

    def no_room(*args):
        raise OSError(28, "No space left on device")

    file = opened(tmp_path)
    file.put(1, [opening(1), *frames(1, 2000)], {})
    monkeypatch.setattr(os, "posix_fallocate", no_room)
    size = sum(p.stat().st_size for p in tmp_path.iterdir())
    n = 1
    for n in range(2, 150):
        file.put(n, [opening(n), *frames(n, 100)], {})
    assert file.gave_way > 0
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= size
    last = 0
    while (group := file.read(last, ALL, 500)) is not None:
        last = group.upto
        file.done(last, {"1.r.1": Known(place_in(Path("/e")))})
    assert last == n
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= size


def test_a_file_gets_small_again(tmp_path):
    file = opened(tmp_path)
    empty = sum(p.stat().st_size for p in tmp_path.iterdir())
    for n in range(1, 200):
        file.put(n, frames(n, 1000), {})
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) > 3 * empty
    file.done(200, {})
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) < 1.5 * empty


def test_others_may_not_read_it(tmp_path):
    file = opened(tmp_path / "spool")
    file.put(1, [opening(1)], {})
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "spool").iterdir()} == {0o600}


def test_a_group_of_another_version_is_set_aside_and_holds_up_nothing(tmp_path):
    file = opened(tmp_path)
    file.put(1, [opening(1)], {})
    file.put(2, [opening(2), *frames(2, 4)], {})
    file.put(3, [opening(3)], {})
    later = msgspec.msgpack.encode([{"type": "Later"}])
    with sqlite3.connect(tmp_path / NAME) as connection:
        connection.execute("UPDATE groups SET data = ?, checksum = NULL WHERE id = 2", (later,))
    connection.close()
    group = file.read(0, ALL, 100)
    assert group.changes == (opening(1), opening(3))
    assert group.unreadable == 5
    assert [Path(path).read_bytes() for path in group.aside] == [later]


def test_what_makes_no_sense_stays_in_the_spool_until_there_is_room_for_a_file(tmp_path, monkeypatch):
    file = opened(tmp_path)
    file.put(1, [opening(1)], {})
    file._file.db.execute("UPDATE groups SET data = x'ff'")
    with monkeypatch.context() as full:
        full.setattr(spoolfile, "durable_write", lambda *_: os.open("/dev/full/x", os.O_RDONLY))
        group = file.read(0, ALL, 100)
        assert (group.unreadable, group.aside) == (1, ())
        file.done(1, {})
    file.close()
    (path,) = SpoolFile(str(tmp_path)).open().aside
    assert Path(path).read_bytes() == b"\xff"


@pytest.mark.parametrize("content", [b"this is no database, but quite a long text" * 20, None])
def test_a_file_that_is_no_spool_is_kept_aside(tmp_path, content):
    if content is None:
        connection = sqlite3.connect(tmp_path / NAME)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
    else:
        (tmp_path / NAME).write_bytes(content)
    file = SpoolFile(str(tmp_path))
    left = file.open()
    assert left.changes == 0
    if content is not None:
        assert Path(left.damage.aside).read_bytes().startswith(content)
    assert "version 99" in left.damage.why or content is not None
    file.put(1, [opening(1)], {})
    assert everything(file) == [opening(1)]


def test_what_is_committed_outlives_a_power_cut(tmp_path):
    file = opened(tmp_path)
    db = file._file.db
    assert db.execute("PRAGMA synchronous").fetchone() == (2,), "FULL: each commit waits for the disk"
    assert db.execute("PRAGMA journal_mode").fetchone() == (b"wal",)


def test_a_group_whose_first_try_was_kept_all_the_same_is_there_once(tmp_path):
    file = opened(tmp_path)
    file.put(1, [opening(1), *frames(1, 3)], {})
    file.put(1, [opening(1), *frames(1, 3), opening(2)], {}, tried=True)
    assert everything(file) == [opening(1), *frames(1, 3), opening(2)]
    file.put(2, [opening(3)], {})
    file.forget_after(1)
    assert everything(file) == [opening(1), *frames(1, 3), opening(2)]


def test_a_directory_that_cannot_be_made_is_trouble(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolTrouble, match="Not a directory"):
        SpoolFile(str(tmp_path / "file" / "spool")).open()


def test_with_a_group_that_is_forgotten_goes_what_was_known_for_it(tmp_path):
    place = place_in(Path("/e"))
    file = opened(tmp_path)
    file.put(1, frames(1, 3), {"1.r.1": Known(place), "1.r.2": Known(place, saved(2))})
    file.forget_after(0)
    file.close()
    left = SpoolFile(str(tmp_path)).open()
    assert (left.changes, left.events) == (0, {"1.r.2": Known(place, saved(2))})
