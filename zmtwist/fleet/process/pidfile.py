"""What is written down of a running worker, beside its lock, so that our next run knows it again. No secrets.

The lock alone decides whether a worker lives; the record only tells which process it is and what it runs. It describes one boot's
processes, so it need not outlive a power failure and is not synced.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec

from zmtwist.durable import ENDING, durable_write


class Record(msgspec.Struct, frozen=True):
    """One process (`started` is the kernel's start time in ticks since `boot`), its command line, and the digest of what it runs.

    `monitor_id` is None for what all monitors share; `at_us` is when it was spawned, in microseconds since the epoch.
    """

    monitor_id: int | None
    pid: int
    started: int
    boot: str
    program: str
    arguments: tuple[str, ...]
    socket: str
    digest: str
    at_us: int


def lock_path(run: str, monitor_id: int) -> str:
    """The lock that this monitor's worker holds."""
    return str(Path(run) / f"worker_{monitor_id}.lock")


def heir_lock_path(run: str, monitor_id: int) -> str:
    """The lock that the worker which is to follow this monitor's holds, until it does."""
    return str(Path(run) / f"worker_{monitor_id}.next.lock")


def heir_record_path(run: str, monitor_id: int) -> str:
    """What is written down of the worker that is to follow this monitor's."""
    return str(Path(run) / f"worker_{monitor_id}.next.json")


def infer_lock_path(run: str) -> str:
    """The lock that the shared inference holds."""
    return str(Path(run) / "infer.lock")


def infer_record_path(run: str) -> str:
    """What is written down of the shared inference."""
    return str(Path(run) / "infer.json")


def record_path(run: str, monitor_id: int) -> str:
    """What is written down of this monitor's worker."""
    return str(Path(run) / f"worker_{monitor_id}.json")


def write_record(file: str, record: Record) -> None:
    """Write it whole or not at all. Raises OSError."""
    durable_write(Path(file), msgspec.json.encode(record), synced=False)


def read_record(file: str, monitor_id: int | None) -> Record | None:
    """What is written down, or None where there is nothing or nothing that makes sense, or is another's."""
    try:
        record = msgspec.json.decode(Path(file).read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return record if record.monitor_id == monitor_id else None


def remove_record(file: str) -> None:
    """Forget it. Raises OSError, but not where there is none."""
    path = Path(file)
    for each in (path, Path(file + ENDING)):
        with suppress(FileNotFoundError):
            each.unlink()
