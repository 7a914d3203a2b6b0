"""Connections that break at every point, servers that die, commits whose answers are lost: all is written once."""

from __future__ import annotations

import contextlib
import random
import signal
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from tests.zm.proxy import FaultyProxy
from tests.zm.site import SECOND, TestSite, alarms, at, closing, opening
from tests.zm.write.test_mistakes import assert_counts_are_right
from zmtwist.changes import Tally, UpdateEvent
from zmtwist.config.database_url import parse_url
from zmtwist.zm.db.connector import MysqlConnector
from zmtwist.zm.db.dialect import Sql
from zmtwist.zm.db.errors import Retryable, Unsure
from zmtwist.zm.write.store import EventStore

COMMIT = b"\x03COMMIT"


@pytest_twisted.async_yield_fixture
async def proxied(mysite: TestSite, tmp_path: Any) -> Any:
    """The site with a store whose connections go through a proxy, and time out soon."""
    proxy = FaultyProxy(mysite.reactor, mysite.server.socket, tmp_path / "proxy")
    await proxy.start()
    url = mysite.url.replace(str(mysite.server.socket), str(proxy.path))
    database = mysite.new_database(url, connector=MysqlConnector(parse_url(url), statement_seconds=0.3))
    mysite.proxy, mysite.through = proxy, database
    mysite.store = EventStore(database, zone=mysite.zone)
    await database.schema()
    yield mysite
    await database.stopService()
    await proxy.stop()


async def surely(site: Any, *changes: Any, places: Any = None) -> Any:
    """What the writer does: try again what was not written, and ask first where that is not known."""
    before = dict(places or {})
    for _ in range(20):
        try:
            return {**before, **await site.store.commit(changes, before, site.monitors)}
        except Unsure as unsure:
            if await is_landed(site, unsure):
                return {**before, **unsure.places}
        except Retryable:
            pass
    raise AssertionError("tried 20 times")


async def is_landed(site: Any, unsure: Unsure) -> bool:
    for _ in range(20):
        try:
            return await site.store.landed(unsure)
        except Retryable:
            pass
    raise AssertionError("asked 20 times")


@pytest.mark.parametrize(("how", "landed"), [("after", True), ("before", False), ("silent", False)])
@pytest_twisted.ensureDeferred
async def test_a_commit_whose_answer_is_lost_is_found_out_about(proxied, how, landed):
    known = await proxied.write(opening(handle="z", token=None))
    batches = [
        [opening(token=None)],
        [opening(token=None), *alarms("a", [5])],
        [*alarms("z", [7, 8])],
        [*alarms("z", [9]), closing("z")],
    ]
    for batch in batches:
        proxied.proxy.arm(how, match=COMMIT)
        with pytest.raises(Unsure) as failed:
            await proxied.store.commit(batch, known, proxied.monitors)
        assert await is_landed(proxied, failed.value) is landed
        places = {**known, **(failed.value.places if landed else await proxied.write(*batch, places=known))}
        assert len(proxied.frames(places[batch[0].handle].event_id)) >= 1
    assert [f["FrameId"] for f in proxied.frames(known["z"].event_id)] == [1, 7, 8, 9, 100]
    assert len(proxied.rows("Events")) == 3
    assert_counts_are_right(proxied)


@pytest_twisted.ensureDeferred
async def test_a_storage_grows_by_a_batch_that_landed_unheard(proxied):
    known = await proxied.write(opening(token=None))
    proxied.proxy.arm("after", match=COMMIT)
    await surely(proxied, closing(disk_bytes=700), places=known)
    await proxied.until(lambda: proxied.rows("Storage")[0]["DiskSpace"] == 700)
    proxied.proxy.arm("after", match=COMMIT)
    await surely(proxied, UpdateEvent(handle="a", disk_bytes=900), places=known)
    await proxied.until(lambda: proxied.rows("Storage")[0]["DiskSpace"] == 900)


@pytest_twisted.ensureDeferred
async def test_what_leaves_no_witness_may_be_written_twice(proxied):
    known = await proxied.write(opening(token=None))
    update = UpdateEvent(handle="a", length_us=SECOND, frames=11, note="a person")
    proxied.proxy.arm("after", match=COMMIT)
    with pytest.raises(Unsure) as failed:
        await proxied.store.commit([update], known, {})
    assert await proxied.store.landed(failed.value) is False
    await proxied.write(update, places=known)
    event = proxied.event(known["a"].event_id)
    assert (event["Notes"], event["Frames"], event["Length"]) == ("a person", 11, 1.0)


@pytest_twisted.ensureDeferred
async def test_an_id_that_another_event_got_is_no_witness(proxied):
    proxied.proxy.arm("before", match=COMMIT)
    with pytest.raises(Unsure) as failed:
        await proxied.store.commit([opening(token=None)], {}, proxied.monitors)
    lost = failed.value.written.witness.event_id
    proxied.run(
        "INSERT INTO Events (Id, MonitorId, Name, Cause, StartDateTime, StateId) VALUES (%s, 1, 'x', '', '2001-01-01 00:00:00', 0)",
        lost,
    )
    assert await is_landed(proxied, failed.value) is False


@pytest_twisted.ensureDeferred
async def test_two_hundred_rounds_of_faults_at_random_points(proxied):
    """Each round closes the event before and opens the next; the line breaks at one of the commands on the way, or at none."""
    if proxied.flavour == "zm136":
        rounds, dice = 100, random.Random(136)
    else:
        rounds, dice = 100, random.Random(138)
    places: dict[str, Any] = {}
    hits = 0
    for number in range(rounds):
        how = dice.choice(("before", "after"))
        if dice.random() < 0.4:
            proxied.proxy.arm(how, match=COMMIT)
        else:
            proxied.proxy.arm(how, nth=dice.randrange(8))
        handle, last = f"h{number}", f"h{number - 1}"
        changes = [
            opening(
                handle=handle,
                monitor_id=number % 2 + 1,
                token=None,
                start_us=at("2026-03-01 12:00:00") + number * SECOND,
            )
        ]
        if number:
            changes += [
                *alarms(last, [20, 30]),
                UpdateEvent(handle=last, note=f"note {number}"),
                closing(last, tally=Tally(3, 150, 50, 10), disk_bytes=number),
            ]
        places = await surely(proxied, *changes, *alarms(handle, [10]), places=places)
        hits += proxied.proxy.hit
    assert hits > rounds / 2
    events = proxied.rows("Events")
    assert len(events) == rounds
    for number in range(rounds - 1):
        place = places[f"h{number}"]
        event = proxied.event(place.event_id)
        assert (event["DiskSpace"], event["Notes"]) == (number + 1, f"note {number + 1}")
        assert [f["FrameId"] for f in proxied.frames(place.event_id)] == [1, 10, 20, 30, 100]
    assert_counts_are_right(proxied)


@pytest_twisted.ensureDeferred
async def test_two_writers_and_a_deleter_on_the_same_monitors(mysite):
    """They get in each other's way; nothing is lost, and the counts are right in the end."""
    stores = [EventStore(mysite.new_database(), zone=mysite.zone) for _ in range(2)]

    async def write(number: int) -> None:
        mine = Bare(stores[number], mysite.monitors)
        places: dict[str, Any] = {}
        for turn in range(20):
            handles = [f"{number}.{turn}.{n}" for n in range(4)]
            opened = [opening(handle=h, monitor_id=n % 2 + 1, token=None) for n, h in enumerate(handles)]
            ending = [closing(h, disk_bytes=100 + turn) for h in places]
            places = await surely(mine, *reversed(ending), *opened, places=places)
            places = {h: places[h] for h in handles}

    async def delete() -> None:
        for _ in range(30):
            await deferLater(mysite.reactor, 0.01)
            with contextlib.suppress(Retryable):
                await deleting.interact(delete_one)

    def delete_one(sql: Sql) -> None:
        found = sql.one("SELECT Id FROM Events WHERE EndDateTime IS NOT NULL ORDER BY Id LIMIT 1")
        if found is not None:
            sql.run("DELETE FROM Frames WHERE EventId = %s", found[0])
            sql.run("DELETE FROM Events WHERE Id = %s", found[0])

    deleting = mysite.new_database()
    await gatherResults([Deferred.fromCoroutine(part) for part in (write(0), write(1), delete())], consumeErrors=True)
    for database in (*(store._database for store in stores), deleting):
        await database.stopService()
    still_open = mysite.rows("Events", "EndDateTime IS NULL")
    assert len(still_open) == 2 * 4
    assert_counts_are_right(mysite)


@attrs.define
class Bare:
    """Just a store, for `surely`."""

    store: EventStore
    monitors: Any


@pytest_twisted.ensureDeferred
async def test_our_connection_killed_at_every_statement(mysite, monkeypatch):
    monkeypatch.setattr("zmtwist.zm.db.dialect.PACKET", 1)  # each statement goes by itself
    places = await mysite.write(opening(token=None), opening(handle="b", monitor_id=2, token=None))
    batch = [
        opening(handle="c", token=None),
        *alarms("a", [5, 6]),
        closing("a"),
        *alarms("b", [7]),
        closing("b", settle=True, frames=50),
    ]
    killer = mysite.another()
    left = [0]

    def killing(run: Any) -> Any:
        def killed(self: Sql, *args: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                (me,) = (self._cursor.connection.thread_id(),)
                killer.cursor().execute(f"KILL CONNECTION {me}")
            return run(self, *args)

        return killed

    for name in ("run", "rows", "_run_joined"):
        monkeypatch.setattr(Sql, name, killing(getattr(Sql, name)))
    at_statement = 0
    while True:
        at_statement += 1
        left[0] = at_statement
        try:
            await mysite.store.commit(batch, places, mysite.monitors)
            break
        except Retryable as error:
            assert left[0] <= 0, error
    assert at_statement > 8
    assert len(mysite.rows("Events")) == 3
    assert [f["FrameId"] for f in mysite.frames(places["a"].event_id)] == [1, 5, 6, 100]
    assert [f["FrameId"] for f in mysite.frames(places["b"].event_id)] == [1, 4, 50]
    assert_counts_are_right(mysite)


@pytest_twisted.ensureDeferred
async def test_a_server_that_is_killed_in_the_middle_of_a_batch(mysite):
    places = await mysite.write(opening(token=None))
    blocker = mysite.another()
    blocker.cursor().execute("BEGIN")
    blocker.cursor().execute(f"UPDATE Events SET Notes = 'x' WHERE Id = {places['a'].event_id}")
    trying = mysite.store.commit([*alarms("a", [5]), closing()], places, {})
    mysite.server.stop(signal.SIGKILL)
    try:
        with pytest.raises(Retryable):
            await trying
        with pytest.raises(Retryable) as refused:
            await mysite.store.commit([*alarms("a", [5]), closing()], places, {})
        assert refused.value.code in (2003, 2006, 2013)
    finally:
        mysite.server.start()
    await surely(mysite, *alarms("a", [5]), closing(), places=places)
    mysite._raw = mysite.server.connect(mysite.flavour)
    assert [f["FrameId"] for f in mysite.frames(places["a"].event_id)] == [1, 5, 100]
    assert_counts_are_right(mysite)
