"""`twistd zmnext`: options in, the service out. The one place that takes the reactor from Twisted."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from twisted.application.service import IService
from twisted.python import usage

from zmtwist.config import zm_conf as zmconf
from zmtwist.config.model import Config
from zmtwist.config.settings import Settings, settle
from zmtwist.config.toml import ConfigError, load
from zmtwist.reactor.tuning import keep_time

ENDING_SECONDS = 120.0
"""How long a service that is ending is waited for, in which it may have clips to close and rows to write."""


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        raise usage.UsageError(f"--seconds: must be a number, got {value!r}") from None
    if not 0 < seconds < 1e7:
        raise usage.UsageError(f"--seconds: must be > 0, got {value}")
    return seconds


class Options(usage.Options):
    """What `twistd zmnext --help` shows."""

    synopsis = "[options] --config FILE"
    longdesc = (
        "Runs zm-next workers for the monitors of a ZoneMinder installation: starts and watches them, hands out event ids, "
        "and writes their events. Nothing is started unless [zmnext] enabled = true in the configuration file."
    )
    optParameters: ClassVar = [
        ["config", "c", None, "Configuration file (TOML); see etc/zmnext.toml."],
        ["zm-conf", None, zmconf.DEFAULT_PATH, "ZoneMinder's own configuration, for database and paths."],
        ["demo", None, None, "Run two simulated cameras on an embedded database in this directory."],
        ["seconds", None, None, "End by itself after this many seconds (with --demo).", _seconds],
    ]

    def postOptions(self) -> None:
        """Just one of --config and --demo."""
        if (self["config"] is None) == (self["demo"] is None):
            raise usage.UsageError("give --config FILE, or --demo DIR to try zmtwist out")
        if self["seconds"] is not None and self["demo"] is None:
            raise usage.UsageError("--seconds goes with --demo")


def makeService(options: Options) -> IService:
    """The service for these options. Ends the process, with every problem of the configuration a line each, where it can't be made."""
    from twisted.internet import reactor

    from zmtwist.daemon.supervision import attended

    keep_time(reactor)
    demo = Path(options["demo"]) if options["demo"] is not None else None
    try:
        if demo is not None:
            from zmtwist.demo import prepare

            path, zm_conf = prepare(demo), {}
        else:
            path, zm_conf = Path(options["config"]), zmconf.read(options["zm-conf"])
        config = load(path)
        if not config.zmnext.enabled:
            return _disabled(reactor, str(path), config, zm_conf)
        settings = settle(config, zm_conf)
    except ConfigError as error:
        # Not a UsageError: twistd would show that as a traceback at this point.
        _refuse("\n".join(error.problems), errno.EINVAL, os.EX_CONFIG)
    except OSError as error:
        _refuse(f"{error.filename or demo}: {error.strerror or error}", error.errno or errno.EIO)
    _see_that_it_is_alone(settings)
    if demo is not None:
        return _demo(reactor, settings, demo, options["seconds"])
    from zmtwist.service import ZmNext

    return attended(reactor, ZmNext(reactor, settings), lambda: settle(load(path), zmconf.read(options["zm-conf"])))


def _disabled(reactor: Any, path: str, config: Config, zm_conf: Mapping[str, str]) -> IService:
    """Nothing, once what an earlier run may have left is undone. Only for that a whole configuration is needed: raises ConfigError."""
    from zmtwist.daemon.disabled import Disabled, left_behind
    from zmtwist.daemon.supervision import attended_disabled
    from zmtwist.service import ZmNext

    if not left_behind(config):
        return attended_disabled(reactor, Disabled(reactor, path))
    settings = settle(config, zm_conf)
    _see_that_it_is_alone(settings)
    return attended_disabled(reactor, Disabled(reactor, path, ZmNext(reactor, settings)))


def _refuse(why: str, number: int, status: int = 1) -> NoReturn:
    """Say why nothing is started, to whoever waits for it too (with an errno), and end. Status EX_CONFIG (78): trying again is no use."""
    from zmtwist.daemon.sd_notify import LONGEST, Notifier

    sys.stderr.write(f"{why}\n")
    Notifier.of(os.environ).send("STOPPING=1", f"STATUS={why.splitlines()[0][:LONGEST]}", f"ERRNO={number}")
    raise SystemExit(status)


def _see_that_it_is_alone(settings: Settings) -> None:
    """Say it before anything is begun, and wait for one that is just ending, as after a hand-over.

    The lock is taken when the service starts, as the process and user that it is then.
    """
    from zmtwist.daemon.sd_notify import Notifier
    from zmtwist.fleet.process.lockfile import AlreadyRunning, wait_for_service_lock

    manager = Notifier.of(os.environ)
    try:
        for other in wait_for_service_lock(settings.run, ENDING_SECONDS, clock=time.monotonic, sleep=time.sleep):
            manager.send("EXTEND_TIMEOUT_USEC=30000000", f"STATUS=waiting for the end of process {other.pid}")
    except AlreadyRunning as error:
        _refuse(str(error), errno.EBUSY)
    except OSError as error:
        _refuse(f"[paths] run: {error.filename}: {error.strerror}", error.errno or errno.EIO)


def _demo(reactor: Any, settings: Settings, directory: Path, seconds: float | None) -> IService:
    from zmtwist.daemon.supervision import attended
    from zmtwist.demo import Account
    from zmtwist.service import ZmNext

    # twistd has made stdout part of its log by the time anything is told.
    stdout = sys.__stdout__ or sys.stderr

    def tell(line: str) -> None:
        print(line, file=stdout, flush=True)

    account = Account(directory, tell)
    account.begin(seconds, settings.config.api.web)
    if seconds is not None:
        reactor.callLater(seconds, reactor.stop)
    return attended(reactor, ZmNext(reactor, settings, announce=account.announce, ended=account.end), lambda: settings)
