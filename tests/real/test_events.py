"""What begins events, where they begin, and what they show."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import av
import pytest

from tests.real.picture import Shown, read_time
from tests.real.trial import Camera, Clip, Trial, figure, walls
from tests.waiting import wait_for

Cameras = Callable[..., Camera]
LEFT_HALF = "0,0 319,0 319,479 0,479"
STOCK = "0,0 639,0 639,479 0,479"


def watching(trial: Trial, monitor: int) -> None:
    """Wait until the monitor's worker delivers, and has for a while: what begins then begins in a picture that is known."""
    wait_for(lambda: trial.monitor(monitor)["state"] == "LIVE", trial.log(), 30)
    time.sleep(10)


def wall_at(clip: Clip, seconds: float) -> float:
    """The time in the picture that a player shows so many seconds from the clip's beginning."""
    return min((frame for frame in clip.frames if frame.wall), key=lambda frame: abs(frame.at - seconds)).wall or 0


@pytest.mark.parametrize("zone", [STOCK, LEFT_HALF], ids=["stock", "left"])
def test_motion_in_a_zone_is_an_event_and_motion_outside_of_it_none(trial: Trial, camera: Cameras, zone: str) -> None:
    yard = camera("--fps", "10")
    monitor = trial.watch(yard, "Modect")
    trial.zone(monitor, zone)
    trial.service("[zmnext.pipeline]\npre_roll_sec = 2\npost_roll_sec = 3")
    watching(trial, monitor)
    assert trial.zm.events() == [], "nothing has moved yet"
    if zone == LEFT_HALF:
        yard.does("motion right")
        time.sleep(3)  # the square's way over is seen
        wait_for(lambda: all(event["EndDateTime"] for event in trial.zm.events()), "an end", 30)
        known = len(trial.zm.events())
        time.sleep(8)
        assert len(trial.zm.events()) == known, "it moves outside"
    known = len(trial.zm.events())
    moves = yard.does("motion left")
    wait_for(lambda: len(trial.zm.events()) > known, f"an event: {trial.log()}", 10)
    figure("motion_to_event", time.time() - moves)
    assert time.time() - moves < 2.5
    time.sleep(2)
    yard.does("motion off")
    wait_for(lambda: trial.zm.events()[-1]["EndDateTime"], "its end", 30)
    clips = trial.ends()
    trial.frames_fit(clips)
    assert clips[-1].walls[0] < moves < clips[-1].walls[-1]


@pytest.mark.parametrize("gop", [1, 4])
def test_an_events_times_are_those_in_the_picture(trial: Trial, camera: Cameras, gop: int) -> None:
    yard = camera("--fps", "10", "--gop", str(gop))
    monitor = trial.watch(yard, "Modect")
    trial.zone(monitor, STOCK)
    trial.service("[zmnext.pipeline]\npre_roll_sec = 2\npost_roll_sec = 3\n[zmnext.ingest]\nthumbnails = true")
    watching(trial, monitor)
    moves = yard.does("motion left")
    time.sleep(3)
    rests = yard.does("motion off")
    wait_for(lambda: any(event["EndDateTime"] for event in trial.zm.events()), f"an end: {trial.log()}", 40)
    shot = trial.zm.clip(trial.zm.events()[0]).with_name("alarm.jpg")
    wait_for(shot.exists, "a picture of the alarm", 60)
    clip = trial.ends()[0]
    event, frames = clip.event, trial.zm.frames(clip.event["Id"])
    start = datetime.fromisoformat(event["StartDateTime"]).timestamp()
    figure(f"gop_{gop}_start_before_the_picture", clip.walls[0] - start)
    # A row's time is in whole seconds.
    assert -0.2 <= clip.walls[0] - start < 1.2
    assert abs(event["Length"] - (clip.walls[-1] - clip.walls[0])) < 0.4
    alarms = [frame for frame in frames if frame[1] == "Alarm"]
    assert alarms
    first, last = alarms[0], alarms[-1]
    figure(f"gop_{gop}_first_alarm_after_the_motion", (clip.frames[first[0] - 1].wall or 0) - moves)
    assert 0 <= (clip.frames[first[0] - 1].wall or 0) - moves < 0.6
    assert abs((clip.frames[last[0] - 1].wall or 0) - rests) < 0.6
    assert abs(wall_at(clip, float(first[2])) - moves) < 0.6
    alarm = read_jpeg(shot)
    assert alarm is not None and moves <= alarm <= rests + 0.3
    # It is of the first of those frames that have the highest score.
    best = max(alarms, key=lambda frame: (frame[3], -frame[0]))
    figure(f"gop_{gop}_alarm_jpg_off_its_frame", abs(alarm - (clip.frames[best[0] - 1].wall or 0)))
    assert abs(alarm - (clip.frames[best[0] - 1].wall or 0)) < 0.25


def read_jpeg(path: Path) -> float | None:
    with av.open(str(path)) as picture:
        frame = next(picture.decode(video=0)).reformat(format="gray")
        data, stride = bytes(frame.planes[0]), frame.planes[0].line_size
        return read_time(
            b"".join(data[y * stride : y * stride + frame.width] for y in range(frame.height)), frame.width
        )


def contrast(frame: Shown) -> float:
    """How much the picture's brightness grows from left to right: 128 steps as the camera makes it, none in a grey one."""
    return frame.mean(0.8, 0.3, 0.95, 0.45) - frame.mean(0.05, 0.3, 0.2, 0.45)


@pytest.mark.parametrize("function", ["Record", "Modect"])
def test_a_recording_behind_a_mask_shows_the_picture_and_the_mask(trial: Trial, camera: Cameras, function: str) -> None:
    yard = camera("--fps", "10")
    monitor = trial.watch(yard, function)
    trial.zone(monitor, "0,240 319,240 319,479 0,479", "Privacy", "Bed")
    trial.zone(monitor, STOCK)
    trial.service("[zmnext.pipeline]\npre_roll_sec = 2\npost_roll_sec = 3")
    watching(trial, monitor)
    yard.does("motion right")
    time.sleep(6)
    yard.does("motion off")
    time.sleep(10)
    clips = trial.ends()
    frames = [frame for clip in clips for frame in clip.frames]
    assert frames, trial.log()
    trial.frames_fit(clips)
    late = frames[len(frames) // 2 :]
    figure(f"masked_{function}_contrast", sum(map(contrast, late)) / len(late))
    assert all(contrast(frame) > 70 for frame in late)
    assert all(frame.mean(0.05, 0.55, 0.45, 0.95) < 30 for frame in frames), "nothing is seen of what is masked"
    times = walls(clips)
    assert len(times) > 0.8 * len(frames), "the time can be read"


@pytest.mark.parametrize("function", ["Record", "Modect", "Mocord"])
def test_a_second_stream_spoils_no_mode(trial: Trial, camera: Cameras, function: str) -> None:
    yard = camera("--fps", "10")
    monitor = trial.watch(yard, function, SecondPath=yard.sub, SectionLength=10)
    trial.zone(monitor, STOCK)
    trial.service("[zmnext.pipeline]\npre_roll_sec = 2\npost_roll_sec = 3")
    watching(trial, monitor)
    yard.does("motion left")
    time.sleep(6)
    rate = trial.monitor(monitor)["capture_fps"]
    yard.does("motion off")
    time.sleep(9)
    clips = trial.ends()
    assert clips, trial.log()
    trial.frames_fit(clips)
    figure(f"second_stream_{function}_rate", rate or 0)
    assert 8 < rate < 12
    assert {(frame.width, frame.height) for clip in clips for frame in clip.frames} == {(640, 480)}
    if function != "Record":
        assert any("Motion" in clip.event["Cause"] or "motion" in clip.event["Cause"] for clip in clips)
