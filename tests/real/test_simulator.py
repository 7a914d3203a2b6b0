"""The stand-in and the real worker on one document, with a camera of the same fate: they say the same, in logs and on sockets."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import SystemRandom
from typing import Any

import pytest

from tests.real.trial import Camera
from tests.sim.harness import COMMAND, Client, frames_of, node, tlvs_of
from tests.sim.test_rtsp import Camera as Answering
from tests.waiting import wait_for
from zmtwist.wire.messages import Media

WORDS = re.compile(
    r"Stream \d+\] (?:Starting capture|Found|Successfully|Connected|End of|Stream disc|Failed|Connection failed|Max|Capture loop)"
    r"|Published video|Connection to|store: (?:opened|recording_opening|wrote|closed|write_frame)|non monotonically|zm-core\]"
    r"|WorkerLink\]|Failed to load|Cannot open"
)
"""The lines that somebody may rely on."""

VARIES = (
    (r"rtsp://\S+", "URL"),
    (r"127\.0\.0\.1:\d+", "ADDRESS"),
    (r"/\S+?/event-Monitor-\d+-(\d)-\S+?\.mkv", r"CLIP-\1"),
    (r"/\S+\.sock", "SOCKET"),
    (r"retrying in \d+ ms", "retrying in MS"),
    (r"token=\d+-\d+-(\d+)", r"token=TOKEN-\1"),
    (r'"clip_token":"\d+-\d+-(\d+)"', r'"clip_token":"TOKEN-\1"'),
    (r"monitor \d+", "monitor N"),
    (r"duration=-?[\d.]+s, frames=\d+", "duration=D, frames=F"),
    (r'"duration":-?[\d.]+(e-?\d+)?', '"duration":D'),
    (r'"frames":\d+', '"frames":F'),
    (r'"changed":\d+', '"changed":C'),
    (r'"pts_usec":\d+', '"pts_usec":P'),
    (r"stream 0: \d+ >= \d+", "stream 0: A >= B"),
)


def plain(text: str) -> str:
    """What is left when everything that differs from run to run is taken out."""
    for pattern, name in VARIES:
        text = re.sub(pattern, name, text)
    return text


def folded(lines: list[str]) -> list[str]:
    """Lines that come again and again count once."""
    kept: list[str] = []
    for line in lines:
        if line not in kept[-2:]:
            kept.append(line)
    return kept


class Run:
    """One process on a document, with a client that reads all."""

    def __init__(
        self, command: list[str], directory: Path, document: dict[str, Any], folder: Path, tuning: str
    ) -> None:
        self.log = folder / "log"
        path = folder / "w.sock"
        file = folder / "document.json"
        file.write_text(json.dumps(document))
        number = str(SystemRandom().randrange(10**6, 10**7))
        arguments = [*command, "--pipeline", str(file), "--socket", str(path), "--monitor-id", number]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                arguments, cwd=directory, stdout=log, stderr=subprocess.STDOUT, env={"ZM_CORE_SIM": tuning}
            )
        connection = socket.socket(socket.AF_UNIX)
        wait_for(lambda: connection.connect_ex(str(path)) == 0, "a socket that listens")
        self.client = Client(connection)
        self.reader = threading.Thread(target=self.client.to_the_end, args=(120,))
        self.reader.start()

    def says(self, text: str, seconds: float = 40) -> None:
        wait_for(lambda: text in self.log.read_text(), f"{text!r} in {self.log.read_text()[-800:]}", seconds)

    def frames(self, more: int) -> None:
        """Wait for so many more frames."""
        wanted = self.count() + more
        wait_for(lambda: self.count() >= wanted, f"{more} frames", 40)

    def count(self) -> int:
        return sum(isinstance(message, Media) for message in self.client.messages)

    def ends(self) -> tuple[list[str], list[str]]:
        """Its log, and its events as code and JSON: both plain."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0
        self.reader.join()
        lines = [
            plain(line) for line in self.log.read_text().splitlines() if WORDS.search(line) and "DEBUG" not in line
        ]
        events = []
        for kind, _, payload in frames_of(bytes(self.client.raw)):
            if kind == 0x06:
                tlvs = list(tlvs_of(payload[2:]))
                tags = [tag for tag, _ in tlvs]
                events.append(f"{payload[:2].hex()} {tags} {plain(tlvs[-1][1].decode())}")
            elif kind in (0x01, 0x05):
                events.append({0x01: "HELLO", 0x05: "BYE"}[kind])
        return folded(lines), folded(events)


def document(url: str, root: Path, *others: dict[str, Any], **store: Any) -> dict[str, Any]:
    cfg = {"mode": "continuous", "root": str(root), "monitor_id": 3, "max_secs": 600, "stream_filter": [0], **store}
    capture = {"streams": [{"stream_id": 0, "url": url, "transport": "tcp"}]}
    return {"plugins": [node("capture_rtsp_multi", *others, node("store", **cfg), **capture)]}


def fate(run: Run, away: Callable[[], object], back: Callable[[], object]) -> tuple[list[str], list[str]]:
    """3 s connected, away for two attempts, back."""
    run.says("recording_opening")
    run.frames(30)
    away()
    run.says("(attempt 2)")
    back()
    run.says("write_frame failed")
    run.frames(5)
    return run.ends()


@pytest.fixture
def begin() -> Iterator[Callable[..., Run]]:
    """Starts processes; none outlives the test."""
    running: list[Run] = []

    def begin(*arguments: Any) -> Run:
        running.append(Run(*arguments))
        return running[-1]

    yield begin
    for run in running:
        run.process.kill()
        run.process.wait()


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("real", "sim"):
        (tmp_path / name).mkdir()
    return tmp_path / "real", tmp_path / "sim"


def test_a_lost_camera_is_told_of_in_the_same_words(
    core: Path, camera: Callable[..., Camera], begin: Callable[..., Run], folders: tuple[Path, Path]
) -> None:
    real, sim = folders
    yard = camera("--fps", "10")
    run = begin([str(core)], core.parent, document(yard.url, real / "e"), real, "")
    lines, events = fate(run, lambda: yard.does("away"), lambda: yard.does("back"))

    answering = Answering()
    url = f"rtsp://127.0.0.1:{answering.port}/live"
    stood = begin(COMMAND, sim, document(url, sim / "e"), sim, "light,dial,connect=1")
    answering.take()
    said, told = fate(stood, answering.away, lambda: (answering.back(), answering.take()))
    answering.away()
    assert told == events
    # Threads of the real worker write some lines in an order of their own.
    assert sorted(set(said)) == sorted(set(lines))


def test_an_event_is_told_of_in_the_same_words(
    core: Path, camera: Callable[..., Camera], begin: Callable[..., Run], folders: tuple[Path, Path]
) -> None:
    real, sim = folders
    yard = camera("--fps", "10")
    size = {"frame_width": 640, "frame_height": 480, "min_changed_pixels": 200, "gate": False, "downscale": 2}
    motion = node("decode_ffmpeg", node("motion_gate", **size), output_format="gray")
    event = {"mode": "event", "pre_roll_sec": 1, "post_roll_sec": 1, "max_buffer_sec": 15}
    run = begin([str(core)], core.parent, document(yard.url, real / "e", motion, **event), real, "")
    run.frames(40)
    yard.does("motion left")
    run.says("recording_opening")
    time.sleep(1)
    yard.does("motion off")
    run.says("closed clip")
    lines, events = run.ends()

    tuning = "light,first=5,present=1,period=60"
    stood = begin(COMMAND, sim, document("rtsp://10.0.0.9/live", sim / "e", motion, **event), sim, tuning)
    stood.says("closed clip")
    said, told = stood.ends()
    assert told == events
    assert [line for line in said if "store:" in line] == [line for line in lines if "store:" in line]


@pytest.mark.parametrize("kind", ["of_tomorrow"])
def test_a_plugin_that_is_missing_ends_both_alike(core: Path, folders: tuple[Path, Path], kind: str) -> None:
    ended = []
    for command, directory, folder in (([str(core)], core.parent, folders[0]), (COMMAND, folders[1], folders[1])):
        file = folder / "document.json"
        file.write_text(json.dumps({"plugins": [node("capture_file", node(kind), path="/nowhere.mp4")]}))
        arguments = [*command, "--pipeline", str(file), "--socket", str(folder / "s"), "--monitor-id", "8"]
        ran = subprocess.run(arguments, cwd=directory, capture_output=True, text=True, timeout=20)
        ended.append((ran.returncode, ran.stderr.splitlines()))
    assert ended[0] == ended[1]
    assert sys.executable and ended[0][0] == 4
