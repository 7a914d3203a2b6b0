"""What is locked, and in which order: transactions of ZoneMinder's own, and its triggers, take the same rows."""

from __future__ import annotations

import re
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.zm.site import SECOND, alarms, at, closing, opening
from zmtwist.changes import UpdateEvent
from zmtwist.zm.db.dialect import Sql
from zmtwist.zm.db.errors import Unsure
from zmtwist.zm.write.batch import Batch, write
from zmtwist.zm.write.batch_result import Witness, Written


class Noted(Sql):
    """Notes every statement."""

    def __init__(self, sql: Sql) -> None:
        super().__init__(sql._cursor, sql.dialect)
        self.statements: list[str] = []

    def run(self, statement: str, *args: Any) -> int:
        self.statements.append(statement)
        return super().run(statement, *args)

    def run_all(self, statements: Any) -> list[int]:
        given = list(statements)
        self.statements += [statement for statement, _ in given]
        return super().run_all(given)

    def rows(self, statement: str, *args: Any) -> Any:
        self.statements.append(statement)
        return super().rows(statement, *args)


async def noted(site, changes, places) -> list[str]:
    """The statements by which these changes are written."""
    schema = await site.database.schema()

    def written(sql: Sql) -> list[str]:
        noting = Noted(sql)
        write(noting, schema, Batch(changes, places, site.monitors, site.zone))
        return noting.statements

    return await site.database.interact(written)


def locks(statements: list[str]) -> list[str]:
    """The tables that are locked, each with the column by which its rows are taken in order."""
    found = (re.match(r".* FROM (\w+) .* ORDER BY (?:e\.)?(\w+) FOR UPDATE$", statement) for statement in statements)
    return [f"{one[1]} {one[2]}" for one in found if one]


def is_write(statement: str) -> bool:
    return statement.startswith(("UPDATE", "INSERT", "DELETE", "SET"))


@pytest_twisted.ensureDeferred
async def test_events_are_locked_first_then_counts_table_by_table_and_only_then_is_anything_written(mysite):
    places = await mysite.write(opening(handle="a"), opening(handle="b", monitor_id=2))
    statements = await noted(
        mysite, [closing("b"), closing("a"), opening(handle="c", start_us=at("2026-03-01 12:00:20"))], places
    )
    schema = await mysite.database.schema()
    expected = ["Events Id", *(["Storage Id"] if schema.storage_by_trigger else [])]
    assert len(schema.buckets) >= 4
    expected += [*(f"{table} EventId" for table in schema.buckets), "Event_Summaries MonitorId"]
    assert locks(statements) == expected
    first = next(i for i, statement in enumerate(statements) if is_write(statement))
    assert locks(statements[first:]) == []


@pytest_twisted.ensureDeferred
async def test_one_event_alone_is_locked_and_its_counts_are_left_to_the_triggers(mysite):
    places = await mysite.write(opening(handle="a"))
    assert locks(await noted(mysite, [closing("a")], places)) == ["Events Id"]


@pytest_twisted.ensureDeferred
async def test_no_reader_sees_a_frame_above_its_events_count(site):
    places = await site.write(opening(handle="a"))
    statements = await noted(site, [*alarms("a", [5, 9]), UpdateEvent(handle="a", frames=20)], places)
    raised = next(i for i, s in enumerate(statements) if s.startswith("UPDATE Events SET") and "Frames = " in s)
    assert raised < next(i for i, s in enumerate(statements) if s.startswith("INSERT INTO Frames"))


async def waiting(site) -> None:
    """Until some transaction waits for a lock."""
    for _ in range(200):
        await deferLater(site.reactor, 0.15)  # the server looks anew only if nobody asked for a tenth of a second
        if site.query("SELECT 1 FROM information_schema.INNODB_TRX WHERE trx_state = 'LOCK WAIT'"):
            return
    raise AssertionError("nobody waits for a lock")


@pytest.mark.parametrize("ends", ["commit", "rollback"])
@pytest_twisted.ensureDeferred
async def test_whether_a_lost_commit_landed_is_told_once_its_transaction_has_ended(mysite, ends):
    """The server may still be about to carry it out, long after the line was lost."""
    other = mysite.another()
    other.begin()
    with other.cursor() as cursor:
        cursor.execute("SET FOREIGN_KEY_CHECKS = 0")
        cursor.execute(
            "INSERT INTO Events (MonitorId, StorageId, StateId, Name, Cause, StartDateTime, DefaultVideo, SaveJPEGs, Orientation, "
            "Scheme, Notes) VALUES (1, 3, 7, 'New Event', 'Motion', '2026-03-01 12:00:00', '', 0, 'ROTATE_0', 'Medium', '')"
        )
        event_id = cursor.lastrowid
    start = at("2026-03-01 12:00:00")
    witness = Witness("opened", event_id, 1, mysite_start(mysite, start))
    asked: Deferred[bool] = mysite.store.landed(Unsure("lost", None, Written(places={}, witness=witness)))
    await waiting(mysite)
    assert not asked.called
    getattr(other, ends)()
    assert await asked == (ends == "commit")


def mysite_start(site, start_us: int) -> Any:
    """What StartDateTime says of it."""
    from zmtwist.zm.event_times import local_time

    return local_time(start_us // SECOND * SECOND, site.zone)


@pytest.mark.parametrize(
    "wrong", [{"monitor_id": 2}, {"start": at("2026-03-01 12:00:01")}, {"event_id": 1_000_000}], ids=str
)
@pytest_twisted.ensureDeferred
async def test_an_id_that_was_given_out_again_is_not_ones_own(site, wrong):
    """By a server that restarted before it kept count of them on disk, or by a replica that lost the last commits."""
    (place,) = (await site.write(opening(handle="a"))).values()
    given = {"event_id": place.event_id, "monitor_id": 1, "start": place.start, **wrong}
    if isinstance(given["start"], int):
        given["start"] = mysite_start(site, given["start"])

    def unsure(**fields: Any) -> Unsure:
        return Unsure("lost", None, Written(places={}, witness=Witness("opened", **fields)))

    assert await site.store.landed(unsure(**given)) is False
    assert await site.store.landed(unsure(event_id=place.event_id, monitor_id=1, start=place.start)) is True
