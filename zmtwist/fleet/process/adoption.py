"""Processes that an earlier run of this service left behind: found again, and taken on as they are."""

from __future__ import annotations

import signal
from collections.abc import Callable, Collection, Sequence
from itertools import pairwise

import attrs
from twisted.internet.interfaces import IReactorTime

from zmtwist.fleet.process.child import Reports
from zmtwist.fleet.process.pidfile import Record, read_record
from zmtwist.fleet.process.policy import Exit
from zmtwist.fleet.process.procfs import LOCK_FD, Processes, Seen
from zmtwist.fleet.process.slot import Owner, Slot
from zmtwist.fleet.process.termination import Ending

NO_LINES = "(taken over from an earlier run of this service: what it logs can't be read before it is started anew)"


@attrs.frozen
class Survivor:
    """A living process of an earlier run; `socket` is what it was told of. `digest` is that of what it runs, '' where nothing tells."""

    owner: Owner
    pid: int
    started: int
    socket: str
    digest: str = ""


@attrs.frozen
class Stranger:
    """Something that holds a slot's lock and is no process that we know; `reason` says what to do."""

    reason: str


@attrs.frozen
class CannotLeave(Exception):
    """The workers can't be left running; the text says why."""

    reason: str

    def __str__(self) -> str:
        return self.reason


def find_survivor(slot: Slot, processes: Processes) -> Survivor | Stranger:
    """Who holds the lock of this slot, which is known to be held.

    The record is believed where process, start time and command line agree with it. Where there is none (we were killed between
    the spawn and the writing), it is the holder whose command line says that it fills this slot.
    """
    record = read_record(slot.record, slot.owner.monitor_id)
    if record is not None and record.boot == processes.boot:
        seen = processes.look(record.pid)
        if seen and seen.started == record.started and _as_recorded(seen.argv, record, slot):
            digest = record.digest if record.socket in [socket for socket, _ in slot.guises] else ""
            return Survivor(slot.owner, seen.pid, seen.started, record.socket, digest)
    holders = [seen for seen in map(processes.look, processes.holders(slot.lock)) if seen is not None]
    ours = [(seen, socket) for seen in holders for socket, options in slot.guises if runs(seen.argv, socket, options)]
    if ours:
        # Its own children look like it until they exec; it is the oldest.
        oldest, socket = min(ours, key=lambda one: (one[0].started, one[0].pid))
        return Survivor(slot.owner, oldest.pid, oldest.started, socket)
    return Stranger(_who(slot, holders))


def _as_recorded(argv: Sequence[str], record: Record, slot: Slot) -> bool:
    return any(runs(argv, record.socket, options, record.program) for _, options in slot.guises)


def runs(argv: Sequence[str], socket: str, options: Collection[tuple[str, str]], program: str | None = None) -> bool:
    """Whether this is the command line of a slot's process, be it behind an interpreter or the launcher that will become it."""
    return {("--socket", socket), *options} <= set(pairwise(argv)) and (program is None or program in argv)


def _who(slot: Slot, holders: Sequence[Seen]) -> str:
    if not holders:
        return (
            f"a process that can't be seen holds {slot.lock} (as another descriptor than {LOCK_FD}, or as another user): "
            f"'fuser {slot.lock}' names it; none is started beside it"
        )
    first = holders[0]
    name = first.argv[0] if first.argv else "?"
    return f"process {first.pid} ({name}) holds {slot.lock} and is not that of {slot.owner}: end it; none is started beside it"


class Adopted:
    """A process that is not our child: watched, and ended, through a pidfd. How it ends can't be known, nor what it logs.

    Raises ProcessLookupError where it has ended since it was found.
    """

    def __init__(
        self,
        clock: IReactorTime,
        survivor: Survivor,
        reports: Reports,
        processes: Processes,
        stop_timeout_seconds: float,
        kill_group: Callable[[int, int], None],
    ) -> None:
        self.pid = survivor.pid
        self._reports = reports
        self._watch = processes.watch(survivor.pid, self._exited)
        seen = processes.look(survivor.pid)
        if seen is None or seen.started != survivor.started:
            # Looked at only now that the pidfd holds on to whoever has this number: another one would be told from it.
            self._watch.stop()
            raise ProcessLookupError
        self._ending = Ending(clock, survivor.owner, self.pid, stop_timeout_seconds, kill_group, self._signal_alone)

    def lines(self) -> tuple[str, ...]:
        """That there are none."""
        return (NO_LINES,)

    @property
    def unlogged(self) -> int:
        """Not known."""
        return 0

    def errors(self, ended: Exit) -> tuple[str, ...]:
        """None are known."""
        return ()

    def send(self, number: signal.Signals) -> None:
        """Signal its group."""
        self._ending.send(number)

    def stop(self, at_most: float = float("inf")) -> None:
        """SIGTERM now, SIGKILL when the configured time is over, or `at_most` seconds."""
        self._ending.begin(at_most)

    def leave(self) -> None:
        """Have no more to do with it; it runs on."""
        self._watch.stop()
        self._ending.forget()

    def _signal_alone(self, number: signal.Signals) -> None:
        self._watch.signal(number)

    def _exited(self) -> None:
        self._ending.over()
        self._reports.child_exited(Exit())
