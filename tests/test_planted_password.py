"""A camera's password, in every way that one is given, is looked for wherever people and programs can read: it is nowhere.

The service is a process of its own with real workers, which log the addresses they open; one refuses its camera's password, and says all it
knows. Each password has parts that survive any quoting, and those are searched for.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.broker import Broker, Ear
from tests.ops.served import UnixConnection, free_port
from tests.service_case import SIMULATOR, Installation
from tests.waiting import wait_for

TWISTD, CTL = SIMULATOR.with_name("twistd"), SIMULATOR.with_name("zmnextctl")
ROOT = Path(__file__).parent.parent
ODD = '@:/%"{}'
PARTS = (
    "Zebra1Front",
    "Back9Quagga",
    "Okapi5Raw",
    "Eland3Query",
    "Tapir7Wrong",
    "Hyrax2Later",
    "Bongo4Talk",
    "Dik8Tail",
)
WHOLE = f"{PARTS[0]}{ODD}{PARTS[1]}"
CAMERAS = {
    1: {"Path": f"rtsp://bob:{quote(WHOLE, safe='')}@127.0.0.1/yard"},
    2: {"Path": "rtsp://127.0.0.1/yard", "User": "bob", "Pass": WHOLE},
    3: {"Path": f"rtsp://bob:{PARTS[2]}@:{PARTS[1]}@127.0.0.1/yard?user=bob&password={PARTS[3]}"},
    4: {"Path": f"rtsp://bob:{quote(PARTS[4] + ODD, safe='')}@127.0.0.1/yard"},
    5: {"Path": f"rtsp://bob:{PARTS[6]}{quote(ODD, safe='')}{PARTS[7]}@127.0.0.1/yard"},
}
REFUSED, TALKER = 4, 5
MOMENT = 0.3
"""How long an answer without an end is listened to."""

WORKER = f"""#!{sys.executable} -S
import os, sys
text = ""
if sys.argv[-1] == "{REFUSED}":
    text = sys.stdin.read()
elif 900_000_000 <= int(sys.argv[-1]) < 1_000_000_000:  # `zmnextctl try`: its document is a file
    text = sys.stdin.read()
    os.lseek(0, 0, os.SEEK_SET)
    if "{PARTS[4]}" not in text:
        text = ""
if text:
    print("401 Unauthorized:", text, file=sys.stderr)
    print("store: recording_opening token=4-1-1 cause=" + text.replace("\\n", " "), flush=True)
    for word in text.split('"'):
        print("[PLUGIN][ERROR] refused", word, flush=True)
    sys.exit(3)
if sys.argv[-1] == "{TALKER}":
    code = "import sys; sys.path.insert(0, {str(ROOT)!r}); from tests.talker import main; main()"
    os.execv("{sys.executable}", ["{sys.executable}", "-c", code, *sys.argv[1:]])
os.execv("{SIMULATOR}", ["{SIMULATOR}", *sys.argv[1:]])
"""


class Scene:
    """The installation, its service, and all that was ever read of it: where, and what."""

    def __init__(self, directory: Path) -> None:
        self.zm = Installation.make(directory)
        for number, columns in CAMERAS.items():
            self.zm.monitor(number, "Mocord", Type="Ffmpeg", SectionLength=2, **columns)
        worker = directory / "worker"
        worker.write_text(WORKER)
        worker.chmod(0o755)
        self.port = free_port()
        self.broker = Broker(directory / "broker")
        self.broker.start()
        self.ear = Ear(self.broker)
        self.config = directory / "zmnext.toml"
        self.config.write_text(
            self.zm.config(
                f'[api]\nweb = "tcp:{self.port}:interface=127.0.0.1"\n[zmnext.pipeline]\npre_roll_sec = 1\npost_roll_sec = 1\n'
                f'[mqtt]\nurl = "{self.broker.url}"',
                binary=worker,
                tuning={"ZM_CORE_SIM": "fps=10,first=0.5,present=1,period=2"},
            )
        )
        self.log = directory / "log"
        self.log.mkdir()
        self.seen: list[tuple[str, bytes]] = []
        command = [
            TWISTD,
            "-n",
            "--pidfile=",
            f"--logfile={self.log / 'zmnext.log'}",
            "zmnext",
            "--config",
            self.config,
        ]
        self.output = (self.log / "output").open("wb")
        self.process = subprocess.Popen(command, cwd=directory, stdout=self.output, stderr=subprocess.STDOUT)

    def logged(self) -> str:
        path = self.log / "zmnext.log"
        return path.read_text() if path.exists() else ""

    def lived(self) -> int:
        """How often a camera but the talker's has gone live."""
        return len(re.findall(r"monitor [^5]: LINKED -> LIVE", self.logged()))

    def ask(self, path: str, method: str = "GET") -> bytes:
        """An answer, as far as it comes within a moment: some have no end."""
        connection = UnixConnection(str(self.zm.directory / "run" / "api.sock"))
        answer = b""
        try:
            connection.request(method, path)
            response = connection.getresponse()
            assert connection.sock is not None
            connection.sock.settimeout(MOMENT)
            answer = str(response.getheaders()).encode()
            until = time.monotonic() + MOMENT
            while (part := response.read1(65536)) and time.monotonic() < until:
                answer += part
        except (TimeoutError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        self.seen.append((f"{method} {path}", answer))
        return answer

    def routes(self) -> Iterator[str]:
        """Every GET route of the API's own description, with each monitor and some events; and some that are wrong."""
        description = self.ask("/api/openapi.json")
        events = [event["Id"] for event in self.zm.events()]
        fills = {
            "monitor_id": [*CAMERAS, 99],
            "event_id": [events[0], events[-1], 10**6],
            "name": ["snapshot", "alarm", "..%2f..%2fzm.db"],
            "digest": ["x"],
        }
        for route, methods in json.loads(description[description.index(b'{"') :])["paths"].items():
            if "get" not in methods:
                continue
            paths = [route]
            for name in re.findall(r"\{(\w+)\}", route):
                paths = [path.replace(f"{{{name}}}", str(value)) for path in paths for value in fills[name]]
            yield from paths
        yield from (f"/api/monitors/{number}/pipeline?diff=1" for number in CAMERAS)

    def look(self, *verbs: str) -> None:
        """Read all that can be read now, and what `zmnextctl` says to `verbs`."""
        for path in self.routes():
            self.ask(path)
        for verb in verbs:
            ran = subprocess.run(
                [CTL, "--config", self.config, *verb.split()], capture_output=True, timeout=120, check=False
            )
            self.seen.append((f"zmnextctl {verb}", ran.stdout + ran.stderr))
        for process in Path("/proc").iterdir():
            for name in ("cmdline", "environ"):
                if process.name.isdecimal():
                    try:
                        self.seen.append((str(process / name), (process / name).read_bytes()))
                    except OSError:
                        continue
        self.look_at_files()

    def look_at_files(self) -> None:
        """Everything in the directories of ours, whoever may read it: documents go by pipe. And what ZoneMinder's users can see."""
        zm = self.zm
        for root in (zm.directory / "run", zm.directory / "state", self.log, zm.storage):
            for path in root.rglob("*"):
                if path.is_file() and not (
                    root == zm.storage and path.suffix == ".json"
                ):  # what the talker wrote itself
                    self.seen.append((str(path), path.read_bytes()))
                self.seen.append(("a name", os.fsencode(path)))
        for (table,) in zm.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'Monitors'"):
            self.seen.append((f"table {table}", repr(zm.execute(f"SELECT * FROM {table}")).encode()))
        self.seen += [(f"MQTT {heard.topic}", heard.payload) for heard in list(self.ear.heard)]

    def leaks(self) -> list[str]:
        parts = "|".join(PARTS).encode()
        return sorted(
            {f"{found.decode()} in {where}" for where, what in self.seen for found in re.findall(parts, what)}
        )

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(40)
        self.output.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.process.kill()
    made.process.wait()
    made.ear.close()
    made.broker.stop()


def test_it_is_nowhere(scene: Scene) -> None:
    zm = scene.zm
    wait_for(lambda: scene.lived() == 3, "three cameras are live")
    wait_for(lambda: "-> FATAL" in scene.logged(), "the one whose password is wrong is given up")
    wait_for(lambda: len([e for e in zm.events() if e["EndDateTime"]]) >= 3, "closed events")
    wait_for(
        lambda: len([e for e in zm.events() if e["MonitorId"] == TALKER and e["EndDateTime"]]) >= 3, "and of the talker"
    )
    wait_for(lambda: re.search(rf"monitor {TALKER}: \w+ -> BACKOFF", scene.logged()), "the talker failed")
    scene.look()
    zm.execute(
        "UPDATE Monitors SET Path = ? WHERE Id = 1", f"rtsp://bob:{PARTS[5]}{quote(ODD, safe='')}@127.0.0.1/yard"
    )
    assert b'"same":false' in scene.ask("/api/monitors/1/pipeline?diff=1").replace(b" ", b"")
    for verb in ("reload", "restart"):
        scene.ask(f"/api/monitors/1/{verb}", "POST")
    scene.ask("/api/monitors/4/start", "POST")
    scene.process.send_signal(signal.SIGHUP)
    wait_for(lambda: scene.lived() >= 4, "the first camera is live again")
    tries = (f"try {number} --seconds 3" for number in CAMERAS)
    scene.look("monitors", "logs 4", f"logs {TALKER}", f"why {TALKER}", "recover --force --dry-run", "doctor", *tries)
    scene.stop()
    scene.look_at_files()

    assert scene.leaks() == []
    # It was there to be found: workers have opened their cameras with it, and said so.
    log = scene.logged()
    assert len(re.findall(r"connected to rtsp://\*\*\*@127\.0\.0\.1/yard", log)) >= 4
    assert "401 Unauthorized" in log
    assert sum(where.startswith("/proc/") for where, _ in scene.seen) > 10
    told = dict(scene.seen)
    assert b"cannot open [" in told[f"zmnextctl logs {TALKER}"]
    assert b"exit 3: [PLUGIN][ERROR] refused" in told["zmnextctl try 4 --seconds 3"]
    assert b"connected: its first frame" in told["zmnextctl try 1 --seconds 3"]
    assert b"***" in told["table Events"] and b"***" in told["table Tags"] and b"***" in told["table Event_Data"]
    assert any(b"***" in what for where, what in scene.seen if where.startswith("MQTT"))
    assert b"***" in told[f"GET /api/monitors/{TALKER}"]
    # Nothing forges a line of the log, or drives a terminal.
    assert not re.findall(r"^(?!.* monitor 5: ).*forged#critical", log, re.MULTILINE)
    assert not [where for where, what in scene.seen if b"\x1b]0;title" in what]
    answered = {where for where, what in scene.seen if what}
    assert {"GET /api/status", "GET /metrics", "GET /api/stream", "GET /api/monitors/4", "GET /api/events"} <= answered
