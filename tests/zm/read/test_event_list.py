from __future__ import annotations

from datetime import datetime

import pytest_twisted

from zmtwist.zm.read.event_list import Wish, recent_events


@pytest_twisted.ensureDeferred
async def test_events_as_wished(site):
    for number, monitor, start in (
        (1, 1, "2026-03-01 10:00:00"),
        (2, 2, "2026-03-01 11:00:00"),
        (3, 1, "2026-03-01 12:00:00"),
    ):
        site.run(
            "INSERT INTO Events (Id, MonitorId, StorageId, Name, Cause, StartDateTime, EndDateTime, Length, Frames, AlarmFrames, MaxScore,"
            " DefaultVideo, Notes, StateId, Orientation, Scheme, Width, Height) VALUES"
            " (%s, %s, 3, 'Event', 'Motion', %s, %s, 12.5, 100, 4, 80, 'x.mkv', '', 0, 'ROTATE_0', 'Medium', 1, 1)",
            number, monitor, start, None if number == 3 else "2026-03-01 13:00:00",
        )  # fmt: skip

    async def ids(**wish):
        return [event.id for event in await site.database.interact(recent_events, Wish(**wish))]

    assert await ids() == [3, 2, 1]
    assert await ids(monitor_id=1) == [3, 1]
    assert await ids(after_id=1, limit=1) == [3]
    assert await ids(since=datetime(2026, 3, 1, 11)) == [3, 2]
    assert await ids(limit=0) == [3]
    newest, *_, oldest = await site.database.interact(recent_events, Wish())
    assert (newest.start, newest.end) == ("2026-03-01 12:00:00", None)
    assert (oldest.end, oldest.length, oldest.frames, oldest.max_score) == ("2026-03-01 13:00:00", 12.5, 100, 80)
