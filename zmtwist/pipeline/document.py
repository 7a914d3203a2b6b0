"""What composing gives: a worker's document, or the reason why there is none."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import attrs

from zmtwist.config.model import Mode
from zmtwist.untrusted.redact import MASK, SHORTEST, Redactor

_SECRET_KEYS = frozenset({"password", "username", "auth_header", "api_key", "token"})


class Unfit(Exception):
    """Within this package: the monitor can't run on zm-next. The text is for the operator and holds no secret."""


@attrs.frozen
class Document:
    """All that one worker is told. `text` and `secrets` may hold credentials and never appear in `repr`."""

    monitor_id: int
    text: str = attrs.field(repr=False)
    mode: Mode
    store_root: str | None
    """The directory that clips are written under; None where nothing is recorded."""
    camera: tuple[str, int] | None = None
    """Host and TCP port that the camera must answer at; None for a file, or where it is not reached by TCP."""
    lead_sec: float = 0.0
    """By how many seconds a triggered clip begins before its trigger, as a rule; 0 outside event mode."""
    detect_size: tuple[int, int] | None = None
    """The size of the picture in which objects are detected, before it is turned upright; None where that is not known."""
    motion_cells: int = 0
    """How many samples of the picture are compared where motion is looked for; 0 unknown."""
    shares_inference: bool = False
    """Its detectors send their pictures to the inference that all workers share."""
    private: bool = False
    """The recording is masked: nobody may be shown the camera's own stream."""
    warnings: tuple[str, ...] = ()
    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)
    """What a `Redactor` needs to know for everything that this worker says."""

    key: bytes = attrs.field(default=b"", repr=False)
    """What `digest` is made with; empty outside the service."""

    @property
    def digest(self) -> str:
        """Identifies the text: HMAC-SHA-256, in hex. Without the key nobody can try passwords until a digest fits."""
        return hmac.new(self.key, self.text.encode("ascii"), hashlib.sha256).hexdigest()

    def redacted(self) -> str:
        """The text with every secret replaced, for people."""
        return dump(_redact(json.loads(self.text), Redactor(self.secrets)))


@attrs.frozen
class Refusal:
    """The monitor stays with the legacy daemon, for `reason` (a sentence for the operator)."""

    monitor_id: int
    reason: str


def shown(digest: str | None) -> str | None:
    """So much of a digest as people need to tell one from another."""
    return None if digest is None else digest[:12]


def dump(value: Any) -> str:
    """`value` as the one JSON text that it always has: compact, ASCII, keys in the order they were put in."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def _redact(value: Any, redactor: Redactor) -> Any:
    if isinstance(value, dict):
        return {key: MASK if key in _SECRET_KEYS else _redact(inner, redactor) for key, inner in value.items()}
    if isinstance(value, list):
        return [_redact(inner, redactor) for inner in value]
    return redactor.redact(value) if isinstance(value, str) and len(value) >= SHORTEST else value
