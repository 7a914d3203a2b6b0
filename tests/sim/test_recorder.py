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
        self.offsets: list[int] = []
        self.closed = False

    def write(self, packet: Packet, offset_us: int) -> None:
        assert not self.closed
        assert not self.offsets or offset_us >= self.offsets[-1]
        self.times.append(packet.pts_us)
        self.offsets.append(offset_us)

    def close(self) -> None:
        self.closed = True


class Bench:
    """A recorder fed with 10 frames a second and a keyframe each `gop` frames, whose times begin at 0 with each connection."""

    def __init__(self, root: Path, gop: int = 10, **store: Any) -> None:
        self.gop = gop
        self.clips: list[Clip] = []
        self.said: list[Mapping[str, Any]] = []
        self.logged: list[str] = []
        self.wall = NOON
        self.rename = os.rename
        self.frames = self.connected_at = 0
        self.recorder = Recorder(
            Store(str(root), 3, **store),
            self._open,
            lambda code, detail: self.said.append({"code": code, **detail}),
            lambda level, text: self.logged.append(f"{level} {text}"),
            wall=lambda: self.wall,
            rename=lambda path, target: self.rename(path, target),
        )

    def _open(self, path: str, stream_id: int) -> Clip:
        self.clips.append(Clip(path))
        return self.clips[-1]

    def run(self, seconds: float, trigger: str | None = None, stream_id: int = 0) -> None:
        for _ in range(round(seconds * 10)):
            since = self.frames - self.connected_at
            self.recorder.frame(Packet(since * FRAME, since % self.gop == 0, b"", b""))
            if trigger is not None:
                self.recorder.event(trigger, {"type": trigger, "stream_id": stream_id})
            self.frames += 1
            self.wall = NOON + self.frames / 10

    def reconnect(self) -> None:
        """The camera's times begin anew, with its second frame."""
        self.connected_at = self.frames - 1

    def refused(self) -> int:
        return self.logged.count("ERROR store: write_frame failed: Invalid argument")

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


@pytest.mark.parametrize(("gop", "first"), [(10, 1), (40, 0)])
def test_an_events_clip_reaches_back_to_a_keyframe_two_seconds_before_the_pre_roll(
    tmp_path: Path, gop: int, first: int
) -> None:
    bench = Bench(tmp_path, gop, mode="event", pre_roll_sec=2, post_roll_sec=1, max_buffer_sec=15)
    bench.run(5.5)
    assert bench.said == []
    bench.run(0.5, "detection")
    bench.run(3)
    (opening,), (saved,) = bench.opened(), bench.saved()
    assert opening["trigger"] == saved["cause"] == "detection"
    # Four seconds before 5.5 is 1.5, so it begins with the keyframe before that; the last trigger is at 5.9, and the first frame that is
    # more than a second later is the last one.
    assert bench.clips[0].times == [at * FRAME for at in range(first * 10, 71)]
    assert saved["frames"] == 71 - first * 10


def test_a_trigger_within_the_post_roll_goes_on_with_the_same_clip(tmp_path: Path) -> None:
    bench = Bench(tmp_path, mode="event", pre_roll_sec=0, post_roll_sec=1)
    bench.run(1, "motion")
    bench.run(0.8)
    bench.run(0.1, "motion")
    bench.run(2)
    bench.run(0.1, "motion")
    assert len(bench.opened()) == 2
    assert len(bench.saved()) == 1


def test_the_buffer_bounds_the_pre_roll_even_where_that_leaves_frames_without_their_keyframe(tmp_path: Path) -> None:
    bench = Bench(tmp_path, mode="event", pre_roll_sec=10, post_roll_sec=1, max_buffer_sec=11)
    bench.run(18.5)
    bench.run(0.1, "motion")
    assert bench.clips[0].times[0] == 7_500_000


def test_a_trigger_of_a_stream_that_is_not_recorded_is_dropped(tmp_path: Path) -> None:
    bench = Bench(tmp_path, mode="event", pre_roll_sec=0, post_roll_sec=1, stream_filter=(0,))
    bench.run(3, "motion", stream_id=1)
    bench.recorder.frame(Packet(9_000_000, True, b"", b""), stream_id=1)
    assert bench.said == []
    bench.run(0.1, "motion", stream_id=0)
    assert len(bench.opened()) == 1 and 9_000_000 not in bench.clips[0].times


def test_after_a_reconnect_frames_are_refused_for_as_long_as_the_old_connection_had_lasted(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_secs=10)
    bench.run(6)
    bench.reconnect()
    bench.run(5.9)
    assert (bench.refused(), len(bench.clips[0].times)) == (58, 61)
    bench.run(1)
    assert bench.refused() == 58
    bench.recorder.close()
    # The refused ones count; the file's 71 frames are as many as there were while it wrote.
    assert (bench.saved()[0]["frames"], len(bench.clips[0].times)) == (129, 71)
    assert any("non monotonically increasing dts to muxer in stream 0: 5800 >= " in line for line in bench.logged)


def test_a_clip_that_ends_before_the_times_have_caught_up_has_a_negative_duration(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_secs=3)
    bench.run(7)
    bench.reconnect()
    bench.run(2)
    bench.recorder.close()
    first, second = bench.saved()
    assert first["duration"] == 3.8
    assert (second["duration"], second["frames"]) == (-2.0, 50)


def test_an_events_clip_that_is_open_at_a_reconnect_ends_in_the_new_times_only(tmp_path: Path) -> None:
    bench = Bench(tmp_path, mode="event", pre_roll_sec=0, post_roll_sec=1)
    bench.run(8)
    bench.run(0.5, "motion")
    bench.reconnect()
    bench.run(5)
    assert bench.saved() == [], "its last trigger is seconds ahead"
    bench.run(0.1, "motion")
    bench.run(1.2)
    assert len(bench.saved()) == 1
    assert bench.saved()[0]["duration"] < 1
    bench.run(1)
    # What was kept of the old connection is before everything new, so that the next clip's own frames are refused.
    bench.run(0.1, "motion")
    assert bench.clips[1].times[-1] > bench.clips[0].times[0] + 1_000_000


def test_triggers_of_a_document_that_names_none_are_the_workers_own(tmp_path: Path) -> None:
    bench = Bench(tmp_path, mode="event", trigger_types=())
    bench.run(1, "analytics")
    assert bench.said == []
    bench.run(0.1, "tracked_detection")
    assert bench.opened()[0]["trigger"] == "tracked_detection"


def test_descriptions_of_an_open_clip_are_in_its_sidecar(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_secs=60)
    told = {"type": "description", "stream_id": 0, "text": "A dog."}
    bench.recorder.event("description", told)
    bench.run(1)
    bench.recorder.event("description", told)
    bench.recorder.event("description", {**told, "text": "A cat."})
    bench.recorder.close()
    sidecar = json.loads(Path(str(bench.saved()[0]["path"]) + ".json").read_text())
    assert (sidecar["text"], len(sidecar["descriptions"])) == ("A dog. | A cat.", 2)


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
    assert any("WARN store: could not move clip to" in line and "12-00-00.mkv" in line for line in bench.logged)


def test_a_root_that_cannot_be_written_is_logged_and_costs_no_more_than_the_clip(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    bench = Bench(tmp_path / "file", max_secs=3)
    bench.run(5)
    bench.recorder.close()
    assert bench.said == []
    assert any("ERROR store: avio_open failed" in line for line in bench.logged)


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


@settings(max_examples=settings.default.max_examples * 2 // 5, deadline=None)
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
    errors = [line for line in bench.logged if line.startswith("ERROR")]
    assert errors[-1] == f"ERROR store: cannot finish {bench.saved()[0]['path']}: No space left on device"
    assert set(errors[:-1]) == {"ERROR store: write_frame failed: No space left on device"}
    assert bench.saved()[0]["frames"] == 30
    assert len(bench.opened()) == 2
