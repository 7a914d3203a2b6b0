from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zmtwist.sim.document import Store
from zmtwist.sim.recorder import Recorder, c_int, own_path
from zmtwist.sim.video import Packet

NOON = time.mktime((2026, 11, 22, 12, 0, 0, 0, 0, -1))
FRAME = 100_000


class Clip:
    def __init__(self, path: str) -> None:
        Path(path).touch()
        self.times: list[int] = []
        self.closed = False

    def write(self, packet: Packet) -> None:
        assert not self.closed
        self.times.append(packet.pts_us)

    def close(self) -> None:
        self.closed = True


class Bench:
    """A recorder fed with 10 frames a second and a keyframe each second."""

    def __init__(self, root: Path, **store: Any) -> None:
        self.clips: list[Clip] = []
        self.said: list[Mapping[str, Any]] = []
        self.logged: list[str] = []
        self.wall = NOON
        self.rename = os.rename
        self.frames = 0
        self.recorder = Recorder(
            Store(str(root), 3, **store),
            self._open,
            lambda code, detail: self.said.append({"code": code, **detail}),
            lambda level, text: self.logged.append(f"{level} {text}"),
            wall=lambda: self.wall,
            rename=lambda path, target: self.rename(path, target),
        )

    def _open(self, path: str) -> Clip:
        self.clips.append(Clip(path))
        return self.clips[-1]

    def run(self, seconds: float, trigger: str | None = None) -> None:
        for _ in range(round(seconds * 10)):
            packet = Packet(self.frames * FRAME, self.frames % 10 == 0, b"", b"")
            self.recorder.frame(packet, trigger)
            self.frames += 1
            self.wall = NOON + self.frames / 10

    def saved(self) -> list[Mapping[str, Any]]:
        return [detail for detail in self.said if detail["code"] == 0x0303]

    def opened(self) -> list[Mapping[str, Any]]:
        return [detail for detail in self.said if detail["code"] == 0x0304]


def test_segments_are_those_of_the_captures(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_secs=3)
    bench.run(11.2)
    bench.recorder.close()
    assert [(detail["duration"], detail["frames"]) for detail in bench.saved()] == [
        (3.8, 40),
        (2.9, 30),
        (2.9, 30),
        (1.1, 12),
    ]
    assert [detail["code"] for detail in bench.said] == [0x0304, *(0x0303, 0x0304) * 3, 0x0303]
    assert [detail["clip_token"] for detail in bench.opened()] == [
        f"3-{int(NOON)}-1",
        f"3-{int(NOON) + 4}-2",
        f"3-{int(NOON) + 7}-3",
        f"3-{int(NOON) + 10}-4",
    ]
    assert all(clip.closed for clip in bench.clips)
    assert (
        "INFO store: recording_opening token=" + bench.opened()[1]["clip_token"] + " cause=continuous" in bench.logged
    )


def test_a_trigger_gives_the_running_segment_its_cause(tmp_path: Path) -> None:
    bench = Bench(tmp_path, mode="both", max_secs=2)
    bench.run(4)
    bench.run(0.5, "motion")
    bench.run(3)
    bench.recorder.close()
    assert [detail["cause"] for detail in bench.saved()] == ["continuous", "motion", "continuous", "continuous"]
    assert {detail["trigger"] for detail in bench.opened()} == {"continuous"}


def test_a_clip_of_an_event_has_its_pre_and_post_roll(tmp_path: Path) -> None:
    bench = Bench(tmp_path, mode="event", pre_roll_sec=2, post_roll_sec=1, max_buffer_sec=15)
    bench.run(5.5)
    assert bench.said == []
    bench.run(0.5, "detection")
    bench.run(3)
    (opening,), (saved,) = bench.opened(), bench.saved()
    assert opening["trigger"] == saved["cause"] == "detection"
    # Two seconds before 5.5 is 3.5, so it begins with the keyframe at 3; it goes on for a second after the last trigger at 5.9.
    assert bench.clips[0].times == [at * FRAME for at in range(30, 70)]
    assert (saved["frames"], saved["duration"]) == (40, 3.9)


def test_a_trigger_within_the_post_roll_goes_on_with_the_same_clip(tmp_path: Path) -> None:
    bench = Bench(tmp_path, mode="event", pre_roll_sec=0, post_roll_sec=1)
    bench.run(1, "motion")
    bench.run(0.8)
    bench.run(0.1, "motion")
    bench.run(2)
    bench.run(0.1, "motion")
    assert len(bench.opened()) == 2
    assert len(bench.saved()) == 1


def test_the_buffer_bounds_the_pre_roll(tmp_path: Path) -> None:
    bench = Bench(tmp_path, mode="event", pre_roll_sec=10, post_roll_sec=1, max_buffer_sec=3)
    bench.run(8.5)
    bench.run(0.1, "motion")
    assert bench.clips[0].times[0] == 6_000_000


def test_an_assignment_renames_the_open_clip_at_the_next_frame(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_secs=3)
    bench.run(0.5)
    own = next(tmp_path.glob("*/*.mkv"))
    target = tmp_path / "3" / "512" / "512-video.mp4"
    bench.recorder.assign(bench.opened()[0]["clip_token"], 512, str(target.parent), target.name)
    assert own.exists() and not target.exists()
    bench.run(0.1)
    assert target.exists() and not own.exists()
    bench.run(4)
    saved = bench.saved()[0]
    assert (saved["path"], saved["event_id"]) == (str(target), 512)
    sidecar = json.loads(target.with_name("512-video.mp4.json").read_text())
    assert sidecar == {
        "cause": "continuous",
        "clip": "512-video.mp4",
        "descriptions": [],
        "duration_usec": 3_800_000,
        "path": str(target),
        "text": "",
    }


def test_an_assignment_for_another_clip_is_ignored(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_secs=3)
    bench.run(5)
    first, second = (detail["clip_token"] for detail in bench.opened())
    bench.recorder.assign(first, 512, str(tmp_path / "late"), "512-video.mp4")
    bench.recorder.assign("nonsense", 513, str(tmp_path / "late"), "513-video.mp4")
    bench.run(3)
    assert [detail["event_id"] for detail in bench.saved()] == [0, 0]
    assert not (tmp_path / "late").exists()
    bench.recorder.assign(second, 514, str(tmp_path / "late"), "514-video.mp4")


def test_where_the_rename_fails_the_clip_keeps_its_name_and_the_id(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_secs=3)

    def other_file_system(path: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    bench.rename = other_file_system
    bench.run(0.5)
    bench.recorder.assign(bench.opened()[0]["clip_token"], 512, str(tmp_path / "away"), "512-video.mp4")
    bench.run(4)
    saved = bench.saved()[0]
    assert saved["event_id"] == 512
    assert Path(saved["path"]).name == "event-Monitor-3-0-12-00-00.mkv"
    assert any("ERROR store: cannot rename" in line for line in bench.logged)


def test_a_root_that_cannot_be_written_is_logged_and_costs_no_more_than_the_clip(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    bench = Bench(tmp_path / "file", max_secs=3)
    bench.run(5)
    bench.recorder.close()
    assert bench.said == []
    assert any("ERROR store: cannot open a clip" in line for line in bench.logged)


def test_a_name_that_is_taken_gets_a_number(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        path = own_path(str(tmp_path), 7, 1, NOON)
        path.parent.mkdir(exist_ok=True)
        path.touch()
        names.append(path.relative_to(tmp_path).as_posix())
    assert names == [
        "2026-11-22/event-Monitor-7-1-12-00-00.mkv",
        "2026-11-22/event-Monitor-7-1-12-00-00-2.mkv",
        "2026-11-22/event-Monitor-7-1-12-00-00-3.mkv",
    ]


@pytest.mark.parametrize(("value", "held"), [(512, 512), (2**31 - 1, 2**31 - 1), (2**31, -(2**31)), (2**32 + 5, 5)])
def test_an_event_id_is_a_c_int(value: int, held: int) -> None:
    assert c_int(value) == held


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.1, 4), st.sampled_from([None, "motion", "detection"])), max_size=12),
    st.sampled_from(["continuous", "event", "both"]),
)
def test_openings_and_saves_alternate_and_every_clip_is_closed(
    tmp_path_factory: pytest.TempPathFactory, stretches: list[tuple[float, str | None]], mode: str
) -> None:
    bench = Bench(tmp_path_factory.mktemp("root"), mode=mode, max_secs=3, pre_roll_sec=1, post_roll_sec=1)
    for seconds, trigger in stretches:
        bench.run(seconds, trigger)
    bench.recorder.close()
    codes = [detail["code"] for detail in bench.said]
    assert codes == [0x0304, 0x0303] * (len(codes) // 2)
    assert [len(clip.times) for clip in bench.clips] == [detail["frames"] for detail in bench.saved()]
    assert all(clip.closed and clip.times == sorted(set(clip.times)) for clip in bench.clips)
    assert all(clip.times[0] % 1_000_000 == 0 for clip in bench.clips), "every clip begins with a keyframe"


def test_a_full_disk_costs_the_clip_and_not_the_worker(tmp_path: Path) -> None:
    bench = Bench(tmp_path, mode="continuous", max_secs=2)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    bench.run(1)

    def fails(*_: object) -> None:
        raise full

    bench.clips[0].write = bench.clips[0].close = fails  # type: ignore[assignment,method-assign]
    bench.run(3)
    assert [line for line in bench.logged if line.startswith("ERROR")] == [
        f"ERROR store: cannot finish {bench.saved()[0]['path']}: No space left on device"
    ]
    assert bench.saved()[0]["frames"] == 30
    assert len(bench.opened()) == 2
