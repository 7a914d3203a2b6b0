"""The database as a service: blocking work on a few threads, one transaction each, errors in our own terms.

Built on `twisted.enterprise.adbapi`, whose pool keeps a connection per thread. What it lacks is added here: a dead connection is
replaced and never used twice, a failure in COMMIT is told from one before it, and a stop ends even if the server hangs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Concatenate, ParamSpec, TypeVar

from twisted.application.service import Service
from twisted.enterprise import adbapi
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from zmtwist.config.database_url import DatabaseUrl
from zmtwist.reactor.deferreds import all_ended
from zmtwist.reactor.thread_pool import daemon_thread
from zmtwist.zm.db.connector import CONNECT_SECONDS, IDLE_SECONDS, Connection, Connector, connector_for, monotonic
from zmtwist.zm.db.dialect import MYSQL, SQLITE, Sql
from zmtwist.zm.db.errors import SCHEMA_CHANGED, CommitFailed, DatabaseError, OpenFailed, Retryable, translate
from zmtwist.zm.db.schema import Schema, probe

P = ParamSpec("P")
T = TypeVar("T")

log = Logger()


class _Transaction(adbapi.Connection):
    """One interaction's hold on its thread's connection. `result` is what it returned, once it has."""

    result: Any = None
    _connection: Any

    def commit(self) -> None:
        try:
            self._connection.commit()
        except Exception as error:
            raise CommitFailed(error, self.result) from error

    def rollback(self) -> None:
        """Undo; a connection that can't do even that is dropped."""
        try:
            self._connection.rollback()
        except Exception:
            self._pool.drop(self._connection)


class _Pool(adbapi.ConnectionPool):
    """adbapi's pool with connections from a `Connector`, on threads that never keep the process from ending."""

    connectionFactory = _Transaction

    def __init__(self, connector: Connector, reactor: Any, driver: str) -> None:
        super().__init__(driver, cp_reactor=reactor, cp_min=1, cp_max=connector.most_threads)  # type: ignore[no-untyped-call]
        self._connector = connector
        self._used: dict[int, float] = {}
        self._broke = 0.0
        self.threadpool.threadFactory = daemon_thread  # type: ignore[assignment]

    def connect(self) -> Connection:
        """This thread's connection: the one it has, if that still answers, else a new one."""
        thread = threading.get_ident()
        connection: Connection | None = self.connections.get(thread)
        if connection is not None and self._doubtful(thread) and not self._connector.alive(connection):
            self.drop(connection)
            connection = None
        if connection is None:
            try:
                connection = self.connections[thread] = self._connector.open()
            except Exception as error:
                raise OpenFailed(error) from error
        self._used[thread] = monotonic()
        return connection

    def _doubtful(self, thread: int) -> bool:
        """Whether the thread's connection may have died: it was idle for long, or another one broke since (a restarted server)."""
        used = self._used[thread]
        return monotonic() - used > IDLE_SECONDS or used <= self._broke

    def drop(self, connection: Connection) -> None:
        """Forget this thread's connection, which is broken."""
        self._broke = monotonic()
        self.connections.pop(threading.get_ident(), None)
        self._connector.lost(connection)
        self._close(connection)

    def _close(self, connection: Connection) -> None:
        with suppress(Exception):
            connection.close()

    def abandon(self) -> None:
        """Leave the threads to themselves: they wait for something that can't be interrupted, and joining them would block."""
        if self.shutdownID:
            self._reactor.removeSystemEventTrigger(self.shutdownID)
            self.shutdownID = None


class Database(Service):
    """One database. Runs functions of an `Sql` on pool threads, and knows the schema, looked at when it is first asked for."""

    def __init__(
        self, reactor: Any, url: DatabaseUrl, *, stop_seconds: float = 10.0, connector: Connector | None = None
    ) -> None:
        self.url = url
        self.dialect = SQLITE if url.scheme == "sqlite" else MYSQL
        self._reactor = reactor
        self._stop_seconds = stop_seconds
        self._connector = connector or connector_for(url)
        self._pool: _Pool | None = None
        self._under_way: set[Deferred[Any]] = set()
        self._schema: Schema | None = None

    def startService(self) -> None:
        """Start the threads; connections are opened when they are first needed."""
        Service.startService(self)
        self._pool = _Pool(self._connector, self._reactor, "sqlite3" if self.url.scheme == "sqlite" else "pymysql")

    def stopService(self) -> Deferred[None]:
        """Take no more work, end what is under way (cut off after `stop_seconds`), close all connections."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    def interact(self, function: Callable[Concatenate[Sql, P], T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run `function(sql, ...)` in one transaction on a pool thread and commit; a failure undoes it all.

        Fails with `Retryable`, `Refused`, `CommitLost`, or whatever else `function` itself raises.
        """
        if self._pool is None or not self.running:
            return _failed(Retryable(f"{self.url}: the database service is not running"))
        run = self._pool.runWithConnection
        work: Deferred[T] = run(_in_thread, self.dialect, function, args, kwargs)  # type: ignore[no-untyped-call]
        self._under_way.add(work)

        def over(result: T | Failure) -> T | Failure:
            self._under_way.discard(work)
            return self._translated(result) if isinstance(result, Failure) else result

        work.addBoth(over)
        return work

    def schema(self) -> Deferred[Schema]:
        """What this database has. Fails with `Unusable` where that is not enough, or as `interact` does."""
        return Deferred.fromCoroutine(self._get_schema())

    def saw_version(self, version: str) -> None:
        """ZM_DYN_DB_VERSION was read: if it is another than at the last look, ZoneMinder was upgraded, and the next use looks anew."""
        if self._schema is not None and self._schema.version != version:
            log.info("ZoneMinder's schema is now {version}, was {before}", version=version, before=self._schema.version)
            self._schema = None

    async def _get_schema(self) -> Schema:
        if self._schema is None:
            self._schema = await self.interact(probe, str(self.url))
        return self._schema

    def _translated(self, failure: Failure) -> Failure:
        cause = failure.value
        if cause is None:
            return failure
        error = translate(cause, self.url)
        if isinstance(error, DatabaseError) and error.code in SCHEMA_CHANGED:
            self._schema = None
        # The driver's exception and its frames hold what was to be written; only the translation goes on.
        return failure if error is cause else Failure(error, type(error))

    async def _stop(self) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        if not await all_ended(self._reactor, self._under_way, self._stop_seconds):
            log.warn("{database} does not answer; its connections are cut", database=str(self.url))
            self._connector.cut()
            if not await all_ended(self._reactor, self._under_way, CONNECT_SECONDS + 1):
                pool.abandon()
                return
        pool.close()  # type: ignore[no-untyped-call]


def _in_thread(transaction: _Transaction, dialect: Any, function: Callable[..., T], args: Any, kwargs: Any) -> T:
    cursor = transaction.cursor()
    try:
        result: T = function(Sql(cursor, dialect), *args, **kwargs)
    finally:
        cursor.close()
    transaction.result = result
    return result


def _failed(error: Exception) -> Deferred[Any]:
    failed: Deferred[Any] = Deferred()
    failed.errback(Failure(error))
    return failed
