"""Faults of the disks: of the storages, and of the one that the spool is on."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from tests.simulation.faults.fault import Faults, for_a_while

if TYPE_CHECKING:
    from tests.simulation.scenario import Simulation

PAGE = 4096


def damage_spool(simulation: Simulation) -> None:
    """The spool's file, or its journal, is damaged while we are dead; often with a backlog in it."""
    world, machine, server = simulation.world, simulation.machine, simulation.server
    if world.chance.random() < 0.7:
        server.state = world.chance.choice(["away", "hung"])
        world.pass_time(world.chance.uniform(2.5, 5.0))
    simulation.disturb()
    machine.kill()
    path = machine.directory / "state" / "spool" / world.chance.choice(["spool.db", "spool.db", "spool.db-wal"])
    if path.exists():
        machine.spool_damaged = True
        how = world.chance.choice([*DAMAGES, "gone"])
        world.tell(f"{path.name}: {how}")
        if how == "gone":
            path.unlink()
        else:
            path.write_bytes(DAMAGES[how](bytearray(path.read_bytes()), world.chance))
    world.pass_time(world.chance.uniform(0.0, 1.0))
    server.back()
    machine.start()


def flip_bits(data: bytearray, chance: Random) -> bytearray:
    used = [place for place, byte in enumerate(data) if byte]
    for place in chance.choices(used, k=12) if used else ():
        data[place] ^= 0x80
    return data


def zero_pages(data: bytearray, chance: Random) -> bytearray:
    for place in range(0, len(data), PAGE):
        if chance.random() < 0.3:
            data[place : place + PAGE] = bytes(len(data[place : place + PAGE]))
    return data


DAMAGES = {
    "cut in half": lambda data, _: data[: len(data) // 2],
    "emptied": lambda data, _: bytearray(),
    "bits flipped": flip_bits,
    "pages zeroed": zero_pages,
    "garbage": lambda data, chance: bytearray(chance.randbytes(len(data))),
}

FAULTS: Faults = {
    "the storage is slow": (2, for_a_while("slow_storage")),
    "the storage gives errors": (2, for_a_while("storage")),
    "the spool's disk fails before a thing is done": (2, for_a_while("spool", "before")),
    "the spool's disk fails after a thing is done": (2, for_a_while("spool", "after")),
    "the spool is damaged while we are dead": (2, damage_spool),
}
