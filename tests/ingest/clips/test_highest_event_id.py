"""The highest event id that storages show, whatever lies in them."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred
from twisted.internet.task import Clock

from zmtwist.ingest.clips.highest_event_id import LOOK_SECONDS, Given, highest_given, highest_of
from zmtwist.pipeline.monitor import Monitor, Storage


@pytest.mark.parametrize(
    ("scheme", "directories"),
    [
        ("Shallow", ["41", "7", "x", "99999999999"]),
        ("Medium", ["2026-11-20/900", "2026-11-21/40", "2026-11-22/41", "2026-11-22/x", "lost/77"]),
        ("Deep", ["26/10/31/.900", "26/11/21/.40", "26/11/22/.41", "26/11/22/09"]),
    ],
)
def test_the_latest_events_tell(tmp_path, scheme, directories):
    for nothing_known in (tmp_path, tmp_path / "away"):
        with pytest.raises(FileNotFoundError, match="mounted"):
            highest_of(str(nothing_known), scheme, 3)
    (tmp_path / "4" / "5000").mkdir(parents=True)
    assert highest_of(str(tmp_path), scheme, 3) == 0
    for directory in directories:
        (tmp_path / "3" / directory).mkdir(parents=True)
    assert highest_of(str(tmp_path), scheme, 3) == 41


class Disk:
    """`answers` by the storage's root; those that are not there never come."""

    def __init__(self, **answers):
        self.answers = answers

    def run(self, function, root, *_):
        answer = self.answers.get(root)
        return Deferred() if answer is None else maybeDeferred(lambda: answer)


def monitors(*roots):
    return [Monitor(id=n, storage=Storage(id=n, path=root)) for n, root in enumerate(roots, 1)]


def test_of_storages_that_are_away_it_is_not_sure():
    clock, told = Clock(), []
    disk = Disk(a=7, b=fail(OSError("away")), c=5)
    highest_given(clock, disk, monitors("a", "b", "c", "hangs")).addCallback(told.append)
    assert not told
    clock.advance(LOOK_SECONDS)
    assert told == [Given(7, sure=False)]
    assert not clock.getDelayedCalls()
    highest_given(clock, disk, monitors("a", "c")).addCallback(told.append)
    assert told[1:] == [Given(7, sure=True)]


def test_a_start_that_is_given_up_does_not_go_on():
    clock, told = Clock(), []
    looking = highest_given(clock, Disk(a=7), monitors("a", "hangs"))
    looking.addErrback(lambda failure: told.append(failure.check(CancelledError)))
    looking.cancel()
    assert told == [CancelledError]
    assert not clock.getDelayedCalls()
