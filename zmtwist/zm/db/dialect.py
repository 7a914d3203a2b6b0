"""Where SQL for MySQL/MariaDB and for SQLite differ, and a cursor that hides the rest of the difference.

Statements are written once, with `%s` for parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, Protocol

import attrs


class Cursor(Protocol):
    """What is used of a DB-API cursor."""

    @property
    def rowcount(self) -> int:
        """Rows that the last statement changed."""

    @property
    def lastrowid(self) -> int | None:
        """The id that the last INSERT was given."""

    def execute(self, statement: str, args: Sequence[Any] = ..., /) -> object:
        """Run one statement (or, with MySQL, several with semicolons between them)."""

    def mogrify(self, statement: str, args: Sequence[Any], /) -> str:
        """MySQL only: the statement's text, its parameters quoted."""

    def nextset(self) -> object:
        """MySQL only: go on to the result of the next of several statements, false if there is none."""

    def fetchall(self) -> Sequence[tuple[Any, ...]]:
        """The rows of the last SELECT."""


@attrs.frozen
class Dialect:
    """The words that differ.

    `begin` starts a transaction that will write, where that is not implied. `by_key`, after a table's name, has its rows found, and so
    locked, by nothing but their ids.
    """

    name: Literal["mysql", "sqlite"]
    mark: str
    begin: str
    now: str
    greatest: str
    for_update: str
    by_key: str

    def sql(self, statement: str) -> str:
        """`statement` with this driver's parameter marks."""
        return statement if self.mark == "%s" else statement.replace("%s", self.mark)

    def on_duplicate(self, key: str, updates: str) -> str:
        """The tail of an INSERT that updates the row with this key instead; `new(X)` in `updates` is the value that was to be inserted."""
        if self.name == "mysql":
            return f"ON DUPLICATE KEY UPDATE {updates.replace('new(', 'VALUES(')}"
        return f"ON CONFLICT({key}) DO UPDATE SET {updates.replace('new(', '(excluded.')}"


MYSQL = Dialect(
    name="mysql",
    mark="%s",
    begin="",
    now="NOW()",
    greatest="GREATEST",
    for_update="FOR UPDATE",
    by_key="FORCE INDEX (PRIMARY)",
)

SQLITE = Dialect(
    name="sqlite",
    mark="?",
    # A transaction that begins by reading can't wait for its turn to write, so the lock is taken at once.
    begin="BEGIN IMMEDIATE",
    now="datetime('now', 'localtime')",
    greatest="MAX",
    for_update="",
    by_key="",
)


Statement = tuple[str, Sequence[Any]]
"""One statement and its parameters."""

PACKET = 500_000
"""Bytes of SQL sent at once, roughly: well below the smallest max_allowed_packet in use."""


class Sql:
    """One interaction's cursor. Used in a pool thread only."""

    def __init__(self, cursor: Cursor, dialect: Dialect) -> None:
        self._cursor = cursor
        self.dialect = dialect

    def begin(self) -> None:
        """Say that this interaction will write."""
        if self.dialect.begin:
            self._cursor.execute(self.dialect.begin)

    def run(self, statement: str, *args: Any) -> int:
        """Run one statement; gives how many rows it changed."""
        self._cursor.execute(self.dialect.sql(statement), args)
        return self._cursor.rowcount

    def run_all(self, statements: Iterable[Statement]) -> list[int]:
        """Run statements in order; with MySQL in as few round trips as may be, since those cost more than most statements.

        Gives for each the id that it had the database give out, 0 if none.
        """
        if self.dialect.name == "sqlite":
            return [self._id_of(statement, args) for statement, args in statements]
        new_ids: list[int] = []
        pending: list[str] = []
        size = 0
        for statement, args in statements:
            text = self._cursor.mogrify(statement, args) if args else statement
            if pending and size + len(text) > PACKET:
                new_ids += self._run_joined(pending)
                pending, size = [], 0
            pending.append(text)
            size += len(text)
        if pending:
            new_ids += self._run_joined(pending)
        return new_ids

    def _run_joined(self, texts: Sequence[str]) -> list[int]:
        self._cursor.execute(";".join(texts))
        new_ids = [self._cursor.lastrowid or 0]
        while self._cursor.nextset():  # an error in any of them is raised here
            new_ids.append(self._cursor.lastrowid or 0)
        return new_ids

    def _id_of(self, statement: str, args: Sequence[Any]) -> int:
        self.run(statement, *args)
        return self._cursor.lastrowid or 0

    def rows(self, statement: str, *args: Any) -> Sequence[tuple[Any, ...]]:
        """All rows of a SELECT."""
        self._cursor.execute(self.dialect.sql(statement), args)
        return self._cursor.fetchall()

    def one(self, statement: str, *args: Any) -> tuple[Any, ...] | None:
        """The first row of a SELECT, or None."""
        found = self.rows(statement, *args)
        return found[0] if found else None


def marks(count: int) -> str:
    """`count` parameter marks: `%s,%s,%s`."""
    return ",".join(["%s"] * count)


def ids(numbers: Iterable[int]) -> str:
    """Distinct ids in ascending order as text for `IN (...)`; integers need no quoting."""
    return ",".join(str(int(number)) for number in sorted(set(numbers)))
