"""In which order files are synced and named: what a power cut would leave depends on it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest


class Syscalls(list[tuple[str, str]]):
    """Each fsync with the file's name; each rename and unlink with the name that goes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        fsync, rename, replace, unlink = os.fsync, Path.rename, Path.replace, Path.unlink

        def synced(fd: int) -> None:
            self.append(("fsync", Path(f"/proc/self/fd/{fd}").readlink().name))
            fsync(fd)

        def renamed(path: Path, target: Any) -> Path:
            made = rename(path, target)
            self.append(("rename", path.name))
            return made

        def replaced(path: Path, target: Any) -> Path:
            made = replace(path, target)
            self.append(("rename", path.name))
            return made

        def unlinked(path: Path, missing_ok: bool = False) -> None:
            there = os.path.lexists(path)
            unlink(path, missing_ok)
            if there:
                self.append(("unlink", path.name))

        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(Path, "rename", renamed)
        monkeypatch.setattr(Path, "replace", replaced)
        monkeypatch.setattr(Path, "unlink", unlinked)
