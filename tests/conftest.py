"""What several parts' tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mariadb import Server

TIME_ZONE = "Australia/Sydney"
"""The database server's: far from UTC, and with daylight saving."""


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Server]:
    """A private MariaDB server with ZoneMinder's schema, started when the first test asks for it."""
    server = Server(time_zone=TIME_ZONE).create()
    yield server
    server.remove()
