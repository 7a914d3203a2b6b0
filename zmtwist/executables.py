"""Where the programs are that run for cameras, and what they inherit: one rule, for those who start them and for those who only look."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import attrs

from zmtwist.config.model import ShareInferenceConfig, WorkerConfig

BASE_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
"""What a program inherits of our environment. Nothing else: ours may hold secrets."""

INFER = "zm-infer"
SIMULATOR = "zm-core-sim"


@attrs.frozen
class Program:
    """A program that can be executed: its absolute path, and the directory to run it in."""

    path: str
    directory: str


def environment_for(worker: WorkerConfig, ours: Mapping[str, str]) -> dict[str, str]:
    """The environment of workers, and of what they share, where our own is `ours`."""
    inherited = {name: ours[name] for name in BASE_ENVIRONMENT if name in ours}
    return {"PATH": os.defpath, **inherited, **worker.environment}


def find_worker(worker: WorkerConfig, ours: Mapping[str, str]) -> Program | None:
    """The workers' program, in the PATH that they get unless its name has a slash; None where it can't be executed.

    It runs where it really lies, since it finds its plugins under its working directory, unless the operator says otherwise.
    """
    return _program(worker.binary, worker, ours)


def plugin_kinds(program: Program) -> frozenset[str] | None:
    """The kinds of plugins that a worker finds (`plugins/<kind>/<kind>.so` in its directory); None of a simulator without such a folder,
    which then has all."""
    folder = Path(program.directory, "plugins")
    if Path(program.path).name == SIMULATOR and not folder.is_dir():
        return None
    return frozenset(file.stem for file in folder.glob("*/*.so") if file.stem == file.parent.name)


def find_infer(share: ShareInferenceConfig, worker: WorkerConfig, ours: Mapping[str, str]) -> Program | None:
    """The shared inference's program: as configured, else beside the workers' program, else in their PATH."""
    if share.binary is not None:
        return _program(share.binary, worker, ours)
    core = find_worker(worker, ours)
    beside = str(Path(core.path).resolve().with_name(INFER)) if core is not None else INFER
    return _program(beside, worker, ours) or _program(INFER, worker, ours)


def _program(name: str, worker: WorkerConfig, ours: Mapping[str, str]) -> Program | None:
    found = shutil.which(name, path=environment_for(worker, ours)["PATH"])
    if found is None:
        return None
    path = Path(found).absolute()
    return Program(str(path), worker.working_directory or str(path.resolve().parent))
