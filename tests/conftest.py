"""What several parts' tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from importlib.util import find_spec
from types import ModuleType

import pytest
from hypothesis import settings

from tests.mariadb import Server

settings.register_profile("check", derandomize=True, deadline=None)
settings.register_profile("quick", max_examples=10, derandomize=True, deadline=None)
settings.register_profile("fuzz", max_examples=2000, deadline=None)
# The same tree passes or fails `make check` alike every time; `make fuzz` looks for what it does not find.
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "check"))

TIME_ZONE = "Australia/Sydney"
"""The database server's: far from UTC, and with daylight saving."""


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Server]:
    """A private MariaDB server with ZoneMinder's schema, started when the first test asks for it."""
    server = Server(time_zone=TIME_ZONE).create()
    yield server
    server.remove()


# What `make quick` leaves out.

SLOW_MODULES = {
    "subprocess", "tests.attack.target", "tests.broker", "tests.media.stand_ins", "tests.media.clips", "tests.mariadb", "tests.ops.browser",
    "tests.service_case", "tests.sim.harness", "tests.wire.fuzz",
}  # fmt: skip
"""Who uses something of these starts processes (workers, databases, browsers, children that read media), or takes long."""

assert all(map(find_spec, SLOW_MODULES))

SLOW_FIXTURES = {"core", "mariadb", "mysite"}


def _is_slow(item: pytest.Item) -> bool:
    module = getattr(item, "module", None)
    used = vars(module).values() if module is not None else ()
    names = {getattr(value, "__name__" if isinstance(value, ModuleType) else "__module__", None) for value in used}
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return bool(
        names & SLOW_MODULES
        or SLOW_FIXTURES & set(getattr(item, "fixturenames", ()))
        or parameters.get("site", "sqlite") != "sqlite"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests, by what their modules and they use."""
    for item in items:
        if _is_slow(item):
            item.add_marker("slow")


_running: pytest.Item | None = None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Know which test runs."""
    global _running
    _running = item
    try:
        return (yield)
    finally:
        _running = None


def _no_process_in_a_quick_test(event: str, _arguments: tuple[object, ...]) -> None:
    started = event in {"subprocess.Popen", "os.fork", "os.posix_spawn"}
    if started and _running is not None and _running.get_closest_marker("slow") is None:
        pytest.fail("starts a process, so it is slow: tests/conftest.py, or pytestmark, has to know")


sys.addaudithook(_no_process_in_a_quick_test)
