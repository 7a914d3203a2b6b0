from __future__ import annotations

from zmtwist.ingest.clips.scan import remove_past_days


def test_only_empty_directories_of_past_days_are_removed(tmp_path):
    for name in ("2026-11-18", "2026-11-19", "2026-11-20", "2026-11-21", "3", "recordings"):
        (tmp_path / name).mkdir()
    (tmp_path / "2026-11-19" / "event-Monitor-3-0-09-10-39.mkv").write_bytes(b"x")
    remove_past_days(str(tmp_path), "2026-11-20")
    left = sorted(entry.name for entry in tmp_path.iterdir())
    assert left == ["2026-11-19", "2026-11-20", "2026-11-21", "3", "recordings"]
