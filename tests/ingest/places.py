"""Places of events for tests of what happens around the database."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

from tests.ingest.builders import T0
from zmtwist.pipeline.monitor import Monitor, Storage
from zmtwist.zm.event_paths import EventPlace, place, video_name


def place_in(root: Path, event_id: int = 7, monitor_id: int = 3, scheme: str = "Medium") -> EventPlace:
    monitor = Monitor(id=monitor_id, storage=Storage(id=1, path=str(root), scheme=scheme))  # type: ignore[arg-type]
    name = video_name(event_id, 27, modern=True)
    return place(event_id, monitor, T0, UTC, video_name=name, final_name=f"Event-{event_id}")
