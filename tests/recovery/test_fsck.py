"""`zmnextctl fsck` on a sound installation, and on one with each fault in turn."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor

from tests.conftest import TIME_ZONE
from tests.media.clips import record
from tests.recovery.test_service import Life, ago, in_place, own_path
from tests.service_case import Installation
from tests.zm.site import TestSite
from zmtwist.ops.cli.main import main
from zmtwist.recovery import fsck as fsck_module
from zmtwist.recovery.fsck import CannotCheck, check


@pytest_twisted.async_yield_fixture
async def zm(tmp_path):
    """One closed event of monitor 1 with its clip: number 1."""
    made = Installation.make(tmp_path)
    made.monitor(1, "Record")
    made.monitor(2, "Record")
    (tmp_path / "zmnext.toml").write_text(made.config())
    life = Life(made, "r", {})
    event_id = await life.open("a", ago(3600))
    record(in_place(made, event_id), 20)
    await life.recovery.recover()
    await life.end()
    yield made


def fsck(zm: Installation, capsys: pytest.CaptureFixture[str], status: int) -> list[str]:
    before = sorted(zm.storage.rglob("*")), zm.events()
    assert main(["fsck", "--config", str(zm.directory / "zmnext.toml"), "--zm-conf", "/nonexistent"]) == status
    assert (sorted(zm.storage.rglob("*")), zm.events()) == before
    return capsys.readouterr().out.splitlines()


def clip_of(zm: Installation) -> Path:
    return zm.clip(zm.events()[0])


def test_a_sound_one(zm, capsys):
    assert fsck(zm, capsys, 0) == ["1 events, 1 clips, 0 wrong"]
    assert main(["--json", "fsck", "--config", str(zm.directory / "zmnext.toml"), "--zm-conf", "/nonexistent"]) == 0
    assert json.loads(capsys.readouterr().out) == {"events": 1, "clips": 1, "wrong": []}


FAULTS = {
    "is missing or empty": lambda zm: clip_of(zm).unlink(),
    "missing or empty": lambda zm: clip_of(zm).write_bytes(b""),
    "it has 2 clips": lambda zm: shutil.copy(clip_of(zm), clip_of(zm).with_name("1-video.mkv")),
    "it is closed without a clip, but there is": lambda zm: zm.execute("UPDATE Events SET DefaultVideo = ''"),
    "it is open, and nothing records it": lambda zm: zm.execute("UPDATE Events SET EndDateTime = NULL"),
    "it has no frames": lambda zm: zm.execute("DELETE FROM Frames"),
    "it has a frame 20, but Frames is 7": lambda zm: zm.execute("UPDATE Events SET Frames = 7"),
    "Length 0 and Frames 20 make no sense": lambda zm: zm.execute("UPDATE Events SET Length = 0"),
    "its DiskSpace is not set": lambda zm: zm.execute("UPDATE Events SET DiskSpace = NULL"),
    "belongs to no event": lambda zm: record(own_path(zm, ago(60))),
    "there is no such event, but its clip": lambda zm: zm.execute("DELETE FROM Events"),
    "is not where its event is": lambda zm: shutil.copytree(clip_of(zm).parent, zm.storage / "1" / "2020-01-01" / "1"),
}


@pytest.mark.parametrize(("told", "fault"), FAULTS.items(), ids=FAULTS)
def test_each_fault_is_told(zm, capsys, told, fault):
    fault(zm)
    lines = fsck(zm, capsys, 1)
    assert [told in line for line in lines[:-1]] == [True]
    assert lines[-1].endswith(", 1 wrong")
    assert lines[0].startswith("monitor 1: ")


def test_the_legacy_daemons_events_are_none_of_its_business(zm, capsys):
    zm.execute("UPDATE Events SET DefaultVideo = 'incomplete.mp4', EndDateTime = NULL, SaveJPEGs = 3")
    clip = zm.storage / "1" / zm.events()[0]["StartDateTime"][:10] / "1" / "1-video.h264.mkv"
    clip.unlink()
    assert fsck(zm, capsys, 0) == ["0 events, 0 clips, 0 wrong"]


def test_a_database_that_is_not_there_is_told_and_not_made(zm, capsys):
    (zm.directory / "zm.db").rename(zm.directory / "away.db")
    assert main(["fsck", "--config", str(zm.directory / "zmnext.toml"), "--zm-conf", "/nonexistent"]) == 1
    assert "unable to open database file" in capsys.readouterr().err
    assert not (zm.directory / "zm.db").exists()


def test_a_zm_conf_that_cannot_be_read(zm, capsys, monkeypatch):
    config = str(zm.directory / "zmnext.toml")
    assert main(["fsck", "--config", config, "--zm-conf", str(zm.directory)]) == 1
    assert f"{zm.directory}: Is a directory" in capsys.readouterr().err

    def forbidden(_path):
        raise PermissionError(errno.EACCES, "Permission denied", "/etc/zm/zm.conf")

    monkeypatch.setattr(fsck_module.zmconf, "read", forbidden)
    assert main(["--json", "fsck", "--config", config]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "error": {"code": "unreadable", "message": "/etc/zm/zm.conf: Permission denied"}
    }


def test_a_file_that_cannot_be_read_on_the_way(zm, capsys, monkeypatch):
    def forbidden(*_args):
        raise PermissionError(errno.EACCES, "Permission denied", "/storage")

    monkeypatch.setattr(fsck_module, "clips_in", forbidden)
    assert main(["fsck", "--config", str(zm.directory / "zmnext.toml"), "--zm-conf", "/nonexistent"]) == 1
    assert capsys.readouterr().err == "zmnextctl: /storage: Permission denied\n"


def test_text_that_is_no_utf8_is_not_quoted(zm, capsys):
    zm.execute("UPDATE Monitors SET Pass = CAST(x'5365637265749f' AS TEXT)")
    fsck(zm, capsys, 0)


@pytest_twisted.ensureDeferred
async def test_on_mariadb_it_reads_only(tmp_path, mariadb, monkeypatch):
    site = TestSite(reactor, "zm138", mariadb, tmp_path)
    await site.begin()
    try:
        left = await site.opened()
        config = tmp_path / "zmnext.toml"
        config.write_text(
            f'[zmnext]\nenabled = true\nmonitors = "all"\n[zmnext.ingest]\ntimezone = "{TIME_ZONE}"\n'
            f'[database]\nurl = "{site.url}"\n[paths]\nrun = "{tmp_path}"\nstate = "{tmp_path}"\n'
        )
        checked = check(str(config), "/nonexistent")
        assert [(one.event_id, one.text) for one in checked.wrong] == [
            (left.event_id, "it is open, and nothing records it")
        ]
        monkeypatch.setattr(fsck_module, "known_ids", lambda sql, _ids: sql.run("DELETE FROM Events"))
        with pytest.raises(CannotCheck, match="READ ONLY"):
            check(str(config), "/nonexistent")
    finally:
        await site.end()
