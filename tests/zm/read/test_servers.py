"""Which server of several this host is, where zm.conf tells its name and not its number."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet import reactor

from tests.service_case import Installation
from tests.waiting import until
from zmtwist.config.settings import parse, settle
from zmtwist.config.site import Site
from zmtwist.ops.cli.doctor_database import look_at_database
from zmtwist.service import ZmNext
from zmtwist.zm.db.errors import UnknownServer
from zmtwist.zm.read.catalog import Catalog


@pytest_twisted.ensureDeferred
async def test_a_server_takes_its_own_monitors_by_its_name(site):
    site.run("DELETE FROM Servers")
    site.run("INSERT INTO Servers (Id, Name) VALUES (4, 'north')")
    site.run("UPDATE Monitors SET ServerId = 4 WHERE Id = 1")
    try:
        north = Catalog(site.database, Site(server_name="north"))
        assert [monitor.id for monitor in await north.monitors()] == [1]
        assert north.server_id == 4
        everyone = Catalog(site.database, Site())
        assert [monitor.id for monitor in await everyone.monitors()] == [1, 2]
        assert everyone.server_id is None
        by_number = Catalog(site.database, Site(server_id=5, server_name="north"))
        assert [monitor.id for monitor in await by_number.monitors()] == []
        with pytest.raises(UnknownServer, match="no server named 'south' in table Servers: correct ZM_SERVER_NAME"):
            await Catalog(site.database, Site(server_name="south")).monitors()
    finally:
        site.run("DELETE FROM Servers")


@pytest_twisted.ensureDeferred
async def test_a_service_whose_name_is_unknown_takes_no_camera_until_it_is_known(tmp_path):
    zm = Installation.make(tmp_path)
    zm.monitor(1, ServerId=1)
    zm.monitor(2, ServerId=2)
    settings = settle(parse(zm.config()), {"ZM_SERVER_HOST": "north"})
    service = ZmNext(reactor, settings)
    service.startService()
    try:
        await until(lambda: service.waiting_for)
        assert service.waiting_for.startswith("no server named 'north' in table Servers")
        assert service.fleet is None
        assert doctor(settings)[-1] == ("server", service.waiting_for)
        zm.execute("INSERT INTO Servers (Id, Name) VALUES (2, 'north')")
        await until(lambda: service.fleet is not None and service.fleet.status())
        assert service.waiting_for is None
        assert [told.monitor_id for told in service.fleet.status()] == [2]
        assert ("monitors", "1 of 1 are to run on zm-next") in doctor(settings)
    finally:
        await service.stopService()


@pytest_twisted.ensureDeferred
async def test_a_service_whose_name_never_becomes_known_can_be_stopped(tmp_path):
    zm = Installation.make(tmp_path)
    zm.monitor(1)
    service = ZmNext(reactor, settle(parse(zm.config()), {"ZM_SERVER_NAME": "north"}))
    service.startService()
    await until(lambda: service.waiting_for)
    await service.stopService()
    assert zm.events() == []


def doctor(settings):
    findings = []
    look_at_database(settings, findings)
    return [(finding.what, finding.found) for finding in findings]
