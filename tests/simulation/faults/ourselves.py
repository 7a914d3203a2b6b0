"""What happens to our own process, and to the machine that it runs on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.simulation.clips import clip_files
from tests.simulation.faults.fault import Faults, Strike
from tests.simulation.world import SECOND

if TYPE_CHECKING:
    from tests.simulation.scenario import Simulation

DAY = 86_400.0
UNWRITTEN_SECONDS = 20.0
"""What was written so short a time before a power cut may not be on the disk."""


def nothing(simulation: Simulation) -> None:
    pass


def kill(simulation: Simulation) -> None:
    simulation.disturb()
    simulation.machine.kill()


def kill_in_a_commit(simulation: Simulation) -> None:
    simulation.server.at_commit = lambda: kill(simulation)


def kill_in_an_outage(simulation: Simulation) -> None:
    """Late enough for the spool to be in use, and often in the middle of a commit."""
    chance, server = simulation.world.chance, simulation.server
    server.state = chance.choice(["away", "hung"])
    simulation.world.pass_time(chance.uniform(0.5, 4.0))
    if chance.random() < 0.5:
        kill_in_a_commit(simulation)
        server.back()
    else:
        kill(simulation)
        simulation.world.callLater(chance.uniform(0.0, 2.0), server.back)


def kill_again_and_again(simulation: Simulation) -> None:
    """Before what the kill before has left is put right, while clips begin."""
    chance = simulation.world.chance
    for _ in range(chance.randint(2, 4)):
        kill(simulation)
        simulation.world.pass_time(chance.uniform(0.0, 1.5))
        simulation.machine.start()
        simulation.world.pass_time(chance.uniform(0.2, 2.0))


def hand_over(simulation: Simulation) -> None:
    simulation.disturb()
    simulation.machine.hand_over()


def set_clock(*seconds: float) -> Strike:
    """The wall clock is set, by one of these. Not by days once it was set back: then no time tells which clips are being recorded."""

    def strike(simulation: Simulation) -> None:
        world = simulation.world
        if max(seconds) >= DAY and world.set_back:
            return
        world.set_back = world.set_back or min(seconds) <= -10.0
        simulation.disturb()
        simulation.world.excused += len(simulation.world.living())
        step = simulation.world.chance.choice(seconds)
        simulation.world.tell(f"the clock is set: {step:+g} s")
        simulation.world.stepped_us += round(step * SECOND)

    return strike


def cut_power(simulation: Simulation, *, tear: bool = False) -> None:
    """All processes end, the spool's journal may end with garbage, and with `tear` the clips of the last seconds are not on the disk."""
    world, machine = simulation.world, simulation.machine
    simulation.disturb()
    machine.cut_power()
    for number, path in clip_files(world) if tear else ():
        if path.exists() and not world.clips[number].deleted and world.chance.random() < 0.5:
            _tear(simulation, number, path)
    journal = machine.directory / "state" / "spool" / "spool.db-wal"
    if journal.exists() and world.chance.random() < 0.5:
        with journal.open("ab") as file:
            file.write(world.chance.randbytes(world.chance.randint(1, 5000)))
    world.pass_time(world.chance.uniform(0.0, 2.0))
    machine.start()


def _tear(simulation: Simulation, number: int, path: Path) -> None:
    world, clip = simulation.world, simulation.world.clips[number]
    if clip.ended_at is not None and world.seconds() - clip.ended_at >= UNWRITTEN_SECONDS:
        return
    fate, sidecar = world.chance.random(), Path(f"{path}.json")
    if fate < 0.4:
        world.tell(f"clip {number} is empty after the power cut")
        world.tear(path)
        clip.frames, clip.torn = 0, True
    elif sidecar.exists():
        if fate < 0.7:
            sidecar.write_text("")
        else:
            sidecar.unlink()


FAULTS: Faults = {
    "nothing": (2, nothing),
    "we are killed": (4, kill),
    "we are killed in a commit": (2, kill_in_a_commit),
    "we are killed in an outage": (2, kill_in_an_outage),
    "we are killed again and again": (2, kill_again_and_again),
    "we are stopped": (1, lambda simulation: simulation.machine.stop()),
    "we hand over": (1, hand_over),
    "the clock is set": (1, set_clock(-1.0, 0.5, 3.0, 40.0)),
    "the clock jumps forward": (1, set_clock(90.0, 3600.0)),
    "the clock jumps by days": (1, set_clock(2 * DAY, 40 * DAY)),
    "the clock jumps back": (1, set_clock(-3600.0, -90.0, -10.0)),
    "the power is cut": (2, cut_power),
    "the power is cut, and clips are torn": (2, lambda simulation: cut_power(simulation, tear=True)),
}
