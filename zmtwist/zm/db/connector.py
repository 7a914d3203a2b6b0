"""Connections to ZoneMinder's database: how one is opened, whether it still lives, how one that hangs is cut. Runs in pool threads."""

from __future__ import annotations

import secrets
import socket
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import attrs
import pymysql
from pymysql.constants import CLIENT

from zmtwist.config.database_url import MYSQL_PORT, DatabaseUrl
from zmtwist.zm.db import embedded

CONNECT_SECONDS = 5
STATEMENT_SECONDS = 30.0
LOCK_WAIT_SECONDS = 10
IDLE_SECONDS = 20.0
"""A connection unused for this long is pinged before it is used again: servers and firewalls close idle ones without a word."""

MYSQL_SOCKETS = ("/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock")  # noqa: S108
"""Where MySQL's own clients look for the server when the host is just `localhost`."""


class Connection(Protocol):
    """What is used of a DB-API connection."""

    def cursor(self) -> Any:
        """A new cursor."""

    def commit(self) -> None:
        """End the transaction."""

    def rollback(self) -> None:
        """Undo the transaction."""

    def close(self) -> None:
        """Close for good."""


class Connector(Protocol):
    """One kind of database. Methods block: they are for pool threads, but for `cut`."""

    most_threads: int

    def open(self) -> Connection:
        """A new connection, ready for use. Raises the driver's errors."""

    def lost(self, connection: Connection) -> None:
        """`connection` broke with something under way: the server may not know it yet."""

    def alive(self, connection: Connection) -> bool:
        """Whether an idle connection still answers."""

    def cut(self) -> None:
        """Make all connections fail at once, those being opened included, whatever they wait for. May be called from any thread."""


@attrs.define
class SqliteConnector:
    """The embedded database: one thread, since SQLite has one writer."""

    url: DatabaseUrl
    most_threads: int = 1

    def open(self) -> Connection:
        """Open the file, made with all its tables where it is missing."""
        Path(self.url.path).parent.mkdir(parents=True, exist_ok=True)
        connection: sqlite3.Connection = embedded.connect(self.url.path)
        return connection

    def lost(self, connection: Connection) -> None:
        """A closed file has left nothing behind."""

    def alive(self, connection: Connection) -> bool:
        """A file does not go away."""
        return True

    def cut(self) -> None:
        """Waiting for a lock ends by itself within the busy time-out."""


@attrs.define(eq=False)
class MysqlConnector:
    """MySQL or MariaDB. Three threads: one for the writer's stream of batches, two for what must not wait behind it.

    Each connection holds a user lock of its own name. When one is lost, its transaction may live on in the server, with its locks and
    an undecided COMMIT: the next connection asks who holds that lock, and kills it. (A connection id alone would not do: ids begin anew
    when the server restarts, and the id may by then be someone else's.)
    """

    url: DatabaseUrl
    statement_seconds: float = STATEMENT_SECONDS
    most_threads: int = 3
    _open: dict[int, tuple[Any, str]] = attrs.field(init=False, factory=dict)
    _ghosts: set[str] = attrs.field(init=False, factory=set)

    def open(self) -> Connection:
        """Connect: READ COMMITTED as all of ZoneMinder, locks waited for in seconds; time zone and SQL mode are left as they are."""
        connection: Any = pymysql.connect(**mysql_arguments(self.url, self.statement_seconds), defer_connect=True)
        name = f"zmtwist-{secrets.token_hex(8)}"
        self._open[id(connection)] = (connection, name)
        try:
            connection.connect()
            with connection.cursor() as cursor:
                cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
                cursor.execute(f"SET SESSION innodb_lock_wait_timeout = {LOCK_WAIT_SECONDS}")
                with suppress(pymysql.err.NotSupportedError):  # clusters that have no user locks
                    cursor.execute("SELECT GET_LOCK(%s, 0)", (name,))
                    self._bury(cursor)
        except BaseException:
            self.lost(connection)
            with suppress(Exception):
                connection.close()
            raise
        opened: Connection = connection
        return opened

    def lost(self, connection: Connection) -> None:
        """Remember the connection's lock, so that the next one ends whatever it left in the server."""
        _, name = self._open.pop(id(connection), (None, None))
        if name is not None:
            self._ghosts.add(name)

    def alive(self, connection: Connection) -> bool:
        """One round trip."""
        try:
            connection.ping(reconnect=False)  # type: ignore[attr-defined]
        except (pymysql.err.Error, OSError):
            return False
        return True

    def cut(self) -> None:
        """Shut the sockets down: a thread that reads from one gets its end at once."""
        for connection, _ in list(self._open.values()):
            # PyMySQL has no public way to interrupt a statement from another thread.
            if (sock := connection._sock) is not None:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _bury(self, cursor: Any) -> None:
        for name in list(self._ghosts):
            cursor.execute("SELECT IS_USED_LOCK(%s)", (name,))
            holder = cursor.fetchone()[0]
            if holder is not None:
                with suppress(pymysql.err.OperationalError, pymysql.err.InternalError):  # it has just gone by itself
                    cursor.execute(f"KILL CONNECTION {int(holder)}")
            self._ghosts.discard(name)


def connector_for(url: DatabaseUrl) -> Connector:
    """The connector for a database URL."""
    return SqliteConnector(url) if url.scheme == "sqlite" else MysqlConnector(url)


def mysql_arguments(
    url: DatabaseUrl,
    statement_seconds: float = STATEMENT_SECONDS,
    exists: Callable[[str], bool] = lambda path: Path(path).is_socket(),
) -> dict[str, Any]:
    """PyMySQL's arguments for `url`. `localhost` means the server's default socket where there is one, as it does for ZoneMinder."""
    arguments: dict[str, Any] = {
        "user": url.user,
        # PyMySQL would encode text as latin1, and name the password's letters where it can't.
        "password": url.password.encode(),
        "database": url.name,
        "charset": "utf8mb4",
        "autocommit": False,
        # A batch is sent in one go (`Sql.run_all`). No text gets into a statement but quoted by the driver.
        "client_flag": CLIENT.MULTI_STATEMENTS,
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": statement_seconds,
        "write_timeout": statement_seconds,
    }
    path = url.unix_socket
    if path is None and url.host == "localhost" and url.port == MYSQL_PORT:
        path = next((known for known in MYSQL_SOCKETS if exists(known)), None)
    if path is not None:
        return {**arguments, "unix_socket": path, "ssl_disabled": True}
    arguments |= {"host": url.host, "port": url.port}
    if url.ssl_ca is None:
        # As ZoneMinder: TLS only with a CA. (PyMySQL would try it, and load all of the system's CAs for each connection, holding the GIL.)
        arguments["ssl_disabled"] = True
    else:
        arguments |= {
            "ssl_ca": url.ssl_ca,
            "ssl_cert": url.ssl_cert,
            "ssl_key": url.ssl_key,
            "ssl_verify_cert": url.ssl_verify is not False,
            "ssl_verify_identity": url.ssl_verify is True,
        }
    return arguments


def monotonic() -> float:
    """Seconds on a clock that only goes forward (a pool thread's own; the reactor's is not for threads)."""
    return time.monotonic()
