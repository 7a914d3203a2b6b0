"""Which workers live, and what they have open, for those who must know without having anything to do with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from zmtwist.fleet.lock import Held, LockFile, is_held
from zmtwist.fleet.procfs import Processes
from zmtwist.fleet.record import infer_lock_path, lock_path, read_record, record_path

_NAMED = re.compile(r"worker_([0-9]+)\.(lock|json)", re.ASCII)

OpenFiles = Mapping[int, frozenset[str] | None]
"""The paths of the files that each living worker has open, by monitor; None where that can't be told."""


def living(run: str, processes: Processes, running: Mapping[int, int] | None = None) -> OpenFiles:
    """What each worker that lives has open: of those that are recorded, and those that are known to be `running`, with their pids. Each
    leads a process group. Changes nothing."""
    pids = dict(running or {})
    for monitor_id in _named(run, "json"):
        record = read_record(record_path(run, monitor_id), monitor_id)
        if record is None or record.boot != processes.boot:
            continue
        seen = processes.look(record.pid)
        if seen is not None and seen.started == record.started:
            pids[monitor_id] = record.pid
    files = processes.open_files(frozenset(pids.values()))
    return {monitor_id: files[pid] for monitor_id, pid in pids.items()}


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
