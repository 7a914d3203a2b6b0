"""The wheel, installed as `pip install zmtwist` does: it runs cameras with no extra at all, and says what it would offer with them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any

import attrs
import pytest
from packaging.requirements import Requirement

from tests.ops.served import UnixConnection
from tests.service_case import Installation
from tests.waiting import Deadline

ROOT = Path(__file__).parent.parent


def closure(requirement: Requirement, found: dict[str, Distribution]) -> dict[str, Distribution]:
    """What pip would install for a requirement, its own name and extras followed, out of what is installed here."""
    one = distribution(requirement.name)
    found[one.name] = one
    for line in one.requires or ():
        needed = Requirement(line)
        wanted = (
            any(needed.marker.evaluate({"extra": extra}) for extra in (*requirement.extras, ""))
            if needed.marker
            else True
        )
        if wanted and (needed.extras or distribution(needed.name).name not in found):
            closure(needed, found)
    return found


class Fresh:
    """A virtual environment with the wheel in it."""

    def __init__(self, directory: Path, wheel: Path) -> None:
        self.bin = directory / "bin"
        venv.EnvBuilder(symlinks=True).create(directory)
        (self._packages,) = directory.glob("lib/python*/site-packages")
        self._pip("install", "--quiet", "--no-index", "--no-deps", str(wheel))
        self.add(Requirement("zmtwist"))

    def _pip(self, *arguments: str) -> None:
        python = str(self.bin / "python")
        subprocess.run([sys.executable, "-m", "pip", "--python", python, *arguments], check=True, capture_output=True)

    def add(self, requirement: Requirement) -> None:
        """Have what it asks for as well, as links to what is installed here."""
        for one in closure(requirement, {}).values():
            if one.name != "zmtwist":
                self._link(one)

    def _link(self, one: Distribution) -> None:
        for file in one.files or ():
            source, target = Path(str(one.locate_file(file))), self._packages / file
            if ".." not in file.parts and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(source)
            elif file.name == "twistd":
                script = source.read_text().partition("\n")[2]
                (self.bin / "twistd").write_text(f"#!{self.bin / 'python'}\n{script}")
                (self.bin / "twistd").chmod(0o755)

    def run(self, *arguments: str | Path) -> str:
        """What a program of it says."""
        program, *others = arguments
        done = subprocess.run(
            [self.bin / program, *others], cwd=self.bin, env=ENVIRONMENT, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout

    def start(self, config: Path, log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as out:
            return subprocess.Popen(
                [self.bin / "twistd", "-n", "--pidfile=", "zmnext", "--config", config],
                cwd=self.bin, env=ENVIRONMENT, stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def has(self, module: str) -> bool:
        """Whether it can be imported."""
        find = "import importlib.util, sys; print(importlib.util.find_spec(sys.argv[1]) is not None)"
        return self.run("python", "-c", find, module).strip() == "True"


ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ZM_"))}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    directory = tmp_path_factory.mktemp("fresh")
    source = directory / "source"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("zmtwist", "twisted"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.cache"))
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", directory, source],
        check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = directory.glob("*.whl")
    return Fresh(directory / "venv", wheel)


@pytest.fixture
def zm(tmp_path):
    made = Installation.make(tmp_path)
    made.monitor(1)
    return made


def configured(zm, fresh, extra="", thumbnails="false"):
    config = zm.directory / "zmnext.toml"
    extra = f"{extra}\n[zmnext.ingest]\nthumbnails = {thumbnails}"
    config.write_text(zm.config(extra, binary=fresh.bin / "zm-core-sim", tuning={"ZM_CORE_SIM": "light,fps=10"}))
    return config


ALL = """
[manhole]
endpoint = "tcp:0:interface=127.0.0.1"
authorized_keys = "/nonexistent"
[mqtt]
url = "mqtt://127.0.0.1:9"
"""


@attrs.frozen
class Seen:
    """The service's status, and how it is shown; why there is no live view of its camera; what files it has mapped; its log."""

    status: dict[str, Any]
    shown: str
    no_picture: str
    mapped: str
    log: str


def served(zm, fresh, config):
    """What is seen of the service while its camera, whose pictures are made up, is live."""
    log = zm.directory / "log"
    process = fresh.start(config, log)
    api = str(zm.directory / "run" / "api.sock")
    try:
        deadline = Deadline(60)
        while True:
            assert process.poll() is None and not deadline.over, log.read_text()
            asked = subprocess.run(
                [fresh.bin / "zmnextctl", "--api", f"unix:{api}", "--json", "status"],
                env=ENVIRONMENT, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if (
                asked.returncode == 0
                and json.loads(asked.stdout)["monitors"]["by_state"] == {"LIVE": 1}
                and zm.events()
            ):
                break
            time.sleep(0.1)
        shown = fresh.run("zmnextctl", "--api", f"unix:{api}", "status")
        picture = UnixConnection(api)
        picture.request("GET", "/api/monitors/1/live.mp4")
        code = json.loads(picture.getresponse().read())["error"]["code"]
        picture.close()
        loaded = Path(f"/proc/{process.pid}/maps").read_text()
        return Seen(json.loads(asked.stdout), shown, code, loaded, log.read_text())
    finally:
        process.terminate()
        process.wait(60)


def test_without_extras_cameras_are_recorded_and_it_is_said_what_is_not_offered(fresh, zm):
    assert not any(fresh.has(module) for module in ("av", "paho", "bcrypt"))
    assert "--config" in fresh.run("twistd", "zmnext", "--help")
    assert "doctor" in fresh.run("zmnextctl", "--help")
    config = configured(zm, fresh, ALL)
    seen = served(zm, fresh, config)
    assert seen.status["state"] == "RUNNING"
    assert seen.no_picture == "no_pyav"
    assert [one["extra"] for one in seen.status["not_installed"]] == ["video", "conch", "mqtt"]
    assert "without   the manhole: pip install 'zmtwist[conch]'" in seen.shown
    assert "manhole is off: " in seen.log and "MQTT is off: " in seen.log
    assert "Traceback" not in seen.log
    fresh.run("zmnextctl", "check-config", config)
    for event in zm.events():
        assert zm.clip(event).is_file()


def test_the_demo_records_without_extras(fresh, tmp_path):
    said = fresh.run(
        "twistd",
        "-n",
        "--pidfile=",
        f"--logfile={tmp_path}/log",
        "zmnext",
        "--demo",
        tmp_path / "demo",
        "--seconds",
        "7",
    )
    assert "made up, for want of PyAV: pip install 'zmtwist[video]'" in said
    assert "0 events were written" not in said


def test_doctor_tells_of_extras(fresh, zm):
    config = configured(zm, fresh)
    told = {
        one["what"]: one
        for one in json.loads(fresh.run("zmnextctl", "doctor", "--json", "--config", config))["findings"]
    }
    assert {(told[name]["verdict"], told[name]["found"].split(":")[0]) for name in ("video", "conch", "mqtt")} == {
        ("ok", "not installed")
    }
    config = configured(zm, fresh, ALL, thumbnails="true")
    asked = subprocess.run(
        [fresh.bin / "zmnextctl", "doctor", "--json", "--config", config],
        env=ENVIRONMENT,
        capture_output=True,
        check=False,
    )
    told = {one["what"]: one for one in json.loads(asked.stdout)["findings"]}
    for name, key in (("video", "[zmnext.ingest] thumbnails"), ("conch", "[manhole] endpoint"), ("mqtt", "[mqtt] url")):
        assert (told[name]["verdict"], told[name]["fix"]) == ("FAIL", f"pip install 'zmtwist[{name}]'")
        assert key in told[name]["found"]


def test_with_extras_all_is_offered_and_pyav_is_still_not_in_the_service(fresh, zm):
    """The last test here: the environment has them from now on."""
    for extra in ("video", "conch", "mqtt"):
        fresh.add(Requirement(f"zmtwist[{extra}]"))
    assert all(fresh.has(module) for module in ("av", "paho", "bcrypt"))
    seen = served(zm, fresh, configured(zm, fresh, ALL, thumbnails="true"))
    assert seen.status["not_installed"] == []
    assert "without   " not in seen.shown
    assert seen.no_picture == "not_showable"
    assert "is off" not in seen.log
    assert "libav" not in seen.mapped
