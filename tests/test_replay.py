"""What the real worker once said, played to the whole service: the right events, and every clip in its place."""

from __future__ import annotations

import secrets
import shutil
import sys
from pathlib import Path

import pytest
import pytest_twisted

from tests.media.clips import record
from tests.replay_worker import ROOT
from tests.service_case import Installation
from tests.waiting import until
from zmtwist.notifications import EventClosed

CAPTURES = Path(__file__).parent / "data" / "captures"
SECOND = 1_000_000
ENDED = 1_795_338_690 * SECOND  # all captures were over by then


@pytest.fixture
def root():
    """A directory whose path is as long as the one in the captures."""
    path = Path("/tmp") / secrets.token_hex(8)[: len(ROOT) - len("/tmp/")]
    path.mkdir()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def zm(tmp_path, root):
    return Installation.make(tmp_path, storage=root)


def assigned(monitor_id: int) -> list[str]:
    """The files that a monitor's capture speaks of, but for the first."""
    return [f"{monitor_id}/2026-11-22/{n}/{n}-video.mkv" for n in (501, 502, 503)]


async def replay(zm: Installation, name: str, monitor_id: int, closed: int, own: str, frames: int) -> None:
    """Play a capture, whose first clip had the name `own` and so many frames, to a service until `closed` events were closed.

    What the worker had said before the capture began is missing, so that clip is looked into: it is a real one.
    """
    record(zm.storage / own, frames)
    binary = zm.directory / "replay"
    binary.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("replay_worker.py")} "$@"\n')
    binary.chmod(0o755)
    tuning = {"REPLAY_CAPTURE": str(CAPTURES / f"{name}.bin"), "REPLAY_ROOT": str(zm.storage)}
    tuning["REPLAY_CLIPS"] = ":".join((own, *assigned(monitor_id)))
    # The worker that was played had been given 501 and so on for its second event and those after it.
    zm.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('Events', 499)")
    service = zm.service("[zmnext.ingest]\ntimezone = 'UTC'", binary=binary, tuning=tuning, wall=lambda: ENDED)
    service.startService()
    try:
        await until(lambda: len(zm.told_of(EventClosed)) >= closed)
    finally:
        await service.stopService()


def facts(event):
    return event["Cause"], event["Frames"], event["Length"], event["AlarmFrames"]


@pytest_twisted.ensureDeferred
async def test_continuous(zm, root):
    own = "2026-11-22/event-Monitor-4-0-09-10-50.mkv"
    zm.monitor(4, "Record")
    await replay(zm, "continuous", 4, 4, own, 40)
    events = zm.events()
    assert [facts(e) for e in events] == [
        ("Continuous", 40, 3.9, 0),
        ("Continuous", 30, 2.9, 0),
        ("Continuous", 30, 2.9, 0),
        ("Continuous", 12, 1.1, 0),
    ]
    assert [e["StartDateTime"] for e in events] == [
        "2026-11-22 09:10:50", "2026-11-22 09:10:54", "2026-11-22 09:10:57", "2026-11-22 09:11:00",
    ]  # fmt: skip
    # The worker that was played never heard our assignments, so every clip had to be moved.
    assert zm.clip(events[0]).stat().st_size > len(own)
    assert [zm.clip(e).read_text() for e in events[1:]] == assigned(4)
    assert not (root / own).exists()


@pytest_twisted.ensureDeferred
async def test_both(zm, root):
    zm.monitor(5, "Mocord")
    await replay(zm, "both", 5, 4, "2026-11-22/event-Monitor-5-0-09-11-01.mkv", 40)
    events = zm.events()
    assert [facts(e) for e in events] == [
        ("Motion", 40, 3.9, 39),
        ("Motion", 30, 2.9, 30),
        ("Motion", 30, 2.9, 30),
        ("Motion", 12, 1.1, 12),
    ]
    for event in events:
        frames = zm.frames(event["Id"])
        assert [f[0] for f in frames] == sorted({f[0] for f in frames})
        assert frames[-1][0] <= event["Frames"]
        assert max(f[3] for f in frames) == event["MaxScore"]
        assert zm.clip(event).is_file()


@pytest_twisted.ensureDeferred
async def test_event(zm, root):
    zm.monitor(3, "Modect")
    await replay(zm, "event", 3, 1, "2026-11-22/event-Monitor-3-0-09-10-39.mkv", 60)
    (event,) = zm.events()
    assert facts(event) == ("Motion", 60, 5.9, 58)
    assert zm.clip(event).is_file()
