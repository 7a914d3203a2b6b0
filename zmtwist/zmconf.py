"""ZoneMinder's own configuration files: /etc/zm/zm.conf and conf.d/*.conf (zoneminder.md, 7)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

DEFAULT_PATH = "/etc/zm/zm.conf"


def read(path: str | Path = DEFAULT_PATH) -> dict[str, str]:
    """All values, by name in capitals: first the file at `path`, then `conf.d/*.conf` beside it in sorted order, later ones winning.

    A missing file is an empty dict. Raises `OSError` for a file that is there but can't be read. Bytes that are not UTF-8 (a password may
    have such) are kept as surrogate escapes.
    """
    main = Path(path)
    if not main.exists():
        return {}
    conf: dict[str, str] = {}
    for file in (main, *sorted(main.parent.glob("conf.d/*.conf"))):
        conf |= parse(file.read_text(encoding="utf-8", errors="surrogateescape"))
    return conf


def parse(text: str) -> dict[str, str]:
    """The values of one file: `NAME = value` lines, `#` comments, no inline comments and no variables.

    Spaces and any number of quotes around a value are stripped, CRLF is taken, and a backslash at a line's end joins the next line.
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
        whole = pending + line.strip()
        if whole.endswith("\\") and not whole.startswith("#"):
            pending = whole[:-1]
        else:
            pending = ""
            yield whole
    if pending:
        yield pending.strip()
