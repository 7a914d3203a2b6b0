"""The embedded database."""

from __future__ import annotations

import sqlite3

import pytest

from zmtwist.zm.db import embedded


def test_tables_are_made_in_a_new_file_and_kept_in_an_old_one(tmp_path):
    path = str(tmp_path / "zm.db")
    first = embedded.connect(path)
    first.execute("INSERT INTO Monitors (Name) VALUES ('Front')")
    first.close()
    second = embedded.connect(path)
    assert second.execute("SELECT Id, Name FROM Monitors").fetchall() == [(1, "Front")]
    assert second.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert second.execute("PRAGMA synchronous").fetchone() == (2,)
    second.close()


def test_an_empty_file_is_as_good_as_none(tmp_path):
    (tmp_path / "zm.db").touch()
    connection = embedded.connect(str(tmp_path / "zm.db"))
    assert connection.execute("SELECT COUNT(*) FROM States WHERE IsActive = 1").fetchone() == (1,)
    assert connection.execute("SELECT COUNT(*) FROM Storage").fetchone() == (0,)
    connection.close()


def test_text_that_is_no_utf8_is_read_and_never_quoted_by_an_error(tmp_path):
    connection = embedded.connect(str(tmp_path / "zm.db"))
    connection.execute("INSERT INTO Monitors (Name, Pass) VALUES ('Front', CAST(x'5365637265749f' AS TEXT))")
    assert connection.execute("SELECT Pass FROM Monitors").fetchall() == [("Secret\ufffd",)]
    connection.close()


def test_two_that_start_at_once_make_one_set_of_tables(tmp_path):
    path = str(tmp_path / "zm.db")
    plain = sqlite3.connect(path, isolation_level=None)
    embedded.create_tables(plain)
    embedded.create_tables(plain)
    assert plain.execute("SELECT COUNT(*) FROM Config WHERE Name = 'ZM_BULK_FRAME_INTERVAL'").fetchone() == (1,)


def test_a_monitor_needs_no_more_than_a_few_columns():
    connection = embedded.connect(":memory:")
    connection.execute(
        "INSERT INTO Monitors (Id, Name, Type, Path, Function, Width, Height) VALUES (7, 'a', 'File', '/x.mp4', 'Record', 640, 480)"
    )
    connection.execute("INSERT INTO Monitors (Name) VALUES ('b')")
    found = connection.execute(
        "SELECT Id, Function, Capturing, Recording, UseZmNext, StorageId, EventPrefix FROM Monitors"
    ).fetchall()
    assert found == [(7, "Record", None, None, 0, 0, "Event-"), (8, "Monitor", None, None, 0, 0, "Event-")]


def test_a_file_that_is_no_database_is_an_error(tmp_path):
    (tmp_path / "zm.db").write_text("hello, this is no database at all\n" * 100)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        embedded.connect(str(tmp_path / "zm.db"))


def test_a_script_is_cut_into_whole_statements():
    script = "-- note\nCREATE TABLE a (x);\n\nCREATE TRIGGER t AFTER INSERT ON a BEGIN\n  DELETE FROM a;\nEND;\n"
    assert [s.split(" ")[1] for s in embedded.statements(script)] == ["TABLE", "TRIGGER"]
