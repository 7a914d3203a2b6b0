"""The documents hold what they say of the code: keys, states, messages, commands, and every path they point to."""

from __future__ import annotations

import ast
import re
import shlex
import types
from argparse import ArgumentParser
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin

import attrs
import pytest

from zmtwist.config.model import Config
from zmtwist.fleet.process.policy import EXIT_MEANING
from zmtwist.fleet.process.state import State
from zmtwist.ops.cli.main import _parser
from zmtwist.tap import Options

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = sorted([ROOT / "README.md", *(ROOT / "doc").rglob("*.md")])
REFERENCE: Final = ROOT / "doc/reference"
TROUBLE: Final = ROOT / "doc/guide/troubleshooting.md"
NAMES: Final = [str(page.relative_to(ROOT)) for page in PAGES]

VARIES: Final = re.compile(r"\{[^{}]*\}")
"""What differs from case to case in a message: written in braces in the documents and in the code alike."""


def rows(text: str) -> Iterator[list[str]]:
    """The cells of all tables' rows, heads and rules left out."""
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith("|---"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])]


def code_of(text: str) -> list[str]:
    """What stands in backticks, and the lines of indented blocks."""
    blocks = re.findall(r"^ {4}(?! )(.*)$", text, re.MULTILINE)
    return [*re.findall(r"`([^`\n]+)`", text), *blocks]


# Links and paths.


def anchors(page: Path) -> set[str]:
    """The fragments that headings of a page have on GitHub."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, fragment = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{target} is not there"
        assert not fragment or fragment in anchors(there), f"{target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_files_that_are_named_exist(page: Path) -> None:
    for path in re.findall(r"(?<![\w/.{}-])(?:doc|etc|tests|tools)/[\w./-]*\w", page.read_text()):
        assert (ROOT / path).exists(), f"{path} is not there"


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "doc/README.md"
    listed = {(index.parent / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)\)", index.read_text())}
    assert set((ROOT / "doc").rglob("*.md")) - {index} <= listed


# Citations.

SOURCES: Final = sorted(
    path
    for part in ("zmtwist", "tests", "tools", "twisted", "etc")
    for path in (ROOT / part).rglob("*")
    if path.suffix in {"", ".py", ".sh", ".toml", ".yml", ".service"} and path.is_file() and path != Path(__file__)
)


def _cited(text: str) -> Iterator[tuple[str, str]]:
    """Each document that a text names, with what follows a comma behind it: the heading, where it begins with a capital."""
    flowing = re.sub(r"\s*\n[ \t]*#?[ \t]*", " ", text)
    for found in re.finditer(r"([\w/.{}-]*\w\.md)\b(?=(?:, (.{1,80}))?)", flowing):
        yield found[1], found[2] or ""


def _wrong_citations(text: str, root: Path = ROOT) -> list[str]:
    wrong = []
    for path, tail in _cited(text):
        page = root / path
        if not page.is_file():
            wrong.append(f"{path} is not there")
        elif re.match(r"[A-Z0-9]", tail):
            heads = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
            if not any(re.match(re.escape(head) + r"(?!\w)", tail) for head in heads):
                wrong.append(f"{path} has no heading for {tail!r}")
    return wrong


def test_documents_and_headings_that_code_cites_exist() -> None:
    assert len(SOURCES) > 400
    wrong = {str(path.relative_to(ROOT)): _wrong_citations(path.read_text(errors="replace")) for path in SOURCES}
    assert {path: found for path, found in wrong.items() if found} == {}


def test_a_wrong_citation_is_found(tmp_path: Path) -> None:
    (tmp_path / "doc").mkdir()
    (tmp_path / "doc/a.md").write_text("# A\n\n## Names of clips\n")
    assert _wrong_citations("see doc/a.md, then (doc/a.md, Names of\n    # clips).", tmp_path) == []
    assert _wrong_citations("(doc/a.md, Names of clipsx) (doc/a.md, 4) (doc/b.md) (a.md)", tmp_path) == [
        "doc/a.md has no heading for 'Names of clipsx) (doc/a.md, 4) (doc/b.md) (a.md)'",
        "doc/a.md has no heading for '4) (doc/b.md) (a.md)'",
        "doc/b.md is not there",
        "a.md is not there",
    ]


# Commands.


@cache
def verbs() -> dict[str, ArgumentParser]:
    (made,) = (action.choices for action in _parser()._actions if isinstance(action.choices, dict))
    return made


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_exist(page: Path) -> None:
    known, targets = verbs(), set(re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    twistd = {f"--{long}{'=' if takes else ''}".rstrip("=") for long, takes in _twistd_options()}
    for code in code_of(page.read_text()):
        words = shlex.split(re.sub(r"['\"]", "", code), comments=True)
        if "make" in words[:1]:
            assert words[1] in targets, code
        if "zmnext" in words and "twistd" in words[0]:
            given = {word for word in words[words.index("zmnext") :] if word.startswith("--")}
            assert given <= twistd, code
        for at, word in enumerate(words):
            if Path(word).name == "zmnextctl" and at + 1 < len(words) and (at == 0 or words[0] in ("sudo", "while")):
                _is_command(known, words[at + 1 :], code)


def _twistd_options() -> Iterator[tuple[str, bool]]:
    for name in Options().longOpt:  # type: ignore[no-untyped-call]
        yield name.rstrip("="), name.endswith("=")


def _is_command(known: dict[str, ArgumentParser], words: list[str], code: str) -> None:
    takes_value = {"--api", "--config", "--token-file"}
    at = 0
    while at < len(words) and words[at].startswith(("-", "[")):
        at += 2 if words[at] in takes_value else 1
    verb = next((word for word in words[at:] if re.fullmatch("[a-z-]+", word)), None)
    if verb is None:
        return  # the command as such
    assert verb in known, code
    options = {option for action in known[verb]._actions for option in action.option_strings}
    assert {word for word in words if word.startswith("--")} <= options, code


# Keys.


@attrs.frozen
class Key:
    """What a row of config.md says; `default` None where it says that there is none, or another than a value."""

    type: str
    default: str | None


def _word(cls: Any) -> str:
    if get_origin(cls) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(cls) if kind is not type(None)]
        return _word(kinds[0]) if len(kinds) == 1 else "list of ids"
    if get_origin(cls) is Literal:
        return f'`"{get_args(cls)[0]}"`'
    if get_origin(cls) is tuple:
        return "list of strings"
    return {bool: "true or false", int: "whole number", float: "number", str: "string"}.get(cls, "table of strings")


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case float():
            return f"{value:g}"
    return str(value)


def keys_of(cls: Any, path: str = "") -> Iterator[tuple[tuple[str, str], Key]]:
    for field in attrs.fields(attrs.resolve_types(cls)):
        inner = next((kind for kind in (field.type, *get_args(field.type)) if attrs.has(kind)), None)
        if inner is not None:
            name = f"{path}.{field.name}" if path else field.name
            yield from keys_of(inner, f"[{name}]" if get_origin(field.type) is tuple else name)
            continue
        default = field.default.factory() if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]
        value = None if default is None or default is attrs.NOTHING else _toml(default)
        yield (f"[{path}]", field.name), Key(_word(field.type), value)


def test_every_key_is_documented_with_type_and_default() -> None:
    documented = {}
    for section in re.split(r"^## ", (REFERENCE / "config.md").read_text(), flags=re.MULTILINE):
        table = re.match(r"`(\[.*\])`", section)
        for name, kind, default, meaning in (row for row in rows(section) if table and row[0] != "key"):
            assert table is not None
            assert meaning
            value = None if default.startswith(("unset: ", "needed")) else default.strip("`")
            documented[table[1], name.strip("`")] = Key(kind, value)
    expected = dict(keys_of(Config))
    assert list(documented) == list(expected)
    for key, said in documented.items():
        assert said.type.startswith(expected[key].type), key
        assert said.default == expected[key].default, key


# States.


def test_states_are_those_of_the_code() -> None:
    text = (REFERENCE / "states.md").read_text()
    described, *_ = re.split(r"^## ", text, flags=re.MULTILINE)
    assert [row[0].strip("`") for row in rows(described)][1:] == [state.value for state in State]
    assert set(re.findall(r"`([A-Z]{4,})`", text)) == {state.value for state in State}
    _, exits = text.split("## Exit statuses")
    told = {int(number): row[1] for row in rows(exits) for number in re.findall(r"\d+", row[0])}
    assert told == EXIT_MEANING


# Diagrams.


def _diagrams() -> list[str]:
    return re.findall(r"^```mermaid\n(.*?)^```$", (ROOT / "doc/design.md").read_text(), re.MULTILINE | re.DOTALL)


def test_the_package_map_shows_imports_that_exist() -> None:
    (chart,) = (text for text in _diagrams() if text.startswith("flowchart"))
    arrows = re.findall(r"^ *(\w+)(?:\[[^\]]*\])? --> (\w+)", chart, re.MULTILINE)
    assert len(arrows) > 10
    for one, other in arrows:
        files = [*(ROOT / "zmtwist" / one).rglob("*.py"), *(ROOT / "zmtwist").glob(f"{one}.py")]
        assert any(re.search(rf"from zmtwist(\.| import ){other}\b", path.read_text()) for path in files), (one, other)


def test_the_lifecycle_has_the_states_of_the_code_and_no_other_ways_than_the_reference() -> None:
    (chart,) = (text for text in _diagrams() if text.startswith("stateDiagram"))
    arrows = re.findall(r"^ *(\w+) --> (\w+)", chart, re.MULTILINE)
    assert {state for arrow in arrows for state in arrow} == {state.value for state in State}
    ways = set()
    table = (REFERENCE / "states.md").read_text().split("## What leads where")[1].split("\n## ")[0]
    running = ["STARTING", "LINKED", "LIVE", "STALLED"]
    kinds = {
        "any with a process": running,
        "`STARTING` and later": running,
        "any without a process": ["BACKOFF", "FATAL"],
    }
    for start, _, end in list(rows(table))[1:]:
        sources = kinds.get(start) or re.findall(r"`([A-Z]+)`", start)
        first, *rest = re.findall(r"`([A-Z]+)`", end)
        ways |= {(source, first) for source in sources} | {(first, state) for state in rest}
    assert set(arrows) <= ways, set(arrows) - ways


# Messages.


def _rendered(node: ast.expr) -> str | None:
    """A string of the code as it is read, with `{}` for what differs."""
    match node:
        case ast.Constant(value=str(text)):
            return VARIES.sub("{}", text)
        case ast.JoinedStr(values=parts):
            return "".join(_rendered(part) or "{}" for part in parts)
    return None


@cache
def strings() -> str:
    """Every string of the package, one after the other."""
    return "\n".join(filter(None, (_rendered(node) for _, node in _nodes() if isinstance(node, ast.expr))))


@cache
def _nodes() -> tuple[tuple[Path, ast.AST], ...]:
    files = [path for path in (ROOT / "zmtwist").rglob("*.py") if "sim" not in path.relative_to(ROOT).parts]
    return tuple((path, node) for path in sorted(files) for node in ast.walk(ast.parse(path.read_text())))


def _must_be_explained() -> Iterator[str]:
    """What is logged as a warning or worse, keeps a worker from being started, or is found by doctor."""
    for path, node in _nodes():
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        finding = path.name.startswith("doctor") and isinstance(node.func, ast.Name) and name in ("warn", "fail")
        logged = isinstance(node.func, ast.Attribute) and name in ("warn", "error", "critical")
        if logged or finding or name in ("CannotSpawn", "Unfit"):
            text = _rendered(node.args[1 if finding else 0])
            if text is not None and len(re.findall(r"[a-z]{2,}", text.replace("{}", ""))) > 1:
                yield text


def quoted() -> list[str]:
    """The messages of the page: what stands in backticks in the first cell of a row."""
    return [
        VARIES.sub("{}", message)
        for row in rows(TROUBLE.read_text())
        if row[0] != "message"
        for message in re.findall(r"`([^`]+)`", row[0])
    ]


def test_every_message_of_the_page_is_in_the_code() -> None:
    messages = quoted()
    assert len(messages) > 150
    assert [message for message in messages if message not in strings()] == []
    assert len(set(messages)) == len(messages)


def test_every_message_that_matters_is_on_the_page() -> None:
    messages = quoted()
    assert [text for text in _must_be_explained() if not any(message in text for message in messages)] == []


def test_every_row_says_what_to_do() -> None:
    assert [row for row in rows(TROUBLE.read_text()) if len(row) != 3 or not all(row)] == []
