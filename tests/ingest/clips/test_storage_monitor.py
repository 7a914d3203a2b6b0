"""What is told of storages, by what is seen of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from zmtwist.ingest.clips.storage_monitor import FULL_BYTES, LOOK_SECONDS, Seen, StorageMonitor, judge, look, replaced

WELL = Seen("there", (7, 1), free_bytes=FULL_BYTES, total_bytes=2 * FULL_BYTES, free_files=9)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, None),
        ({"state": "empty"}, None),
        ({"state": "missing"}, "the storage /s is not there"),
        ({"file_system": (8, 2)}, "another disk than before is mounted at the storage /s"),
        ({"read_only": True, "writable": False}, "the storage /s is mounted read-only"),
        ({"writable": False}, "the storage /s is not writable for the user of this service"),
        ({"free_bytes": FULL_BYTES - 1}, "the storage /s is full: 32 MiB are left"),
        ({"free_bytes": 0}, "the storage /s is full: 0 MiB are left"),
        ({"free_files": 0}, "the storage /s is full: no file can be added"),
        ({"free_files": None}, None),
    ],
)
def test_each_trouble_says_which_storage_and_what_to_do(change: dict[str, Any], told: str | None) -> None:
    trouble = judge("/s", attrs.evolve(WELL, **change), (7, 1))
    assert (trouble is None) == (told is None)
    if trouble is not None and told is not None:
        assert trouble.what.startswith(told)
        assert trouble.remedy


@given(st.integers(0, 2), st.integers(1, 2), st.integers(0, 2), st.integers(1, 2), st.booleans())
def test_another_file_system_differs_in_name_and_device(
    name: int, device: int, first_name: int, first_device: int, witness: bool
) -> None:
    seen = attrs.evolve(WELL, file_system=(name, device), witness=witness)
    same = device == first_device or (name == first_name and name != 0)
    assert replaced(seen, (first_name, first_device)) == (not same and not witness)
    assert not replaced(seen, None)


def test_a_look_at_what_is_there(tmp_path: Path) -> None:
    assert look(str(tmp_path / "no")).state == "missing"
    seen = look(str(tmp_path), witness=str(tmp_path / "clip"))
    assert (seen.state, seen.writable, seen.read_only, seen.witness) == ("empty", True, False, False)
    assert 0 < seen.free_bytes <= seen.total_bytes
    (tmp_path / "clip").touch()
    assert look(str(tmp_path), witness=str(tmp_path / "clip")).witness


class Slow:
    """A disk whose looks are answered when the test says so."""

    def __init__(self) -> None:
        self.asked: dict[str, Deferred[Seen]] = {}
        self.given: list[tuple[str, str]] = []

    def run(self, _look: object, root: str, witness: str) -> Deferred[Seen]:
        assert root not in self.asked, "asked again before it has answered"
        self.given.append((root, witness))
        self.asked[root] = Deferred()
        return self.asked[root]

    def answer(self, root: str, seen: Seen | OSError) -> None:
        waiting = self.asked.pop(root)
        waiting.errback(seen) if isinstance(seen, OSError) else waiting.callback(seen)


@pytest.fixture
def watched() -> Iterator[tuple[StorageMonitor, Slow, Clock]]:
    clock, disk = Clock(), Slow()
    storages = StorageMonitor(clock, disk, lambda: {1: "/a", 2: "/a", 3: "/b"})  # type: ignore[arg-type]
    storages.startService()
    yield storages, disk, clock
    storages.stopService()
    assert not clock.getDelayedCalls()


def what(storages: StorageMonitor, monitor_id: int) -> str:
    trouble = storages.trouble_of(monitor_id)
    return "" if trouble is None else trouble.what


def test_one_that_hangs_is_told_and_keeps_no_other_waiting(watched: tuple[StorageMonitor, Slow, Clock]) -> None:
    storages, disk, clock = watched
    assert set(storages.known) == {"/a", "/b"}
    for _ in range(4):
        disk.answer("/b", WELL)
        clock.advance(LOOK_SECONDS)
    assert what(storages, 1) == what(storages, 2) == "the storage /a can't be looked at: no answer for 20 s"
    assert what(storages, 3) == ""
    disk.answer("/a", WELL)
    assert what(storages, 1) == ""
    clock.advance(LOOK_SECONDS)
    disk.answer("/a", OSError(5, "Input/output error"))
    assert what(storages, 2).endswith("Input/output error")
    assert storages.trouble_of(9) is None


def test_the_first_disk_is_the_right_one_until_a_known_clip_is_seen_on_another(
    watched: tuple[StorageMonitor, Slow, Clock],
) -> None:
    storages, disk, clock = watched
    other = attrs.evolve(WELL, file_system=(0, 2))

    def seen(one: Seen) -> str:
        disk.answer("/a", one)
        clock.advance(LOOK_SECONDS)
        return what(storages, 1)

    assert seen(attrs.evolve(WELL, state="missing")) == "the storage /a is not there"
    assert seen(WELL) == ""
    storages.holds("/a", "/a/1/clip.mkv")
    assert "another disk" in seen(other)
    storages.holds("/a", "/a/1/on-the-wrong-one.mkv")
    assert "another disk" in seen(other)
    assert disk.given[-1] == ("/a", "/a/1/clip.mkv")
    assert seen(WELL) == ""
    assert seen(attrs.evolve(other, witness=True)) == ""
    assert seen(other) == "", "the same disk, mounted again under another number"


def test_a_missing_clip_is_doubted_only_where_the_disk_was_changed() -> None:
    class Disk:
        seen = WELL

        def run(self, *_: object) -> Deferred[Seen]:
            return succeed(self.seen) if isinstance(self.seen, Seen) else fail(self.seen)

    disk = Disk()
    storages = StorageMonitor(Clock(), disk, dict)  # type: ignore[arg-type]

    def doubted() -> bool:
        return bool(_now(Deferred.fromCoroutine(storages.doubted("/a"))))

    assert not doubted()
    disk.seen = attrs.evolve(WELL, file_system=(0, 2))
    assert doubted()
    disk.seen = WELL
    assert not doubted()


def _now(waiting: Deferred[Any]) -> Any:
    results: list[Any] = []
    waiting.addCallback(results.append)
    (result,) = results
    return result
