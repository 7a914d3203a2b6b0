"""What `zmnextctl doctor` finds: one value for each thing looked at."""

from __future__ import annotations

from typing import Literal

import attrs

Verdict = Literal["ok", "warn", "FAIL"]


@attrs.frozen
class Finding:
    """`what` was looked at, what was `found`, and how to put it right (`fix`, empty where all is well)."""

    verdict: Verdict
    what: str
    found: str
    fix: str = ""


def ok(what: str, found: str) -> Finding:
    """All is well."""
    return Finding("ok", what, found)


def warn(what: str, found: str, fix: str) -> Finding:
    """It works, but should be looked into."""
    return Finding("warn", what, found, fix)


def fail(what: str, found: str, fix: str) -> Finding:
    """It can't work like this."""
    return Finding("FAIL", what, found, fix)
