"""A camera handed over and back by the whole service: real sockets, an embedded database, a simulated worker."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor

from tests.fleet.zmc.fake_zmdc import Keeper, Server
from tests.service_case import Installation
from tests.waiting import until
from zmtwist.config.model import Config, LegacyConfig
from zmtwist.config.settings import settle
from zmtwist.config.toml import parse
from zmtwist.daemon.disabled import Disabled, left_behind
from zmtwist.fleet.process.lockfile import LockFile, check_service_lock
from zmtwist.fleet.process.state import State
from zmtwist.notifications import EventClosed, EventOpened
from zmtwist.service import ZmNext

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


def config(zm: Installation, zmdc: Server) -> Config:
    text = zm.config().replace('monitors = "all"', "")
    return parse(text.replace('control = "none"', f'control = "zmdc"\nsocket = "{zmdc.path}"\nset_none = true'))


def service(zm: Installation, zmdc: Server) -> ZmNext:
    made = ZmNext(reactor, settle(config(zm, zmdc), {}), announce=zm.told.append)
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


@pytest_twisted.ensureDeferred
async def test_switched_off_what_an_earlier_run_left_is_undone_once(zm: Installation, zmdc: Server) -> None:
    """We end without a word while a worker records; then somebody sets `enabled = false` and starts again."""
    first = service(zm, zmdc)
    await until(live(first))
    assert first.fleet is not None
    [worker] = first.fleet.status()
    await until(lambda: zm.told_of(EventOpened))
    await first.fleet.leave()
    await first.stopService()
    assert zm.events()[0]["EndDateTime"] is None

    enabled = config(zm, zmdc)
    off = attrs.evolve(enabled, zmnext=attrs.evolve(enabled.zmnext, enabled=False))
    assert left_behind(off)
    winding_down = ZmNext(reactor, settle(off, {}), announce=zm.told.append)
    disabled = Disabled(reactor, "zmnext.toml", winding_down)
    disabled.startService()
    try:
        assert "giving cameras back" in disabled.standing().text
        await until(lambda: "nothing is started" in disabled.standing().text)
        assert not Path(f"/proc/{worker.pid}").exists()
        assert sorted(zmdc.keeper.running) == ["zmc -m 1", "zmc -m 2"]
        assert zm.execute(FLAG) == [("Record",)]
        await until(lambda: not left_behind(off))
        assert [event["EndDateTime"] is not None for event in zm.events()] == [True]
        check_service_lock(str(zm.directory / "run"))
        asked = len(zmdc.keeper.requests)
    finally:
        await disabled.stopService()
    assert len(zmdc.keeper.requests) == asked


def test_whether_anything_is_left(zm: Installation, zmdc: Server) -> None:
    """Traces of the dead are nothing; what was taken is something only as long as it may be given back."""
    off = config(zm, zmdc)
    assert not left_behind(off)
    (zm.directory / "run" / "worker_1.lock").touch()
    assert not left_behind(off)
    with LockFile.take(str(zm.directory / "run" / "infer.lock")):
        assert left_behind(off)
    (zm.directory / "state" / "legacy.json").write_text('{"monitors":{"1":{}}}')
    assert left_behind(off)
    assert not left_behind(attrs.evolve(off, legacy=LegacyConfig(control="none")))
    (zm.directory / "state" / "legacy.json").write_text("{")
    assert left_behind(off)
