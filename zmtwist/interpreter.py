"""Settings of the Python interpreter that keep the reactor answering while batches are built on other threads."""

from __future__ import annotations

import gc
import sys

SWITCH_SECONDS = 0.0005
"""How long a database thread may keep Python to itself once the reactor wants it. At Python's own 5 ms each system call of the reactor
may wait that long: reading 300 sockets took more than a second while a batch was being written (tests/bench/bench_ingest.py)."""

GARBAGE_THRESHOLDS = (50_000, 20, 50)
"""How many objects may come before cycles among them are looked for (`gc.set_threshold`). Nearly everything here is freed without that. At
Python's own 700 the search took up to 60 ms at a time with 300 cameras in a flood; so it takes 25."""


def tune() -> None:
    """Set them, for the whole process. Doing it again changes nothing."""
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(*GARBAGE_THRESHOLDS)
