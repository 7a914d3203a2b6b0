"""What is handed out: the source distribution, the manual pages, and how the checks are run elsewhere."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Final

import pytest
import yaml

from zmtwist.ops.cli.main import _parser
from zmtwist.tap import Options

ROOT: Final = Path(__file__).parents[1]
MANUALS: Final = ROOT / "etc/man"
BUILD: Final = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"

# The source distribution.


def tracked() -> list[str]:
    """The files of the repository, new ones too; of one that was unpacked from a distribution nothing is known."""
    if not (ROOT / ".git").exists():
        pytest.skip("no git repository")
    # In a container the checkout may belong to another user.
    git = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(git, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return [name for name in names if name and (ROOT / name).is_file()]


def test_the_source_distribution_is_the_repository(tmp_path: Path) -> None:
    source, files = tmp_path / "source", tracked()
    for name in files:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    built = subprocess.run(
        [sys.executable, "-c", BUILD, str(tmp_path)], cwd=source, check=True, capture_output=True, text=True
    )
    with tarfile.open(tmp_path / built.stdout.splitlines()[-1]) as archive:
        members = {member.name.partition("/")[2]: member for member in archive if member.isfile()}
    made = {name for name in members if name in ("PKG-INFO", "setup.cfg") or name.startswith("zmtwist.egg-info/")}
    assert set(members) - made == set(files)
    for name in files:
        assert members[name].mode & 0o111 == (source / name).stat().st_mode & 0o111, name


# Manual pages.


def entries(page: str, section: str) -> list[str]:
    """The heads of a section's paragraphs as they are read."""
    text = (MANUALS / page).read_text().split(f".SH {section}\n")[1].split("\n.SH ")[0]
    heads = re.findall(r"^\.TP\n\.[BIR]+ (.*)$", text, re.MULTILINE)
    return [" ".join(re.sub(r'\\f.|"', "", head).replace("\\-", "-").split()) for head in heads]


def test_the_manual_page_has_every_command_and_option() -> None:
    parser = _parser()
    (chosen,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    common = {name for action in parser._actions for name in action.option_strings}
    assert set(re.findall(r"(?<!\S)-[-\w]+", " ".join(entries("zmnextctl.1", "OPTIONS")).replace(",", ""))) == common
    said = {}
    for head in entries("zmnextctl.1", "COMMANDS"):
        verb, *words = re.sub(r"[\[\]]", "", head).split()
        said[verb] = words
    assert set(said) == {action.dest for action in chosen._choices_actions}
    for verb, words in said.items():
        expected = []
        for action in chosen.choices[verb]._actions:
            if not set(action.option_strings) <= common:
                expected += [action.option_strings[0]]
            if action.metavar and not (common & set(action.option_strings)):
                expected += [str(action.metavar)]
        assert sorted(words) == sorted(expected), verb


def test_the_services_manual_page_has_every_option() -> None:
    options = Options()  # type: ignore[no-untyped-call]
    known = {f"--{name.rstrip('=')}" for name in options.longOpt} | {"-c"}
    heads = " ".join(entries("zmnext.8", "OPTIONS")).replace(",", "")
    assert set(re.findall(r"(?<!\S)-[-\w]+", heads)) == known


@pytest.mark.parametrize("page", sorted(path.name for path in MANUALS.iterdir()))
def test_a_manual_page_has_only_macros_that_exist(page: str) -> None:
    lines = (MANUALS / page).read_text().splitlines()
    assert lines[0].startswith(f".TH {page[:-2].upper()} {page[-1]} ")
    macros = {line.split()[0] for line in lines if line.startswith(".")}
    assert macros <= {".TH", ".SH", ".TP", ".B", ".I", ".BI", ".BR", ".RB", ".RI", ".IR", ".br"}


# Elsewhere.


def test_ci_runs_what_must_pass_here() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert ".ci/run" in [step.get("run") for step in workflow["jobs"]["check"]["steps"]]
    assert (ROOT / ".ci/run").read_text().rstrip().endswith("exec make check")


def test_hooks_run_the_projects_own_tools() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    made = (ROOT / "Makefile").read_text()
    for hook in repository["hooks"]:
        program, *words = hook["entry"].split()
        assert program.startswith(".venv/bin/")
        assert " ".join([f"$(BIN)/{program[10:]}", *(word for word in words if not word.startswith("-"))]) in made
