"""The completions in etc/, held to the parser; bash's is also tried."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from zmtwist.ops.cli import main as ctl
from zmtwist.ops.cli.completion import verbs_of

DIRECTORY = Path(__file__).parents[3] / "etc" / "completion"
FILES = {"bash": DIRECTORY / "zmnextctl.bash", "zsh": DIRECTORY / "_zmnextctl"}


@pytest.mark.parametrize("shell", sorted(FILES))
def test_the_file_is_what_the_command_writes(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl.main(["completion", shell]) == 0
    assert capsys.readouterr().out == FILES[shell].read_text(), (
        f"zmnextctl has changed: zmnextctl completion {shell} > {FILES[shell]}"
    )


def test_every_verb_and_option_is_offered() -> None:
    _, verbs = verbs_of(ctl._parser())
    assert {"status", "why", "handoff", "check-config"} <= {verb.name for verb in verbs}
    assert "completion" not in {verb.name for verb in verbs}
    for file in FILES.values():
        text = file.read_text()
        for verb in verbs:
            assert f" {verb.name})" in text
            assert all(option.name in text for option in verb.options)


@pytest.fixture(scope="module")
def offered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What bash offers behind each of these lines, the last word of which is being typed."""
    directory = tmp_path_factory.mktemp("completion")
    (directory / "a file").touch()
    lines = ["re", "--api x st", "events --f", "events --config x --c", "--json recover --d", "doctor --zm-conf a",
             "check-config a", "check-config --j", "events --since 2"]  # fmt: skip
    script = f"source {FILES['bash']}\n" + "".join(
        f"COMP_WORDS=(zmnextctl {line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _zmnextctl\n"
        f"printf '%s|' '{line}' \"${{COMPREPLY[@]}}\"; echo\n"
        for line in lines
    )
    done = subprocess.run(["bash", "--norc", "-c", script], cwd=directory, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    rows = [line.rstrip("|").split("|") for line in done.stdout.splitlines()]
    return {row[0]: row[1:] for row in rows}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("re", ["restart", "reload", "release", "reconcile", "recover"]),
        ("--api x st", ["status", "start", "stop"]),
        ("events --f", ["--follow"]),
        ("events --config x --c", ["--config", "--count"]),
        ("--json recover --d", ["--dry-run", "--days"]),
        ("doctor --zm-conf a", ["a file"]),
        ("check-config a", ["a file"]),
        ("check-config --j", ["--json"]),
        ("events --since 2", []),
    ],
)
def test_what_bash_offers(offered: dict[str, list[str]], line: str, words: list[str]) -> None:
    assert offered[line] == words
