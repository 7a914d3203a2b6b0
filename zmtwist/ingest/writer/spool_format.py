"""What the spool's tables and rows look like on disk, each with a checksum; what is read is not trusted. No I/O.

A disk may give back anything: other types, other bytes, or bytes that make sense and are not what was written.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TypeVar

import attrs
import msgspec

from zmtwist.changes import Change, ClipSaved
from zmtwist.ingest.writer.change_queue import URGENT
from zmtwist.zm.event_paths import EventPlace

T = TypeVar("T")

TABLES = (
    "CREATE TABLE groups (id INTEGER PRIMARY KEY, changes INTEGER NOT NULL, bulk INTEGER NOT NULL, data BLOB NOT NULL, checksum INTEGER)",
    "CREATE INDEX strippable ON groups (id) WHERE bulk > 0",
    "CREATE TABLE events (handle TEXT PRIMARY KEY, place BLOB NOT NULL, saved BLOB, checksum INTEGER)",
    "CREATE TABLE tried (upto INTEGER NOT NULL, checksum INTEGER)",
    "INSERT INTO tried VALUES (0, -1)",
    "CREATE TABLE unreadable (id INTEGER, data BLOB NOT NULL)",
)
UPGRADES = (tuple(f"ALTER TABLE {table} ADD COLUMN checksum INTEGER" for table in ("groups", "events", "tried")),)

COLUMNS = {
    "groups": ("id", "changes", "bulk", "data", "checksum"),
    "events": ("handle", "place", "saved", "checksum"),
    "tried": ("upto", "checksum"),
    "unreadable": ("id", "data"),
}
"""What each table must have."""

_encode = msgspec.msgpack.Encoder().encode
_group = msgspec.msgpack.Decoder(list[Change])
_place = msgspec.msgpack.Decoder(EventPlace)
_saved = msgspec.msgpack.Decoder(ClipSaved)


class Senseless(Exception):
    """What was read from the disk is not what was written there: the only kind of error that decoding it raises."""


@attrs.frozen
class Known:
    """An event that has its row, and the save of its clip where that is still to be seen to."""

    place: EventPlace
    saved: ClipSaved | None = None


def writable(changes: Sequence[Change]) -> list[Change]:
    """Those that have a form on disk: a worker may say that a clip is of 10**300 frames."""
    if _kept(changes) is not None:
        return list(changes)
    return [change for change in changes if _kept(change) is not None]


def group_row(group_id: int, changes: Sequence[Change]) -> tuple[int, int, int, bytes, int]:
    """Id, number of changes, how many of those may give way, data, checksum."""
    data = _encode(changes)
    bulk = sum(not isinstance(change, URGENT) for change in changes)
    return group_id, len(changes), bulk, data, _sum(group_id, data)


def group_of(group_id: int, data: object, checksum: object) -> list[Change]:
    """The changes of a row. Raises `Senseless`."""
    if not isinstance(data, bytes) or checksum not in (None, _sum(group_id, data)):
        raise Senseless("a group is not what was written")
    return _decoded(_group, data)


def event_row(handle: str, known: Known) -> tuple[str, bytes, bytes | None, int]:
    """Handle, place, save, checksum."""
    place, saved = _encode(known.place), None if known.saved is None else _kept(known.saved)
    return handle, place, saved, _sum(handle, place, saved or b"")


def event_of(handle: object, place: object, saved: object, checksum: object) -> tuple[str, Known]:
    """The event of a row whose handle was read as bytes. Raises `Senseless`."""
    if not isinstance(handle, bytes) or not isinstance(place, bytes) or not isinstance(saved, bytes | None):
        raise Senseless("an event is not what was written")
    try:
        name = handle.decode()
    except UnicodeDecodeError:
        raise Senseless("an event's handle is not what was written") from None
    if checksum not in (None, _sum(name, place, saved or b"")):
        raise Senseless("an event is not what was written")
    return name, Known(_decoded(_place, place), None if saved is None else _decoded(_saved, saved))


def tried_row(upto: int) -> tuple[int, int]:
    """The last group that may be in the database already, and its check."""
    return upto, ~upto


def tried_of(row: Sequence[object] | None) -> int:
    """The last group that may be in the database already. Raises `Senseless`."""
    if row is None or not isinstance(row[0], int) or row[1] not in (None, ~row[0]):
        raise Senseless("what was tried is not what was written")
    return row[0]


def _decoded(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    try:
        return decoder.decode(data)
    except Exception as error:  # of whatever kind (msgspec has several): it is one row's
        raise Senseless(str(error)) from error


def _kept(value: object) -> bytes | None:
    """The value's form on disk; None if it has none."""
    try:
        return _encode(value)
    except (OverflowError, ValueError):
        return None


def _sum(*parts: object) -> int:
    total = 0
    for part in parts:
        total = zlib.crc32(part if isinstance(part, bytes) else f"{part}\0".encode(), total)
    return total
