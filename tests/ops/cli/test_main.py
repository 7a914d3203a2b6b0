from __future__ import annotations

import json
from pathlib import Path

import pytest

from zmtwist.ops.cli.main import main


@pytest.fixture
def good(tmp_path: Path) -> str:
    file = tmp_path / "good.toml"
    file.write_text("[zmnext]\nenabled = true\nmonitors = [1, 2]\n")
    return str(file)


@pytest.fixture
def bad(tmp_path: Path) -> str:
    file = tmp_path / "bad.toml"
    file.write_text('[zmnext]\nenabled = 1\nmonitrs = []\n[database]\nurl = "mysql://u:hush/hush@h/x"\n')
    return str(file)


def test_a_good_file(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", good]) == 0
    out, err = capsys.readouterr()
    assert out == f"{good}: ok: enabled, monitors 1, 2 and those flagged UseZmNext\n"
    assert err == ""


def test_a_bad_file(bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", bad]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.removeprefix(f"{bad}: ").partition(":")[0] for line in err.splitlines()] == [
        "zmnext.enabled",
        "zmnext.monitrs",
        "database.url",
    ]
    assert "hush" not in err


@pytest.mark.parametrize("before", [True, False])
def test_json_on_either_side_of_the_verb(before: bool, good: str, bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    def run(file: str) -> int:
        return main(["--json", "check-config", file] if before else ["check-config", file, "--json"])

    assert run(good) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "file": good, "enabled": True, "monitors": [1, 2]}
    assert run(bad) == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["file"], len(answer["problems"])) == (False, bad, 3)


@pytest.mark.parametrize("interval", ["nan", "-1", "1e308", "inf", "soon", "86401"])
def test_an_interval_that_cannot_be_waited_for(interval: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["watch", f"--interval={interval}"])
    assert caught.value.code == 2
    assert f"must be a number of seconds from 0 to 86400, got '{interval}'" in capsys.readouterr().err


@pytest.mark.parametrize("line", [[], ["check-config"], ["no-such-verb"], ["check-config", "a", "b"]])
def test_wrong_usage(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(line)
    assert caught.value.code == 2
    assert "usage: zmnextctl" in capsys.readouterr().err
