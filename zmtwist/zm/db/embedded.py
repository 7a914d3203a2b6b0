"""The embedded SQLite database: ZoneMinder's tables, made in a database file that is missing or empty."""

from __future__ import annotations

import sqlite3
from importlib.resources import files

BUSY_SECONDS = 5.0


def connect(path: str) -> sqlite3.Connection:
    """Open the file at `path`, with ZoneMinder's tables if it was missing or empty.

    WAL, so that reading never waits for writing; synchronous FULL, because workers are told event ids that must outlive a power cut.
    """
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    # Text that is no UTF-8 must not become an error: SQLite's own quotes the value, which may be a camera's password.
    connection.text_factory = readable
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        if _is_empty(connection):
            create_tables(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def readable(raw: bytes) -> str:
    """Text of a column, with a replacement character for what is no UTF-8."""
    return raw.decode("utf-8", "replace")


def create_tables(connection: sqlite3.Connection) -> None:
    """Make all tables at once, or none; does nothing if another process has just made them."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _is_empty(connection):
            for statement in statements(files(__package__).joinpath("embedded.sql").read_text("utf-8")):
                connection.execute(statement)
        connection.commit()
    except BaseException:
        connection.rollback()
        raise


def statements(script: str) -> list[str]:
    """The statements of an SQL script, each complete (triggers hold semicolons of their own)."""
    found: list[str] = []
    pending = ""
    for line in script.splitlines(keepends=True):
        if not pending and (not line.strip() or line.startswith("--")):
            continue
        pending += line
        if line.rstrip().endswith(";") and sqlite3.complete_statement(pending):
            found.append(pending)
            pending = ""
    return found


def _is_empty(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None
