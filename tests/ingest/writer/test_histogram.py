from __future__ import annotations

from zmtwist.ingest.writer.histogram import BOUNDS, Latencies


def test_durations_by_class():
    latencies = Latencies()
    for seconds in (0.0005, 0.001, 0.3, 99.0, -1.0):
        latencies.add(seconds)
    counted = dict(latencies.cumulative())
    assert (counted[0.001], counted[0.25], counted[0.5], counted[BOUNDS[-1]], counted[float("inf")]) == (3, 3, 4, 4, 5)
    assert latencies.count == 5
    assert round(latencies.total, 4) == 99.3015
