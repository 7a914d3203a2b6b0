"""The layering of doc/design.md, read off its table and the code's own import statements."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "zmtwist"
MODULES = sorted(PACKAGE.rglob("*.py"))


@attrs.frozen
class Part:
    """A row of the table: what a package or module may import, and what only for types."""

    name: str
    may: frozenset[str]
    for_types: frozenset[str]

    @property
    def package(self) -> str:
        """What it is a part of; '' at the top."""
        return self.name.rpartition(".")[0]


def named(text: str) -> list[str]:
    return re.findall(r"`([\w.]+)`", text)


@cache
def table() -> dict[str, Part]:
    """The parts in their order. `all above` stands for all rows before."""
    text = (ROOT / "doc/design.md").read_text()
    _, rows = text.split("| part | what it does | it may import |\n")
    found: dict[str, Part] = {}
    for row in rows.split("\n\n", 1)[0].splitlines()[1:]:
        names, _, imports = (cell.strip() for cell in row.strip("|").split("|"))
        ordinary, _, for_types = imports.partition("for types only")
        may = frozenset(found) if "all above" in ordinary else frozenset(named(ordinary))
        assert may or ordinary.startswith("nothing") or for_types, row
        for name in named(names):
            assert name not in found, name
            found[name] = Part(name, may, frozenset(named(for_types)))
    return found


def part_of(module: str) -> Part | None:
    """The row of a module: its own, or that of the innermost package that has one."""
    name = module
    while name and name not in table():
        name = name.rpartition(".")[0]
    return table().get(name)


def allows(names: frozenset[str], part: Part, target: str) -> bool:
    """Whether a name stands for the target: a package does so for its parts too, but not before them."""
    within = f"{part.name}.".startswith
    return any(target == name or (target.startswith(f"{name}.") and not within(f"{name}.")) for name in names)


def may_import(part: Part, target: str, *, for_types: bool) -> bool:
    if target == part.name:
        return True
    if allows(part.may | part.for_types if for_types else part.may, part, target):
        return True
    outer = table().get(part.package)
    outside = outer is not None and not target.startswith(f"{outer.name}.") and target != outer.name
    return outside and may_import(outer, target, for_types=for_types)  # type: ignore[arg-type]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """The modules below `zmtwist` that a module imports, wherever in it; whether it does so for type checkers only."""
    tree = ast.parse(path.read_text())
    guarded = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    for_types = {id(node) for block in guarded for statement in block.body for node in ast.walk(statement)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "zmtwist":
            for alias in node.names:
                whole = (*node.module.split(".")[1:], alias.name)
                is_module = PACKAGE.joinpath(*whole).with_suffix(".py").exists() or PACKAGE.joinpath(*whole).is_dir()
                yield ".".join(whole if is_module else whole[:-1]) or "__init__", id(node) in for_types
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("zmtwist."):
                    yield alias.name.removeprefix("zmtwist."), id(node) in for_types


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_only_what_the_table_allows(path: Path) -> None:
    part = part_of(module_name(path))
    if part is None:
        assert path == PACKAGE / "__init__.py", "it is in no row of the table"
        return
    for target, for_types in imports(path):
        imported = part_of(target)
        assert imported is not None, f"{target} is in no row of the table"
        assert may_import(part, imported.name, for_types=for_types), f"{part.name} must not import {target}"


def test_every_package_and_every_top_level_module_has_its_row() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert {name for name in table() if "." not in name} == packages | modules


def test_no_row_names_one_below_it_but_for_types() -> None:
    """So there is no cycle."""
    above: set[str] = set()
    for part in table().values():
        assert part.may <= above, part.name
        above.add(part.name)


def test_rows_are_of_what_is_there() -> None:
    for part in table().values():
        place = PACKAGE.joinpath(*part.name.split("."))
        assert place.with_suffix(".py").exists() or (place / "__init__.py").exists(), part.name
        assert (part.may | part.for_types) <= table().keys(), part.name


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_module_imports_the_reactor_when_it_is_imported(path: Path) -> None:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module == "twisted.internet":
            assert "reactor" not in {alias.name for alias in node.names}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_module_but_the_simulated_camera_imports_an_extra_when_it_is_imported(path: Path) -> None:
    """The service has no use for PyAV: its children do, and import it when they need it."""
    if path.relative_to(PACKAGE).parts[:2] in {("sim", "camera.py"), ("ops", "manhole"), ("ops", "mqtt")}:
        return
    for node in ast.parse(path.read_text()).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not [name for name in names if name.split(".")[0] in {"av", "paho"} or name.startswith("twisted.conch")]


def test_modules_can_be_held_in_the_head() -> None:
    long = {str(p.relative_to(PACKAGE)): n for p in MODULES if (n := len(p.read_text().splitlines())) > 400}
    assert long == {}


def test_folders_can_be_held_in_the_head() -> None:
    assert [str(path) for path in PACKAGE.rglob("*") if path.is_dir() and len(list(path.glob("*.py"))) > 16] == []
