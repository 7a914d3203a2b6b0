"""Review assets, from the worker's word to a row: kept until their clip is in its place, then looked at on disk, then noted.

The manifest that a worker speaks of is looked at before anything is said of it. `look` blocks (it reads files) and is called through
`reactor.thread_pool.Disk`.
"""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import attrs
import msgspec
from twisted.logger import Logger

from zmtwist.changes import AddData, Change
from zmtwist.ingest.clips.placement import NO_SUCH_FILE
from zmtwist.ingest.clips.sidecar import Unreadable, decoded, read_whole
from zmtwist.ingest.session.event_data import dumped
from zmtwist.ingest.session.notes import short
from zmtwist.ingest.session.session import Session
from zmtwist.reactor.thread_pool import Disk
from zmtwist.untrusted.guard import Guard, Guards
from zmtwist.wire.event_details import Detail, ReviewAssets
from zmtwist.wire.guarded import guarded_detail
from zmtwist.zm.event_paths import EventPlace

REMEMBERED = 256
"""Closed events, and assets that wait for theirs to be closed."""


@attrs.define
class Synopses:
    """`submit` takes a monitor's changes, `watch` a coroutine to be run to its end. `noted` and `refused` count assets."""

    disk: Disk
    submit: Callable[[int, Sequence[Change]], None]
    watch: Callable[[Coroutine[Any, Any, None]], None]
    guards: Guards = attrs.field(factory=Guards)
    noted: int = 0
    refused: int = 0
    _places: OrderedDict[str, EventPlace] = attrs.field(factory=OrderedDict, init=False)
    _waiting: OrderedDict[str, tuple[ReviewAssets | None, int]] = attrs.field(factory=OrderedDict, init=False)
    log = Logger()

    def heard(self, session: Session, detail: Detail | None, at_us: int) -> None:
        """A worker's event of review assets; its `detail` is None where the wire cut it. Not looked at where no rows of data are wanted."""
        if session.options.data is not None and (detail is None or isinstance(detail, ReviewAssets)):
            self.told(session.monitor_id, session.told_of(detail), detail, at_us)

    def told(self, monitor_id: int, handle: str | None, assets: ReviewAssets | None, at_us: int) -> None:
        """The worker has made review assets of this clip (None: of one that nobody knows); `assets` is None where the wire cut them."""
        if handle is None:
            self._refuse(monitor_id, "no clip is known that they are of")
        elif (place := self._places.get(handle)) is not None:
            self.watch(self._look(handle, place, assets, at_us))
        else:
            self._waiting[handle] = assets, at_us
            if len(self._waiting) > REMEMBERED:
                self._waiting.popitem(last=False)
                self._refuse(monitor_id, "too many wait for their clips to be closed")

    def closed(self, handle: str, place: EventPlace) -> None:
        """This event is closed: its clip, if any, is in its place."""
        self._places[handle] = place
        if len(self._places) > REMEMBERED:
            self._places.popitem(last=False)
        if handle in self._waiting:
            self.watch(self._look(handle, place, *self._waiting.pop(handle)))

    async def _look(self, handle: str, place: EventPlace, assets: ReviewAssets | None, at_us: int) -> None:
        try:
            row = await self.disk.run(look, place, assets, self.guards.of(place.monitor_id))
        except (AssetsInvalid, OSError) as error:
            self._refuse(place.monitor_id, str(error))
            return
        self.noted += 1
        self.submit(place.monitor_id, [AddData(handle, 1, at_us, row)])

    def _refuse(self, monitor_id: int, reason: str) -> None:
        self.refused += 1
        self.log.warn(
            "monitor {monitor_id}: review assets are left out: {reason}", monitor_id=monitor_id, reason=reason
        )


MANIFEST = "manifest.json"
MAX_MANIFEST = 16 << 20
MAX_COUNTED = 1 << 20
"""Bytes: what is in a larger manifest is not counted, for that would hold up everything else in this process for too long."""

MAX_LABELS = 32


class Head(msgspec.Struct, frozen=True, tag="review_assets", tag_field="type"):
    """What is read of a large manifest: all but its lists."""

    monitor_id: int | None = None
    event_id: int = 0
    t_start_us: int | None = None
    t_end_us: int | None = None


class AssetsInvalid(Exception):
    """What the worker said, or what lies on disk, is nothing to rely on; the text says why."""


def look(place: EventPlace, told: ReviewAssets | None, guard: Guard) -> str:
    """The `Event_Data` JSON that notes the assets of the event at `place`. `told` is what the worker said, None where the wire cut it:
    then the manifest is read from disk, through the monitor's `guard`.

    Raises `AssetsInvalid` or `OSError`.
    """
    base = relative_base(told.path_base if told is not None else ReviewAssets().path_base)
    directory = Path(place.directory).resolve()
    manifest = directory / base / MANIFEST
    actual = Path(os.path.realpath(manifest))  # `resolve` raises where links go round in a circle
    if not actual.is_relative_to(directory):
        raise AssetsInvalid(f"{manifest} leads out of the clip's directory")
    try:
        status = actual.stat()
    except OSError as error:
        if error.errno not in NO_SUCH_FILE:
            raise
        raise AssetsInvalid(f"there is no {manifest}") from None
    if not stat.S_ISREG(status.st_mode):
        raise AssetsInvalid(f"{manifest} is not a file")
    try:
        assets = told if told is not None else _read(str(actual), guard)
    except Unreadable as error:
        raise AssetsInvalid(str(error)) from None
    if assets.monitor_id not in (None, place.monitor_id) or assets.event_id not in (0, place.event_id):
        raise AssetsInvalid(
            f"{manifest} is of event {assets.event_id} of monitor {assets.monitor_id}, not of event {place.event_id} of "
            f"monitor {place.monitor_id}"
        )
    return dumped(_row(assets, f"{base}/{MANIFEST}"))


def relative_base(path_base: str) -> PurePosixPath:
    """`path_base` as a path below the clip's directory. Raises `AssetsInvalid` for one that may lead elsewhere."""
    base = PurePosixPath(path_base)
    if not base.parts or base.is_absolute() or ".." in base.parts or "\0" in path_base or len(path_base) > 200:
        raise AssetsInvalid(f"its path_base {short(path_base)!r} is no directory below the clip's")
    return base


def _read(manifest: str, guard: Guard) -> ReviewAssets | Head:
    data = read_whole(manifest, MAX_MANIFEST)
    if len(data) > MAX_COUNTED:
        return decoded(data, manifest, Head)
    assets: Any = guarded_detail(decoded(data, manifest, ReviewAssets), guard)
    return assets  # type: ignore[no-any-return]


def _row(assets: ReviewAssets | Head, path: str) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "type": "review_assets",
        "path": path,
        "tubes": None,
        "plates": None,
        "labels": None,
        "t_start_us": assets.t_start_us,
        "t_end_us": assets.t_end_us,
    }
    if isinstance(assets, ReviewAssets):
        labels = (tube.get("label") for tube in assets.tubes if isinstance(tube, dict))
        distinct = dict.fromkeys(short(label) for label in labels if isinstance(label, str))
        facts |= {"tubes": len(assets.tubes), "plates": len(assets.plates), "labels": list(distinct)[:MAX_LABELS]}
    return {key: value for key, value in facts.items() if value is not None}
