"""A worker that says too much, too long and nothing nice: in messages, answers, log lines and files."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.attack.target import HOSTILE, Target
from tests.attack.worker import Worker
from tests.talker import FORGED, lines, messages
from zmtwist.wire.messages import Response

PASSWORD = 'Wombat4Front@:/%"{}Wombat7Back'
LEAK = re.compile(rb"Wombat[47](?:Front|Back)")
URL = f"rtsp://bob:{quote(PASSWORD, safe='')}@127.0.0.1/yard"
LONG = 15_000
"""Characters of a text: with several in a message as much as one holds."""


def long_text(piece: str, end: str = "") -> str:
    return (piece * LONG)[: LONG - len(end)] + end


PIECES = (
    f"{URL} ",
    "%25",
    "\\u0041",
    "&amp;",
    "://a:",
    "password=",
    "?pas",
    "\x1b[2J",
    "\u202e\u2028",
    f"{PASSWORD} ",
    PASSWORD,
    FORGED,
)


def attack(worker: Worker) -> None:
    """Long texts in every field, without end; its clips go on."""

    def refuse(client: Any, told: dict[str, Any]) -> None:
        said = long_text(PIECES[told["event_id"] % len(PIECES)])
        worker.assign(client, told, Response(told["request_id"], False, said, said))

    worker.answer = refuse
    worker.wait_for_client()
    number = 0
    while True:
        number += 1
        piece = PIECES[number % len(PIECES)]
        worker.film(number)
        if number % 5 == 0:
            worker.save(cause=long_text(piece))
            worker.open(trigger=long_text(piece))
        for message in messages(worker, long_text(piece, f" {URL}")):
            worker.say(message)
        for message in messages(worker, f"{piece} {number}"):
            worker.say(message)
        time.sleep(0.05)


def flood_of_lines(worker: Worker) -> None:
    """Log lines, as fast as they are taken."""
    worker.wait_for_client()
    number = 0
    while True:
        number += 1
        worker.film(number)
        for piece in PIECES:
            lines(f"{piece} {number} {URL}")
        sys.stdout.write(long_text(PIECES[number % len(PIECES)]).replace("\n", " ") + "\n")
        sys.stdout.flush()


def bad_files(worker: Worker) -> None:
    """Clips with sidecars and manifests that say it; the worker dies over and over, so that they are found."""
    worker.wait_for_client()
    worker.open()
    path = worker.clip_path
    assert path is not None
    path.write_bytes(b"a clip\n")
    said = long_text("see \x1b[2J", f"\n{PASSWORD} {URL}")
    Path(f"{path}.json").write_text(json.dumps({"cause": said, "text": said, "descriptions": [said]}))
    for piece in PIECES:
        print(f"[A][ERROR] gave up: {piece} {URL}", flush=True)
    time.sleep(0.3)
    os._exit(6)


def with_password(zm: Any) -> None:
    zm.execute("UPDATE Monitors SET Type = 'Ffmpeg', Path = ? WHERE Id = ?", URL, HOSTILE)


def made(directory: Path, what: Any, function: str = "Mocord") -> Target:
    return Target(directory, what, function=function, before=with_password)


@pytest.fixture
def attacked(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Target]:
    target = made(tmp_path, request.param)
    yield target
    target.remove()


def look(target: Target) -> None:
    """Nothing that can be read tells the password, forges a line, drives a terminal or goes on and on."""
    answers = {
        path: target.get(path)[1]
        for path in (
            "/api/status",
            "/api/monitors",
            f"/api/monitors/{HOSTILE}",
            f"/api/monitors/{HOSTILE}/why",
            f"/api/monitors/{HOSTILE}/pipeline",
            "/api/events",
            "/metrics",
        )
    }
    tables = [name for (name,) in target.zm.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    rows = {name: target.zm.execute(f"SELECT * FROM {name}") for name in tables if name != "Monitors"}
    log = target.log.read_bytes()
    state = b"".join(
        path.read_bytes() for path in sorted(target.zm.directory.joinpath("state").rglob("*")) if path.is_file()
    )
    seen = {**answers, **{name: repr(found).encode() for name, found in rows.items()}, "log": log, "state": state}
    assert [name for name, what in seen.items() if LEAK.search(what)] == []
    assert [name for name, what in seen.items() if b"\x1b" in what and name != "state"] == []
    assert not re.findall(rb"^(?!.* monitor 1: ).*forged#critical", log, re.MULTILINE)
    assert max(map(len, log.splitlines())) < 4_500, "three error lines and what goes with them"
    assert all(len(str(value)) < 70_000 for found in rows.values() for row in found for value in row)
    assert b"\\u001b" not in b"".join(answers.values())


@pytest.mark.parametrize("attacked", [attack], indirect=True)
def test_long_texts_in_every_field(attacked: Target) -> None:
    attacked.calm()
    print(attacked.hold())
    assert attacked.metric("zmnext_monitor_worker_events_total") > 100
    look(attacked)
    assert attacked.stop() < 0
    look_at_the_log(attacked, "the worker refused event")


@pytest.mark.parametrize("attacked", [flood_of_lines], indirect=True)
def test_a_flood_of_lines(attacked: Target) -> None:
    attacked.calm()
    before = attacked.log.stat().st_size
    began = time.monotonic()
    print(attacked.hold())
    seconds = time.monotonic() - began
    # 20 lines a second in the long run, of 1,000 characters at most, and what others have to say.
    assert attacked.log.stat().st_size - before < 200 * 1_500 + seconds * 20 * 1_500
    attacked.until(lambda: attacked.metric("zmnext_monitor_worker_lines_unlogged_total") > 1_000, "a thousand lines")
    look(attacked)
    look_at_the_log(attacked, "lines of output were not logged")


@pytest.mark.parametrize("attacked", [bad_files], indirect=True)
def test_sidecars_and_last_words(attacked: Target) -> None:
    attacked.calm()
    attacked.until(
        lambda: len(attacked.zm.execute("SELECT 1 FROM Events WHERE MonitorId = 1 AND EndDateTime IS NOT NULL")) > 1,
        "events",
    )
    print(attacked.hold())
    look(attacked)
    look_at_the_log(attacked, "-> BACKOFF: exit 6: [A][ERROR] gave up:")


def look_at_the_log(target: Target, told: str) -> None:
    log = target.log.read_text(errors="replace")
    assert told in log
    assert "Traceback" not in log
