"""ZoneMinder's own configuration files: /etc/zm/zm.conf and conf.d/*.conf (doc/reference/zoneminder.md, Configuration files)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

DEFAULT_PATH = "/etc/zm/zm.conf"

_SETS = re.compile(r"\s*ZM_\w+\s*=", re.IGNORECASE)


def read(path: str | Path = DEFAULT_PATH) -> dict[str, str]:
    """All values, by name in capitals: first the file at `path`, then `conf.d/*.conf` beside it in sorted order, later ones winning.

    A missing file is an empty dict. Raises `OSError` for a file that is there but can't be read. Bytes that are not UTF-8 (a password may
    have such) are kept as surrogate escapes.
    """
    main = Path(path)
    if not main.exists():
        return {}
    conf: dict[str, str] = {}
    # As a shell's glob, which is what ZoneMinder uses: what an editor has left hidden there is none of it.
    more = (file for file in main.parent.glob("conf.d/*.conf") if not file.name.startswith("."))
    for file in (main, *sorted(more)):
        conf |= parse(file.read_text(encoding="utf-8", errors="surrogateescape"))
    return conf


def parse(text: str) -> dict[str, str]:
    """The values of one file: `NAME = value` lines, `#` comments, no inline comments and no variables.

    Spaces and any number of quotes around a value are stripped, CRLF is taken, and a backslash at a line's end joins the next line,
    unless that sets a value of its own: then the backslash belongs to the value, as it always does in 1.36 (a password may end in one).
    Lines without `=` are skipped, as ZoneMinder does.
    """
    conf = {}
    for line in _joined(text.split("\n")):
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#") and name.strip():
            conf[name.strip().upper()] = value.strip().strip("'\"")
    return conf


def _joined(lines: Iterable[str]) -> Iterable[str]:
    """Logical lines, stripped."""
    pending = ""
    for line in lines:
        if pending and _SETS.match(line):
            yield f"{pending}\\"
            pending = ""
        whole = pending + line.strip()
        if whole.endswith("\\") and not whole.startswith("#"):
            pending = whole[:-1]
        else:
            pending = ""
            yield whole
    if pending:
        yield pending.strip()
