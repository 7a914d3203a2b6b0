"""The writer with a spool, on a clock and with a store that does as it is told: outages, bounds, crashes and full disks."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from tests.ingest.places import place_in
from tests.ingest.writer.test_writer import Store, closed, frame, open_event, saved
from zmtwist.changes import Change, ClipSaved, OpenEvent, UpdateEvent
from zmtwist.ingest.writer.backlog import SPOOL_EVERY, TROUBLE_DELAY
from zmtwist.ingest.writer.preallocated_sqlite import RoomyFile
from zmtwist.ingest.writer.spool import PATIENCE, Spool
from zmtwist.ingest.writer.spool_file import SpoolFile, SpoolTrouble
from zmtwist.ingest.writer.writer import COMPANY_SECONDS, SPOOL_AFTER, Writer
from zmtwist.zm.db.errors import Retryable


class SameThread:
    """Does at once what is asked, or when `held` is let go."""

    def __init__(self) -> None:
        self.held: list[Deferred[None]] | None = None

    def run(self, function: Any, *args: Any, **kwargs: Any) -> Deferred[Any]:
        if self.held is None:
            return maybeDeferred(function, *args, **kwargs)
        gate: Deferred[None] = Deferred()
        self.held.append(gate)
        return gate.addCallback(lambda _: function(*args, **kwargs))


class Run:
    """One run of the service, as far as writing goes. The next run on the same directory is what comes after a kill."""

    def __init__(self, directory: Path, *, store: Store | None = None, most_pages: int | None = None, **options: Any):
        self.clock = Clock()
        self.store = store or Store()
        self.thread = SameThread()
        self.effects: list[tuple[str, str, int]] = []
        self.file = SpoolFile(str(directory), most_pages=most_pages)
        self.spool = Spool(self.thread, str(directory), file=self.file)
        self.writer = Writer(self.clock, self.store, dict, self.effect, spool=self.spool, **options)
        self.writer.startService()
        resumed = Deferred.fromCoroutine(self.writer.resume())
        assert resumed.called
        self.settle()

    def effect(self, change: Change, place: Any) -> None:
        self.effects.append((type(change).__name__, change.handle, place.event_id))

    def settle(self) -> None:
        for _ in range(10):
            self.clock.advance(COMPANY_SECONDS / 8)

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds * 20)):
            self.clock.advance(0.05)
        self.settle()

    def away(self) -> None:
        """From now on the database hangs."""
        self.store.outcomes = ["held"] * 1000

    def back(self) -> None:
        self.store.outcomes = []
        while self.store.waiting:
            self.store.waiting.pop(0).callback(None)
            self.settle()

    def killed(self) -> None:
        """Nothing more comes of this run."""
        self.file.close()

    def written(self) -> list[Change]:
        return [change for batch in self.store.committed for change in batch]

    @property
    def spooled(self) -> int:
        return self.writer.figures.spool.now


def of(changes: list[Change], monitor: int) -> list[Change]:
    return [change for change in changes if change.handle.startswith(f"{monitor}.")]


def test_nothing_goes_to_disk_while_the_database_answers(tmp_path):
    run = Run(tmp_path)
    run.thread.held = []
    for n in range(2, 200):
        run.writer.submit(1, [open_event(1), frame(1, n)])
        run.wait(0.1)
    assert len(run.written()) == 2 * 198
    assert run.thread.held == []
    assert run.writer.figures.spool.ever == 0


@pytest.mark.parametrize("how", ["hangs", "refuses"])
def test_an_outage_goes_to_disk_and_comes_back_in_order(tmp_path, how):
    run = Run(tmp_path, max_batch=20)
    run.store.outcomes = ["held"] * 1000 if how == "hangs" else [Retryable("2006: gone away")] * 1000
    told: list[Change] = []
    for n in range(1, 101):
        for monitor in (1, 2):
            changes = [open_event(monitor), frame(monitor, 2)] if n == 1 else [frame(monitor, n + 1)]
            run.writer.submit(monitor, changes)
            told += changes
        run.wait(0.1)
    assert run.spooled >= 150
    assert run.effects == []
    if how == "refuses":
        assert run.writer.figures.last_error == "2006: gone away"
    run.back()
    run.wait(6)
    for monitor in (1, 2):
        assert of(run.written(), monitor) == of(told, monitor)
    assert run.effects == [("OpenEvent", "1.r.1", 1), ("OpenEvent", "2.r.1", 2)] or how == "refuses"
    assert len(run.effects) == 2
    assert max(len(batch) for batch in run.store.committed) <= 20
    assert (run.spooled, run.writer.queued) == (0, 0)
    ever = run.writer.figures.spool.ever
    run.writer.submit(1, [frame(1, 500)])
    run.settle()
    assert run.written()[-1] == frame(1, 500)  # and at the old speed again, past the disk
    assert run.writer.figures.spool.ever == ever


def test_a_kill_in_an_outage_loses_nothing_that_was_heard_a_moment_before(tmp_path):
    run = Run(tmp_path)
    run.writer.submit(1, [open_event(1, 1), frame(1, 2, 1)])
    run.settle()
    run.away()
    run.writer.submit(1, [frame(1, 3, 1)])  # of an event that has its row, under way when the database hangs
    run.settle()
    run.writer.submit(1, [saved(1, 1), open_event(1, 2), frame(1, 2, 2)])
    run.wait(SPOOL_AFTER + SPOOL_EVERY)
    run.writer.submit(2, [open_event(2)])
    run.wait(SPOOL_EVERY)
    run.killed()
    again = Run(tmp_path, store=Store(ids=100))
    assert again.written() == [open_event(1, 2), frame(1, 3, 1), saved(1, 1), frame(1, 2, 2), open_event(2)]
    # Its save is seen to, in the place it had; the openings were for workers that may be gone.
    assert again.effects == [("ClipSaved", "1.r.1", 1)]
    again.writer.submit(1, [closed(1, 1), frame(1, 3, 2)])
    again.settle()
    assert again.written()[-2:] == [closed(1, 1), frame(1, 3, 2)]
    again.killed()
    assert Run(tmp_path).effects == []


def test_a_save_is_seen_to_again_until_its_event_is_closed(tmp_path):
    run = Run(tmp_path)
    run.away()
    run.writer.submit(1, [open_event(1), saved(1)])
    run.wait(SPOOL_AFTER + SPOOL_EVERY)
    run.back()
    run.wait(1)
    assert run.effects == [("OpenEvent", "1.r.1", 1), ("ClipSaved", "1.r.1", 1)]
    run.killed()  # while the file was being looked at
    again = Run(tmp_path)
    assert again.effects == [("ClipSaved", "1.r.1", 1)]
    assert again.written() == []
    again.writer.submit(1, [closed(1)])
    again.settle()
    assert again.written() == [closed(1)]
    again.killed()
    assert Run(tmp_path).effects == []


def test_a_save_whose_event_is_not_closed_when_the_outage_begins_is_kept_too(tmp_path):
    run = Run(tmp_path)
    run.writer.submit(1, [open_event(1), saved(1)])
    run.settle()
    run.away()
    run.writer.submit(2, [open_event(2)])
    run.wait(SPOOL_AFTER + SPOOL_EVERY)
    run.killed()
    assert ("ClipSaved", "1.r.1", 1) in Run(tmp_path, store=Store(ids=100)).effects


def test_an_opening_that_was_committed_before_the_kill_is_not_written_again(tmp_path):
    run = Run(tmp_path)
    run.away()
    run.writer.submit(1, [open_event(1), frame(1, 2)])
    run.wait(SPOOL_AFTER + SPOOL_EVERY)
    run.writer.submit(1, [frame(1, 3)])
    run.writer.submit(2, [open_event(2)])
    run.wait(SPOOL_EVERY)
    run.thread.held = []
    run.store.waiting.pop(0).callback(None)  # the commit is through, and we are killed before it is noted
    run.settle()
    assert run.written() == [open_event(1), frame(1, 2)]
    run.killed()
    store = Store(ids=100, there={"1.r.1": place_in(Path("/e"), 7, 1)})
    again = Run(tmp_path, store=store)
    assert store.asked == [["1.r.1"]]  # the one of monitor 2 had never been tried
    assert of(again.written(), 1) == [frame(1, 2), frame(1, 3)]
    assert of(again.written(), 2) == [open_event(2)]
    again.writer.submit(1, [frame(1, 4)])
    again.settle()
    assert again.written()[-1] == frame(1, 4)


def opening_beside_a_batch(tmp_path):
    """A run whose database hangs on a batch of the first event, and then on the opening of the second beside it."""
    run = Run(tmp_path)
    run.writer.submit(1, [open_event(1, 1), frame(1, 2, 1)])
    run.settle()
    run.store.outcomes = ["held", "held"]
    run.writer.submit(1, [frame(1, 3, 1)])
    run.settle()
    run.writer.submit(1, [open_event(1, 2), frame(1, 2, 2)])
    return run


def test_a_database_that_hangs_on_an_opening_beside_a_batch_is_away_as_well(tmp_path):
    run = opening_beside_a_batch(tmp_path)
    run.settle()
    run.store.waiting.pop(0).callback(None)
    run.wait(SPOOL_AFTER + SPOOL_EVERY)
    run.killed()
    again = Run(tmp_path, store=Store(ids=100))
    assert open_event(1, 2) in again.written()
    assert again.written()[-1] == frame(1, 2, 2)


def test_openings_under_way_beside_a_batch_are_kept_with_it(tmp_path):
    run = opening_beside_a_batch(tmp_path)
    run.wait(SPOOL_AFTER + SPOOL_EVERY)
    run.killed()
    again = Run(tmp_path, store=Store(ids=100))
    assert again.written() == [open_event(1, 2), frame(1, 3, 1), frame(1, 2, 2)]
    assert again.store.asked == [[open_event(1, 2).handle]], "it may have been committed"


def test_a_stop_while_an_opening_beside_its_batch_waits_for_the_database_keeps_the_opening(tmp_path):
    run = Run(tmp_path)
    run.writer.submit(1, [open_event(1, 1), frame(1, 2, 1)])
    run.settle()
    run.store.outcomes = ["held", *[Retryable("2006: gone away")] * 1000]
    run.writer.submit(1, [frame(1, 3, 1)])
    run.settle()
    run.writer.submit(1, [open_event(1, 2), frame(1, 2, 2)])
    run.settle()
    run.store.waiting.pop(0).callback(None)  # the batch is in the database, what was written beside it is not
    run.settle()
    stopped = run.writer.stopService()
    run.settle()
    assert stopped.called
    assert run.writer.idle
    run.killed()
    again = Run(tmp_path, store=Store(ids=100))
    assert of(again.written(), 1)[0] == open_event(1, 2)
    assert again.written()[-1] == frame(1, 2, 2)


def test_killed_at_every_step_each_opening_is_written_once(tmp_path):
    """Between any two calls of the spool: what is in the database and what the next run writes make up all that was said, once."""
    for step in range(12):
        directory = tmp_path / str(step)
        store = Store()
        run = Run(directory, store=store, max_batch=3)
        run.away()
        said: list[Change] = []
        for n in range(1, 5):
            said += [open_event(1, n), frame(1, 2, n), saved(1, n)]
            run.writer.submit(1, said[-3:])
            run.wait(SPOOL_AFTER)
        run.wait(SPOOL_EVERY)
        run.thread.held = []
        run.back()
        for _ in range(step):
            run.settle()
            if run.thread.held:
                run.thread.held.pop(0).callback(None)
        run.settle()
        run.killed()
        store.there = {
            c.handle: place_in(Path("/e"), 50 + n, 1)
            for n, c in enumerate(c for c in run.written() if isinstance(c, OpenEvent))
        }
        before = [c.handle for c in run.written() if isinstance(c, OpenEvent)]
        store.committed = []
        again = Run(directory, store=store, max_batch=3)
        after = [c.handle for c in again.written() if isinstance(c, OpenEvent)]
        assert before + after == [f"1.r.{n}" for n in range(1, 5)], f"killed after {step} calls"
        # And every save is seen to by one run or the other.
        followed = {h for kind, h, _ in run.effects + again.effects if kind == "ClipSaved"}
        assert followed == {f"1.r.{n}" for n in range(1, 5)}


def test_more_than_the_bound_goes_to_disk_although_the_database_answers(tmp_path):
    run = Run(tmp_path, max_batch=10, queue_max=50)
    run.store.outcomes = ["held"]
    run.writer.submit(1, [open_event(1), *(frame(1, n) for n in range(2, 200))])
    run.settle()
    assert run.spooled > 100  # before any time has passed
    run.writer.submit(1, [frame(1, n) for n in range(200, 210)])
    run.back()
    run.wait(2)
    assert run.written() == [open_event(1), *(frame(1, n) for n in range(2, 210))]


def test_what_comes_while_the_rest_is_read_back_goes_behind_it(tmp_path):
    run = Run(tmp_path, max_batch=10)
    run.away()
    run.writer.submit(1, [open_event(1), *(frame(1, n) for n in range(2, 60))])
    run.wait(SPOOL_AFTER + SPOOL_EVERY)
    told = 60
    run.store.outcomes = []
    run.store.waiting.pop().callback(None)
    while run.spooled:
        run.writer.submit(1, [frame(1, told)])
        told += 1
        run.clock.advance(0.01)
    run.wait(2)
    assert run.written() == [open_event(1), *(frame(1, n) for n in range(2, told))]


def test_on_a_full_disk_frames_give_way_and_openings_and_saves_come_through(tmp_path):
    run = Run(tmp_path, most_pages=400, queue_max=1000)
    run.away()
    openings, saves = [], []
    for n in range(1, 200):
        run.writer.submit(1, [open_event(1, n), *(frame(1, k, n) for k in range(2, 300)), saved(1, n)])
        openings.append(open_event(1, n))
        saves.append(saved(1, n))
        run.wait(0.2)
    figures = run.writer.figures.spool
    assert figures.gave_way > 10_000
    assert run.writer.queued < 60_000 - figures.gave_way
    run.back()
    run.wait(20)
    written = run.written()
    assert [c for c in written if isinstance(c, OpenEvent)] == openings
    assert [c for c in written if isinstance(c, ClipSaved)] == saves
    assert len(written) + figures.gave_way == 199 * 300
    numbers = [(int(c.handle.split(".")[2]), c.frame_id) for c in written if hasattr(c, "frame_id")]
    assert numbers == sorted(numbers)
    assert numbers[-1] == (199, 299)  # the latest was kept, the oldest went
    assert run.writer.figures.spool.trouble is None


def test_a_spool_that_cannot_be_written_is_said_and_the_bound_still_holds(tmp_path):
    run = Run(tmp_path / "spool", queue_max=100)
    run.killed()
    for path in (tmp_path / "spool").iterdir():
        path.unlink()
    (tmp_path / "spool").rmdir()
    (tmp_path / "spool").write_text("in the way")
    run.away()
    run.writer.submit(1, [open_event(1)])
    for n in range(2, 400):
        run.writer.submit(1, [frame(1, n)])
        run.wait(0.05)
    run.writer.submit(1, [saved(1)])
    figures = run.writer.figures.spool
    assert "unable to open" in figures.trouble or "Not a directory" in figures.trouble
    assert run.writer.queued <= 101
    (tmp_path / "spool").unlink()
    (tmp_path / "spool").mkdir()
    run.wait(TROUBLE_DELAY + 1)
    assert figures.trouble is None
    assert run.spooled > 50
    run.back()
    run.wait(2)
    written = run.written()
    assert (written[0], written[-1]) == (open_event(1), saved(1))
    assert len(written) + figures.gave_way == 400
    assert frame(1, 399) in written


def test_a_spool_that_breaks_holds_nothing_up(tmp_path):
    run = Run(tmp_path, max_batch=10)
    run.away()
    run.writer.submit(1, [open_event(1), *(frame(1, n) for n in range(2, 100))])
    run.wait(SPOOL_AFTER + SPOOL_EVERY)
    run.file.close()
    (tmp_path / "spool.db").write_bytes(b"x" * 10_000)
    run.back()
    run.wait(2 * TROUBLE_DELAY)
    run.writer.submit(1, [frame(1, 500)])
    run.wait(1)
    assert run.written()[-1] == frame(1, 500)
    assert run.written()[0] == open_event(1)
    (aside,) = tmp_path.glob("spool.db.bad-?" + "[0-9]" * 18)
    assert run.writer.figures.spool.aside == str(aside)
    assert run.writer.figures.spool.unreadable > 0
    assert run.writer.figures.spool.trouble is None


def test_a_stop_leaves_the_rest_for_the_next_start(tmp_path):
    run = Run(tmp_path)
    run.writer.submit(1, [open_event(1, 1), saved(1, 1)])  # and its clip is never seen to
    run.settle()
    run.away()
    run.writer.submit(1, [open_event(1, 2)])
    run.settle()
    run.writer.submit(1, [UpdateEvent(handle="1.r.2", length_us=5)])
    stopped = run.writer.stopService()
    run.settle()
    assert stopped.called
    assert run.clock.getDelayedCalls() == []
    again = Run(tmp_path, store=Store(ids=100))
    assert again.written() == [open_event(1, 2), UpdateEvent(handle="1.r.2", length_us=5)]
    assert again.store.asked == [["1.r.2"]]
    assert again.effects == [("ClipSaved", "1.r.1", 1)]


def test_an_opening_written_beside_a_batch_that_goes_to_disk_is_not_written_again(tmp_path):
    run = Run(tmp_path)
    run.writer.submit(1, [open_event(1, 1)])
    run.settle()
    run.store.outcomes = ["held"]
    run.writer.submit(1, [frame(1, 2)])
    run.wait(0.5)
    run.writer.submit(1, [open_event(1, 2)])
    run.wait(SPOOL_AFTER + SPOOL_EVERY)
    assert [c.handle for c in run.written()] == ["1.r.1", "1.r.2"]
    run.killed()
    again = Run(tmp_path, store=Store(ids=100))
    assert again.written() == [frame(1, 2)]
    assert again.store.asked == []


def spooled(directory: Path, **options: Any) -> Run:
    """A run with an event in the spool that is under way, and a hundred frames of it behind it, in ten groups."""
    run = Run(directory, max_batch=10, **options)
    run.away()
    run.writer.submit(1, [open_event(1)])
    run.wait(SPOOL_AFTER + SPOOL_EVERY)
    run.writer.submit(1, [frame(1, n) for n in range(2, 102)])
    run.wait(SPOOL_EVERY)
    return run


@pytest.mark.parametrize(
    ("spoilt", "lost"),
    [
        ("UPDATE groups SET data = x'ff', checksum = NULL WHERE id = 5", 10),
        ("UPDATE groups SET data = x'9182a474797065a9', checksum = NULL WHERE id = 5", 10),
        ("UPDATE groups SET data = x'9182a474797065a64164645461676ea1ff', checksum = NULL WHERE id = 5", 10),
        ("DROP TABLE tried", 0),
        ("PRAGMA user_version = 7", 0),
    ],
)
@pytest.mark.parametrize("started", [True, False])
def test_what_makes_no_sense_in_the_spool_is_said_and_the_rest_is_written(tmp_path, spoilt, lost, started):
    run = spooled(tmp_path)
    if not started:
        run.killed()
    with closing(sqlite3.connect(tmp_path / "spool.db")) as connection, connection:
        connection.execute(spoilt)
    if started:
        if "version" in spoilt:
            run.file.close()
        run.back()
        run.wait(3 * TROUBLE_DELAY)
    else:
        run = Run(tmp_path, max_batch=10)
        run.wait(3 * TROUBLE_DELAY)
    written = run.written()
    assert len(written) == len(set(written)) == 101 - lost
    assert (written[0], written[-1]) == (open_event(1), frame(1, 101))
    assert run.writer.figures.spool.unreadable == lost
    assert run.writer.figures.spool.aside is not None
    run.writer.submit(1, [frame(1, 500)])
    run.wait(1)
    assert run.written()[-1] == frame(1, 500)


def fail_once_after(monkeypatch: pytest.MonkeyPatch, method: str, error: Exception) -> None:
    """The next call of the spool's file does what it is asked, and fails all the same."""
    done = getattr(SpoolFile, method)

    def failing(self: SpoolFile, *args: Any, **kwargs: Any) -> Any:
        result = done(self, *args, **kwargs)
        if method not in failed:
            failed.append(method)
            raise SpoolTrouble(str(error))
        return result

    failed: list[str] = []
    monkeypatch.setattr(SpoolFile, method, failing)


def test_a_put_that_fails_after_its_commit_is_put_again(tmp_path, monkeypatch):
    run = Run(tmp_path, max_batch=10)
    run.away()
    run.writer.submit(1, [open_event(1)])
    run.wait(SPOOL_AFTER + SPOOL_EVERY)
    fail_once_after(monkeypatch, "put", OSError(5, "Input/output error"))
    run.writer.submit(1, [frame(1, n) for n in range(2, 50)])
    run.wait(SPOOL_EVERY)
    assert run.writer.figures.spool.trouble == "[Errno 5] Input/output error"
    run.writer.submit(1, [frame(1, n) for n in range(50, 60)])
    run.wait(TROUBLE_DELAY)
    assert run.writer.figures.spool.trouble is None
    run.killed()
    again = Run(tmp_path, max_batch=10)
    again.wait(1)
    assert again.written() == [open_event(1), *(frame(1, n) for n in range(2, 60))]


@pytest.mark.parametrize("under_way", [True, False])
def test_a_put_that_fails_after_its_commit_doubles_nothing_after_a_kill(tmp_path, monkeypatch, under_way):
    """Its changes are written from memory, and we are killed before anything else is put."""
    run = Run(tmp_path, max_batch=10)
    run.away()
    run.writer.submit(2, [open_event(2)])
    if under_way:
        run.wait(1)
        fail_once_after(monkeypatch, "put", OSError(5, "Input/output error"))
    run.wait(SPOOL_AFTER + SPOOL_EVERY)
    if not under_way:
        fail_once_after(monkeypatch, "put", OSError(5, "Input/output error"))
        run.writer.submit(1, [open_event(1)])
        run.wait(SPOOL_EVERY)
    assert run.writer.figures.spool.trouble is not None
    run.back()
    run.wait(1)
    assert run.written() == [open_event(2)] + [open_event(1)] * (not under_way)
    run.killed()
    again = Run(tmp_path)
    again.wait(1)
    assert again.written() == []


ERRORS = [
    ("SQLITE_BUSY", "database is locked"),
    ("SQLITE_IOERR_READ", "disk I/O error"),
    ("SQLITE_IOERR_FSYNC", "disk I/O error"),
    ("SQLITE_FULL", "database or disk is full"),
    ("SQLITE_CANTOPEN", "unable to open database file"),
    ("SQLITE_READONLY", "attempt to write a readonly database"),
]


@pytest.mark.parametrize(("name", "text"), ERRORS)
def test_an_error_that_passes_sets_nothing_aside(tmp_path, monkeypatch, name, text):
    """Every other transaction of the spool fails once."""
    once, calls = RoomyFile._once, count()

    def failing(self: RoomyFile, work: Any) -> Any:
        if next(calls) % 2:
            error = sqlite3.OperationalError(text)
            error.sqlite_errorcode = getattr(sqlite3, name)
            raise error
        return once(self, work)

    monkeypatch.setattr(RoomyFile, "_once", failing)
    run = Run(tmp_path, max_batch=10)
    run.away()
    run.writer.submit(1, [open_event(1)])
    run.wait(SPOOL_AFTER + SPOOL_EVERY)
    for n in range(2, 60):
        run.writer.submit(1, [frame(1, n)])
        run.wait(0.2)
    run.wait(4 * TROUBLE_DELAY)
    assert run.spooled > 0
    run.back()
    run.wait(8 * TROUBLE_DELAY)
    assert run.written() == [open_event(1), *(frame(1, n) for n in range(2, 60))]
    assert list(tmp_path.glob("*bad*")) == []


def test_a_spool_that_cannot_be_opened_at_the_start_is_opened_later_with_what_was_left(tmp_path, monkeypatch):
    run = spooled(tmp_path)
    run.writer.submit(1, [saved(1)])
    run.wait(SPOOL_EVERY)
    run.killed()
    with monkeypatch.context() as away:
        away.setattr(RoomyFile, "_opened", lambda self: sqlite3.connect("/nowhere/spool.db"))
        again = Run(tmp_path, max_batch=10)
        again.wait(TROUBLE_DELAY + 1)
        assert "unable to open" in again.writer.figures.spool.trouble
        assert again.writer.openings_wait, "for all that is known"
        again.writer.submit(2, [open_event(2)])
        again.wait(1)
        assert again.written() == [open_event(2)]
        again.away()
        again.writer.submit(2, [frame(2, 2)])
        again.wait(SPOOL_AFTER + SPOOL_EVERY)
        again.back()
        again.wait(1)
    again.wait(TROUBLE_DELAY + 1)
    assert of(again.written(), 1) == [open_event(1), *(frame(1, n) for n in range(2, 102)), saved(1)]
    assert of(again.written(), 2) == [open_event(2), frame(2, 2)]
    assert not again.writer.openings_wait
    assert again.writer.figures.spool.trouble is None


def test_a_stop_while_the_spool_cannot_be_opened_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(RoomyFile, "_opened", lambda self: sqlite3.connect("/nowhere/spool.db"))
    run = Run(tmp_path)
    run.away()
    run.writer.submit(1, [open_event(1)])
    stopped = run.writer.stopService()
    run.settle()
    assert stopped.called
    assert run.clock.getDelayedCalls() == []


def test_a_file_that_cannot_be_read_for_long_is_as_good_as_damaged(tmp_path, monkeypatch):
    """A sector that the disk does not give back: what was behind it must not hold up everything else for ever."""
    run = spooled(tmp_path)
    take = SpoolFile.read
    old = [tmp_path / "spool.db"]

    def failing(self: SpoolFile, *args: Any) -> Any:
        if old and (tmp_path / "spool.db").stat().st_ino == inode:
            raise SpoolTrouble("disk I/O error")
        return take(self, *args)

    inode = (tmp_path / "spool.db").stat().st_ino
    monkeypatch.setattr(SpoolFile, "read", failing)
    run.back()
    run.wait((PATIENCE - 1) * TROUBLE_DELAY - 1)
    assert list(tmp_path.glob("*bad*")) == []
    run.wait(2 * TROUBLE_DELAY)
    assert list(tmp_path.glob("*bad*"))
    assert run.written() == [open_event(1), *(frame(1, n) for n in range(2, 102))]


def test_what_finds_no_room_in_the_spool_stays_in_memory_and_goes_there_when_there_is_some(tmp_path, monkeypatch):
    run = Run(tmp_path, queue_max=1000)
    run.away()
    run.writer.submit(1, [open_event(1)])
    run.wait(SPOOL_AFTER + SPOOL_EVERY)

    def no_room(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "posix_fallocate", no_room)
        n = 1
        while not run.writer.figures.spool.trouble:
            for _ in range(100):
                n += 1
                run.writer.submit(1, [open_event(1, n), saved(1, n)])
            run.wait(SPOOL_EVERY)
            assert n < 20_000
        assert "is full" in run.writer.figures.spool.trouble
        for _ in range(100):
            n += 1
            run.writer.submit(1, [open_event(1, n), saved(1, n)])
        run.wait(TROUBLE_DELAY)
        assert run.writer.queued >= 2 * n - 3
    run.wait(2 * TROUBLE_DELAY)
    assert run.writer.figures.spool.trouble is None
    assert run.spooled >= 2 * n - 3
    run.killed()
    again = Run(tmp_path)
    again.wait(5)
    opened = [c for c in again.written() if isinstance(c, OpenEvent)]
    assert sorted(c.handle for c in opened) == sorted({open_event(1, k).handle for k in range(1, n + 1)})


@pytest.mark.parametrize("stopped", [True, False])
def test_what_could_not_be_forgotten_when_it_was_over_is_forgotten_later(tmp_path, monkeypatch, stopped):
    run = spooled(tmp_path)
    run.writer.submit(1, [saved(1)])
    run.wait(SPOOL_EVERY)
    with monkeypatch.context() as full:
        full.setattr(SpoolFile, "done", lambda *_: (_ for _ in ()).throw(SpoolTrouble("disk I/O error")))
        run.back()
        run.wait(1)
        run.writer.submit(1, [closed(1)])
        run.wait(1)
        assert run.written()[-1] == closed(1)
    if stopped:
        ended = run.writer.stopService()
        run.settle()
        assert ended.called
    else:
        run.wait(TROUBLE_DELAY)
    run.killed()
    again = Run(tmp_path)
    assert (again.written(), again.effects) == ([], [])


def test_a_spool_that_cannot_be_opened_for_a_moment_is_opened_in_the_next(tmp_path, monkeypatch):
    spooled(tmp_path).killed()
    fail_once_after(monkeypatch, "open", OSError(5, "Input/output error"))
    again = Run(tmp_path, max_batch=10)
    again.wait(1)
    assert len(again.written()) == 101


def test_what_an_earlier_run_left_is_not_overwritten_before_it_was_looked_at(tmp_path, monkeypatch):
    spooled(tmp_path).killed()
    with monkeypatch.context() as away:
        away.setattr(SpoolFile, "open", lambda _: (_ for _ in ()).throw(SpoolTrouble("disk I/O error")))
        run = Run(tmp_path, max_batch=10)
        run.away()
        for monitor in (2, 3, 4):
            run.writer.submit(monitor, [open_event(monitor)])
            run.wait(SPOOL_AFTER + SPOOL_EVERY)
        run.killed()
    again = Run(tmp_path, max_batch=10)
    again.wait(1)
    assert again.written() == [open_event(1), *(frame(1, n) for n in range(2, 102))]
