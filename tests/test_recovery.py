"""Services and workers are killed in the middle of their clips; afterwards rows and clips fit each other, and none is lost or doubled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import av
import pytest

from tests.test_survival import Scene
from tests.waiting import wait_for

CTL = Path(sys.executable).with_name("zmnextctl")
NO_DETECTOR = "[zmnext.pipeline]\ndetect = false"


PICTURES = "fps=20,gop=0.05,size=1280x720"
"""So much that it soon reaches the disk."""


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.end()


def configure(scene: Scene, **more: str) -> None:
    text = scene.zm.config(NO_DETECTOR, tuning={"ZM_CORE_SIM": PICTURES, **more})
    (scene.zm.directory / "zmnext.toml").write_text(text)


def ctl(scene: Scene, *arguments: str, status: int | None = 0) -> dict:
    config = str(scene.zm.directory / "zmnext.toml")
    ran = subprocess.run(
        [str(CTL), "--json", "--config", config, *arguments], capture_output=True, text=True, timeout=60
    )
    assert status is None or ran.returncode == status, (ran.stdout, ran.stderr, [s.log[-3000:] for s in scene.services])
    return json.loads(ran.stdout)


def fsck(scene: Scene, status: int | None = 0) -> dict:
    return ctl(scene, "fsck", "--zm-conf", "/nonexistent", status=status)


def frames_in(path: Path) -> int:
    with av.open(str(path)) as container:
        count = 0
        try:
            for packet in container.demux(container.streams.video[0]):
                count += packet.pts is not None and packet.size > 0
        except av.error.FFmpegError:
            pass
        return count


def open_clips(scene: Scene, count: int) -> dict[int, Path]:
    """Wait until so many clips are open and have pictures in them; by inode."""

    def found() -> dict[int, Path]:
        clips = inodes(scene, 20_000)
        return clips if len(clips) >= count else {}

    return wait_for(found, f"{count} clips with pictures", 60)


def inodes(scene: Scene, least: int = 0) -> dict[int, Path]:
    """All clips of at least this size; they may be renamed at any time."""
    found = {}
    for path in scene.clips():
        with suppress(FileNotFoundError):
            status = path.stat()
            if status.st_size >= least:
                found[status.st_ino] = path
    return found


def check_every_clip_has_one_closed_event(scene: Scene, before: dict[int, Path]) -> None:
    """Every clip of `before` is there still, in the place of just one closed event that says how long it is."""
    now = inodes(scene)
    assert before.keys() <= now.keys()
    named = {}
    for event in scene.zm.events():
        if event["EndDateTime"] is not None and event["DefaultVideo"]:
            path = scene.zm.clip(event)
            assert path.stat().st_ino not in named
            named[path.stat().st_ino] = event
    for inode in before:
        event = named[inode]
        assert event["Frames"] == frames_in(now[inode])
        assert event["Length"] < 60
        assert event["Length"] > 0 or event["Frames"] < 2
        assert event["Name"] == f"Event-{event['Id']}"
        assert scene.zm.frames(event["Id"])


def settled(scene: Scene) -> None:
    wait_for(lambda: not fsck(scene, status=None)["wrong"], "fsck finds nothing")


def kill_all(scene: Scene) -> None:
    """At once, like a power failure."""
    for pid in [scene.services[-1].process.pid, *scene.workers()]:
        os.kill(pid, signal.SIGKILL)
    scene.services[-1].process.wait()
    wait_for(lambda: not scene.workers(), "all workers are dead")


def test_after_a_power_failure_every_clip_has_its_event(scene: Scene) -> None:
    """Those that were assigned are in their places, that of monitor 2 never was and moves in; nothing is lost, nothing is doubled."""
    for n in (1, 2, 3):
        scene.zm.monitor(n, "Record", SectionLength=3600)
    configure(scene, ZM_CORE_SIM_2="slow_assign=60")
    scene.start()
    before = open_clips(scene, 3)
    wait_for(lambda: len(scene.zm.events()) == 3, "three rows")
    kill_all(scene)
    assert len(fsck(scene, status=1)["wrong"]) >= 3
    service = scene.start()
    wait_for(lambda: sum(e["EndDateTime"] is not None for e in scene.zm.events()) == 3, f"closed: {service.log}")
    check_every_clip_has_one_closed_event(scene, before)
    settled(scene)
    assert service.end() in (0, -signal.SIGTERM)
    assert fsck(scene)["wrong"] == []
    assert {e["MonitorId"] for e in scene.zm.events()} == {1, 2, 3}
    assert len(scene.zm.events()) == len(scene.clips())
    assert "Traceback" not in service.log


def test_a_killed_service_goes_on_with_the_events_of_its_workers(scene: Scene) -> None:
    for n in (1, 2, 3):
        scene.zm.monitor(n, "Record", SectionLength=6)
    configure(scene)
    scene.start()
    open_clips(scene, 3)
    wait_for(lambda: len([c for c in scene.clips() if "-video" in c.name]) == 3, "three clips in their places")
    workers = sorted(scene.workers())
    first = {e["Id"] for e in scene.zm.events()}
    scene.services[-1].process.kill()
    scene.services[-1].process.wait()
    service = scene.start()

    def closed() -> set[int]:
        return {e["Id"] for e in scene.zm.events() if e["EndDateTime"] is not None and e["DefaultVideo"]}

    # On a busy machine they may be saved before anybody listens; they, and those after them, are found by the look 10 s later then.
    wait_for(lambda: first <= closed(), f"the first clips are saved: {service.log}")
    assert sorted(scene.workers()) == workers
    wait_for(lambda: len(scene.zm.events()) >= len(scene.clips()), "an event for each clip")
    settled(scene)
    assert service.end() in (0, -signal.SIGTERM)
    assert fsck(scene)["wrong"] == []
    check_every_clip_has_one_closed_event(scene, inodes(scene))
    assert len(scene.zm.events()) == len(scene.clips())


def test_a_clip_that_was_saved_while_nobody_listened_is_closed_from_its_file(scene: Scene) -> None:
    scene.zm.monitor(1, "Record", SectionLength=3)
    configure(scene)
    scene.start()
    open_clips(scene, 1)
    scene.services[-1].process.kill()
    scene.services[-1].process.wait()
    wait_for(lambda: len(scene.clips()) >= 3, "the worker goes on to further clips")
    missed = len(scene.clips())
    service = scene.start()
    service.says("LINKED -> LIVE")
    # A save said after the look at the start and before the link is found by the look 10 s later.
    wait_for(
        lambda: len(scene.zm.events()) >= max(missed + 1, len(scene.clips())), "an event for each clip, and one more"
    )
    settled(scene)
    assert service.end() in (0, -signal.SIGTERM)
    assert fsck(scene)["wrong"] == [], service.log
    check_every_clip_has_one_closed_event(scene, inodes(scene))
    assert len(scene.zm.events()) == len(scene.clips())


def test_a_killed_workers_clips_are_found_wherever_they_are(scene: Scene) -> None:
    """The clip of monitor 1 is in its place, that of monitor 2 never was assigned."""
    for n in (1, 2):
        scene.zm.monitor(n, "Record", SectionLength=3600)
    configure(scene, ZM_CORE_SIM_2="slow_assign=60")
    service = scene.start()
    before = open_clips(scene, 2)
    wait_for(lambda: len(scene.zm.events()) == 2, "two rows")
    for pid in scene.workers():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: sum(e["EndDateTime"] is not None for e in scene.zm.events()) == 2, "both are closed")
    check_every_clip_has_one_closed_event(scene, before)
    dry = ctl(scene, "recover", "--dry-run")
    assert (dry["done"], dry["stopped"], dry["failed"]) == (False, [], [])
    settled(scene)
    assert service.end() in (0, -signal.SIGTERM)
    assert fsck(scene)["wrong"] == []
