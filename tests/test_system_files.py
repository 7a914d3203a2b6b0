"""What is installed under /etc for systemd and logrotate, held to the tools that read it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from zmtwist.config.model import PathsConfig, WorkerConfig
from zmtwist.ingest.service import FINISH_SECONDS

ETC = Path(__file__).parent.parent / "etc"
UNIT = ETC / "systemd" / "zmnext.service"


def run(*command: str) -> str:
    """What it printed; fails where it does."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def installed(directory: Path) -> str:
    """The unit as it would be where zmtwist is installed here, its programs included."""
    text = UNIT.read_text()
    assert text.count("=/opt/zmtwist/bin/") == 2
    path = directory / UNIT.name
    path.write_text(text.replace("/opt/zmtwist/bin/", f"{Path(sys.executable).parent}/"))
    return str(path)


def setting(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    assert run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", installed(tmp_path)) == ""


def test_the_unit_is_not_exposed(tmp_path: Path) -> None:
    """Fails at 3.0 of 10 and above."""
    run("systemd-analyze", "security", "--offline=true", "--threshold=30", "--no-pager", installed(tmp_path))


def test_the_unit_agrees_with_the_program() -> None:
    assert setting("RuntimeDirectory") == [Path(PathsConfig().run).name]
    assert setting("StateDirectory") == [Path(PathsConfig().state).name]
    (stop_seconds,) = setting("TimeoutStopSec")
    assert int(stop_seconds) > WorkerConfig().stop_timeout_seconds + FINISH_SECONDS
    assert (setting("Type"), setting("KillMode"), setting("Restart")) == (["notify"], ["process"], ["always"])
    assert setting("RestartPreventExitStatus") == ["78"]


def test_what_workers_need_is_not_taken_from_them() -> None:
    text = UNIT.read_text()
    for harm in ("PrivateDevices", "MemoryDenyWriteExecute", "ProtectClock", "DeviceAllow", "PrivateNetwork"):
        assert not re.search(rf"^{harm}=", text, re.MULTILINE), harm
    assert (setting("RemoveIPC"), setting("OOMPolicy"), setting("PrivateTmp")) == (["no"], ["continue"], ["no"])


def test_logrotate_reads_its_file(tmp_path: Path) -> None:
    log = tmp_path / "zmnext.log"
    log.write_text("a line\n")
    file = tmp_path / "zmnext"
    text = (ETC / "logrotate.d" / "zmnext").read_text()
    assert "/var/log/zmnext/*.log {" in text
    file.write_text(text.replace("/var/log/zmnext/", f"{tmp_path}/"))
    logrotate = shutil.which("logrotate", path="/usr/sbin:/usr/bin:/sbin")
    told = run(str(logrotate), "--debug", "--state", str(tmp_path / "state"), str(file))
    assert f"considering log {log}" in told
    assert "error" not in told


def test_the_directory_made_at_boot_is_the_one_that_is_used() -> None:
    lines = [
        line for line in (ETC / "tmpfiles.d" / "zmnext.conf").read_text().splitlines() if line[:1] not in ("#", "")
    ]
    (user,), (group,) = setting("User"), setting("Group")
    assert [line.split() for line in lines] == [["d", PathsConfig().run, "0755", user, group, "-"]]
