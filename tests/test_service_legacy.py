"""A camera handed over and back by the whole service: real sockets, an embedded database, a simulated worker."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor

from tests.fleet.fake_zmdc import Keeper, Server
from tests.service_case import Installation, until
from zmtwist.configfile import parse
from zmtwist.fleet.status import State
from zmtwist.happenings import EventClosed, EventOpened
from zmtwist.service import ZmNext
from zmtwist.settings import settle

FLAG = "SELECT Function FROM Monitors WHERE Id = 1"


@pytest.fixture
def zm(tmp_path: Path) -> Installation:
    made = Installation.make(tmp_path)
    made.monitor(1, "Record", UseZmNext=1)
    return made


@pytest.fixture
def zmdc(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "zmdc.sock", Keeper(lingers=2))
    server.keeper.run("zmc -m 1")
    server.keeper.run("zmc -m 2")
    server.start()
    yield server
    server.end()


def service(zm: Installation, zmdc: Server) -> ZmNext:
    text = zm.config().replace('monitors = "all"', "")
    text = text.replace('control = "none"', f'control = "zmdc"\nsocket = "{zmdc.path}"\nset_none = true')
    made = ZmNext(reactor, settle(parse(text), {}), announce=zm.told.append)
    made.startService()
    return made


def live(service: ZmNext) -> Callable[[], bool]:
    return lambda: service.fleet is not None and [w.state for w in service.fleet.status()] == [State.LIVE]


@pytest_twisted.ensureDeferred
async def test_flag_on_zmc_gone_and_the_worker_live_flag_off_and_back(zm: Installation, zmdc: Server) -> None:
    running = service(zm, zmdc)
    try:
        await until(live(running))
        assert running.fleet is not None
        assert list(zmdc.keeper.running) == ["zmc -m 2"]
        assert zm.execute(FLAG) == [("None",)]
        assert json.loads((zm.directory / "state" / "legacy.json").read_text())["monitors"] == {
            "1": {"column": "Function", "previous": "Record"}
        }
        await until(lambda: zm.told_of(EventOpened))
        zm.execute("UPDATE Monitors SET UseZmNext = 0")
        running.fleet.reconcile()
        await until(lambda: "zmc -m 1" in zmdc.keeper.running)
        assert running.fleet.status() == ()
        assert zm.execute(FLAG) == [("Record",)]
        await until(lambda: zm.told_of(EventClosed))
    finally:
        await running.stopService()


@pytest_twisted.ensureDeferred
async def test_a_plain_stop_of_the_service_is_no_return(zm: Installation, zmdc: Server) -> None:
    for _ in range(2):
        running = service(zm, zmdc)
        try:
            await until(live(running))
        finally:
            await running.stopService()
        assert zm.execute(FLAG) == [("None",)]
        assert zmdc.keeper.commands == ["stop;zmc;-m;1"]
