"""What several parts' tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.mariadb import Server

settings.register_profile("check", derandomize=True, deadline=None)
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
