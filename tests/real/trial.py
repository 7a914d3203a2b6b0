"""One camera and one installation on a trial: what was recorded, told by the time in the picture."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from random import SystemRandom
from typing import Any

import attrs
import av

from tests.real.picture import Shown, shown
from tests.test_survival import Scene, Service
from tests.waiting import wait_for
from zmtwist.fleet.process.preflight import rings

CTL = Path(sys.executable).with_name("zmnextctl")
CAMERA = Path(__file__).with_name("rtsp_camera.py")


PATIENT = """
from twisted.scripts.twistd import run
from zmtwist.ingest import thumbnails
thumbnails.MOST_LOAD = 1e6
run()
"""


class Camera:
    """An RTSP camera (rtsp_camera.py says what it takes and obeys)."""

    def __init__(self, *options: str) -> None:
        self.process = subprocess.Popen(
            ["/usr/bin/python3", str(CAMERA), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        ready, _, port = self.process.stdout.readline().strip().partition(" ")
        assert ready == "ready"
        self.url = f"rtsp://127.0.0.1:{port}/live"
        self.sub = f"rtsp://127.0.0.1:{port}/sub"

    def does(self, command: str) -> float:
        """Let it obey, and say when it did: seconds since the epoch."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline().strip() == f"done {command}"
        return time.time()

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.communicate()


@attrs.frozen
class Clip:
    """A clip that has its event: the row, and every frame that can be decoded."""

    event: dict[str, Any]
    frames: list[Shown]

    @property
    def walls(self) -> list[float]:
        """The times in the pictures."""
        return [frame.wall for frame in self.frames if frame.wall is not None]


class Trial(Scene):
    """An installation whose workers are real, and every service that was started on it. Its monitors' ids are its own: a worker's ring in
    shared memory is known by that id alone, on the whole host. Pictures of events are made however much the host has to do."""

    twistd = (sys.executable, "-c", PATIENT)

    def __init__(self, directory: Path, core: Path) -> None:
        super().__init__(directory)
        self.core = core
        self.first = SystemRandom().randrange(100_000, 900_000) * 10
        self.monitors: list[int] = []

    def watch(self, camera: Camera, function: str = "Record", **columns: object) -> int:
        """A monitor of this camera; its id."""
        number = self.first + len(self.monitors)
        self.monitors.append(number)
        size = {"Width": 640, "Height": 480}
        self.zm.monitor(number, function, **{"Type": "Ffmpeg", "Path": camera.url, **size, **columns})
        return number

    def zone(self, monitor: int, coords: str, kind: str = "Active", name: str = "All") -> None:
        """A zone with the thresholds of ZoneMinder's own default."""
        row = {
            "MonitorId": monitor, "Name": name, "Type": kind, "Units": "Pixels", "NumCoords": 4, "Coords": coords,
            "CheckMethod": "Blobs", "MinPixelThreshold": 25, "MinAlarmPixels": 9216, "MaxAlarmPixels": 230_400,
            "FilterX": 3, "FilterY": 3, "MinFilterPixels": 9216, "MaxFilterPixels": 230_400,
            "MinBlobPixels": 6144, "MinBlobs": 1,
        }  # fmt: skip
        marks = ", ".join("?" * len(row))
        self.zm.execute(f"INSERT INTO Zones ({', '.join(row)}) VALUES ({marks})", *row.values())

    def service(self, extra: str = "", worker: str = "") -> Service:
        """Start the service."""
        text = self.zm.config(extra, binary=self.core, tuning={})
        table = "[zmnext.worker]"
        (self.zm.directory / "zmnext.toml").write_text(text.replace(table, f"{table}\n{worker}"))
        return self.start()

    def says(self, *arguments: object) -> Any:
        """What zmnextctl answers."""
        config = str(self.zm.directory / "zmnext.toml")
        command = [str(CTL), "--json", "--config", config, *map(str, arguments)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert ran.stdout, (ran.stderr, self.log())
        return json.loads(ran.stdout)

    def log(self) -> str:
        return self.services[-1].log[-6000:]

    def rings(self) -> list[Path]:
        return [Path(f"/dev/shm/zm_shmring_{ring}") for number in self.monitors for ring in rings(number)]

    def monitor(self, number: int) -> dict[str, Any]:
        """What the service says of a monitor."""
        nothing = {"id": number, "state": "", "capture_fps": None}
        said = self.says("monitors").get("monitors", [])  # none while the service does not answer yet
        return next((each for each in said if each["id"] == number), nothing)

    def length(self, clip: Clip) -> float:
        """Seconds from the first to the end of the last frame of the file."""
        with av.open(str(self.zm.clip(clip.event))) as container:
            stream = container.streams.video[0]
            at = sorted(float(p.pts * stream.time_base) for p in container.demux(stream) if p.pts is not None)
        return at[-1] - at[0]

    def recording(self, monitor: int, seconds: float = 40) -> None:
        """Wait until the monitor's clip grows; a worker writes 256 KiB at a time."""

        def clips() -> int:
            return sum(path.stat().st_size for path in self.zm.storage.rglob("*.mkv") if str(monitor) in str(path))

        before = clips()
        wait_for(lambda: clips() > before, f"monitor {monitor} is recorded: {self.log()}", seconds)

    def ends(self) -> list[Clip]:
        """Stop the service with its workers, and look at all clips, oldest first. Each has to have one closed event that fits it."""
        service = self.services[-1]
        service.end()
        clips = []
        for event in self.zm.events():
            assert event["EndDateTime"] is not None, (event, service.log[-6000:])
            if not event["DefaultVideo"]:
                continue
            clip = Clip(event, list(shown(self.zm.clip(event))))
            clips.append(clip)
        on_disk = [path for path in self.clips() if path.stat().st_size]
        assert len(on_disk) == len(clips), (on_disk, [clip.event for clip in clips])
        assert self.zm.execute("SELECT count(*) FROM Events WHERE DefaultVideo = ''") == [(0,)]
        return clips

    def frames_fit(self, clips: list[Clip]) -> None:
        """Rows say as many frames as there are in the files."""
        said = {clip.event["Id"]: clip.event["Frames"] for clip in clips}
        assert said == {clip.event["Id"]: len(clip.frames) for clip in clips}


def walls(clips: list[Clip]) -> list[float]:
    """The time in every picture that is in some clip."""
    return sorted(wall for clip in clips for wall in clip.walls)


def longest_gap(times: list[float]) -> float:
    """The longest time between two pictures that were recorded."""
    return max(after - before for before, after in pairwise(times))


def figure(name: str, value: float) -> None:
    """What was measured, for whoever runs the trials with -s; and for the table, in TRIALS if that names a file."""
    line = f"figure {name} {value:.2f}"
    print(line)
    if path := os.environ.get("TRIALS"):
        with Path(path).open("a") as file:
            file.write(line + "\n")
