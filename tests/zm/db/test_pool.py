"""The database as a service: errors in our terms, dead connections, stopping."""

from __future__ import annotations

import signal
import socket
import sqlite3
import time
from typing import Any

import pymysql
import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, DeferredList, gatherResults

from tests.mariadb import PASSWORD
from tests.waiting import wait_for
from zmtwist.config.database_url import parse_url
from zmtwist.zm.db import pool as pool_module
from zmtwist.zm.db.connector import MysqlConnector, mysql_arguments
from zmtwist.zm.db.dialect import Sql
from zmtwist.zm.db.errors import CommitFailed, CommitLost, OpenFailed, Refused, Retryable, Unusable, translate
from zmtwist.zm.db.pool import Database

URL = parse_url("mysql://zmuser:topsecret@db.example/zm")


def kill(site, number: int) -> None:
    """Kill a connection, and wait until it is: the server does it when it comes to it."""
    site.query(f"KILL CONNECTION {number}")
    alive = "SELECT 1 FROM information_schema.PROCESSLIST WHERE ID = %s"
    wait_for(lambda: not site.query(alive, number), "the connection is killed")


@pytest_twisted.ensureDeferred
async def test_one_interaction_is_one_transaction(site):
    def half(sql: Sql) -> None:
        sql.begin()
        sql.run("UPDATE Monitors SET Name = 'changed'")
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        await site.database.interact(half)
    assert {row["Name"] for row in site.rows("Monitors")} == {"Front", "Back"}
    await site.database.interact(lambda sql: sql.run("UPDATE Monitors SET Name = %s", "changed"))
    assert {row["Name"] for row in site.rows("Monitors")} == {"changed"}


@pytest_twisted.ensureDeferred
async def test_arguments_are_passed_on_and_the_result_comes_back(site):
    found = await site.database.interact(lambda sql, a, *, b: sql.one("SELECT %s, %s", a, b), 1, b="it's")
    assert found == (1, "it's")


@pytest_twisted.ensureDeferred
async def test_a_service_that_does_not_run_says_so(site):
    database = Database(site.reactor, parse_url(site.url))
    with pytest.raises(Retryable, match="not running"):
        await database.interact(lambda sql: None)
    await database.stopService()
    await site.database.stopService()
    with pytest.raises(Retryable, match="not running"):
        await site.database.interact(lambda sql: None)


@pytest_twisted.ensureDeferred
async def test_the_session_is_as_zoneminders_own(mysite):
    row = await mysite.database.interact(
        lambda sql: sql.one(
            "SELECT @@tx_isolation, @@time_zone, @@autocommit, @@character_set_client, @@sql_mode, @@innodb_lock_wait_timeout"
        )
    )
    assert row[:4] == ("READ-COMMITTED", "SYSTEM", 0, "utf8mb4")
    assert "STRICT_TRANS_TABLES" in row[4]
    assert row[5] == 10


@pytest_twisted.ensureDeferred
async def test_an_idle_connection_that_died_is_replaced_unseen(mysite, monkeypatch):
    me = await mysite.database.interact(lambda sql: sql.one("SELECT CONNECTION_ID()")[0])
    monkeypatch.setattr(pool_module, "IDLE_SECONDS", -1.0)
    kill(mysite, me)
    await mysite.until(lambda: not mysite.query("SELECT 1 FROM information_schema.PROCESSLIST WHERE ID = %s", me))
    now = await mysite.database.interact(lambda sql: sql.one("SELECT CONNECTION_ID()")[0])
    assert now != me


@pytest_twisted.ensureDeferred
async def test_a_connection_that_breaks_fails_once_and_is_replaced(mysite):
    me = await mysite.database.interact(lambda sql: sql.one("SELECT CONNECTION_ID()")[0])
    kill(mysite, me)
    with pytest.raises(Retryable):
        await mysite.database.interact(lambda sql: sql.one("SELECT 1"))
    assert await mysite.database.interact(lambda sql: sql.one("SELECT 1")) == (1,)


@pytest_twisted.ensureDeferred
async def test_one_that_breaks_makes_the_others_be_looked_at(mysite):
    """As after a restart of the server: one failure, not one for each thread."""
    mine = "SELECT CONNECTION_ID(), SLEEP(0.2)"
    threads = await gatherResults([mysite.database.interact(lambda sql: sql.one(mine)) for _ in range(3)])
    assert len({number for number, _ in threads}) == 3
    for number, _ in threads:
        kill(mysite, number)
    failures = 0
    for _ in range(3):
        work = DeferredList([mysite.database.interact(lambda sql: sql.one("SELECT 1"))], consumeErrors=True)
        ((good, _result),) = await work
        failures += not good
    again = DeferredList([mysite.database.interact(lambda sql: sql.one(mine)) for _ in range(3)], consumeErrors=True)
    assert failures == 1
    assert all(good for good, _ in await again)


@pytest_twisted.ensureDeferred
async def test_a_lock_that_is_not_given_is_retryable(mysite):
    other = mysite.another()
    other.begin()
    other.cursor().execute("UPDATE Monitors SET Name = 'theirs'")

    def impatient(sql: Sql) -> None:
        sql.run("SET SESSION innodb_lock_wait_timeout = 0")
        sql.run("UPDATE Monitors SET Name = 'ours'")

    with pytest.raises(Retryable) as failed:
        await mysite.database.interact(impatient)
    assert failed.value.code == 1205
    other.close()


@pytest_twisted.ensureDeferred
async def test_a_locked_sqlite_file_is_retryable(tmp_path):
    from twisted.internet import reactor

    database = Database(reactor, parse_url(f"sqlite:///{tmp_path / 'new' / 'zm.db'}"))
    database.startService()
    await database.schema()
    await database.interact(lambda sql: sql.run("PRAGMA busy_timeout = 10"))
    other = sqlite3.connect(tmp_path / "new" / "zm.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Retryable, match="locked") as failed:
        await database.interact(lambda sql: sql.begin())
    assert failed.value.code == "SQLITE_BUSY"
    other.close()
    await database.interact(lambda sql: sql.begin())
    await database.stopService()


@pytest_twisted.ensureDeferred
async def test_no_error_holds_the_password(mysite):
    wrong = mysite.url.replace("s3cret%2Fpass", "wr0ng%2Fpass")
    database = mysite.new_database(wrong)
    texts = []
    with pytest.raises(Retryable) as denied:
        await database.interact(lambda sql: None)
    assert denied.value.code == 1045
    assert "wr0ng" not in repr(denied.value.__dict__)
    texts += [str(denied.value), repr(denied.value)]
    nowhere = mysite.new_database(
        f"mysql://zmuser:wr0ng%2Fpass@localhost/zm?unix_socket={mysite.server.directory}/none"
    )
    with pytest.raises(Retryable) as refused:
        await nowhere.interact(lambda sql: None)
    texts.append(str(refused.value))
    for text in texts:
        assert "zmuser" in text
        assert "wr0ng" not in text
        assert PASSWORD not in text
    await database.stopService()
    await nowhere.stopService()


@pytest_twisted.ensureDeferred
async def test_a_server_that_hangs_can_not_hang_the_stop(mysite):
    database = mysite.new_database(stop_seconds=0.1)
    await database.schema()
    hanging = [database.interact(lambda sql: sql.one("SELECT SLEEP(60)")) for _ in range(3)]
    await mysite.until(
        lambda: (
            len(
                mysite.query(
                    "SELECT 1 FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT SLEEP%%' AND DB = DATABASE()"
                )
            )
            == 3
        )
    )
    mysite.server.signal(signal.SIGSTOP)
    began = time.monotonic()
    try:
        await database.stopService()
    finally:
        mysite.server.signal(signal.SIGCONT)
    assert time.monotonic() - began < 30
    for work in hanging:
        with pytest.raises(Retryable):
            await work


@pytest_twisted.ensureDeferred
async def test_a_server_that_takes_the_call_and_says_nothing_can_not_either(reactor_, tmp_path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "mute"))
    listener.listen()
    database = Database(
        reactor_, parse_url(f"mysql://u:p@localhost/zm?unix_socket={tmp_path / 'mute'}"), stop_seconds=0.1
    )
    database.startService()
    work = database.interact(lambda sql: None)
    accepted, _ = listener.accept()
    began = time.monotonic()
    await database.stopService()
    assert time.monotonic() - began < 30
    with pytest.raises(Retryable):
        await work
    accepted.close()
    listener.close()


@pytest_twisted.ensureDeferred
async def test_what_is_under_way_ends_before_the_stop_does(site):
    slow = (
        "SELECT SLEEP(0.2)"
        if site.server
        else "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 200000) SELECT MAX(x) FROM n"
    )
    work = site.database.interact(
        lambda sql: (sql.begin(), sql.one(slow), sql.run("UPDATE Monitors SET Name = 'done'"))
    )
    await site.database.stopService()
    assert work.called
    assert {row["Name"] for row in site.rows("Monitors")} == {"done"}


@pytest_twisted.ensureDeferred
async def test_cancelling_a_waiter_does_no_harm(site):
    work = site.database.interact(lambda sql: sql.one("SELECT 1"))
    work.cancel()
    with pytest.raises(CancelledError):
        await work
    assert await site.database.interact(lambda sql: sql.one("SELECT 2")) == (2,)


@pytest_twisted.ensureDeferred
async def test_the_schema_is_looked_at_again_after_an_upgrade(site):
    first = await site.database.schema()
    assert await site.database.schema() is first
    site.database.saw_version(first.version)
    assert await site.database.schema() is first
    site.database.saw_version("1.40.0")
    assert await site.database.schema() is not first


@pytest_twisted.ensureDeferred
async def test_the_schema_is_looked_at_again_after_a_statement_that_it_misled(mysite):
    first = await mysite.database.schema()
    with pytest.raises(Retryable) as failed:
        await mysite.database.interact(lambda sql: sql.run("UPDATE Monitors SET Nonsense = 1"))
    assert failed.value.code == 1054
    assert await mysite.database.schema() is not first


@pytest.fixture
def reactor_() -> Any:
    from twisted.internet import reactor

    return reactor


# Errors


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (pymysql.err.OperationalError(1205, "lock wait"), Retryable),
        (pymysql.err.OperationalError(1213, "deadlock"), Retryable),
        (pymysql.err.OperationalError(2006, "gone"), Retryable),
        (pymysql.err.OperationalError(2013, "lost"), Retryable),
        (pymysql.err.InterfaceError(0, ""), Retryable),
        (pymysql.err.OperationalError(1040, "too many"), Retryable),
        (pymysql.err.OperationalError(1053, "shutdown"), Retryable),
        (pymysql.err.InternalError(1114, "table full"), Retryable),
        (pymysql.err.OperationalError(1142, "denied"), Retryable),
        (pymysql.err.OperationalError(1290, "read only"), Retryable),
        (pymysql.err.DataError(1406, "too long"), Refused),
        (pymysql.err.DataError(1264, "range"), Refused),
        (pymysql.err.OperationalError(1366, "bad text"), Refused),
        (pymysql.err.OperationalError(1267, "Illegal mix of collations"), Refused),
        (pymysql.err.OperationalError(1270, "Illegal mix of collations"), Refused),
        (pymysql.err.OperationalError(1271, "Illegal mix of collations"), Refused),
        (pymysql.err.IntegrityError(1452, "no parent"), Refused),
        (pymysql.err.OperationalError(1153, "packet"), Refused),
        (sqlite3.OperationalError("database is locked"), Retryable),
        (sqlite3.OperationalError("database or disk is full"), Retryable),
        (sqlite3.IntegrityError("UNIQUE"), Refused),
        (ConnectionResetError(104, "reset"), Retryable),
        (BrokenPipeError(32, "pipe"), Retryable),
        (OpenFailed(RuntimeError("no such plugin")), Retryable),
        (OpenFailed(sqlite3.DatabaseError("file is not a database")), Retryable),
        (CommitFailed(pymysql.err.OperationalError(2013, "lost"), 5), CommitLost),
        (CommitFailed(pymysql.err.OperationalError(1927, "killed"), 5), CommitLost),
        (CommitFailed(pymysql.err.OperationalError(1213, "deadlock"), 5), Retryable),
        (CommitFailed(sqlite3.OperationalError("database is locked"), 5), Retryable),
    ],
    ids=lambda value: repr(value)[:50] if isinstance(value, Exception) else value.__name__,
)
def test_errors_say_what_to_do_next(error, kind):
    translated = translate(error, URL)
    assert type(translated) is kind
    assert "mysql://zmuser@db.example:3306/zm" in str(translated)
    assert "topsecret" not in str(translated)
    if kind is CommitLost:
        assert translated.result == 5


def test_other_errors_stay_what_they_are():
    error = KeyError("x")
    assert translate(error, URL) is error


def test_what_the_driver_says_is_one_short_line():
    text = str(translate(pymysql.err.DataError(1406, "a\nb\t" + "x" * 5000), URL))
    assert "\n" not in text
    assert len(text) < 400
    assert text.endswith("(1406)")


def test_what_is_missing_is_listed():
    error = Unusable("db", ["table Events", "Frames.Id"])
    assert str(error) == "db: it lacks table Events, Frames.Id"
    assert error.missing == ("table Events", "Frames.Id")


# PyMySQL's arguments


def test_localhost_is_the_default_socket_where_there_is_one():
    url = parse_url("mysql://u:p@localhost/zm")
    assert (
        mysql_arguments(url, exists=lambda path: path == "/run/mysqld/mysqld.sock")["unix_socket"]
        == "/run/mysqld/mysqld.sock"
    )
    without = mysql_arguments(url, exists=lambda path: False)
    assert (without["host"], without["port"], "unix_socket" in without) == ("localhost", 3306, False)
    elsewhere = mysql_arguments(parse_url("mysql://u:p@localhost:3307/zm"), exists=lambda path: True)
    assert (elsewhere["port"], "unix_socket" in elsewhere) == (3307, False)


@pytest.mark.parametrize(
    ("options", "cert", "identity"),
    [("", True, False), ("&ssl_verify=1", True, True), ("&ssl_verify=0", False, False)],
)
def test_tls_is_checked_as_far_as_is_asked(options, cert, identity):
    arguments = mysql_arguments(parse_url(f"mysql://u:p@db/zm?ssl_ca=/ca.pem{options}"))
    assert (arguments["ssl_ca"], arguments["ssl_verify_cert"], arguments["ssl_verify_identity"]) == (
        "/ca.pem",
        cert,
        identity,
    )


def test_there_is_no_tls_without_a_ca():
    assert mysql_arguments(parse_url("mysql://u:p@db/zm"))["ssl_disabled"]
    assert "ssl_disabled" not in mysql_arguments(parse_url("mysql://u:p@db/zm?ssl_ca=/ca.pem"))


def test_a_password_in_any_script_is_sent_as_utf8():
    assert mysql_arguments(parse_url("mysql://u:p%C5%82%E2%82%AC@db/zm"))["password"] == "pł€".encode()


def test_a_connector_shows_no_password():
    assert "topsecret" not in repr(MysqlConnector(URL))
