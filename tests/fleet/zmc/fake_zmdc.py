"""ZoneMinder's daemon keeper as a client meets it: one at a time, reading without a time-out, in zmdc.pl's words or in zm-api's."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from pathlib import Path

SINCE = "26/11/22 14:57:43"


class Keeper:
    """The daemons, and what is answered about them. `style`: "zmdc", "zm-api", or "zm-api-old", which lists nothing.

    A daemon that is told to stop lives for `lingers` more requests of its status.
    """

    def __init__(self, style: str = "zmdc", lingers: int = 0) -> None:
        self.style = style
        self.lingers = lingers
        self.pids = itertools.count(500)
        self.running: dict[str, int] = {}
        self.pending: set[str] = set()
        self.ending: dict[str, int] = {}
        self.requests: list[bytes] = []
        self.deaf = False
        """It says that it knows no such daemon."""

    def run(self, key: str) -> int:
        """A daemon starts, whoever wanted that."""
        self.pending.discard(key)
        return self.running.setdefault(key, next(self.pids))

    def answer(self, request: bytes) -> bytes:
        self.requests.append(request)
        command, *words = request.decode().split(";")
        key = " ".join(words)
        told = getattr(self, f"_{command}", lambda _: f"Invalid command '{command}'\n")(key)
        return told.encode()

    @property
    def commands(self) -> list[str]:
        """What was asked for besides the status."""
        return [request.decode() for request in self.requests if request != b"status"]

    def _status(self, _: str) -> str:
        for key in [key for key, left in self.ending.items() if left <= 0]:
            del self.ending[key]
            self.running.pop(key, None)
        self.ending = {key: left - 1 for key, left in self.ending.items()}
        if self.style == "zm-api-old":
            return "OK;Status retrieved\n"
        running = [f"'{key}' running since {SINCE}, pid = {pid}, valid\n" for key, pid in self.running.items()]
        return "".join(running + [f"'{key}' pending at {SINCE}\n" for key in self.pending])

    def _stop(self, key: str) -> str:
        known = key in self.running and not self.deaf
        if self.style != "zmdc":
            if not known:
                return f"ERR;Daemon {key} not found\n"
            self.ending.setdefault(key, self.lingers)
            return f"OK;Sent SIGTERM to {key}\n"
        if key in self.pending:
            self.pending.discard(key)
            return f"Command '{key}' removed from pending list at {SINCE}\n"
        if not known:
            return f"Can't find process with command of '{key}'"
        self.ending.setdefault(key, self.lingers)
        return f"'{key}' sending stop to pid {self.running[key]} at {SINCE}\n"

    def _start(self, key: str) -> str:
        known = key in self.running
        pid = self.run(key)
        if self.style != "zmdc":
            return f"ERR;Daemon {key} is already running\n" if known else f"OK;Started {key} (PID: Some({pid}))\n"
        if known:
            return f"'{key}' already running at {SINCE}, pid = {pid}\n"
        return f"'{key}' starting at {SINCE}, pid = {pid}\n'{key}' started at {SINCE}\n"


class Server(threading.Thread):
    """A keeper behind a real UNIX socket. Like zmdc.pl it takes a request to its end, be that a newline or the other side's closing."""

    def __init__(self, path: Path, keeper: Keeper) -> None:
        super().__init__(daemon=True)
        self.path = path
        self.keeper = keeper
        self.delay = 0.0
        """Seconds before each answer."""
        self.mute = threading.Event()
        """While it is set, nothing is answered."""
        self.keep_open: list[socket.socket] = []
        """Connections that a daemon has inherited: answered, and never closed."""
        self.inherit = False
        self._ends = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.fspath(path))
        self._listener.listen(8)
        self._listener.settimeout(0.02)

    def run(self) -> None:
        while not self._ends.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            with client:
                client.settimeout(5)
                self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        request = b""
        while not request.endswith(b"\n") and (data := client.recv(4096)):
            request += data
        while self.mute.is_set() and not self._ends.is_set():
            time.sleep(0.01)
        time.sleep(self.delay)
        try:
            client.sendall(self.keeper.answer(request))
        except BrokenPipeError:
            return
        if self.inherit:
            self.keep_open.append(client.dup())

    def end(self) -> None:
        self._ends.set()
        self.join(5)
        assert not self.is_alive()
        self._listener.close()
        self.path.unlink(missing_ok=True)
