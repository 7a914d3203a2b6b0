"""Worker documents for operators: redacted, and what would change between two of them. Pure."""

from __future__ import annotations

import difflib
import json
from typing import Any

from zmtwist.pipeline.document import Document, Refusal, shown


def document_view(wanted: Document, running: Document | None) -> dict[str, Any]:
    """The document that a monitor is meant to run with; `running_digest` tells whether it does."""
    return {
        "id": wanted.monitor_id,
        "digest": shown(wanted.digest),
        "running_digest": None if running is None else shown(running.digest),
        "mode": wanted.mode,
        "warnings": list(wanted.warnings),
        "document": json.loads(wanted.redacted()),
    }


def difference_view(
    monitor_id: int, running: Document | None, coming: Document | Refusal, *, adopted_digest: str | None = None
) -> dict[str, Any]:
    """What the database asks for now, against what runs.

    `same` only where not even a secret differs. `adopted_digest` is that of a worker whose document this run of the service never saw.
    """
    runs = running.digest if running else adopted_digest
    view: dict[str, Any] = {"id": monitor_id, "running_digest": shown(runs)}
    if isinstance(coming, Refusal):
        return {
            **view,
            "digest": None,
            "same": False,
            "diff": [],
            "note": f"it would be refused: {coming.reason}",
        }
    view |= {"digest": shown(coming.digest), "same": runs == coming.digest, "note": ""}
    if running is None:
        if not view["same"]:
            view["note"] = (
                "what runs was started by an earlier run of the service" if adopted_digest else "nothing runs now"
            )
        return {**view, "diff": []}
    lines = difflib.unified_diff(_lines(running), _lines(coming), "runs now", "would run", lineterm="", n=3)
    view["diff"] = list(lines)
    if not view["same"] and not view["diff"]:
        view["note"] = "only secrets, or the order of keys, differ"
    return view


def _lines(document: Document) -> list[str]:
    return json.dumps(json.loads(document.redacted()), indent=2).splitlines()
