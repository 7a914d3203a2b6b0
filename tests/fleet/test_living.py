from __future__ import annotations

import os
import time

from msgspec.structs import replace

from zmtwist.fleet.living import living
from zmtwist.fleet.procfs import Linux
from zmtwist.fleet.record import Record, record_path, write_record


def test_a_process_tells_since_when_it_runs():
    seen = Linux(None).look(os.getpid())
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    assert abs(seen.since_us / 1e6 - booted - seen.started / os.sysconf("SC_CLK_TCK")) < 0.1
    assert seen.since_us <= time.time_ns() // 1000


def noted(linux, seen, at_us):
    return Record(
        monitor_id=3, pid=seen.pid, started=seen.started, boot=linux.boot, program="zm-core", arguments=(), socket="s", digest="d",
        at_us=at_us,
    )  # fmt: skip


def test_a_clock_that_was_set_back_does_not_make_a_worker_younger_than_its_clips(tmp_path):
    linux = Linux(None)
    seen = linux.look(os.getpid())
    record = noted(linux, seen, seen.since_us + 60_000_000)  # by the clock as it went then
    write_record(record_path(str(tmp_path), 3), record)
    assert abs(living(str(tmp_path), linux)[3] - seen.since_us) < 100_000
    write_record(record_path(str(tmp_path), 3), replace(record, at_us=5))
    assert living(str(tmp_path), linux) == {3: 5}


def test_a_worker_of_an_earlier_boot_does_not_live_although_its_number_does(tmp_path):
    linux = Linux(None)
    seen = linux.look(os.getpid())
    record = noted(linux, seen, 5)
    for changed, lives in (({}, True), ({"boot": "another"}, False), ({"started": seen.started + 1}, False)):
        write_record(record_path(str(tmp_path), 3), replace(record, **changed))
        assert (3 in living(str(tmp_path), linux)) == lives
