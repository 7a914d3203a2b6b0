from __future__ import annotations

from pathlib import Path

import pytest

from zmtwist.config.zm_conf import parse, read


@pytest.mark.parametrize(
    ("text", "conf"),
    [
        ("ZM_A=1", {"ZM_A": "1"}),
        ("  ZM_A \t=  1 2  ", {"ZM_A": "1 2"}),
        ("zm_a = x", {"ZM_A": "x"}),
        ("ZM_A = 'x'\nZM_B=\"y\"\nZM_C='\"z\"'", {"ZM_A": "x", "ZM_B": "y", "ZM_C": "z"}),
        ("ZM_A = ' inner '", {"ZM_A": " inner "}),
        ("ZM_A = a'b\"c", {"ZM_A": "a'b\"c"}),
        ("ZM_A = 1 # no comment", {"ZM_A": "1 # no comment"}),
        ("# ZM_A = 1\n  #ZM_B=2\n\nZM_C=3", {"ZM_C": "3"}),
        ("ZM_A = a=b==c", {"ZM_A": "a=b==c"}),
        ("ZM_A =", {"ZM_A": ""}),
        ("ZM_A = 1\r\nZM_B = 2\r\n", {"ZM_A": "1", "ZM_B": "2"}),
        ("ZM_A = one\\\n  two\\\r\nthree\nZM_B=4", {"ZM_A": "onetwothree", "ZM_B": "4"}),
        ("ZM_A = end\\", {"ZM_A": "end"}),
        ("ZM_A = pass\\\n zm_b =2\nZM_C=3", {"ZM_A": "pass\\", "ZM_B": "2", "ZM_C": "3"}),
        ("ZM_A = one\\\ntwo=2\\\nZM_B=3", {"ZM_A": "onetwo=2\\", "ZM_B": "3"}),
        ("# comment \\\nZM_A=1", {"ZM_A": "1"}),
        ("no equals\n= no name\nZM_A=1\nZM_A=2", {"ZM_A": "2"}),
        ("ZM_A = $ZM_B ${C}", {"ZM_A": "$ZM_B ${C}"}),
    ],
)
def test_lines(text: str, conf: dict[str, str]) -> None:
    assert parse(text) == conf


def test_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "zm.conf").write_text("ZM_A=main\nZM_B=main\nZM_C=main\n")
    (tmp_path / "conf.d" / "02-b.conf").write_text("ZM_A=late\n")
    (tmp_path / "conf.d" / "01-a.conf").write_text("zm_a=early\nZM_B=early\n")
    (tmp_path / "conf.d" / "03-c.conf.dpkg-old").write_text("ZM_C=not this\n")
    (tmp_path / "conf.d" / ".04-d.conf").write_text("ZM_C=nor this\n")
    assert read(tmp_path / "zm.conf") == {"ZM_A": "late", "ZM_B": "early", "ZM_C": "main"}


def test_a_missing_file_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path / "none.conf") == {}


def test_any_bytes(tmp_path: Path) -> None:
    (tmp_path / "zm.conf").write_bytes(b"ZM_DB_PASS = caf\xe9\nZM_B = \xc3\xa9\r\n")
    conf = read(tmp_path / "zm.conf")
    assert conf["ZM_DB_PASS"].encode("utf-8", "surrogateescape") == b"caf\xe9"
    assert conf["ZM_B"] == "é"
