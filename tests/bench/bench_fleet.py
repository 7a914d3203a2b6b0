"""The whole service with simulated workers, real processes all, on this machine: `python tests/bench/bench_fleet.py`.

A quarter of the monitors sees something all the time: 15 detections a second each, as alarm frames of one event. At 50, 100 and 200
monitors, each in a service process of its own, on the embedded database. Figures, each alone on a line:

- fleet_live_seconds: from the start of the service until all of 200 were LIVE (four are started a second, so 50 s at the least);
- fleet_cpu_percent_per_100: CPU of the service, in percent of one core for each 100 monitors, at 200;
- fleet_rss_kb_per_monitor: what the service's memory grew by, for each of 200 monitors;
- fleet_growth: CPU for each monitor at 200 over that at 50: above 1, the cost grows faster than the number of cameras;
- fleet_max_pause_ms: the longest that the reactor was held up at 200 while all ran, by the clock on the wall: the simulated workers fill
  both cores, so it has the scheduler's share in it; fleet_max_busy_ms: how much of one such round was our own work;
- fleet_start_pause_ms, fleet_start_busy_ms: the same while they were started.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import LoopingCall, deferLater, react

from tests.service_case import Installation
from zmtwist.fleet.process.state import State

SIZES = (50, 100, 200)
MEASURED_SECONDS = 20.0
TICK = 0.02
PATIENCE_SECONDS = 240.0


class Pauses:
    """How long the reactor was held up at most since the last `take`, and how long it worked at most, in milliseconds."""

    def __init__(self) -> None:
        self._longest = self._busiest = 0.0
        self._before, self._worked = time.perf_counter(), time.thread_time()
        LoopingCall(self._tick).start(TICK)

    def _tick(self) -> None:
        now, worked = time.perf_counter(), time.thread_time()
        self._longest = max(self._longest, now - self._before - TICK)
        self._busiest = max(self._busiest, worked - self._worked)
        self._before, self._worked = now, worked

    def take(self) -> tuple[float, float]:
        taken = 1000 * self._longest, 1000 * self._busiest
        self._longest = self._busiest = 0.0
        return taken


def resident_kb() -> int:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0])


async def measure(reactor: object, count: int, directory: Path) -> dict[str, float]:
    """One service with so many monitors, from its start to its end."""
    zm = Installation.make(directory)
    tuning = {"ZM_CORE_SIM": "light,fps=5,first=1000000"}
    for n in range(1, count + 1):
        moving = n % 4 == 0
        zm.monitor(n, "Modect" if moving else "Record", SectionLength=600)
        if moving:
            tuning[f"ZM_CORE_SIM_{n}"] = "fps=15,first=0,present=3,period=3,detect_rate=15"
    service = zm.service_of(zm.config(tuning=tuning))
    pauses, rss, started = Pauses(), resident_kb(), time.perf_counter()
    service.startService()

    def live() -> int:
        return 0 if service.fleet is None else sum(one.state is State.LIVE for one in service.fleet.status())

    while live() < count:
        if time.perf_counter() - started > PATIENCE_SECONDS:
            raise SystemExit(f"only {live()} of {count} are LIVE after {PATIENCE_SECONDS:.0f} s")
        await deferLater(reactor, 0.2)
    live_seconds, at_start = time.perf_counter() - started, pauses.take()
    await deferLater(reactor, 3)
    pauses.take()
    before = service.ingest.kinds["detection"]
    cpu, since = time.process_time(), time.perf_counter()
    await deferLater(reactor, MEASURED_SECONDS)
    share = (time.process_time() - cpu) / (time.perf_counter() - since)
    in_between, stayed = pauses.take(), live()
    grown = resident_kb() - rss
    seen = service.ingest.kinds["detection"] - before
    await service.stopService()
    if stayed < count:
        raise SystemExit(f"only {stayed} of {count} stayed LIVE")
    if seen < 0.9 * MEASURED_SECONDS * 15 * (count // 4):
        raise SystemExit(f"the cameras could not keep up: only {seen} detections in {MEASURED_SECONDS:.0f} s")
    return {
        "live_seconds": live_seconds,
        "cpu": 100 * share / count,
        "rss_kb": grown / count,
        "pause_ms": in_between[0],
        "busy_ms": in_between[1],
        "start_pause_ms": at_start[0],
        "start_busy_ms": at_start[1],
    }


def one_size(count: int) -> dict[str, float]:
    """Measure in a process of its own."""
    done = subprocess.run([sys.executable, __file__, str(count)], stdout=subprocess.PIPE, check=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"{count} monitors: {figures}", file=sys.stderr)
    return figures


def main() -> None:
    if len(sys.argv) > 1:
        with tempfile.TemporaryDirectory(prefix="zmtwist-bench-") as directory:

            async def run(reactor: object) -> None:
                print(json.dumps(await measure(reactor, int(sys.argv[1]), Path(directory))), flush=True)

            react(lambda reactor: ensureDeferred(run(reactor)))
    results = [one_size(count) for count in SIZES]
    largest = results[-1]
    print(f"figure fleet_live_seconds {largest['live_seconds']:.1f}")
    print(f"figure fleet_growth {largest['cpu'] / results[0]['cpu']:.2f}")
    print(f"figure fleet_cpu_percent_per_100 {100 * largest['cpu']:.1f}")
    print(f"figure fleet_rss_kb_per_monitor {largest['rss_kb']:.0f}")
    for name in ("pause", "busy"):
        print(f"figure fleet_max_{name}_ms {largest[f'{name}_ms']:.1f}")
        print(f"figure fleet_start_{name}_ms {largest[f'start_{name}_ms']:.1f}")


if __name__ == "__main__":
    main()
