"""Files that are replaced whole: what is on disk at any moment, in which order it gets there, and what a link in the way does."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.syscalls import Syscalls
from zmtwist.durable import durable_file, durable_write


def test_the_file_is_on_disk_before_its_name_and_its_name_before_the_call_ends(tmp_path, monkeypatch):
    """Else a power cut leaves an empty file, or the old one after we have said that the new one is kept."""
    calls = Syscalls(monkeypatch)
    durable_write(tmp_path / "kept", b"new")
    assert calls == [("fsync", "kept.new"), ("rename", "kept.new"), ("fsync", tmp_path.name)]


def test_what_need_not_outlive_a_power_cut_waits_for_no_disk(tmp_path, monkeypatch):
    calls = Syscalls(monkeypatch)
    durable_write(tmp_path / "kept", b"new", synced=False)
    assert calls == [("rename", "kept.new")]


def test_all_of_it_is_in_the_file_when_that_is_synced(tmp_path, monkeypatch):
    path, seen = tmp_path / "kept", []
    monkeypatch.setattr(os, "fsync", lambda fd: seen.append(os.fstat(fd).st_size))
    durable_write(path, b"123")
    assert seen[0] == 3


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "kept"
    durable_write(path, b"old")
    with pytest.raises(OSError, match="full"), durable_file(path) as file:
        file.write(b"ne")
        raise OSError("full")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_nobody_else_can_read_it_at_any_moment(tmp_path):
    before = os.umask(0)
    try:
        with durable_file(tmp_path / "kept") as file:
            assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o600
        durable_write(tmp_path / "open", b"", mode=0o644)
        assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o644
    finally:
        os.umask(before)


@pytest.mark.parametrize("name", ["kept", "kept.new"])
@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_in_the_way_is_not_followed(tmp_path: Path, name: str, dangling: bool) -> None:
    other = tmp_path / "other"
    if not dangling:
        other.write_bytes(b"another's")
    (tmp_path / name).symlink_to(other)
    durable_write(tmp_path / "kept", b"new")
    assert (tmp_path / "kept").read_bytes() == b"new"
    assert not (tmp_path / "kept").is_symlink()
    assert other.exists() != dangling
    assert dangling or other.read_bytes() == b"another's"


def test_a_link_put_in_the_way_at_the_last_moment_is_not_followed(tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.write_bytes(b"another's")
    unlink = Path.unlink

    def race(self: Path, missing_ok: bool = False) -> None:
        unlink(self, missing_ok)
        self.symlink_to(other)

    monkeypatch.setattr(Path, "unlink", race)
    with pytest.raises(FileExistsError):
        durable_write(tmp_path / "kept", b"new")
    assert other.read_bytes() == b"another's"
