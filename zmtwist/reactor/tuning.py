"""Settings of the interpreter that keep the reactor answering while batches are built on other threads, and of the reactor's clock."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from typing import Any

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


def keep_time(reactor: Any, monotonic: Callable[[], float] = time.monotonic) -> None:
    """Have the reactor's timers go by a clock that nobody sets; call it before the reactor runs.

    Twisted's go by the wall clock: one that is set back by a day would stop all of them for that day, one that is set forward would let
    everything time out at once.
    """
    ahead = reactor.seconds() - monotonic()
    for call in reactor.getDelayedCalls():
        call.time -= ahead
        call.seconds = monotonic
    reactor.seconds = monotonic
