"""What an operator may order of one monitor: names that the API, its description and the command share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ORDERS: Final[Mapping[str, str]] = {
    "start": "start it now, held or waiting as it may be",
    "stop": "stop it until it is started or released, or the service starts anew",
    "restart": "stop it and start it again",
    "reload": "read the database and run it with what that says now",
    "hold": "stop it until it is released",
    "release": "end a hold",
}
