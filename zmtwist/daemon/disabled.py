"""What runs while `[zmnext] enabled = false`: nothing; but first, where an earlier run left workers or cameras taken, that is undone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from zmtwist.config.model import Config
from zmtwist.daemon.sd_notify import Standing, standing
from zmtwist.fleet.liveness import anything_runs
from zmtwist.fleet.zmc.ledger import FILE, Unkept, load
from zmtwist.service import ZmNext

LOOK_SECONDS = 1.0
"""Between two looks whether everything is given back."""


def left_behind(config: Config) -> bool:
    """Whether an earlier run has left workers running, or cameras that it took from ZoneMinder. Changes nothing. Raises OSError."""
    try:
        taken = config.legacy.control != "none" and bool(load(Path(config.paths.state) / FILE))
    except Unkept:
        taken = True  # the ledger says so, and what to do
    return taken or anything_runs(config.paths.run)


class Disabled(Service):
    """`winding_down` is the service, of which nothing is wanted, that undoes what an earlier run left; None where that is nothing.

    It is stopped as soon as that is done. What can't be done yet (the database or zmdc is away) is tried until it can.
    """

    name = "zmnext"
    log = Logger()

    def __init__(self, reactor: Any, config: str, winding_down: ZmNext | None = None) -> None:
        self._reactor = reactor
        self._config = config
        self._winding_down = winding_down
        self._looking: LoopingCall | None = None
        self._ended: Deferred[None] | None = None

    def startService(self) -> None:
        """Say that nothing is started, or undo what there is to undo. Raises `fleet.process.lockfile.AlreadyRunning` as `ZmNext` does."""
        Service.startService(self)
        if self._winding_down is None:
            self._say_nothing()
            return
        self.log.info(
            "zmnext: [zmnext] enabled = false in {config}: the workers of an earlier run are stopped and their cameras given back",
            config=self._config,
        )
        self._winding_down.startService()
        self._looking = LoopingCall(self._look)
        self._looking.clock = self._reactor
        self._looking.start(LOOK_SECONDS).addErrback(
            lambda failure: self.log.failure("zmnext: giving the cameras back can't be ended", failure)
        )

    def stopService(self) -> Deferred[None]:
        """Stop what runs; fires when it has."""
        Service.stopService(self)
        if self._looking is not None and self._looking.running:
            self._looking.stop()
        return self._end()

    def standing(self) -> Standing:
        """It is up, for what there is to do."""
        if self._winding_down is None:
            return Standing(True, f"nothing is started: [zmnext] enabled = false in {self._config}")
        return Standing(True, f"not enabled; giving cameras back: {standing(self._winding_down).text}")

    @property
    def stop_seconds(self) -> float:
        """How long a worker that is still being ended may take."""
        return self._winding_down.stop_timeout_seconds if self._winding_down is not None else 0.0

    def reload(self) -> Deferred[None]:
        """Enabling takes a start: say it again."""
        self.log.info(
            "zmnext: nothing is reloaded: with enabled = true in {config}, start it again", config=self._config
        )
        return succeed(None)

    def _look(self) -> Deferred[None] | None:
        fleet = self._winding_down.fleet if self._winding_down is not None else None
        if fleet is None or not fleet.settled:
            return None
        if self._looking is not None:
            self._looking.stop()
        return self._end().addCallback(lambda _: self._say_nothing())

    def _end(self) -> Deferred[None]:
        """Stop what undoes, once; fires when all that it has heard is written."""
        if self._winding_down is None:
            return succeed(None)
        if self._ended is None:
            self._ended = self._winding_down.stopService().addCallback(self._forget)
        waiter: Deferred[None] = Deferred()
        self._ended.chainDeferred(waiter)
        return waiter

    def _forget(self, _: object) -> None:
        self._winding_down = None

    def _say_nothing(self) -> None:
        self.log.info(
            "zmnext: nothing is started: [zmnext] enabled = false in {config}; set it to true and start again",
            config=self._config,
        )
