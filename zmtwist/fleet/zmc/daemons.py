"""ZoneMinder's capture daemons: how they are called, and which of the host's processes are such."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from zmtwist.fleet.process.procfs import Seen
from zmtwist.pipeline.monitor import Monitor

_OPTIONS = {"-m": "-m", "--monitor": "-m", "-d": "-d", "--device": "-d"}


def capture_words(monitor: Monitor) -> tuple[str, ...]:
    """The daemon and arguments by which ZoneMinder knows this monitor's capture process."""
    if monitor.type == "Local":
        return "zmc", "-d", monitor.device
    return "zmc", "-m", str(monitor.id)


def living_capturers(processes: Iterable[Seen]) -> dict[str, int]:
    """The pid of each capture daemon among these processes, by its key."""
    keys = ((key_of(seen.argv), seen.pid) for seen in processes)
    return {key: pid for key, pid in keys if key is not None}


def key_of(argv: Sequence[str]) -> str | None:
    """The key of the process with this command line, or None where it is no capture daemon."""
    if not argv or argv[0].rpartition("/")[2] != "zmc":
        return None
    for position, argument in enumerate(argv[1:], 1):
        name, equals, value = argument.partition("=")
        if name in _OPTIONS:
            value = value if equals else "".join(argv[position + 1 : position + 2])
            return f"zmc {_OPTIONS[name]} {value}"
        if argument[:2] in ("-m", "-d") and len(argument) > 2:
            return f"zmc {argument[:2]} {argument[2:]}"
    return None
