"""Which workers live, and what they have open, for those who must know without having anything to do with them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path

from zmtwist.fleet.process.lockfile import Held, LockFile, is_held
from zmtwist.fleet.process.pidfile import heir_record_path, infer_lock_path, lock_path, read_record, record_path
from zmtwist.fleet.process.procfs import Processes

_NAMED = re.compile(r"worker_([0-9]+)\.(lock|json|next\.json)", re.ASCII)

OpenFiles = Mapping[int, frozenset[str] | None]
"""The paths of the files that each living worker has open, by monitor; None where that can't be told."""


def living(run: str, processes: Processes, running: Mapping[int, int] | None = None) -> OpenFiles:
    """What the workers of each monitor that live have open: of those that are recorded, be it as the one to come, and those that are known
    to be `running`, with their pids. Each leads a process group. Changes nothing."""
    pids: dict[int, set[int]] = defaultdict(set)
    for monitor_id, pid in (running or {}).items():
        pids[monitor_id].add(pid)
    # That of one to come becomes the other: asked for first, it is in one of them.
    for kind, path in (("next.json", heir_record_path), ("json", record_path)):
        for monitor_id in _named(run, kind):
            record = read_record(path(run, monitor_id), monitor_id)
            if record is None or record.boot != processes.boot:
                continue
            seen = processes.look(record.pid)
            if seen is not None and seen.started == record.started:
                pids[monitor_id].add(record.pid)
    files = processes.open_files(frozenset(chain.from_iterable(pids.values())))
    return {monitor_id: _together(files[pid] for pid in those) for monitor_id, those in pids.items()}


def _together(files: Iterable[frozenset[str] | None]) -> frozenset[str] | None:
    found: frozenset[str] = frozenset()
    for one in files:
        if one is None:
            return None
        found |= one
    return found


def left_running(run: str, processes: Processes) -> OpenFiles:
    """As `living`, by the workers' locks as well. Only while nobody starts any: a lock is tried by taking it."""
    found: dict[int, frozenset[str] | None] = {}
    for monitor_id in _named(run, "lock"):
        try:
            LockFile.take(lock_path(run, monitor_id)).close()
        except (Held, OSError):  # where it can't be told, the fleet will say so
            found[monitor_id] = None
    found.update(living(run, processes))
    return found


def anything_runs(run: str) -> bool:
    """Whether a worker, or what workers share, has its lock here. Changes nothing. Raises OSError."""
    return any(
        map(is_held, [infer_lock_path(run), *(lock_path(run, monitor_id) for monitor_id in _named(run, "lock"))])
    )


def _named(run: str, kind: str) -> list[int]:
    directory = Path(run)
    found = (_NAMED.fullmatch(path.name) for path in (directory.iterdir() if directory.is_dir() else ()))
    return sorted(int(one[1]) for one in found if one is not None and one[2] == kind)
