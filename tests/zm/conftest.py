"""Databases to test on."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted

from tests.zm.site import FLAVOURS, TestSite


@pytest_twisted.async_yield_fixture(params=FLAVOURS)
async def site(request: pytest.FixtureRequest, tmp_path: Any) -> Any:
    """The same tests on SQLite, on ZoneMinder 1.36's schema and on the newer one."""
    async for made in _site(request.param, request, tmp_path):
        yield made


@pytest_twisted.async_yield_fixture(params=["zm136", "zm138"])
async def mysite(request: pytest.FixtureRequest, tmp_path: Any) -> Any:
    """Those of MariaDB only."""
    async for made in _site(request.param, request, tmp_path):
        yield made


async def _site(flavour: str, request: pytest.FixtureRequest, tmp_path: Any) -> Any:
    from twisted.internet import reactor

    server = None if flavour == "sqlite" else request.getfixturevalue("mariadb")
    made = TestSite(reactor, flavour, server, tmp_path)
    await made.begin()
    yield made
    await made.end()
