"""The layering of doc/design.md, read off the code's own import statements."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "zmtwist"
LEAVES = {
    "_version",
    "budget",
    "changes",
    "config",
    "durable",
    "interfaces",
    "interpreter",
    "extras",
    "guard",
    "happenings",
    "programs",
    "redact",
    "spellings",
    "waiting",
    "whole",
    "zmconf",
}
MAY = {
    "wire": set(),
    "pipeline": {"wire"},
    "zm": {"wire", "pipeline"},
    "fleet": {"wire", "pipeline", "zm"},
    "ingest": {"wire", "pipeline", "zm"},
    "ops": {"wire", "pipeline", "zm", "fleet", "ingest"},
    "sim": {"wire"},
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path, *, types_too: bool) -> set[str]:
    """The first part below `zmtwist` of everything that the module imports; optionally what it imports for type checkers only."""
    tree = ast.parse(path.read_text())
    if not types_too:
        tree = _WithoutTypeChecking().visit(tree)
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module if node.module != "zmtwist" else f"zmtwist.{node.names[0].name}")
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return {name.split(".")[1] for name in names if name.startswith("zmtwist.")}


class _WithoutTypeChecking(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" else node


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_package_imports_only_from_those_before_it(path):
    package = path.relative_to(PACKAGE).parts[0]
    if package not in MAY:
        return
    allowed = (
        MAY[package]
        | {package}
        | (
            set()
            if package == "sim"
            else LEAVES | ({"configfile", "documents", "settings"} if package == "ops" else set())
        )
    )
    assert imports(path, types_too=True) <= allowed


@pytest.mark.parametrize("leaf", sorted(LEAVES))
def test_leaves_depend_on_nothing_that_runs(leaf):
    path = PACKAGE / f"{leaf}.py"
    assert imports(path, types_too=False) <= LEAVES | {"pipeline"}


def test_every_part_is_in_the_table():
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages == set(MAY)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_module_imports_the_reactor_when_it_is_imported(path):
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module == "twisted.internet":
            assert "reactor" not in {alias.name for alias in node.names}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_module_but_the_simulated_camera_imports_an_extra_when_it_is_imported(path):
    """The service has no use for PyAV: its children do, and import it when they need it."""
    if path.relative_to(PACKAGE).parts[:2] in {("sim", "camera.py"), ("ops", "manhole"), ("ops", "mqtt")}:
        return
    for node in ast.parse(path.read_text()).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not [name for name in names if name.split(".")[0] in {"av", "paho"} or name.startswith("twisted.conch")]


def test_modules_can_be_held_in_the_head():
    long = {str(p.relative_to(PACKAGE)): n for p in MODULES if (n := len(p.read_text().splitlines())) > 400}
    assert long == {}
