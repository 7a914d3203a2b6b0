"""`twistd zmnext` as an operator meets it: a process of its own, its words and its exit status."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from tests.service_case import Installation
from tests.waiting import Deadline

ROOT = Path(__file__).parent.parent
TWISTD = Path(sys.executable).with_name("twistd")


def twistd(directory: Path, *options: str, **keywords: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(TWISTD), "-n", "--pidfile=", "zmnext", *options],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(directory: Path, *options: str) -> tuple[int, str]:
    process = twistd(directory, *options)
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


def test_every_mistake_in_a_file_is_told_at_once_and_nothing_is_started(tmp_path):
    config = tmp_path / "zmnext.toml"
    config.write_text(
        '[zmnext]\nenabled = true\n[zmnext.worker]\nbianry = "x"\nmin_backoff_seconds = -1\n[database]\nurl = "sqlite:///x.db"\n'
    )
    status, output = run(tmp_path, "--config", str(config))
    assert status == os.EX_CONFIG  # with which systemd does not try again
    assert f'{config}: zmnext.worker.bianry: unknown key; did you mean "binary"?' in output
    assert f"{config}: zmnext.worker.min_backoff_seconds: must be > 0, got -1" in output
    assert "Traceback" not in output
    assert not (tmp_path / "x.db").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "--config"),
        (("--config", "/nonexistent/zmnext.toml"), "/nonexistent/zmnext.toml"),
        (("--config", "x", "--demo", "y"), "--config"),
        (("--demo", "demo", "--seconds", "soon"), "--seconds"),
    ],
)
def test_wrong_options_are_explained(tmp_path, options, told):
    status, output = run(tmp_path, *options)
    assert status != 0
    assert told in output.splitlines()[-1]
    assert "Traceback" not in output


def test_disabled_it_starts_nothing_and_says_so(tmp_path):
    config = tmp_path / "zmnext.toml"
    config.write_text("[zmnext]\nmonitors = 'all'\n")  # not even a database is needed to do nothing
    process = twistd(tmp_path, "--config", str(config))
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "nothing is started" in line:
            break
    assert "enabled = false" in lines[-1]
    assert str(config) in lines[-1]
    process.send_signal(signal.SIGHUP)
    assert process.stdout.readline().endswith("SIGHUP: reload\n")
    assert "nothing is reloaded" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert [p.name for p in tmp_path.iterdir()] == ["zmnext.toml"]


def test_a_sigterm_ends_in_a_closed_last_event(tmp_path):
    zm = Installation.make(tmp_path)
    zm.monitor(1, "Record", SectionLength=60)
    config = tmp_path / "zmnext.toml"
    config.write_text(zm.config("[zmnext.pipeline]\ndetect = false"))
    process = twistd(tmp_path, "--config", str(config))
    try:
        deadline = Deadline(30)
        # Length is refreshed every few seconds while the clip is open.
        while not (zm.events() and zm.events()[0]["Length"] > 0):
            assert not deadline.over
            assert process.poll() is None
            time.sleep(0.05)
    except BaseException:
        process.terminate()
        raise
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM, output  # twistd ends by the signal it got, once all is done
    (event,) = zm.events()
    assert event["EndDateTime"] is not None
    assert zm.clip(event).stat().st_size > 0
    assert "Unhandled" not in output


def test_the_demo_tells_what_it_does_and_ends_by_itself(tmp_path):
    log = tmp_path / "zmnext.log"
    finished = subprocess.run(
        [str(TWISTD), "-n", "--pidfile=", f"--logfile={log}", "zmnext", "--demo", "demo", "--seconds", "7"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    assert "Front door: worker is up, pictures are coming" in finished.stdout
    assert "Front door: clip opened as event 1 (Continuous)" in finished.stdout
    assert re.search(r"page http://127\.0\.0\.1:\d+/ with the token in demo/state/api\.token", finished.stdout)
    assert "events were written:" in finished.stdout
    with sqlite3.connect(tmp_path / "demo" / "zmnext.db") as connection:
        rows = connection.execute("SELECT EndDateTime, Length, Frames, Scheme FROM Events").fetchall()
    connection.close()
    assert {row[3] for row in rows} == {"Medium"}
    assert all(end is not None and length > 0 and frames > 0 for end, length, frames, _ in rows)
    assert "Traceback" not in log.read_text()


def test_the_plugin_is_in_the_wheel(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), "."],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "twisted/plugins/zmnext_plugin.py" in names
    assert "twisted/plugins/__init__.py" not in names
    assert "zmtwist/zm/db/embedded.sql" in names
    page = {f"zmtwist/ops/page/{file.name}" for file in (ROOT / "zmtwist/ops/page").iterdir()}
    assert "zmtwist/ops/page/index.html" in page
    assert page <= set(names)


def test_the_plugin_is_found_where_the_project_is_installed_editable(tmp_path):
    listing = subprocess.run([str(TWISTD), "--help"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "zmnext" in listing.stdout
