from __future__ import annotations

import json
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.service_case import SIMULATOR, Installation
from zmtwist.ops.cli.doctor import open_to_others
from zmtwist.ops.cli.doctor_database import file_system, hours, offset_at
from zmtwist.ops.cli.main import main

NO_CONF = "/nonexistent/zm.conf"


@pytest.fixture
def zm(tmp_path):
    made = Installation.make(tmp_path)
    made.monitor(1)
    return made


def config(zm, text="", *, binary=SIMULATOR, url=None, control="none"):
    file = zm.directory / "zmnext.toml"
    file.write_text(f"""
        [zmnext]
        enabled = true
        monitors = "all"
        [zmnext.worker]
        binary = "{binary}"
        [database]
        url = "{url or f"sqlite:///{zm.directory}/zm.db"}"
        [paths]
        socks = "{zm.directory}/run"
        run = "{zm.directory}/run"
        state = "{zm.directory}/state"
        [legacy]
        control = "{control}"
        {text}
    """)
    return str(file)


def findings(capsys, *arguments):
    """Exit status, and what was found by what was looked at."""
    status = main(["doctor", "--json", "--zm-conf", NO_CONF, *arguments])
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] == (status == 0)
    return status, {one["what"]: one for one in answer["findings"]}


def verdicts(found, verdict):
    return {what for what, one in found.items() if one["verdict"] == verdict}


def test_all_is_well(zm, capsys):
    status, found = findings(capsys, "--config", config(zm))
    assert (status, verdicts(found, "FAIL")) == (0, set())
    assert {"worker", "plugins", "start", "socks", "api socket", "database", "monitors"} <= verdicts(found, "ok")
    assert "1 of 1" in found["monitors"]["found"]


@pytest.mark.parametrize("line", ["", "echo '[PLUGIN][ERROR] libx.so: cannot open shared object file' >&2; exit 4"])
def test_a_worker_that_ends_on_the_documents_that_are_made(zm, capsys, line):
    binary = zm.directory / "zm-core"
    binary.write_text(f"#!/bin/sh\n{line}\n")
    binary.chmod(0o755)
    for kind in ("capture_rtsp_multi", "decode_ffmpeg", "motion_gate", "privacy_mask", "store"):
        (zm.directory / "plugins" / kind).mkdir(parents=True)
        (zm.directory / "plugins" / kind / f"{kind}.so").touch()
    status, found = findings(capsys, "--config", config(zm, binary=binary))
    assert (status, found["start"]["verdict"]) == (1, "FAIL")
    words = "exit 4: [PLUGIN][ERROR] libx.so: cannot open shared object file" if line else "exit 0"
    assert f"the worker ends at once, {words}" in found["start"]["found"]


def test_what_people_read(zm, capsys):
    assert main(["doctor", "--zm-conf", NO_CONF, "--config", config(zm, binary="/nonexistent/zm-core")]) == 1
    out = capsys.readouterr().out
    assert "FAIL  worker " in out
    assert "fix: set [zmnext.worker] binary" in out


def test_each_fault_with_its_fix(zm, capsys):
    binary = zm.directory / "zm-core"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    zm.monitor(2, StorageId=2)
    zm.execute(
        "INSERT INTO Storage (Id, Path, Name, Type, Scheme) VALUES (2, '/nonexistent/disk', 'S', 'local', 'Medium')"
    )
    (zm.directory / "api.token").write_text("known-to-everyone-here\n")
    (zm.directory / "api.token").chmod(0o644)
    extra = f"""
        [api]
        endpoint = "unix:/{"x" * 110}"
        web = "tcp:8095"
        token_file = "{zm.directory}/api.token"
    """
    status, found = findings(capsys, "--config", config(zm, extra, binary=binary, control="zmdc"))
    assert status == 1
    assert verdicts(found, "FAIL") == {"plugins", "api socket", "token file", "zmdc", "storage 2"}
    assert all(one["fix"] for one in found.values() if one["verdict"] != "ok")
    assert "known-to-everyone" not in json.dumps(found)


def test_a_database_that_is_away_and_its_password(zm, capsys):
    status, found = findings(
        capsys, "--config", config(zm, url="mysql://zm:hush@localhost/zm?unix_socket=/nonexistent.sock")
    )
    assert (status, verdicts(found, "FAIL")) == (1, {"database"})
    assert "hush" not in json.dumps(found)


def test_a_database_that_is_none_of_zoneminders(zm, capsys):
    zm.execute("DROP TABLE Frames")
    _, found = findings(capsys, "--config", config(zm))
    assert "table Frames" in found["schema"]["found"]


def test_a_configuration_with_mistakes(zm, capsys):
    file = zm.directory / "bad.toml"
    file.write_text("[zmnext]\nenabled = 1\n")
    status, found = findings(capsys, "--config", str(file))
    assert (status, list(found)) == (1, ["configuration"])


@pytest.mark.parametrize(("reply", "verdict"), [(b"unknown\n", "ok"), (b"", "warn")])
def test_zmdc_is_spoken_to_to_the_end(zm, capsys, reply, verdict):
    path, heard = str(zm.directory / "run" / "zmdc.sock"), []
    with socket.socket(socket.AF_UNIX) as zmdc:
        zmdc.bind(path)
        zmdc.listen()

        def serve():
            connection, _ = zmdc.accept()
            with connection:
                while data := connection.recv(100):
                    heard.append(data)
                connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        _, found = findings(capsys, "--config", config(zm, control="zmdc"))
        thread.join(5)
    assert found["zmdc"]["verdict"] == verdict
    assert b"".join(heard) == b"check;zmc;-m;0"


def test_a_real_server_its_zone_and_its_rights(zm, capsys, mariadb, monkeypatch):
    zone = '[zmnext.ingest]\ntimezone = "{}"'
    _, found = findings(capsys, "--config", config(zm, zone.format("Australia/Sydney"), url=mariadb.url("zm138")))
    assert {"database", "rights", "time zone", "clock"} <= verdicts(found, "ok"), found
    _, found = findings(capsys, "--config", config(zm, zone.format("Asia/Kolkata"), url=mariadb.url("zm136")))
    assert "UTC+05:30" in found["time zone"]["found"]
    assert found["time zone"]["verdict"] == "FAIL"

    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 60)
    with mariadb.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE OR REPLACE USER reader@localhost IDENTIFIED BY 'hush'")
        cursor.execute("GRANT SELECT ON zm138.* TO reader@localhost")
    reader = f"mysql://reader:hush@localhost/zm138?unix_socket={mariadb.socket}"
    status, found = findings(capsys, "--config", config(zm, zone.format("Australia/Sydney"), url=reader))
    assert status == 1
    assert "Events (INSERT, UPDATE)" in found["rights"]["found"]
    assert "GRANT INSERT, UPDATE ON `zm138`.`Events` TO" in found["rights"]["fix"]
    assert found["clock"]["verdict"] == "warn"
    assert "+60" in found["clock"]["found"]


def test_where_a_path_is(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text("/dev/a / ext4 rw 0 0\ntmpfs /srv tmpfs rw 0 0\n/dev/b /srv/my\\040disk xfs rw 0 0\nbroken\n")
    assert file_system(Path("/srv/my disk/events"), str(mounts)) == "xfs"
    assert file_system(Path("/srvother"), str(mounts)) == "ext4"
    assert file_system(Path("/srv"), str(tmp_path / "none")) is None


def test_offsets():
    assert offset_at(0, None) == time.localtime(0).tm_gmtoff
    assert (hours(0), hours(-12600)) == ("UTC+00:00", "UTC-03:30")


@pytest.mark.parametrize(
    ("mode", "user", "groups", "verdict", "told"),
    [
        (0o755, 0, True, None, ""),
        (0o775, 0, True, None, ""),
        (0o775, 0, False, "warn", "can be written to by the group"),
        (0o755, 1, True, "FAIL", "belongs to"),
        (0o777, 0, True, "FAIL", "can be written to by every user"),
        (0o1777, 0, True, "FAIL", "can be written to by every user"),
    ],
)
def test_directories_that_others_can_put_something_in(tmp_path, mode, user, groups, verdict, told):
    place = tmp_path / "socks"
    place.mkdir()
    place.chmod(mode)
    status = place.stat()
    owner = status.st_uid or 4711  # for root, all but what everybody may is beside the point
    if os.geteuid() == 0:
        os.chown(place, owner, -1)
    found = open_to_others("socks", place, owner + user, {status.st_gid} if groups else set())
    assert (found and found.verdict) == verdict
    assert found is None or (told in found.found and str(place) in found.fix)


def test_a_directory_in_one_that_is_everybodys(tmp_path):
    place = tmp_path / "shared" / "socks"
    place.mkdir(parents=True)
    place.parent.chmod(0o777)
    found = open_to_others("socks", place, 0, ())
    assert (found.verdict, found.fix) == ("FAIL", f"chmod o-w {place.parent}")
    place.parent.chmod(0o1777)
    assert open_to_others("socks", place, 0, ()) is None


def test_doctor_looks_at_who_may_write_to_its_directories(zm, capsys):
    (zm.directory / "run").chmod(0o777)
    (zm.directory / "state").chmod(0o777)
    status, found = findings(capsys, "--config", config(zm))
    assert (status, verdicts(found, "FAIL")) == (1, {"socks", "run", "state"})
