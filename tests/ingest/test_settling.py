"""Clips of several storages, one of which hangs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from tests.ingest.places import place_in
from zmtwist.changes import ClipSaved, Tally
from zmtwist.ingest.clips import SettledClip
from zmtwist.ingest.settling import MEASURED_AT_ONCE, SETTLED_AT_ONCE, Settling

HUNG, WELL = Path("/hung"), Path("/well")


class Disk:
    """Calls on one storage never end; those on the other end at once."""

    def __init__(self):
        self.hanging = Counter()

    def run(self, function, *arguments):
        place = next(a for a in arguments if hasattr(a, "root"))
        if place.root == str(HUNG):
            self.hanging[function.__name__] += 1
            return Deferred()
        if function.__name__ == "find_unheard":
            return succeed(saved(place.event_id, "/well/found.mkv"))
        return succeed(SettledClip(place.video_path, 7))


def saved(number, path):
    return ClipSaved(handle=f"3.r.{number}", path=path, duration_us=1, frames=1, tally=Tally())


def test_a_storage_that_hangs_holds_up_no_clip_of_another():
    disk, closed = Disk(), []
    storages = SimpleNamespace(holds=lambda root, path: None)
    session = SimpleNamespace(codec_id=27, options=SimpleNamespace(pre_roll_us=0, zone=None))
    settling = Settling(Clock(), disk, storages, lambda _: session, lambda _, changes: closed.extend(changes))
    for number in range(10):
        Deferred.fromCoroutine(settling.settle(saved(number, f"/hung/{number}.mkv"), place_in(HUNG, number)))
        Deferred.fromCoroutine(settling.settle(saved(10 + number, ""), place_in(HUNG, 10 + number)))
    assert disk.hanging == {"settle_clip": SETTLED_AT_ONCE, "find_unheard": MEASURED_AT_ONCE - 1}
    for number, path in ((20, "/well/20.mkv"), (21, "")):
        Deferred.fromCoroutine(settling.settle(saved(number, path), place_in(WELL, number)))
    assert [change.handle for change in closed] == ["3.r.20", "3.r.21"]
