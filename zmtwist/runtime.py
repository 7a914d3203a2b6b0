"""What the service reaches the world outside through: threads, the database, processes, workers' sockets, chance.

The defaults are the real things. The deterministic simulation (`tests/simulation`) puts doubles in their places and runs the rest as it is.
"""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred

from zmtwist.fleet.process.instance import MakeLink
from zmtwist.fleet.process.procfs import Linux, Processes
from zmtwist.ops.service import Operators
from zmtwist.reactor.thread_pool import Disk
from zmtwist.wire.link import WorkerLink
from zmtwist.wire.read_budget import Turns
from zmtwist.zm.db.pool import Database


class Api(Protocol):
    """What the service asks of its API, and of all else that its operators meet."""

    def startService(self) -> None:
        """Listen."""

    def stopService(self) -> Deferred[None]:
        """Listen no more and end all connections."""

    def announce(self, happening: object) -> None:
        """Tell those who listen what has happened."""


def real_links(reactor: Any) -> MakeLink:
    """Links to workers, which share the turns of the reactor."""
    return partial(WorkerLink, turns=Turns(reactor))


@attrs.frozen
class Outside:
    """`database(reactor, url)` and `disk(reactor, threads)` make the services that block on threads of their own, `api(reactor, settings,
    service, wall=...)` the API; `links(reactor)` what makes links to workers; `kill_group` signals a process group; `jitter` gives numbers
    evenly spread over 0 to 1; `mark` a short text that is new each time, to tell runs of the service apart."""

    database: Callable[..., Database] = Database
    disk: Callable[[Any, int], Disk] = Disk
    api: Callable[..., Api] = Operators
    processes: Callable[[Any], Processes] = Linux
    links: Callable[[Any], MakeLink] = real_links
    kill_group: Callable[[int, int], None] = os.killpg
    jitter: Callable[[], float] = random.random
    mark: Callable[[], str] = lambda: secrets.token_hex(2)
