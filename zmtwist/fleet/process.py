"""One worker process: spawned in its own process group, fed its document, listened to, and ended for certain."""

from __future__ import annotations

import os
import shutil
import signal
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

import attrs
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IProcessTransport, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from zmtwist.fleet.lines import Allowance, LineSplitter, Opening, clean, last_errors, level, opening, shown
from zmtwist.fleet.policy import Exit

KEPT_LINES = 100

PIPES_SECONDS = 1.0
"""How long after the reaping its last output is waited for: a grandchild may hold the pipes open for ever."""

BASE_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
"""What a worker inherits of our environment. Nothing else: ours may hold secrets."""


@attrs.frozen
class CannotSpawn(Exception):
    """A worker can't be started; `fatal` where only another binary or configuration helps."""

    reason: str
    fatal: bool = False

    def __str__(self) -> str:
        return self.reason


@attrs.frozen
class Command:
    """What to run: absolute program, arguments without the program, complete environment, working directory, bytes for stdin."""

    program: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    directory: str
    stdin: bytes = attrs.field(default=b"", repr=False)


class Reports(Protocol):
    """Who hears of a child. Neither method may raise."""

    def opening_logged(self, told: Opening) -> None:
        """A line of its output told of a clip's opening."""

    def child_exited(self, ended: Exit) -> None:
        """It was reaped, and what it still had to say has been read. Called once."""


class Child(ProcessProtocol):
    """One process and its process group. Use it for one `spawn`."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        monitor_id: int,
        reports: Reports,
        redact: Callable[[str], str],
        stop_timeout_seconds: float,
        kill_group: Callable[[int, int], None] = os.killpg,
    ) -> None:
        self._clock = clock
        self._monitor_id = monitor_id
        self._reports = reports
        self._redact = redact
        self._stop_timeout_seconds = stop_timeout_seconds
        self._kill_group = kill_group
        self._splitters = {"stdout": LineSplitter(), "stderr": LineSplitter()}
        self._allowance = Allowance()
        self._kept: deque[str] = deque(maxlen=KEPT_LINES)
        self._deadline: IDelayedCall | None = None
        self._stopping = False
        self._ended: Exit | None = None
        self._reported = False
        self.pid: int | None = None

    def lines(self) -> tuple[str, ...]:
        """Its last lines of output, redacted, oldest first."""
        return tuple(self._kept)

    def errors(self) -> tuple[str, ...]:
        """Those of its last lines that tell of trouble, oldest first."""
        return last_errors(self._kept)

    def spawn(self, reactor: IReactorProcess, command: Command) -> None:
        """Start it. Raises CannotSpawn; then it is not there and nothing more is reported.

        `setsid` keeps the pid (it would fork only if it led a process group, which a new child never does), and signals can reach
        the whole group afterwards.
        """
        setsid = shutil.which("setsid")
        if setsid is None:
            raise CannotSpawn("the program setsid (util-linux) is not installed", fatal=True)
        try:
            reactor.spawnProcess(
                self,
                setsid,
                ["setsid", command.program, *command.arguments],
                env=dict(command.environment),
                path=command.directory,
                childFDs={0: "w", 1: "r", 2: "r"},
            )
        except OSError as error:
            raise CannotSpawn(f"cannot start a process: {error.strerror or error}") from error
        transport = self._process
        self.pid = transport.pid
        if command.stdin:
            transport.writeToChild(0, command.stdin)
        transport.closeStdin()

    def stop(self) -> None:
        """SIGTERM now, SIGKILL when the time is over, both to the group. Asked again, go on with the stop that runs."""
        if self._stopping or self._ended is not None:
            return
        self._stopping = True
        self._signal(signal.SIGTERM)
        self._deadline = self._clock.callLater(self._stop_timeout_seconds, self._kill)

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
        self._cancel_deadline()
        self._signal_group(signal.SIGKILL)
        self._deadline = self._clock.callLater(PIPES_SECONDS, self._abandon_pipes)

    def processEnded(self, reason: Failure) -> None:
        """It is reaped and all it said has been read."""
        self._report()

    @property
    def _process(self) -> IProcessTransport:
        transport: IProcessTransport = self.transport  # type: ignore[assignment]
        return transport

    def _line(self, raw: bytes, stream: str) -> None:
        text = clean(raw)
        if not text:
            return
        told = opening(text)
        if told is not None:
            self._reports.opening_logged(told)
        line = shown(self._redact(text))
        self._kept.append(line)
        self._allowance, allowed, refused = self._allowance.take(self._clock.seconds())
        if not allowed:
            return
        if refused:
            self.log.warn(
                "monitor {monitor_id}: {count} lines of output were not logged, the worker writes too many",
                monitor_id=self._monitor_id,
                count=refused,
            )
        self.log.emit(
            LogLevel.levelWithName(level(line)),
            "monitor {monitor_id}: {line}",
            monitor_id=self._monitor_id,
            pid=self.pid,
            stream=stream,
            line=line,
        )

    def _kill(self) -> None:
        self.log.warn(
            "monitor {monitor_id}: worker {pid} did not end within {seconds} s, killing it",
            monitor_id=self._monitor_id,
            pid=self.pid,
            seconds=self._stop_timeout_seconds,
        )
        self._signal(signal.SIGKILL)
        self._deadline = self._clock.callLater(self._stop_timeout_seconds, self._still_there)

    def _still_there(self) -> None:
        self.log.error(
            "monitor {monitor_id}: worker {pid} outlives SIGKILL (a hung disk or driver?); no other is started before it is gone",
            monitor_id=self._monitor_id,
            pid=self.pid,
        )

    def _abandon_pipes(self) -> None:
        self.log.warn(
            "monitor {monitor_id}: something still holds the output of worker {pid} open",
            monitor_id=self._monitor_id,
            pid=self.pid,
        )
        self._report()
        self._process.loseConnection()

    def _report(self) -> None:
        if self._reported or self._ended is None:
            return
        self._reported = True
        self._cancel_deadline()
        for stream, splitter in self._splitters.items():
            for line in splitter.flush():
                self._line(line, stream)
        self._reports.child_exited(self._ended)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    def _signal(self, number: signal.Signals) -> None:
        """To the group; to the process alone while it has not become one yet."""
        if self._signal_group(number):
            return
        try:
            self._process.signalProcess(number.name.removeprefix("SIG"))
        except ProcessExitedAlready:
            return
        except OSError as error:
            self._not_signalled(number, error)

    def _signal_group(self, number: signal.Signals) -> bool:
        if self.pid is None:
            return False
        try:
            self._kill_group(self.pid, number)
        except ProcessLookupError:
            return False
        except OSError as error:
            self._not_signalled(number, error)
            return False
        return True

    def _not_signalled(self, number: signal.Signals, error: OSError) -> None:
        self.log.error(
            "monitor {monitor_id}: cannot send {signal} to worker {pid}: {error}",
            monitor_id=self._monitor_id,
            signal=number.name,
            pid=self.pid,
            error=error.strerror or str(error),
        )


def _exit_of(reason: Failure) -> Exit:
    if isinstance(reason.value, ProcessTerminated):
        return Exit(code=reason.value.exitCode, signal=reason.value.signal)
    return Exit(code=0) if isinstance(reason.value, ProcessDone) else Exit()
