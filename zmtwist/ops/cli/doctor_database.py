"""What `zmnextctl doctor` asks the database: rights, schema, time zones, clock, and the storages that its rows name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from zoneinfo import ZoneInfo

from zmtwist.config.settings import Settings
from zmtwist.config.site import site_of
from zmtwist.fleet.policy import unwanted_reason
from zmtwist.ops.cli.findings import Finding, fail, ok, warn
from zmtwist.pipeline.monitor import Monitor
from zmtwist.untrusted.redact import mask
from zmtwist.zm.db.connector import connector_for
from zmtwist.zm.db.dialect import MYSQL, SQLITE, Sql
from zmtwist.zm.db.errors import DatabaseError, UnknownServer, Unusable, translate
from zmtwist.zm.db.grants import missing, needed, statements
from zmtwist.zm.db.schema import Schema, probe
from zmtwist.zm.db.server_clock import compare, hours, offset_at
from zmtwist.zm.read.catalog import Reading, read

CLOCK_SECONDS = 2.0
"""How far the database server's clock may be from ours: events are found by their times."""

FULL = 0.05
"""A storage with less than this share of it free will soon lose recordings."""


def look_at_database(settings: Settings, findings: list[Finding]) -> int:
    """Look at it and all it names; gives the number of monitors that are to run on zm-next, 0 if that can't be read."""
    url = settings.database
    if url.scheme == "sqlite" and not Path(url.path).exists():
        findings.append(ok("database", f"{url} (is made at the start)"))
        return 0
    try:
        with closing(connector_for(url).open()) as connection:
            sql = Sql(connection.cursor(), SQLITE if url.scheme == "sqlite" else MYSQL)
            schema = probe(sql, str(url))
            findings.append(ok("database", f"{url}, ZoneMinder {schema.version or 'of unknown version'}"))
            if url.scheme == "mysql":
                findings += _grants(sql, schema, settings)
                findings += _times(sql, settings)
            return _rows(sql, schema, settings, findings)
    except UnknownServer as error:
        findings.append(fail("server", mask(str(error)), "then 'SELECT Id, Name FROM Servers' shows it"))
    except Unusable as error:
        findings.append(
            fail("schema", mask(str(error)), "is [database] url ZoneMinder's? run zmupdate.pl if it is old")
        )
    except Exception as error:
        told = translate(error, url)
        if not isinstance(told, DatabaseError):
            raise
        findings.append(
            fail(
                "database",
                mask(str(told)),
                "start the server; check [database] url, or ZM_DB_* in zm.conf, and its rights",
            )
        )
    return 0


def _grants(sql: Sql, schema: Schema, settings: Settings) -> Iterator[Finding]:
    lines = [str(row[0]) for row in sql.rows("SHOW GRANTS")]
    name = settings.database.name
    lack = missing(lines, name, needed(schema, set_none=settings.config.legacy.set_none))
    if lack:
        what = ", ".join(f"{table} ({', '.join(rights)})" for table, rights in lack.items())
        yield fail("rights", f"the database user lacks: {what}", f"as administrator: {statements(lack, name)}")
    else:
        yield ok("rights", "all that is needed")


def _times(sql: Sql, settings: Settings) -> Iterator[Finding]:
    configured = settings.config.zmnext.ingest.timezone
    clocks = compare(sql, None if configured is None else ZoneInfo(configured))
    if clocks is None:
        return
    if clocks.ours != clocks.servers:
        yield fail(
            "time zone",
            f"ours is {hours(clocks.ours)}, the database server's {hours(clocks.servers)}{clocks.when}: "
            "events would be stored at wrong times",
            "give host and server the same zone, or set [zmnext.ingest] timezone to the server's",
        )
    else:
        yield ok("time zone", f"{hours(clocks.ours)}, as the database server's")
    if abs(clocks.apart) > CLOCK_SECONDS:
        yield warn("clock", f"the database server's is {clocks.apart:+.1f} s from ours", "let both be set by NTP")
    else:
        yield ok("clock", "as the database server's")
    yield from _web_zone(sql, clocks.at, clocks.servers)


def _web_zone(sql: Sql, now: float, server_offset: int) -> Iterator[Finding]:
    """ZM_TIMEZONE, which PHP shows times by."""
    found = sql.one("SELECT Value FROM Config WHERE Name = 'ZM_TIMEZONE'")
    name = str(found[0]) if found and found[0] else ""
    if not name:
        return
    fix = "set TIMEZONE in ZoneMinder's options to the database server's zone"
    try:
        offset = offset_at(now, ZoneInfo(name))
    except (ValueError, OSError):
        yield warn("ZM_TIMEZONE", f"{name}: no such zone on this host", fix)
        return
    if offset != server_offset:
        yield warn("ZM_TIMEZONE", f"{name} is {hours(offset)}, the database server {hours(server_offset)}", fix)


def _rows(sql: Sql, schema: Schema, settings: Settings, findings: list[Finding]) -> int:
    site = site_of(settings)
    reading: Reading = read(sql, schema, site)
    wanted = [m for m in reading.monitors if unwanted_reason(m, settings.config.zmnext) is None]
    for monitor_id, reason in reading.unreadable.items():
        findings.append(
            fail(f"monitor {monitor_id}", f"its row makes no sense: {mask(reason)}", "edit it in ZoneMinder")
        )
    for storage_id, reason in reading.bad_storages.items():
        findings.append(
            fail(f"storage {storage_id}", f"its row makes no sense: {mask(reason)}", "edit it in ZoneMinder")
        )
    if wanted:
        findings.append(ok("monitors", f"{len(wanted)} of {len(reading.monitors)} are to run on zm-next"))
    else:
        fix = "set Monitors.UseZmNext, or name them in [zmnext] monitors"
        findings.append(warn("monitors", f"none of {len(reading.monitors)} is to run on zm-next", fix))
    findings += _storages(wanted)
    return len(wanted)


def _storages(monitors: list[Monitor]) -> Iterator[Finding]:
    """The places that recordings go to."""
    for storage in sorted({m.storage for m in monitors}, key=lambda s: s.id):
        what, path = f"storage {storage.id}", Path(storage.path)
        if not path.is_dir():
            yield fail(what, f"{path} is not there", "mount its disk, or make the directory")
        elif not os.access(path, os.W_OK | os.X_OK):
            yield fail(what, f"{path} is not writable", "give it to the service's user")
        else:
            yield from _space(what, path, storage.scheme)


def _space(what: str, path: Path, scheme: str) -> Iterator[Finding]:
    space, kind = shutil.disk_usage(path), file_system(path)
    free = f"{space.free / space.total:.0%} free" if space.total else "of unknown size"
    if space.total and space.free < FULL * space.total:
        yield warn(what, f"{path}: {free}", "let ZoneMinder's PurgeWhenFull filter run, or add a disk")
    elif kind in ("tmpfs", "ramfs", "overlay"):
        yield warn(what, f"{path} is on {kind}: its recordings do not last", "put it on a disk")
    else:
        yield ok(what, f"{path}: {kind or 'unknown file system'}, {free}, scheme {scheme}")


def file_system(path: Path, mounts: str = "/proc/self/mounts") -> str | None:
    """The kind of file system that `path` is on; None where that can't be told."""
    best: tuple[int, str | None] = (-1, None)
    try:
        lines = Path(mounts).read_text(errors="replace").splitlines()
    except OSError:
        return None
    resolved = path.resolve()
    for line in lines:
        fields = line.split(" ")
        point = Path(fields[1].replace("\\040", " ")) if len(fields) > 2 else Path("/")
        if len(fields) > 2 and resolved.is_relative_to(point) and len(point.parts) >= best[0]:
            best = (len(point.parts), fields[2])
    return best[1]
