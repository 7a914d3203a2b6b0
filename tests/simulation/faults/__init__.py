"""What may go wrong: its name, how often it is drawn beside the others, what is done. Every seed draws among them all."""

from __future__ import annotations

from tests.simulation.faults import database, disks, operators, ourselves, workers

FAULTS = database.FAULTS | disks.FAULTS | operators.FAULTS | ourselves.FAULTS | workers.FAULTS

PENDING = {
    "a camera is away",
    "a storage is unmounted",
    "what nobody understands lies in a storage",
    "the clock jumps back",
    "the storage gives errors",
    "a monitor's storage changes",
}
"""Drawn only with `--all`, until the defects that they find are mended."""
