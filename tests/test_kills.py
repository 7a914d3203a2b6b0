"""`make endure` in short: the service is killed a few times under load, the same moments each time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.endurance.host import Host
from tests.endurance.kills import TUNING, kill_again_and_again
from tests.mariadb import Server

KILLS, SEED = 2, 20


@pytest.fixture
def host(mariadb: Server) -> Iterator[Host]:
    made = Host(mariadb, cameras=8, tuning=TUNING, noting=True)
    yield made
    made.remove()


def test_rows_and_clips_fit_after_kills_at_any_moment(host: Host) -> None:
    kill_again_and_again(host, KILLS, SEED)
    assert {monitor_id for monitor_id, *_ in host.noted} == set(range(1, 9))
