"""Misbehaviour at set times, as the tuning asks for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from sched import scheduler

from zmtwist.sim.server import Server
from zmtwist.sim.tuning import Tuning
from zmtwist.wire.event_details import EVENT_REVIEW_ASSETS
from zmtwist.wire.messages import MessageType

_BEAT = 0.1
"""Seconds between two helpings of wasted memory and log lines."""


class Faults:
    """Everything that goes wrong at some time after the bind. `stall` stops the camera."""

    def __init__(
        self, tuning: Tuning, schedule: scheduler, server: Server, stall: Callable[[], None], log: Callable[[str], None]
    ) -> None:
        self._tuning = tuning
        self._schedule = schedule
        self._server = server
        self._stall = stall
        self._log = log
        self._ballast: list[bytes] = []
        self._lines = 0

    def start(self) -> None:
        """Put them on the clock; now is the bind."""
        tuning = self._tuning
        for seconds, fault in (
            (tuning.crash_after, self._crash),
            (tuning.mute, self._mute),
            (tuning.stall, self._stall),
            (tuning.freeze, lambda: os.kill(os.getpid(), signal.SIGSTOP)),
            (tuning.malformed, self._malformed),
            (tuning.untrusted, self._untrusted),
            (_BEAT if tuning.rss or tuning.flood else None, self._waste),
        ):
            if seconds is not None:
                self._schedule.enter(seconds, 1, fault)

    def _crash(self) -> None:
        number = self._tuning.crash_signal
        if number is None:
            os._exit(int(self._tuning.crash_by))
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _mute(self) -> None:
        self._stall()
        self._server.muted = True

    def _malformed(self) -> None:
        """Four messages that a client has to skip, or to take without their detail."""
        past_the_end = b"\x01\x03" + b"\x10\xff\xff{"
        unknown_code = b"\xff\x7f" + b"\x77\x02\x00ab"
        cut = b'{"type":"review_assets","schema":1,"tubes":[{"track_id":'
        cut_detail = EVENT_REVIEW_ASSETS.to_bytes(2, "little") + b"\x10" + len(cut).to_bytes(2, "little") + cut
        self._server.odd(int(MessageType.EVENT), past_the_end)
        self._server.odd(0x7E, bytes(5))
        self._server.odd(int(MessageType.EVENT), unknown_code)
        self._server.odd(int(MessageType.EVENT), cut_detail)

    def _untrusted(self) -> None:
        self._server.garbage(b"\xff" * 24)

    def _waste(self) -> None:
        self._schedule.enter(_BEAT, 1, self._waste)
        if self._tuning.rss:
            self._ballast.append(b"\xaa" * round(self._tuning.rss * 1024 * 1024 * _BEAT))
        for _ in range(round(self._tuning.flood * _BEAT)):
            self._lines += 1
            self._log(f"flood: line {self._lines} of a plugin that has a lot to say")
