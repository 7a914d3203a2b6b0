"""Files in a storage that nobody would expect there: the service starts and records all the same, and finds the clips among them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.attack.target import GOOD, HOSTILE, PAUSE_SECONDS, Target
from tests.attack.worker import Worker
from tests.media.clips import record
from tests.service_case import Installation
from tests.waiting import crowd
from zmtwist.wire.encode import encode_stats

MIB = 1 << 20
CTL = Path(sys.executable).with_name("zmnextctl")
ASSETS = 0x0306
LEFT = 70
"""The number of the clip of each camera that is as it should be."""

OLD_SECONDS = 1200.0
MANY = 5_000
"""Of the clips that a worker may have left in the name of its monitor. More take longer, and no more of the service's time at once."""

DEEP = "[" * 100_000
DAY = time.strftime("%Y-%m-%d", time.localtime(time.time() - OLD_SECONDS))


def own_name(monitor_id: int, number: int = 1) -> str:
    """A worker's own name for a clip that it opened a while ago, `number` minutes after the first."""
    at = time.strftime("%H-%M-%S", time.localtime(time.time() - OLD_SECONDS))
    return f"event-Monitor-{monitor_id}-0-{at}" + (f"-{number}" if number > 1 else "") + ".mkv"


def bound(path: Path) -> None:
    """A socket at a path of any length."""
    with socket.socket(socket.AF_UNIX) as listening:
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            listening.bind(f"/proc/self/fd/{directory}/{path.name}")
        finally:
            os.close(directory)


SIDECARS: dict[str, Callable[[Path], Any]] = {
    "nested": lambda path: path.write_text(DEEP),
    "nested in a field": lambda path: path.write_text('{"cause":' + DEEP + "]" * len(DEEP) + "}"),
    "cut off": lambda path: path.write_text('{"cause":"mot'),
    "no text": lambda path: path.write_bytes(b'{"cause":"\xff\xfe"}'),
    "wrong types": lambda path: path.write_text('{"cause":5,"text":[]}'),
    "number": lambda path: path.write_text('{"cause":"motion","duration_usec":' + "9" * 5_000 + "}"),
    "long text": lambda path: path.write_text(json.dumps({"cause": "c\x1b[2J" * 50_000, "text": "t\n" * 200_000})),
    "100 MB": lambda path: (path.write_text('{"cause":"'), os.truncate(path, 100_000_000)),
    "a hole": lambda path: (path.touch(), os.truncate(path, 1 << 40)),
    "empty": lambda path: path.touch(),
    "a pipe": os.mkfifo,
    "a directory": lambda path: path.mkdir(),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a socket": bound,
}
"""What may lie beside a clip in place of what its worker writes, or of a manifest."""

CLIPS: dict[str, Callable[[Path], Any]] = {
    "a pipe": os.mkfifo,
    "a socket": bound,
    "a directory": lambda path: path.mkdir(),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to a file": lambda path: path.symlink_to("/etc/passwd"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a hole": lambda path: (path.touch(), os.truncate(path, 1 << 42)),
    "junk": lambda path: path.write_bytes(os.urandom(MIB)),
    "a list": lambda path: path.write_text("ffconcat version 1.0\nfile /etc/passwd\n"),
}
"""What may lie in a clip's place."""


def odd_names(root: Path) -> None:
    """Directories and files whose names tell absurd times, monitors and numbers, or drive a terminal."""
    for day in ("0001-01-01", "0000-00-00", "9999-12-31", "1970-01-01", "2038-01-19", "2026-02-30", "2099-13-99"):
        (root / day).mkdir()
        for name in ("0-00-00-00", "0-99-99-99", "99999-23-59-59-999999999", "0-00-00-00-0", f"0-00-00-00-{'9' * 100}"):
            for monitor_id in ("2", "0", "-1", "9" * 10, "9" * 100, "\u0662", "2\n", "\x1b[2J\u202e"):
                (root / day / f"event-Monitor-{monitor_id}-{name}.mkv").touch()
                (root / day / f"event-Monitor-{monitor_id}-{name}.mkv.json").write_text(DEEP)
    for name in (
        b"\xff\xfe",
        b"event-Monitor-2-0-\xff.mkv",
        b"\x1b]0;x\x07",
        b"x" * 255,
        b"  ",
        b"\n",
        b"-rf",
        b"'; DROP",
    ):
        (root / DAY / os.fsdecode(name)).touch()
        (root / os.fsdecode(name)).mkdir()
    (root / "2021-01-01").symlink_to("/")
    (root / "2021-01-02").symlink_to(root)
    (root / "2021-01-03").touch()
    os.mkfifo(root / "2021-01-04")
    (root / "1").mkdir(exist_ok=True)
    os.mkfifo(root / "1" / "2021-01-06")
    deepest = root
    for _ in range(200):
        deepest /= "2021-01-05"
    deepest.mkdir(parents=True)


def plant(zm: Installation) -> None:
    """All of it, and among it a whole clip of each camera, which its worker has left without a word."""
    (zm.storage / DAY).mkdir()
    odd_names(zm.storage)
    whole = record(zm.storage / "whole", 5).read_bytes()
    for number, put in enumerate(SIDECARS.values(), 10):
        path = zm.storage / DAY / own_name(HOSTILE, number)
        path.write_bytes(whole)
        put(Path(f"{path}.json"))
    for number, put in enumerate(CLIPS.values(), 40):
        path = zm.storage / DAY / own_name(HOSTILE, number)
        put(path)
        Path(f"{path}.json").write_text("{}")
    for monitor_id in (HOSTILE, *GOOD):
        known(zm, monitor_id)
        record(zm.storage / DAY / own_name(monitor_id, LEFT), 30, sidecar="{}")
    at = time.time() - OLD_SECONDS + 60
    for entry in os.scandir(os.fsencode(zm.storage / DAY)):
        os.utime(entry.path, (at, at), follow_symlinks=False)


def known(zm: Installation, monitor_id: int) -> None:
    """An event of this camera with its clip: it was being recorded here a while ago."""
    start = time.localtime(time.time() - 2 * OLD_SECONDS)
    name = f"{monitor_id}-video.mkv"
    zm.execute(
        "INSERT INTO Events (Id, MonitorId, StorageId, Name, Cause, StartDateTime, EndDateTime, Width, Height, DefaultVideo, SaveJPEGs,"
        " Orientation, Scheme) VALUES (?, ?, 1, 'Event', 'Continuous', ?, ?, 16, 16, ?, 0, 'ROTATE_0', 'Medium')",
        monitor_id, monitor_id, *2 * (time.strftime("%Y-%m-%d %H:%M:%S", start),), name,
    )  # fmt: skip
    record(zm.storage / str(monitor_id) / time.strftime("%Y-%m-%d", start) / str(monitor_id) / name)


def lies(target: Target, inodes: set[int]) -> bool:
    """Whether each of these clips is that of a closed event, where ZoneMinder looks for it."""
    paths = [target.zm.clip(event) for event in target.zm.events() if event["EndDateTime"] and event["DefaultVideo"]]
    return inodes <= {path.stat().st_ino for path in paths if path.is_file()}


def finds(target: Target, names: list[str]) -> None:
    """The service starts, and gives the clips of these names, one for each, their events; nothing holds it up meanwhile."""
    left = {path.stat().st_ino for name in names for path in target.zm.storage.glob(name)}
    assert len(left) == len(names)
    target.until(target.status, "the API answers")
    target.calm()
    target.until(lambda: prompt(target) and lies(target, left), "the clips that were left have their events", 200)
    figures = target.hold()
    print(figures)
    assert figures.resident < 400 * MIB
    look(target)


def prompt(target: Target) -> bool:
    """That nothing has held the service up in the last minute."""
    assert target.metric("zmnext_reactor_lag_max_seconds") < PAUSE_SECONDS * crowd(), target.tail()
    return True


def look(target: Target) -> None:
    """What is told of it drives no terminal, goes on for no page, and is no failure of this program."""
    log = target.log.read_bytes()
    assert b"Traceback" not in log and b"Unhandled" not in log and b"defect" not in log
    assert b"\x1b" not in log and b"\x07" not in log
    assert max(map(len, log.splitlines())) < 4_500
    for path in ("/api/status", "/api/events", f"/api/monitors/{GOOD[0]}/why", "/metrics"):
        assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]|\\\\u001b", target.get(path)[1]), path
    rows = repr(target.zm.execute("SELECT * FROM Events"))
    assert "x1b" not in rows and len(rows) < MIB


def ctl(target: Target, *words: str) -> tuple[int, Any]:
    """The exit status and the JSON of `zmnextctl`."""
    config = target.zm.directory / "zmnext.toml"
    ran = subprocess.run(
        [CTL, "--json", "--config", config, *words], capture_output=True, text=True, timeout=300, check=False
    )
    return ran.returncode, json.loads(ran.stdout)


@pytest.fixture
def attacked(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Target]:
    before, attack = request.param
    target = Target(tmp_path, attack, before=before)
    yield target
    target.remove()


# What lies there when the service starts


@pytest.mark.parametrize("attacked", [(plant, None)], indirect=True)
def test_a_start_among_files_of_all_kinds(attacked: Target) -> None:
    finds(attacked, [f"{DAY}/event-Monitor-{n}-0-*-{LEFT}.mkv" for n in (HOSTILE, *GOOD)])
    status, told = ctl(attacked, "recover")
    assert (status, told["failed"]) == (0, []), told
    assert ctl(attacked, "fsck", "--zm-conf", "/nonexistent")[0] in (0, 1)
    look(attacked)
    assert Path("/etc/passwd").stat().st_size > 0
    assert not [event for event in attacked.zm.events() if event["MonitorId"] not in (HOSTILE, *GOOD)]


def crowded(zm: Installation) -> None:
    """More clips of one camera than anybody records in a week, none of which holds anything."""
    (zm.storage / DAY).mkdir()
    for monitor_id in (HOSTILE, *GOOD):
        known(zm, monitor_id)
    for number in range(1, MANY + 1):
        (zm.storage / DAY / own_name(HOSTILE, number)).touch()
    for monitor_id in GOOD:
        record(zm.storage / DAY / own_name(monitor_id), 30, sidecar="{}")


@pytest.mark.parametrize("attacked", [(crowded, None)], indirect=True)
def test_a_start_among_more_clips_than_anybody_records(attacked: Target) -> None:
    finds(attacked, [f"{DAY}/event-Monitor-{n}-0-*.mkv" for n in GOOD])


# What a worker makes of a clip, and of what lies beside it, when it says that it is saved


def spoils(worker: Worker) -> None:
    """Clips that are none, and sidecars and manifests of all kinds, each said to be saved; the worker dies at the end, and begins anew."""
    worker.wait_for_client()
    for number, (place, put) in enumerate(
        [("sidecar", put) for put in SIDECARS.values()]
        + [("clip", put) for put in CLIPS.values()]
        + [("manifest", put) for put in SIDECARS.values()]
    ):
        worker.open()
        opened = worker._clip
        assert opened is not None
        opened.path.write_bytes(b"a clip\n")
        worker.film(number)
        worker.say(encode_stats(number, 0))
        if number % 4 or place == "manifest":
            end = time.monotonic() + 5
            while not opened.event_id and time.monotonic() < end:
                time.sleep(0.01)
        with worker._lock:
            path = opened.path
            if place == "sidecar":
                put(Path(f"{path}.json"))
            elif place == "clip":
                path.unlink()
                put(path)
            worker.save()
            if place == "manifest":
                with contextlib.suppress(FileExistsError):
                    (path.parent / "synopsis").mkdir()
                    put(path.parent / "synopsis" / "manifest.json")
                worker.say(worker.event(ASSETS))
        time.sleep(0.35)
    os._exit(6)


@pytest.mark.parametrize("attacked", [(lambda _zm: None, spoils)], indirect=True)
def test_what_is_saved_is_no_clip_or_lies_beside_what_is_none(attacked: Target) -> None:
    def gone() -> bool:
        return attacked.log.read_text(errors="replace").count(f"monitor {HOSTILE}: LIVE -> BACKOFF: exit 6") > 0

    attacked.calm()
    print(attacked.hold())
    attacked.until(gone, "the worker has been through all of it", 200)
    figures = attacked.hold()
    print(figures)
    assert figures.resident < 400 * MIB
    look(attacked)
    events = [event for event in attacked.zm.events() if event["MonitorId"] == HOSTILE]
    assert sum(event["EndDateTime"] is not None for event in events) > len(SIDECARS)
