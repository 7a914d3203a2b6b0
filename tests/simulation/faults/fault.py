"""What a fault is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.scenario import Simulation

Strike = Callable[["Simulation"], object]
Faults = dict[str, tuple[int, Strike]]


def for_a_while(name: str, value: object = True) -> Strike:
    """One of the world's troubles begins, and is over after some seconds."""
    return lambda simulation: simulation.world.for_a_while(name, value)
