"""The simulator, with a log that outlives whoever listens: each clip that it has saved is a line in SIM_LOG.

A line is a JSON array: monitor, inode of the clip, its frames, and its name when it was closed.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

from zmtwist.sim import main as simulator

SAVED = re.compile(r"store: closed clip (.+) \(event_id=.*, frames=(\d+)\)$")


def main() -> None:
    noting = os.open(os.environ["SIM_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    monitor_id = simulator.parse_options(sys.argv[1:])[2]
    say = simulator.log

    def log(text: str) -> None:
        if told := SAVED.search(text):
            line = [monitor_id, inode(Path(told[1]), monitor_id), int(told[2]), told[1]]
            os.write(noting, json.dumps(line).encode() + b"\n")
        say(text)

    simulator.log = log
    sys.exit(simulator.main())


def inode(path: Path, monitor_id: int) -> int:
    """That of the clip. The service may have moved it already, then it is the newest of its monitor."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        root = path.parents[1]
        return max(
            (clip.stat() for clip in (root / str(monitor_id)).rglob("*.mkv")), key=lambda s: s.st_mtime_ns
        ).st_ino
