"""What goes wrong in the API, as its clients see it."""

from __future__ import annotations

import attrs


@attrs.frozen
class ApiError(Exception):
    """An answer other than the one asked for: HTTP status, a code for programs, a sentence for people (without secrets)."""

    status: int
    code: str
    message: str

    def __str__(self) -> str:
        return self.message


def no_such_monitor(monitor_id: int) -> ApiError:
    """404 for a monitor that this server does not have."""
    return ApiError(404, "no_such_monitor", f"there is no monitor {monitor_id} on this server")


def starting() -> ApiError:
    """503 while there is no fleet yet, or no longer."""
    return ApiError(503, "not_running", "the service has not started its fleet yet, or is stopping: see /api/status")
