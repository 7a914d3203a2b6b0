"""Faults of the disks: of the storages, and of the one that the spool is on."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from tests.simulation.clips import clip_files
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


def fill_spool(simulation: Simulation) -> None:
    """There is no room for the spool for a while: frames give way."""
    simulation.disturb()
    simulation.world.for_a_while("spool", "full")


def fill_storage(simulation: Simulation) -> None:
    """There is no room for a while: workers write no frames, and clips can't be moved to directories that are not there."""
    storage = simulation.some_storage()
    simulation.world.tell(f"{storage.root} is full")
    for worker in simulation.world.living():
        worker.recorder.fail(storage)
    storage.full = True
    simulation.world.callLater(_some_seconds(simulation), setattr, storage, "full", False)


def unmount(simulation: Simulation) -> None:
    """The disk is away for a while; there is an empty directory in its place, or nothing. What is being recorded there ends with that."""
    world, storage = simulation.world, simulation.some_storage()
    if not storage.mounted:
        return
    for worker in world.living():
        worker.recorder.fail(storage)
    for clip in world.clips.values():
        clip.lost = clip.lost or (clip.storage is storage and clip.ended_at is None)
    leave_directory = world.chance.random() < 0.5
    world.tell(f"{storage.root} is unmounted, and {'empty' if leave_directory else 'gone'}")
    storage.unmount(leave_directory=leave_directory)
    world.callLater(_some_seconds(simulation), world.mount, storage)


def litter(simulation: Simulation) -> None:
    """Somebody, or a damaged file system, leaves in a storage what nobody understands; some of it bears the names of clips, or of what
    workers write beside them."""
    world, storage = simulation.world, simulation.some_storage()
    if not storage.mounted:
        return
    what = world.chance.choice(list(JUNK))
    data = JUNK[what](world.chance)
    saved = [
        path for _, path in clip_files(world) if path.is_relative_to(storage.root) and Path(f"{path}.json").exists()
    ]
    names = [
        storage.root / "0001-01-01" / "event-Monitor-2-0-00-00-00.mkv",
        storage.root / "9999-12-31" / "event-Monitor-1-0-23-59-59.mkv",
        *(Path(f"{path}.json") for path in saved[-2:]),
        *(path.parent / "synopsis" / "manifest.json" for path in saved[-1:]),
    ]
    for path in world.chance.sample(names, 2):
        world.tell(f"{path}: {what}")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        if path.suffix == ".mkv":
            Path(f"{path}.json").write_bytes(data)


def _some_seconds(simulation: Simulation) -> float:
    return simulation.world.chance.choice([0.5, 2.0, 6.0]) * simulation.world.chance.uniform(0.5, 1.5)


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

JUNK = {
    "nothing": lambda _: b"",
    "nested JSON": lambda _: b"[" * 5000,
    "half of a JSON": lambda _: b'{"cause": "motion", "text": "',
    "JSON of the wrong kind": lambda _: b'{"cause": [], "text": {}, "path": 7, "tubes": "x", "schema": 1e999}',
    "no UTF-8": lambda chance: b"\xff\xfe" + chance.randbytes(300),
}

FAULTS: Faults = {
    "the storage is slow": (2, for_a_while("slow_storage")),
    "the storage gives errors": (2, for_a_while("storage")),
    "the spool's disk fails before a thing is done": (2, for_a_while("spool", "before")),
    "the spool's disk fails after a thing is done": (2, for_a_while("spool", "after")),
    "the spool's disk is full": (2, fill_spool),
    "a storage is full": (2, fill_storage),
    "a storage is unmounted": (2, unmount),
    "what nobody understands lies in a storage": (2, litter),
    "the spool is damaged while we are dead": (2, damage_spool),
}
