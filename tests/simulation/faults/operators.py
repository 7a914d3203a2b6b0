"""What operators do, by order or in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.faults.fault import Faults
from tests.simulation.world import MONITORS
from zmtwist.fleet.fleet import NotInFleet

if TYPE_CHECKING:
    from tests.simulation.scenario import Simulation


def hold(simulation: Simulation) -> None:
    """An operator holds a worker; the order is answered once the hold is on disk."""
    machine, monitor_id = simulation.machine, simulation.some_monitor()
    fleet = machine.fleet
    if fleet is None or all(told.monitor_id != monitor_id for told in fleet.status()):
        return
    fleet.hold(monitor_id)

    def kept(_: object) -> None:
        machine.held.add(monitor_id)
        simulation.world.tell(f"monitor {monitor_id} is held for good")

    fleet._held.saved().addCallback(kept)


def restart(simulation: Simulation) -> None:
    fleet, monitor_id = simulation.machine.fleet, simulation.some_monitor()
    if fleet is not None:
        try:
            fleet.restart(monitor_id)
        except NotInFleet as error:
            simulation.world.tell(f"not restarted: {error}")


def change_function(simulation: Simulation) -> None:
    """Another Function for a monitor, none included."""
    monitor_id = simulation.some_monitor()
    simulation.change(
        monitor_id, "Function", simulation.world.chance.choice(["None", "Record", "Modect", MONITORS[monitor_id]])
    )


def change_storage(simulation: Simulation) -> None:
    """What its worker records until it is replaced lies where it lay before."""
    simulation.world.excused += 1
    simulation.change(
        simulation.some_monitor(), "StorageId", simulation.world.chance.choice(list(simulation.world.storages))
    )


FAULTS: Faults = {
    "an operator holds a worker": (2, hold),
    "an operator restarts a worker": (1, restart),
    "a monitor's function changes": (2, change_function),
    "a monitor's storage changes": (2, change_storage),
}
