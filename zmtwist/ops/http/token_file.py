"""The secret that every request over TCP has to bring: made at the first start, kept for its owner's eyes only."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from zmtwist.durable import durable_write

SHORTEST = 16
"""Characters that a token of the operator's own needs."""


class BadToken(Exception):
    """The token file can't be used; the text says why and what to do, and never holds the token."""


def token(path: str) -> str:
    """The token in the file at `path`, which is made with mode 0600 where it is missing. Raises BadToken. Reads a small local file."""
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    try:
        _make(path)
        return _read(path)
    except OSError as error:
        raise BadToken(f"[api] token_file {path}: cannot be made: {error.strerror}") from None


def read_token(path: str) -> str:
    """The token in a file that is there. Raises BadToken."""
    try:
        return _read(path)
    except FileNotFoundError:
        raise BadToken(
            f"token file {path}: there is no such file; the service makes it when [api] web is set"
        ) from None


def _make(path: str) -> None:
    Path(path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    durable_write(Path(path), f"{secrets.token_urlsafe(32)}\n".encode())


def _read(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(1024).decode("ascii").strip()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BadToken(f"token file {path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadToken(f"token file {path}: is not text; remove it and a new one is made") from None
    if stat.S_IMODE(mode) & 0o077:
        raise BadToken(f"token file {path}: others may read it (mode {stat.S_IMODE(mode):o}): chmod 600 {path}")
    if len(text) < SHORTEST or any(c.isspace() for c in text):
        raise BadToken(
            f"token file {path}: must hold one word of at least {SHORTEST} characters; remove it and a new one is made"
        )
    return text
