"""Reading monitors, zones and storages."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.logger import capturedLogs
from zope.interface.verify import verifyObject

from zmtwist.config.site import Site
from zmtwist.interfaces import ICatalog
from zmtwist.pipeline.monitor import Storage
from zmtwist.zm.db.dialect import Sql
from zmtwist.zm.read.catalog import Catalog, choose_storage


@pytest_twisted.ensureDeferred
async def test_a_monitor_with_its_zones_and_its_storage(site):
    site.run(
        "UPDATE Monitors SET Function = 'Modect', Path = 'rtsp://u:p@cam/1', User = 'admin', Pass = 'hush', Orientation = 'ROTATE_90', "
        "SectionLength = 300, PreEventCount = 7, PostEventCount = 8, MaxFPS = 12.5, Latitude = 1.5, EventPrefix = 'E-' WHERE Id = 1"
    )
    site.run(
        "INSERT INTO Zones (Id, MonitorId, Name, Type, Units, NumCoords, Coords, MinAlarmPixels, FilterX) "
        "VALUES (11, 1, 'All', 'Active', 'Percent', 3, '0,0 10,0 10,10', 25, 3)"
    )
    site.run("INSERT INTO Zones (Id, MonitorId, Name, Coords) VALUES (12, 1, 'Door', '1,1 2,2 3,1')")
    assert verifyObject(ICatalog, site.catalog)
    one, two = await site.catalog.monitors()
    assert (one.id, one.name, one.function, one.path, one.user, one.password) == (
        1,
        "Front",
        "Modect",
        "rtsp://u:p@cam/1",
        "admin",
        "hush",
    )
    assert (one.orientation, one.display_size) == ("ROTATE_90", (360, 640))
    assert (one.section_length, one.pre_event_count, one.post_event_count, one.max_fps) == (300, 7, 8, 12.5)
    assert (float(one.latitude), one.event_prefix, one.enabled, one.deleted) == (1.5, "E-", True, False)
    assert one.storage == Storage(id=3, path="/srv/zm", scheme="Medium", name="main")
    assert [(z.id, z.name, z.units, z.min_alarm_pixels, z.filter_x) for z in one.zones] == [
        (11, "All", "Percent", 25.0, 3),
        (12, "Door", "Pixels", None, None),
    ]
    assert two.zones == ()
    assert (one.use_zm_next, one.capturing) == {
        "zm136": (None, None),
        "zm138": (False, "Always"),
        "sqlite": (False, None),
    }[site.flavour]
    for secret in ("hush", "u:p@cam", "admin"):
        assert secret not in repr(one)


@pytest_twisted.ensureDeferred
async def test_deleted_monitors_are_flagged_and_other_servers_left_out(site):
    if site.flavour != "zm136":
        site.run("UPDATE Monitors SET Deleted = 1 WHERE Id = 2")
        assert [(m.id, m.deleted) for m in await site.catalog.monitors()] == [(1, False), (2, True)]
    site.run("UPDATE Monitors SET ServerId = 4 WHERE Id = 1")
    assert [m.id for m in await site.catalog.monitors()] == [1, 2]
    assert [m.id for m in await Catalog(site.database, Site(server_id=4)).monitors()] == [1]
    assert [m.id for m in await Catalog(site.database, Site(server_id=5)).monitors()] == []


@pytest_twisted.ensureDeferred
async def test_the_number_of_queries_does_not_grow(site, monkeypatch):
    seen: list[str] = []
    rows = Sql.rows
    monkeypatch.setattr(
        Sql, "rows", lambda self, statement, *args: seen.append(statement) or rows(self, statement, *args)
    )
    await site.catalog.monitors()
    few = len(seen)
    for number in range(10, 60):
        site.run("INSERT INTO Monitors (Id, Name) VALUES (%s, 'm')", number)
        site.run("INSERT INTO Zones (MonitorId, Name, Coords) VALUES (%s, 'z', '')", number)
    del seen[:]
    assert len(await site.catalog.monitors()) == 52
    assert len(seen) == few <= 5


@pytest_twisted.ensureDeferred
async def test_a_row_that_makes_no_sense_is_reported_and_skipped(tmp_path):
    """SQLite keeps whatever it is given; MariaDB's columns do not."""
    from twisted.internet import reactor

    from tests.zm.site import TestSite

    site = TestSite(reactor, "sqlite", None, tmp_path)
    await site.begin()
    site.run("INSERT INTO Monitors (Id, Name, Width, Pass) VALUES (5, 'bad', 'wide', 'hush')")
    site.run("INSERT INTO Monitors (Id, Name, Orientation) VALUES (6, 'bad', 'SIDEWAYS')")
    site.run("INSERT INTO Monitors (Id, Name, Height) VALUES (7, 'bad', -3)")
    site.run("INSERT INTO Monitors (Id, Name) VALUES (8, 'bad zone')")
    site.run("INSERT INTO Zones (Id, MonitorId, Name, Coords, FilterX) VALUES (80, 8, 'z', '', 'many')")
    site.run("INSERT INTO Storage (Id, Path) VALUES (9, '')")
    site.run("INSERT INTO Monitors (Id, Name, StorageId) VALUES (10, 'good', 9)")
    with capturedLogs() as logged:
        monitors = await site.catalog.monitors()
        await site.catalog.monitors()
    assert [m.id for m in monitors] == [1, 2, 10]
    assert monitors[2].storage.id == 0
    assert site.catalog.unreadable == {
        5: "Width makes no sense",
        6: "Orientation makes no sense",
        7: "Height makes no sense",
        8: "zone 80: FilterX makes no sense",
    }
    assert sorted(event["monitor_id"] for event in logged if "monitor_id" in event) == [
        5,
        6,
        7,
        8,
    ]  # told once, not each time
    assert "hush" not in repr(logged)
    await site.end()


@pytest_twisted.ensureDeferred
async def test_configuration_values_come_along(site):
    await site.catalog.monitors()
    values = site.catalog.values
    assert (values.bulk_frame_interval, values.image_digits, values.timezone) == (100, 5, "")
    before = site.query("SELECT Value FROM Config WHERE Name = 'ZM_BULK_FRAME_INTERVAL'")[0][0]
    for given, expected in (("0", 0), ("25", 25), ("often", 100), ("9" * 5000, 100)):
        site.run("UPDATE Config SET Value = %s WHERE Name = 'ZM_BULK_FRAME_INTERVAL'", given)
        await site.catalog.monitors()
        assert site.catalog.values.bulk_frame_interval == expected
    site.run("UPDATE Config SET Value = %s WHERE Name = 'ZM_BULK_FRAME_INTERVAL'", before)


@pytest_twisted.ensureDeferred
async def test_stored_graphs_come_along_where_there_are_any(mysite):
    if mysite.flavour == "zm138":
        mysite.run("INSERT INTO monitor_pipeline VALUES (2, '{\"plugins\": []}')")
    one, two = await mysite.catalog.monitors()
    assert one.graph_json is None
    assert two.graph_json == (None if mysite.flavour == "zm136" else '{"plugins": []}')


OWN, OTHER = Storage(id=3, path="/a"), Storage(id=4, path="/b", scheme="Deep")


@pytest.mark.parametrize(
    ("storage_id", "default", "expected"),
    [(3, 4, OWN), (0, 4, OTHER), (None, 4, OTHER), (99, 4, OTHER), (99, None, None), (0, 99, None)],
)
def test_the_storage_is_the_monitors_else_the_default_else_the_events_directory(storage_id, default, expected):
    chosen = choose_storage(
        storage_id, {3: OWN, 4: OTHER}, Site(default_storage_id=default, events_dir="events", web_dir="/www")
    )
    assert chosen == (expected or Storage(id=0, path="/www/events", scheme="Medium", name="ZM_DIR_EVENTS"))


@pytest_twisted.ensureDeferred
async def test_relative_storages_are_taken_from_the_web_directory(site):
    site.run("UPDATE Storage SET Path = 'events/' WHERE Id = 3")
    (one, _) = await Catalog(site.database, Site(web_dir="/www")).monitors()
    assert one.storage.path == "/www/events"
