"""What may go wrong: its name, how often it is drawn beside the others, what is done. Every seed draws among them all."""

from __future__ import annotations

from tests.simulation.faults import database, disks, operators, ourselves, workers

FAULTS = database.FAULTS | disks.FAULTS | operators.FAULTS | ourselves.FAULTS | workers.FAULTS

PENDING = {
    "the spool's disk fails before a thing is done",
    "the clock jumps back",
    "the spool is damaged while we are dead",
    "the storage gives errors",
    "a monitor's storage changes",
    "the spool's disk fails after a thing is done",
}
"""Drawn only with `--all`, until the defects that they find are mended."""
