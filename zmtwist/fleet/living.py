"""Which workers live, for those who must know without having anything to do with them."""

from __future__ import annotations

import re
from pathlib import Path

from zmtwist.fleet.lock import Held, LockFile, is_held
from zmtwist.fleet.procfs import Processes
from zmtwist.fleet.record import infer_lock_path, lock_path, read_record, record_path

_NAMED = re.compile(r"worker_([0-9]+)\.(lock|json)", re.ASCII)


def living(run: str, processes: Processes) -> dict[int, int]:
    """Since when each recorded worker that lives has run: wall time in microseconds since the epoch, by monitor. Changes nothing."""
    since: dict[int, int] = {}
    for monitor_id in _named(run, "json"):
        record = read_record(record_path(run, monitor_id), monitor_id)
        if record is None or record.boot != processes.boot:
            continue
        seen = processes.look(record.pid)
        if seen is not None and seen.started == record.started:
            # A clock that was set back since has it record clips of times before the one noted at its start.
            since[monitor_id] = min(record.at_us, record.at_us if seen.since_us is None else seen.since_us)
    return since


def left_running(run: str, processes: Processes) -> dict[int, int]:
    """As `living`, by the workers' locks, 0 where nothing tells since when. Only while nobody starts any: a lock is tried by taking it."""
    recorded = living(run, processes)
    since: dict[int, int] = {}
    for monitor_id in _named(run, "lock"):
        try:
            LockFile.take(lock_path(run, monitor_id)).close()
        except Held:
            since[monitor_id] = recorded.get(monitor_id, 0)
        except OSError:  # it can't be told; the fleet will say so
            since[monitor_id] = 0
    return since


def anything_runs(run: str) -> bool:
    """Whether a worker, or what workers share, has its lock here. Changes nothing. Raises OSError."""
    return any(
        map(is_held, [infer_lock_path(run), *(lock_path(run, monitor_id) for monitor_id in _named(run, "lock"))])
    )


def _named(run: str, kind: str) -> list[int]:
    directory = Path(run)
    found = (_NAMED.fullmatch(path.name) for path in (directory.iterdir() if directory.is_dir() else ()))
    return sorted(int(one[1]) for one in found if one is not None and one[2] == kind)
