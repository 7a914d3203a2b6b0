"""How database work can fail, in the terms of those who must decide what to do next.

The texts name host and database (`DatabaseUrl` without its password) and the driver's code; what the driver says is cut to one short line.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pymysql

from zmtwist.untrusted.redact import mask

if TYPE_CHECKING:
    from zmtwist.config.database_url import DatabaseUrl
    from zmtwist.zm.event_paths import EventPlace
    from zmtwist.zm.write.batch_result import Written

MAX_TEXT = 300

SCHEMA_CHANGED = frozenset({1054, 1062, 1136, 1146, 1364})
"""Codes that may mean that the database is not the one that was probed (an upgrade under way): look again before the next try."""

_BAD_DATA = frozenset({1048, 1062, 1064, 1153, 1216, 1264, 1265, 1267, 1270, 1271, 1292, 1366, 1406, 1452, 3988, 4025})
"""Codes that some value in the statement causes, so that the same statement will fail for ever.

Everything else (locks, lost connections, a full disk, missing rights, a read-only server) is the database's own trouble: the rows are
good, and giving them up would lose them.
"""

_NOT_COMMITTED = frozenset({1180, 1205, 1213, 1290, 1792, 1836})
"""Codes that a server gives for a COMMIT that it has certainly not carried out."""


class DatabaseError(Exception):
    """Base of all here. `code` is the driver's (a number for MySQL, a name for SQLite), None where there is none."""

    def __init__(self, text: str, code: int | str | None = None) -> None:
        super().__init__(text)
        self.code = code


class Retryable(DatabaseError):
    """Nothing was written, and the same may well succeed later."""


class Refused(DatabaseError):
    """The database will not take this as it is, however often it is tried. Nothing was written."""


class CommitLost(DatabaseError):
    """The answer to COMMIT was lost: all is written, or nothing. `result` is what the interaction returned."""

    def __init__(self, text: str, code: int | str | None, result: Any) -> None:
        super().__init__(text, code)
        self.result = result


class Unsure(DatabaseError):
    """As `CommitLost`, of a batch of changes: `IEventStore.landed` finds out. `places` are good if the batch landed."""

    def __init__(self, text: str, code: int | str | None, written: Written) -> None:
        super().__init__(text, code)
        self.written = written

    @property
    def places(self) -> Mapping[str, EventPlace]:
        """The places of the events that the batch opened, by handle."""
        return self.written.places


class Unusable(DatabaseError):
    """This is no ZoneMinder database, or one that lacks what is needed: `missing` lists it."""

    def __init__(self, text: str, missing: Sequence[str]) -> None:
        super().__init__(f"{text}: it lacks {', '.join(missing)}")
        self.missing = tuple(missing)


class UnknownServer(DatabaseError):
    """No row of `Servers` has the name that zm.conf gives this host: whose cameras it is to take can't be told."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"no server named '{name}' in table Servers: correct ZM_SERVER_NAME or ZM_SERVER_HOST in zm.conf, or set ZM_SERVER_ID"
        )


class CommitFailed(Exception):
    """Carries a driver's error in COMMIT, with the interaction's result, from the pool's thread. Never leaves `zm.db.pool`."""

    def __init__(self, error: Exception, result: Any) -> None:
        super().__init__("commit failed")
        self.error = error
        self.result = result


class OpenFailed(Exception):
    """Carries whatever went wrong in opening a connection, from the pool's thread. Never leaves `zm.db.pool`."""

    def __init__(self, error: Exception) -> None:
        super().__init__("connection not opened")
        self.error = error


def translate(error: BaseException, url: DatabaseUrl) -> BaseException:
    """What a driver's exception means, as one of the above; anything that is not a driver's error comes back as it is."""
    if isinstance(error, CommitFailed):
        code, said = _code(error.error), _said(error.error)
        text = f"{url}: {said}"
        if isinstance(error.error, sqlite3.Error) or code in _NOT_COMMITTED:
            return Retryable(text, code)
        return CommitLost(f"{text} (in COMMIT)", code, error.result)
    if isinstance(error, OpenFailed):
        return Retryable(f"{url}: {_said(error.error)}", _code(error.error))
    if isinstance(error, sqlite3.Error):
        bad = isinstance(error, (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError))
        return (Refused if bad else Retryable)(f"{url}: {_said(error)}", _code(error))
    if isinstance(error, pymysql.err.Error):
        code = _code(error)
        bad = code in _BAD_DATA or isinstance(error, pymysql.err.DataError)
        return (Refused if bad else Retryable)(f"{url}: {_said(error)}", code)
    if isinstance(error, OSError):
        return Retryable(f"{url}: {_said(error)}", error.errno)
    return error


def _code(error: Exception) -> int | str | None:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorname", None)
    if error.args and isinstance(error.args[0], int):
        return error.args[0]
    return None


def _said(error: Exception) -> str:
    """The driver's words on one short line, with its code. They may quote a value that was to be written."""
    code = _code(error)
    words = error.args[-1] if error.args and isinstance(error.args[-1], str) else str(error)
    line = mask(" ".join(str(words).split()))[:MAX_TEXT] or type(error).__name__
    return f"{line} ({code})" if code is not None else line
