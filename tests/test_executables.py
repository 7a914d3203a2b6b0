from __future__ import annotations

import os
from pathlib import Path

import pytest

from zmtwist.config.model import ShareInferenceConfig, WorkerConfig
from zmtwist.executables import Program, environment_for, find_infer, find_worker


def program(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_workers_run_where_the_binary_really_is(tmp_path: Path) -> None:
    real = program(tmp_path / "install" / "zm-core")
    link = tmp_path / "bin" / "zm-core"
    link.parent.mkdir()
    link.symlink_to(real)
    assert find_worker(WorkerConfig(binary=str(link)), {}) == Program(str(link), str(real.parent))
    elsewhere = WorkerConfig(binary=str(link), working_directory="/w")
    assert find_worker(elsewhere, {}) == Program(str(link), "/w")
    real.chmod(0o644)
    assert find_worker(WorkerConfig(binary=str(link)), {}) is None


def test_a_bare_name_is_looked_up_where_the_worker_itself_would_look(tmp_path: Path) -> None:
    ours, its = program(tmp_path / "ours" / "zm-core"), program(tmp_path / "its" / "zm-core")
    environment = {"PATH": str(ours.parent), "ZM_DB_PASS": "hush"}
    assert find_worker(WorkerConfig(), environment) == Program(str(ours), str(ours.parent))
    worker = WorkerConfig(environment={"PATH": str(its.parent)})
    assert find_worker(worker, environment) == Program(str(its), str(its.parent))
    assert environment_for(worker, environment) == {"PATH": str(its.parent)}
    assert environment_for(WorkerConfig(), {}) == {"PATH": os.defpath}


@pytest.mark.parametrize(
    ("there", "binary", "found"),
    [
        (("core/zm-infer", "path/zm-infer"), None, "core/zm-infer"),
        (("path/zm-infer",), None, "path/zm-infer"),
        (("core/zm-infer", "own/infer"), "own/infer", "own/infer"),
        (("core/zm-infer",), "own/infer", None),
        ((), None, None),
    ],
)
def test_the_shared_inference_is_beside_the_worker_or_in_its_path(
    tmp_path: Path, there: tuple[str, ...], binary: str | None, found: str | None
) -> None:
    core = program(tmp_path / "core" / "zm-core")
    for name in there:
        program(tmp_path / name)
    share = ShareInferenceConfig(binary=str(tmp_path / binary) if binary else None)
    got = find_infer(share, WorkerConfig(binary=str(core)), {"PATH": str(tmp_path / "path")})
    assert (got and got.path) == (str(tmp_path / found) if found else None)
