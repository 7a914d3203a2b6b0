"""What the database user has to be allowed to do, and what of it SHOW GRANTS does not show. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from zmtwist.zm.db.schema import BUCKETS, Schema

_READ = frozenset({"SELECT"})
_ADD = frozenset({"SELECT", "INSERT"})
_WRITE = frozenset({"SELECT", "INSERT", "UPDATE"})

_NEEDED: Mapping[str, frozenset[str]] = {
    "Config": _READ,
    "Servers": _READ,
    "Zones": _READ,
    "States": _READ,
    "Monitors": _READ,
    "monitor_pipeline": _READ,
    "Storage": frozenset({"SELECT", "UPDATE"}),
    "Events": _WRITE,
    "Frames": _WRITE | {"DELETE"},
    **dict.fromkeys(BUCKETS, _WRITE),  # they are read with a lock, which MySQL allows to none who may not write
    "Event_Summaries": _WRITE,
    "Monitor_Status": _WRITE,
    "Tags": _WRITE,
    "Events_Tags": _ADD,
    "Event_Data": _WRITE,
}

_LINE = re.compile(
    r"GRANT (?P<rights>.+?) ON (?:TABLE )?(?P<schema>`(?:[^`]|``)*`|\*)\.(?P<table>`(?:[^`]|``)*`|\*) TO ",
    re.IGNORECASE,
)


def needed(schema: Schema, *, set_none: bool = False) -> dict[str, frozenset[str]]:
    """Rights by table, for the tables that this database has. `set_none`: monitors are switched off for ZoneMinder's own daemons."""
    wanted = {table: rights for table, rights in _NEEDED.items() if schema.has(table)}
    if set_none:
        wanted["Monitors"] = frozenset({"SELECT", "UPDATE"})
    return wanted


def missing(lines: Iterable[str], database: str, wanted: Mapping[str, frozenset[str]]) -> dict[str, tuple[str, ...]]:
    """By table, the rights of `wanted` that none of SHOW GRANTS' `lines` gives in `database`."""
    lacking = {table: set(rights) for table, rights in wanted.items()}
    for line in lines:
        found = _LINE.match(line)
        if found is None:
            continue
        rights = {right.strip().upper() for right in re.sub(r"\([^)]*\)", "", found["rights"]).split(",")}
        everything = bool(rights & {"ALL", "ALL PRIVILEGES"})
        for table, lack in lacking.items():
            if _covers(found["schema"], found["table"], database, table):
                lack -= set(lack) if everything else rights
    return {table: tuple(sorted(lack)) for table, lack in lacking.items() if lack}


def statements(lack: Mapping[str, tuple[str, ...]], database: str) -> str:
    """What an administrator has to run, in one line; the user is left to fill in."""
    return "; ".join(f"GRANT {', '.join(rights)} ON `{database}`.`{table}` TO …" for table, rights in lack.items())


def _covers(schema: str, table: str, database: str, wanted: str) -> bool:
    if table != "*":
        return _name(schema) == database and _name(table).lower() == wanted.lower()
    return schema == "*" or re.fullmatch(_pattern(_name(schema)), database) is not None


def _name(quoted: str) -> str:
    return quoted.strip("`").replace("``", "`")


def _pattern(name: str) -> str:
    """A grant on a whole database may use LIKE's wildcards."""
    parts = re.findall(r"\\.|.", name, re.DOTALL)
    return "".join(".*" if p == "%" else "." if p == "_" else re.escape(p[-1]) for p in parts)
