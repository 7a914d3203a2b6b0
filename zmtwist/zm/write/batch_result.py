"""What a batch leaves behind it (`commit_check`)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import attrs

from zmtwist.zm.event_paths import EventPlace


@attrs.frozen
class Witness:
    """Something that is in the database if and only if the batch that wrote it is."""

    kind: Literal["opened", "closed", "frame", "resized"]
    event_id: int
    monitor_id: int
    start: datetime
    frame_id: int = 0
    disk_bytes: int = 0


@attrs.frozen
class Written:
    """What a batch did. `vanished` are handles of events that someone has deleted meanwhile; `stored` is what is still to be added to
    each storage's DiskSpace."""

    places: Mapping[str, EventPlace]
    vanished: tuple[str, ...] = ()
    stored: Mapping[int, int] = attrs.field(factory=dict)
    witness: Witness | None = None
