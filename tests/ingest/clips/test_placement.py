"""Clips on a real disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.ingest.places import place_in
from tests.syscalls import Syscalls
from zmtwist.ingest.clips import placement as clips
from zmtwist.ingest.clips.placement import (
    ClipForeign,
    ClipMissing,
    directory_bytes,
    make_directories,
    move,
    settle_clip,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "events"
    made.mkdir()
    return made


def own_clip(root: Path, content: bytes = b"matroska", name: str = "event-Monitor-3-0-09-10-39.mkv") -> Path:
    clip = root / "2026-11-22" / name
    clip.parent.mkdir(exist_ok=True)
    clip.write_bytes(content)
    clip.with_name(name + ".json").write_text("{}")
    return clip


def test_a_clip_in_its_place_is_only_measured(root):
    place = place_in(root)
    wanted = Path(place.directory) / place.video_name
    wanted.parent.mkdir(parents=True)
    wanted.write_bytes(b"12345")
    settled = settle_clip(place, str(wanted))
    assert (settled.path, settled.disk_bytes, settled.moved) == (str(wanted), 5, False)


def test_a_clip_under_its_own_name_moves_in_with_its_sidecar(root):
    place, clip = place_in(root), own_clip(root)
    inode = clip.stat().st_ino
    settled = settle_clip(place, str(clip))
    wanted = Path(place.directory) / place.video_name
    assert settled.moved
    assert wanted.read_bytes() == b"matroska"
    assert wanted.stat().st_ino == inode
    assert wanted.with_name(wanted.name + ".json").exists()
    assert settled.disk_bytes == 8 + 2
    assert clip.parent.exists()  # another worker may be about to open its clip there


def test_the_day_directory_stays_while_it_holds_another_clip(root):
    place, clip = place_in(root), own_clip(root)
    other = own_clip(root, name="event-Monitor-4-0-09-10-39.mkv")
    settle_clip(place, str(clip))
    assert other.exists()


def test_settling_twice_is_the_same_as_once(root):
    place, clip = place_in(root), own_clip(root)
    first = settle_clip(place, str(clip))
    again = settle_clip(place, str(clip))
    assert (again.path, again.disk_bytes) == (first.path, first.disk_bytes)


@pytest.mark.parametrize("content", [None, b""])
def test_a_clip_that_is_not_there_or_empty_is_missing(root, content):
    clip = root / "2026-11-22" / "event-Monitor-3-0-09-10-39.mkv"
    (root / "3").mkdir()
    if content is not None:
        own_clip(root, content)
    with pytest.raises(ClipMissing, match=str(clip)):
        settle_clip(place_in(root), str(clip))
    with pytest.raises(ClipMissing):
        settle_clip(place_in(root), "")


def test_a_clip_outside_the_storage_is_never_touched(root, tmp_path):
    foreign = tmp_path / "elsewhere.mkv"
    foreign.write_bytes(b"x")
    link = root / "2026-11-22" / "event-Monitor-3-0-09-10-39.mkv"
    link.parent.mkdir()
    link.symlink_to(foreign)
    for told in (foreign, link, root / ".." / "elsewhere.mkv"):
        with pytest.raises(ClipForeign):
            settle_clip(place_in(root), str(told))
    assert foreign.read_bytes() == b"x"


def test_a_storage_that_is_not_there_is_not_made_up(root):
    place, clip = place_in(root), own_clip(root)
    away = root.with_name("unmounted")
    root.rename(away)
    with pytest.raises(FileNotFoundError, match="missing: is it mounted"):
        settle_clip(place, str(clip))
    assert not root.exists()


def test_an_empty_mount_is_waited_for_and_not_taken_for_a_lost_clip(root):
    with pytest.raises(FileNotFoundError, match="empty: is it mounted"):
        settle_clip(place_in(root), str(root / "2026-11-22" / "event-Monitor-3-0-09-10-39.mkv"))


def test_a_clip_already_in_the_way_is_not_overwritten(root):
    place, clip = place_in(root), own_clip(root)
    wanted = Path(place.directory) / place.video_name
    wanted.parent.mkdir(parents=True)
    wanted.write_bytes(b"another")
    with pytest.raises(FileExistsError):
        move(clip, wanted)
    assert wanted.read_bytes() == b"another"
    assert clip.exists()


def test_a_name_that_the_next_clip_may_have_is_that_of_one_that_is_finished(root):
    place, clip = place_in(root), own_clip(root)
    sidecar = clip.with_name(clip.name + ".json")
    text = sidecar.read_text()
    sidecar.unlink()
    with pytest.raises(OSError, match="being recorded"):
        settle_clip(place, str(clip), only_finished=True)
    assert clip.exists()
    sidecar.write_text(text)
    assert settle_clip(place, str(clip), only_finished=True).moved


def test_of_a_clip_in_its_place_and_another_that_was_told_of_both_stay(root):
    place, other = place_in(root), own_clip(root)
    wanted = Path(place.directory) / place.video_name
    wanted.parent.mkdir(parents=True)
    wanted.write_bytes(b"12345")
    assert settle_clip(place, str(other)).other
    assert (wanted.read_bytes(), other.read_bytes()) == (b"12345", b"matroska")
    other.unlink()
    os.link(wanted, other)  # a second name of one clip
    assert not settle_clip(place, str(other)).other


@pytest.fixture
def other_file_system(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The day's directory of the workers is another file system than the rest of the storage."""
    link, rename = os.link, Path.rename

    def crossing(source: Path, target: Path) -> bool:
        return source.is_relative_to(root / "2026-11-22") != target.is_relative_to(root / "2026-11-22")

    def linked(source: Path, target: Path) -> None:
        if crossing(source, target) and not os.path.lexists(target):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        link(source, target)

    def renamed(source: Path, target: Path) -> Path:
        if crossing(source, target):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(source, target)

    monkeypatch.setattr(clips.os, "link", linked)
    monkeypatch.setattr(Path, "rename", renamed)


def test_across_file_systems_the_source_goes_when_the_copy_and_its_name_are_on_disk(
    root, other_file_system, monkeypatch
):
    place, clip = place_in(root), own_clip(root)
    make_directories(root, Path(place.directory))
    calls = Syscalls(monkeypatch)
    move(clip, Path(place.video_path))
    assert calls == [
        ("fsync", f"{place.video_name}.new"),
        ("rename", f"{place.video_name}.new"),
        ("fsync", Path(place.directory).name),
        ("unlink", clip.name),
    ]


def test_across_file_systems_an_empty_file_in_the_way_is_replaced(root, other_file_system):
    place, clip = place_in(root), own_clip(root)
    make_directories(root, Path(place.directory))
    Path(place.video_path).touch()
    assert settle_clip(place, str(clip)).moved
    assert Path(place.video_path).read_bytes() == b"matroska"


def test_across_file_systems_a_clip_is_copied_whole(root, other_file_system):
    place, clip = place_in(root), own_clip(root)
    clip.chmod(0o666)
    os.utime(clip, (1_000_000_000, 1_000_000_000))
    settle_clip(place, str(clip))
    assert Path(place.video_path).stat().st_mode & 0o777 == 0o666
    assert Path(place.video_path).stat().st_mtime == 1_000_000_000
    directory = Path(place.directory)
    assert (directory / place.video_name).read_bytes() == b"matroska"
    assert sorted(p.name for p in directory.iterdir()) == [place.video_name, place.video_name + ".json"]
    assert not clip.exists()


def test_deep_gets_its_link_and_shallow_its_marker(root):
    deep = place_in(root, scheme="Deep")
    settle_clip(deep, str(own_clip(root)))
    link = root / "3" / "26" / "11" / "22" / ".7"
    assert str(link.readlink()) == "09/10/50"
    assert (link / deep.video_name).exists()
    shallow = place_in(root, 8, scheme="Shallow")
    settle_clip(shallow, str(own_clip(root)))
    assert (root / "3" / "8" / ".8").read_bytes() == b""


def test_a_directory_counts_each_inode_once_and_nothing_below(tmp_path):
    (tmp_path / "a").write_bytes(b"1234")
    os.link(tmp_path / "a", tmp_path / "b")
    (tmp_path / "c").symlink_to("a")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "d").write_bytes(b"123456")
    assert directory_bytes(tmp_path) == 4


def test_a_sidecar_in_the_way_holds_nothing_up(root):
    place, clip = place_in(root), own_clip(root)
    settle_clip(place, str(clip))
    Path(f"{clip}.json").write_text("another")
    assert settle_clip(place, str(clip)).path == place.video_path
    assert Path(f"{place.video_path}.json").read_text() == "{}"


def test_the_sidecar_of_another_clip_stays_with_it(root):
    place = place_in(root)
    settle_clip(place, str(own_clip(root)))
    Path(f"{place.video_path}.json").unlink()
    other = own_clip(root, name="event-Monitor-3-0-09-10-57.mkv")
    settle_clip(place, str(other))
    assert Path(f"{other}.json").exists()
    assert not Path(f"{place.video_path}.json").exists()
