"""The database goes away under load, and the service is killed in the middle of it: nothing heard is lost, and nothing doubled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.endurance.host import Host
from tests.endurance.outage import crash, hang, outage
from tests.mariadb import Server
from tests.waiting import Deadline
from zmtwist.changes import ClipSaved

MOMENT = 1.5
"""Seconds within which the spool has what was heard: it is written every half second."""


@pytest.fixture
def host(mariadb: Server) -> Iterator[Host]:
    made = Host(mariadb)
    yield made
    made.remove()


@pytest.mark.parametrize(("go", "seconds"), [(hang, 4), (crash, 10)])
def test_an_outage_under_load_loses_nothing(
    host: Host, go: Callable[[Server], Callable[[], None]], seconds: float
) -> None:
    outage(host, go, seconds)


def test_a_kill_in_an_outage_loses_nothing(host: Host) -> None:
    service = host.start('"all"')
    host.heard(ClipSaved, 2)
    back = hang(host.server)  # what it was about to commit may be committed yet, long after we are dead
    try:
        host.until(lambda: "goes to the spool" in host.log, "the spool")
        host.heard(ClipSaved, 3)
        heard, moment = time.time(), Deadline(MOMENT)
        host.until(lambda: moment.over, "what was heard is in the spool")
        service.kill()
        service.wait()
        host.end_workers()
    finally:
        back()
    service = host.start("[]")
    host.until(lambda: "the spool is empty" in host.log, "the backlog gone")
    service.terminate()
    assert service.wait(40) == 0
    host.check(until=heard)
    assert sum(at < heard and isinstance(c, ClipSaved) for at, _, c in host.journal) > 2
