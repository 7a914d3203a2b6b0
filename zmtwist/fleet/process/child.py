"""One worker process: spawned in its own process group, fed its document, listened to, and ended for certain."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Mapping
from typing import Protocol

import attrs
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IProcessTransport, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from zmtwist.config.model import LEVELS, Level
from zmtwist.fleet.process.output import (
    KeptLines,
    LineSplitter,
    Opening,
    Sign,
    last_errors,
    level,
    may_tell_opening,
    opening,
    sign,
)
from zmtwist.fleet.process.policy import Exit
from zmtwist.fleet.process.procfs import LOCK_FD
from zmtwist.fleet.process.slot import Owner
from zmtwist.fleet.process.termination import LEASH_FD, Ending, Leash
from zmtwist.untrusted.budget import Budget, Kind, Together
from zmtwist.untrusted.guard import LINE, Guard

KEPT_LINES = 100

PIPES_SECONDS = 1.0
"""How long after the reaping its last output is waited for: a grandchild may hold the pipes open for ever."""


@attrs.frozen
class CannotSpawn(Exception):
    """A worker can't be started; `fatal` where only another binary or configuration helps."""

    reason: str
    fatal: bool = False

    def __str__(self) -> str:
        return self.reason


@attrs.frozen
class Command:
    """What to run: absolute program, arguments without the program, complete environment, working directory, bytes for stdin.

    With `ends_with_us` the kernel ends it when this process has gone, however that came about.
    """

    program: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    directory: str
    stdin: bytes = attrs.field(default=b"", repr=False)
    ends_with_us: bool = False


class Reports(Protocol):
    """Who hears of a child. No method may raise."""

    def opening_logged(self, told: Opening) -> None:
        """A line of its output told of a clip's opening."""

    def sign_logged(self, sign: Sign) -> None:
        """A line of its output told of a frame that could not be recorded, or of a camera that can't be had."""

    def child_exited(self, ended: Exit) -> None:
        """It was reaped, and what it still had to say has been read. Called once."""


class ChildProcess(ProcessProtocol):
    """One process and its process group. Use it for one `spawn`.

    Lines of a level below `least` are no use but to the worker's makers: they are only counted (`unlogged`, with those beyond what may be
    logged).
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        owner: Owner,
        reports: Reports,
        guard: Guard,
        budget: Budget,
        stop_timeout_seconds: float,
        kill_group: Callable[[int, int], None] = os.killpg,
        together: Together | None = None,
        least: Level = "info",
    ) -> None:
        self._clock = clock
        self._owner = owner
        self._reports = reports
        self._guard = guard
        self._stop_timeout_seconds = stop_timeout_seconds
        self._kill_group = kill_group
        self._splitters = {"stdout": LineSplitter(), "stderr": LineSplitter()}
        self._budget = budget
        self._together = together or Together()
        self._least = LEVELS.index(least)
        self.unlogged = 0
        self._kept = KeptLines(KEPT_LINES, guard)
        self._pipes_deadline: IDelayedCall | None = None
        self._ending: Ending | None = None
        self._ended: Exit | None = None
        self._reported = False
        self.pid: int | None = None

    def lines(self) -> tuple[str, ...]:
        """Its last lines of output, guarded, oldest first."""
        return self._kept.texts()

    def errors(self, ended: Exit) -> tuple[str, ...]:
        """Those of its last lines that tell why it ended so, oldest first."""
        return last_errors(self._kept.texts(), by_itself=ended.signal is None)

    def spawn(self, reactor: IReactorProcess, command: Command, lock_fd: int, leash: Leash | None = None) -> None:
        """Start it, with the lock that `lock_fd` has, and on a leash where there is one: it is told nothing before that holds.

        Raises CannotSpawn; then it is not there and nothing more is reported.
        """
        descriptors: dict[int, str | int] = {0: "w", 1: "r", 2: "r", LOCK_FD: lock_fd}
        if leash is not None:
            descriptors[LEASH_FD] = leash.fd
        launcher = launch_chain(command.ends_with_us)
        try:
            reactor.spawnProcess(
                self,
                launcher[0],
                [*launcher, command.program, *command.arguments],
                env=dict(command.environment),
                path=command.directory,
                childFDs=descriptors,
            )
        except OSError as error:
            raise CannotSpawn(f"cannot start a process: {error.strerror or error}") from error
        transport = self._process
        self.pid = transport.pid
        if leash is not None:
            leash.hold(transport.pid)
        self._ending = Ending(
            self._clock,
            self._owner,
            transport.pid,
            self._stop_timeout_seconds,
            self._kill_group,
            self._signal_alone,
        )
        if command.stdin:
            transport.writeToChild(0, command.stdin)
        transport.closeStdin()

    def stop(self, at_most: float = float("inf")) -> None:
        """SIGTERM now, SIGKILL when the configured time is over, or `at_most` seconds, both to the group. Asked again, go on with the stop
        that runs."""
        if self._ending is not None and self._ended is None:
            self._ending.begin(at_most)

    def send(self, number: signal.Signals) -> None:
        """Signal its group."""
        if self._ending is not None and self._ended is None:
            self._ending.send(number)

    def leave(self) -> None:
        """Have no more to do with it; it runs on. Its broken pipes do it no harm (see `launch_chain`)."""
        self._reported = True
        self._cancel_pipes_deadline()
        if self._ending is not None:
            self._ending.forget()

    def outReceived(self, data: bytes) -> None:
        """Lines of stdout."""
        for line in self._splitters["stdout"].feed(data):
            self._line(line, "stdout")

    def errReceived(self, data: bytes) -> None:
        """Lines of stderr."""
        for line in self._splitters["stderr"].feed(data):
            self._line(line, "stderr")

    def processExited(self, reason: Failure) -> None:
        """It is reaped. What it left behind in its group goes too; its pipes get a moment to run dry."""
        self._ended = _exit_of(reason)
        if self._ending is not None:
            self._ending.over()
        if not self._reported:
            self._pipes_deadline = self._clock.callLater(PIPES_SECONDS, self._abandon_pipes)

    def processEnded(self, reason: Failure) -> None:
        """It is reaped and all it said has been read."""
        self._report()

    @property
    def _process(self) -> IProcessTransport:
        transport: IProcessTransport = self.transport  # type: ignore[assignment]
        return transport

    def _line(self, raw: bytes, stream: str) -> None:
        """Of a worker that floods us, most lines are only counted and kept as they are: to guard a line is the dear part."""
        told = opening(raw) if may_tell_opening(raw) else None
        if told is not None:
            self._reports.opening_logged(told)
        elif (said := sign(raw)) is not None:
            self._reports.sign_logged(said)
        if not raw or raw.isspace():
            return
        claimed = level(raw)
        if LEVELS.index(claimed) < self._least:
            self.unlogged += 1
            return
        now = self._clock.seconds()
        if not self._budget.take(Kind.LINES, now, spare=lambda: self._together.take(now)):
            self.unlogged += 1
            self._kept.add_raw(raw)
            return
        line = self._guard.text(raw, LINE)
        self._kept.add(line)
        if refused := self._budget.untold(Kind.LINES):
            self.log.warn(
                "{owner}: {count} lines of output were not logged, it writes too many",
                owner=self._owner.name,
                monitor_id=self._owner.monitor_id,
                count=refused,
            )
        self.log.emit(
            LogLevel.levelWithName(claimed),
            "{owner}: {line}",
            owner=self._owner.name,
            monitor_id=self._owner.monitor_id,
            pid=self.pid,
            stream=stream,
            line=line,
        )

    def _abandon_pipes(self) -> None:
        self.log.warn(
            "{owner}: something still holds the output of process {pid} open",
            owner=self._owner.name,
            monitor_id=self._owner.monitor_id,
            pid=self.pid,
        )
        self._report()
        self._process.loseConnection()

    def _report(self) -> None:
        if self._reported or self._ended is None:
            return
        self._reported = True
        self._cancel_pipes_deadline()
        for stream, splitter in self._splitters.items():
            for line in splitter.flush():
                self._line(line, stream)
        self._reports.child_exited(self._ended)

    def _cancel_pipes_deadline(self) -> None:
        if self._pipes_deadline is not None and self._pipes_deadline.active():
            self._pipes_deadline.cancel()

    def _signal_alone(self, number: signal.Signals) -> None:
        try:
            self._process.signalProcess(number.name.removeprefix("SIG"))
        except ProcessExitedAlready:
            raise ProcessLookupError from None


def launch_chain(ends_with_us: bool) -> list[str]:
    """The small programs that become the worker, each by exec, so that the process keeps its number. Raises CannotSpawn.

    `env` has SIGPIPE ignored: when we are gone, nobody reads the worker's output, and writing it must not be its end. `setsid` makes
    it lead a process group that signals can reach as a whole (it would fork only if it led one already, which a new child never
    does). `setpriv` asks the kernel for a SIGTERM at our death. The first is an absolute path.
    """
    chain = [_tool("env", "coreutils"), "--ignore-signal=PIPE", _tool("setsid", "util-linux")]
    return [*chain, _tool("setpriv", "util-linux"), "--pdeathsig", "TERM"] if ends_with_us else chain


def _tool(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise CannotSpawn(f"the program {name} ({package}) is not installed", fatal=True)
    return found


def _exit_of(reason: Failure) -> Exit:
    if isinstance(reason.value, ProcessTerminated):
        return Exit(code=reason.value.exitCode, signal=reason.value.signal)
    return Exit(code=0) if isinstance(reason.value, ProcessDone) else Exit()
