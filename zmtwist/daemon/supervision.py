"""The service as a service manager and signals meet it: what it tells the one, and what it does at the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from zmtwist.config.settings import Settings
from zmtwist.config.toml import ConfigError
from zmtwist.daemon.disabled import Disabled
from zmtwist.daemon.sd_notify import Notify, standing
from zmtwist.daemon.sighup import Hangup
from zmtwist.ingest.service import FINISH_SECONDS
from zmtwist.service import ZmNext

log = Logger()

MARGIN_SECONDS = 10.0
"""What an orderly end may take besides the workers' and the writer's own bounds."""


def attended(
    reactor: Any, service: ZmNext, reread: Callable[[], Settings], environment: Mapping[str, str] = os.environ
) -> MultiService:
    """`service` with all that attends on it. `reread` reads its settings anew, on a thread; it may raise ConfigError or OSError."""
    stop_seconds = service.stop_timeout_seconds + FINISH_SECONDS + MARGIN_SECONDS
    notify = Notify(reactor, environment, lambda: standing(service), stop_seconds=stop_seconds)
    return _together(Hangup(reactor, notify, lambda: Deferred.fromCoroutine(_reload(service, reread))), service, notify)


def attended_disabled(reactor: Any, service: Disabled, environment: Mapping[str, str] = os.environ) -> MultiService:
    """The same for a service that is not enabled: a manager must not take it for one that hangs."""
    stop_seconds = service.stop_seconds + FINISH_SECONDS + MARGIN_SECONDS
    notify = Notify(reactor, environment, service.standing, stop_seconds=stop_seconds)
    return _together(Hangup(reactor, notify, service.reload), service, notify)


def _together(*services: Service) -> MultiService:
    """The hang-up comes first: from the service's first line on, SIGHUP must not end the process."""
    whole = MultiService()
    for service in services:
        service.setServiceParent(whole)
    return whole


async def _reload(service: ZmNext, reread: Callable[[], Settings]) -> None:
    """Take the settings as they are on disk now, as far as that goes; with or without them, look at the database at once."""
    settings = None
    try:
        settings = await deferToThread(reread)
    except (ConfigError, OSError) as error:
        problems = error.problems if isinstance(error, ConfigError) else (f"{error.filename}: {error.strerror}",)
        for problem in problems:
            log.error("zmnext: the configuration is not taken, the old one stays: {problem}", problem=problem)
    await service.reload(settings)
