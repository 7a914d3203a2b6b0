from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.logger import capturedLogs

from tests.ops.served import Nothing, ask, transition
from tests.waiting import until
from zmtwist.config.settings import settle
from zmtwist.config.toml import parse
from zmtwist.ops.service import Operators

ON = """
[manhole]
endpoint = "unix:/nowhere/m.sock"
authorized_keys = "/nowhere/keys"
[mqtt]
url = "mqtt://127.0.0.1:1"
"""


def operators(directory: Path, extra: str) -> Operators:
    text = f'database.url = "sqlite:///x"\npaths = {{ run = "{directory}", state = "{directory}" }}\n{extra}'
    return Operators(reactor, settle(parse(text), {}), Nothing(), wall=lambda: 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("missing", [(), ("zmtwist.ops.manhole.service", "zmtwist.ops.mqtt.service")])
@pytest_twisted.ensureDeferred
async def test_the_api_is_served_whatever_becomes_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...]
) -> None:
    for module in missing:
        monkeypatch.setitem(sys.modules, module, None)
    with capturedLogs() as logs:
        parts = operators(tmp_path, ON)
        parts.startService()
        try:
            await until(lambda: (tmp_path / "api.sock").exists())
            parts.announce(transition(1))
            assert (await ask(f"{tmp_path}/api.sock", "/api/status")).status == 200
        finally:
            await parts.stopService()
    said = [event for event in logs if "{extra}" in event["log_format"]]
    assert [(event["what"], event["extra"]) for event in said] == [("manhole", "conch"), ("MQTT", "mqtt")][
        : len(missing)
    ]
    closed = [event for event in logs if event["log_format"].startswith("the manhole stays closed")]
    assert len(closed) == (0 if missing else 1)


def imported(path: Path) -> set[str]:
    """What a module imports when it is imported itself."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def test_what_is_off_is_not_imported() -> None:
    root = Path(__file__).parents[2]
    imports = {
        ".".join(path.relative_to(root).with_suffix("").parts): imported(path)
        for path in (root / "zmtwist").rglob("*.py")
    }
    heavy = {name for name, of in imports.items() if any(one.startswith(("paho", "twisted.conch")) for one in of)}
    assert {"zmtwist.ops.mqtt.client", "zmtwist.ops.manhole.ssh"} <= heavy
    while more := {name for name, of in imports.items() if of & heavy} - heavy:
        heavy |= more
    assert {name for name in heavy if not name.startswith(("zmtwist.ops.mqtt.", "zmtwist.ops.manhole."))} == set()
