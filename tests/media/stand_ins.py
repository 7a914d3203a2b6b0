"""Stand-ins for media children: programs that take messages as those do, and behave as a test wishes."""

from __future__ import annotations

import sys
from textwrap import indent

_PROGRAM = """
import os, signal, struct, sys, time
import msgspec

def say(thing):
    raw = thing if isinstance(thing, bytes) else msgspec.msgpack.encode(thing)
    sys.stdout.buffer.write(struct.pack("<I", len(raw)) + raw)
    sys.stdout.buffer.flush()

while head := sys.stdin.buffer.read(4):
    asked = sys.stdin.buffer.read(*struct.unpack("<I", head))
"""


def stand_in(behaviour: str) -> list[str]:
    """How to start one; `behaviour` is what it does with the bytes `asked`, with `say` to answer."""
    return [sys.executable, "-c", _PROGRAM + indent(behaviour.strip("\n") + "\n", "    ")]
