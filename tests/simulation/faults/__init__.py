"""What may go wrong: its name, how often it is drawn beside the others, what is done. Every seed draws among them all."""

from __future__ import annotations

from tests.simulation.faults import database, disks, operators, ourselves, workers

FAULTS = database.FAULTS | disks.FAULTS | operators.FAULTS | ourselves.FAULTS | workers.FAULTS
