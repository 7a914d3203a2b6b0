"""The list of edits that tests must find: each can be made, and is one. Whether it is found is seen by `make mutants`."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_spec = importlib.util.spec_from_file_location("mutants", ROOT / "tools" / "mutants.py")
tool = importlib.util.module_from_spec(_spec)
sys.modules["mutants"] = tool
_spec.loader.exec_module(tool)
MUTANTS = tool.mutants()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_an_edits_text_occurs_once_in_its_file_and_what_comes_of_it_is_another_program(mutant):
    before = ast.dump(ast.parse((ROOT / mutant.file).read_text()))
    assert ast.dump(ast.parse(mutant.text())) != before
    for test in mutant.tests:
        assert (ROOT / test.partition("::")[0]).exists(), test


def test_no_two_have_one_name():
    assert [name for name, count in Counter(mutant.name for mutant in MUTANTS).items() if count > 1] == []


def test_a_text_that_has_changed_is_told(tmp_path):
    mutant = tool.Mutant("it is broken", "file.py", "one", "two", ())
    (tmp_path / "file.py").write_text("one or one")
    with pytest.raises(ValueError, match=r"'it is broken': its text occurs 2 times in file\.py, not once"):
        mutant.text(tmp_path)
