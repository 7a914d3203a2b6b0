"""What is written down of a running worker."""

from __future__ import annotations

from msgspec.structs import replace

from tests.fleet.process.test_cleanup import KNOWN
from zmtwist.fleet.process.pidfile import read_record, write_record


def test_who_reads_a_record_sees_the_old_one_or_the_new_one_whole(tmp_path):
    path = tmp_path / "worker_3.json"
    write_record(str(path), KNOWN)
    with path.open("rb") as reading:
        before = path.read_bytes()
        later = replace(KNOWN, pid=KNOWN.pid + 1, arguments=("--longer",) * 100)
        write_record(str(path), later)
        assert reading.read() == before
    assert read_record(str(path), KNOWN.monitor_id) == later


def test_a_record_is_for_its_owner_alone(tmp_path):
    write_record(str(tmp_path / "worker_3.json"), KNOWN)
    assert (tmp_path / "worker_3.json").stat().st_mode & 0o777 == 0o600
