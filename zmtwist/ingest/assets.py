"""A clip's review assets on disk: the manifest that a worker speaks of is looked at before anything is said of it.

`look` blocks (it reads files) and is called through `disk.Disk`.
"""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath
from typing import Any

from zmtwist.guard import Guard
from zmtwist.ingest.data import dumped
from zmtwist.ingest.remarks import short
from zmtwist.wire.details import EVENT_REVIEW_ASSETS, MalformedDetail, ReviewAssets, decode_detail
from zmtwist.wire.guarded import guarded_detail
from zmtwist.zm.paths import EventPlace

MANIFEST = "manifest.json"
MAX_MANIFEST = 64 << 20
MAX_LABELS = 32


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
    actual = manifest.resolve()
    if not actual.is_relative_to(directory):
        raise AssetsInvalid(f"{manifest} leads out of the clip's directory")
    try:
        status = actual.stat()
    except FileNotFoundError:
        raise AssetsInvalid(f"there is no {manifest}") from None
    if not stat.S_ISREG(status.st_mode):
        raise AssetsInvalid(f"{manifest} is not a file")
    assets = told if told is not None else _read(actual, status.st_size, guard)
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


def _read(manifest: Path, size: int, guard: Guard) -> ReviewAssets:
    if size > MAX_MANIFEST:
        raise AssetsInvalid(f"{manifest} is {size} bytes long, over {MAX_MANIFEST}")
    try:
        detail = guarded_detail(decode_detail(EVENT_REVIEW_ASSETS, manifest.read_bytes()), guard)
    except MalformedDetail as error:
        raise AssetsInvalid(f"{manifest} is not readable: {error}") from None
    if not isinstance(detail, ReviewAssets):
        raise AssetsInvalid(f"{manifest} is no manifest of review assets")
    return detail


def _row(assets: ReviewAssets, path: str) -> dict[str, Any]:
    labels = (tube.get("label") for tube in assets.tubes if isinstance(tube, dict))
    facts = {
        "type": "review_assets",
        "path": path,
        "tubes": len(assets.tubes),
        "plates": len(assets.plates),
        "labels": list(dict.fromkeys(short(label) for label in labels if isinstance(label, str)))[:MAX_LABELS],
        "t_start_us": assets.t_start_us,
        "t_end_us": assets.t_end_us,
    }
    return {key: value for key, value in facts.items() if value is not None}
