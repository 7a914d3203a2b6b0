"""The database, which outlives the service, on the simulated clock: in production it is called from threads."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import cache
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from tests.simulation.host import Host
from tests.simulation.world import World
from zmtwist.config.database_url import DatabaseUrl
from zmtwist.zm.db import embedded
from zmtwist.zm.db.dialect import SQLITE, Sql
from zmtwist.zm.db.errors import CommitLost, Refused, Retryable
from zmtwist.zm.db.pool import Database


@cache
def _empty() -> bytes:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    embedded.create_tables(connection)
    return connection.serialize()


class Server:
    """The database server: ZoneMinder's tables in memory. `state` is up, away (it refuses at once) or hung (it answers when it is back).

    `commits_to_lose`: the answers to so many of the next commits get lost, be they carried out or not. `at_commit` is called once, between
    the next commit and its answer. What else may be wrong with it is in `World.troubles`.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.deserialize(_empty())
        self.connection.execute("PRAGMA foreign_keys = ON")
        self.state = "up"
        self.commits_to_lose = 0
        self.at_commit: Callable[[], None] | None = None
        self._hung: list[tuple[Host, Callable[[], None]]] = []

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(statement, values).fetchall()

    def back(self) -> None:
        """It answers again. What it was doing for a service that was killed meanwhile is carried out, or it is not."""
        if self.state != "up":
            self.world.tell("the database is back")
        self.state = "up"
        hung, self._hung = self._hung, []
        for host, call in hung:
            if not host.dead or self.world.chance.random() < 0.5:
                call()

    def replica(self) -> sqlite3.Connection:
        """What a replica has by now."""
        replica = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.backup(replica)
        return replica

    def take_over(self, replica: sqlite3.Connection) -> None:
        """What was committed since the replica was up to date is gone, and ids are given again."""
        replica.backup(self.connection)
        replica.close()

    def call(self, host: Host, function: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Run `function` as one transaction, and say what came of it."""
        chance, trouble = self.world.chance, self.world.troubles.database

        def arrived() -> None:
            if self.world.troubles.database == "deadlocks" and chance.random() < 0.4:
                done(Failure(Retryable("deadlock", 1213)))
            elif self.state == "hung":
                self._hung.append((host, carry_out))
            elif self.state == "away":
                done(Failure(Retryable("the database is away")))
            else:
                carry_out()

        def carry_out() -> None:
            before = self.connection.total_changes
            result = self._transaction(function)
            if self.at_commit is not None and self.connection.total_changes != before:
                at_commit, self.at_commit = self.at_commit, None
                at_commit()
            host.callLater(chance.uniform(0.001, 0.01), done, result)

        slow = chance.uniform(0.2, 3.5) if trouble == "slow" else 0.0
        host.callLater(slow + chance.uniform(0.001, 0.01), arrived)

    def _transaction(self, function: Callable[[], Any]) -> Any:
        connection, chance = self.connection, self.world.chance
        before = connection.total_changes
        try:
            result = function()
        except Exception as error:
            if connection.in_transaction:
                self._undo()
            return Failure(error)
        if self.commits_to_lose and connection.total_changes != before:
            self.commits_to_lose -= 1
            lands = chance.random() < 0.5
            self.world.tell(f"the answer to a commit is lost; it is {'in' if lands else 'not in'} the database")
            if not lands:
                self._undo()
            elif connection.in_transaction:
                connection.commit()
            return Failure(CommitLost("lost connection (in COMMIT)", 2013, result))
        if connection.in_transaction:
            connection.commit()
        return result

    def _undo(self) -> None:
        """Roll back; the ids that were given out are not given out again, as in InnoDB."""
        connection = self.connection
        given = self.rows("SELECT seq FROM sqlite_sequence WHERE name = 'Events'")
        connection.rollback()
        if given:
            connection.execute("DELETE FROM sqlite_sequence WHERE name = 'Events'")
            connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('Events', ?)", given[0])


class SimulatedDatabase(Database):
    """`zm.db.pool.Database` without threads: everything but the schema's memory is the server's."""

    def __init__(self, host: Host, url: DatabaseUrl, server: Server) -> None:
        super().__init__(host, url)
        self._host = host
        self._server = server

    def startService(self) -> None:
        Service.startService(self)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return succeed(None)

    def interact(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        if not self.running:
            return fail(Retryable("the database service is not running"))
        answer: Deferred[Any] = Deferred()

        def run() -> Any:
            if self._refused(function, args):
                raise Refused("too much at once", 1153)
            cursor = self._server.connection.cursor()
            try:
                return function(Sql(cursor, SQLITE), *args, **kwargs)
            finally:
                cursor.close()

        def done(result: Any) -> None:
            answer.callback(self._translated(result) if isinstance(result, Failure) else result)

        self._server.call(self._host, run, done)
        return answer

    def _refused(self, function: Callable[..., Any], args: tuple[Any, ...]) -> bool:
        """Whether this is a batch of several changes, and too much for the server."""
        world = self._server.world
        if world.troubles.database != "refuses" or function.__name__ != "write" or len(args[1].changes) < 2:
            return False
        return world.chance.random() < 0.5
