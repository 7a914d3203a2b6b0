"""Ingest against MariaDB, on this machine, in one run: `python tests/bench/bench_ingest.py`. Figures, each alone on a line:

- ingest_vs_autocommit: our rate, from bytes on 50 sockets to committed Frames rows, over that of two autocommitted statements per event
  on one connection (what the reference does);
- ingest_vs_executemany: our rate over that of a bare `executemany` of the same rows in one transaction;
- assign_p50_commits: median time from an opening to its assignment, at 2,000 events a second over 100 links, in bare commits of one row
  that another process makes as often, on the same server, during the same load;
- assign_p50_hot_commits: the same in bare commits made before it, one hard on the other on an idle server, with nothing else in the
  processor's caches: a third of what a commit costs that comes every 25 ms;
- assign_p99_ms: the 99th percentile of the same, in milliseconds;
- ingest_growth: CPU cost per event at 10, 100 and 300 links, the dearest over the cheapest;
- reactor_max_pause_ms: the longest that the reactor was held up in all of it.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, fail
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import LoopingCall, deferLater, react
from zope.interface import implementer

from tests.bench.commits import ROW, bare_commit
from tests.mariadb import Server
from zmtwist.config.database_url import parse_url
from zmtwist.config.site import Site
from zmtwist.ingest.service import Ingest
from zmtwist.interfaces import ICommander, ILinkObserver
from zmtwist.pipeline.document import Document
from zmtwist.reactor.thread_pool import Disk
from zmtwist.reactor.tuning import tune
from zmtwist.wire.link import NotLinked, WorkerLink
from zmtwist.wire.read_budget import Turns
from zmtwist.zm.db.pool import Database
from zmtwist.zm.read.catalog import Catalog
from zmtwist.zm.write.store import EventStore

DATABASE = "zm138"
MONITORS = 300
REFERENCE_EVENTS = 1500
PACE = 2000
OPENINGS = 50
OPENING_EVERY = OPENINGS / PACE
"""Seconds: every 50th of 2,000 events a second."""


@implementer(ILinkObserver)
class Unconcerned:
    """Nobody looks after these links."""

    def linked(self) -> None: ...
    def media(self, frames_per_second: float | None) -> None: ...
    def stats(self) -> None: ...
    def stream(self, stream_id: int, connected: bool) -> None: ...
    def bye(self) -> None: ...
    def unlinked(self, reason: str) -> None: ...


class Child(ProcessProtocol):
    """A process beside ours, which tells us things in JSON: `tests.bench.cameras`, `tests.bench.commits`."""

    def __init__(self, module: str, *arguments: object) -> None:
        self.told: dict[str, Any] = {}
        self._waiting: dict[str, Deferred[Any]] = {}
        self._tail = b""
        command = [sys.executable, "-m", f"tests.bench.{module}", *map(str, arguments)]
        root = Path(__file__).parent.parent.parent
        reactor.spawnProcess(self, sys.executable, command, env=None, path=str(root))  # type: ignore[attr-defined]

    def outReceived(self, data: bytes) -> None:
        *lines, self._tail = (self._tail + data).split(b"\n")
        for line in lines:
            for key, value in json.loads(line).items():
                self.told[key] = value
                if key in self._waiting:
                    self._waiting.pop(key).callback(value)

    def errReceived(self, data: bytes) -> None:
        sys.stderr.write(data.decode())

    def hear(self, key: str) -> Deferred[Any]:
        waiting: Deferred[Any] = Deferred()
        if key in self.told:
            waiting.callback(self.told[key])
        else:
            self._waiting[key] = waiting
        return waiting

    def end(self, key: str) -> Deferred[Any]:
        """Have it end; what it tells of `key` then."""
        self.transport.closeStdin()  # type: ignore[union-attr]
        return self.hear(key)


@implementer(ICommander)
class Bench:
    """Links, ingest and store as the service wires them, without a fleet."""

    def __init__(self, server: Server) -> None:
        self.links: dict[int, WorkerLink] = {}
        self.server = server
        self.database = Database(reactor, parse_url(server.url(DATABASE)))
        self.disk = Disk(reactor)
        self.turns = Turns(reactor)
        self.longest_pause = 0.0

    def command(self, monitor_id: int, name: str, /, **fields: Any) -> Deferred[Any]:
        link = self.links.get(monitor_id)
        return link.command(name, **fields) if link else fail(NotLinked("gone"))

    async def start(self) -> None:
        tune()  # as the service does
        self.database.startService()
        self.disk.startService()
        self.monitors = await Catalog(self.database, Site()).monitors()
        self._seen = time.perf_counter()
        LoopingCall(self._look).start(0.002).addErrback(lambda failure: failure.printTraceback())

    def forget_pauses(self) -> None:
        """Begin to look for pauses anew (what the benchmark itself did in between blocks the reactor)."""
        self.longest_pause, self._seen = 0.0, time.perf_counter()

    def _look(self) -> None:
        now = time.perf_counter()
        self.longest_pause = max(self.longest_pause, now - self._seen - 0.002)
        self._seen = now

    async def run(self, links: int, events: int, pace: int = 0, openings: int = 0) -> tuple[float, float, list[float]]:
        """Seconds from the first byte to the last committed row, CPU seconds of ours, and assignment latencies."""
        with tempfile.TemporaryDirectory(prefix="zmb-") as directory:
            cameras = Child("cameras", directory, links, events, pace, openings)
            await cameras.hear("listening")
            store = EventStore(self.database)
            ingest = Ingest(
                reactor, store, self, self.disk, run=f"{time.time_ns():x}",
                wall=lambda: time.time_ns() // 1000, announce=lambda _: None,
            )  # fmt: skip
            for monitor in self.monitors[:links]:
                ingest.know(monitor, Document(monitor.id, "{}", "continuous", "/srv"), bulk_interval=100)
            ingest.startService()
            before = self._count()
            self._seen = time.perf_counter()
            cpu = time.process_time()
            for number in range(1, links + 1):
                link = WorkerLink(
                    reactor,
                    f"{directory}/stream_{number}.sock",
                    number,
                    ingest,
                    Unconcerned(),
                    sample_seconds=1e6,
                    turns=self.turns,
                )
                self.links[number] = link
                link.start()
            began = await cameras.hear("began")
            await cameras.hear("sent")
            wanted = links * events
            while ingest.kinds["motion"] < wanted:
                await deferLater(reactor, 0.005)
            await ingest.writer.drained()
            took, cpu = time.time() - began, time.process_time() - cpu
            pause = self.longest_pause
            written = self._count() - before
            assert ingest.writer.figures.refused == ingest.writer.figures.orphaned == 0
            self.longest_pause, self._seen = pause, time.perf_counter()
            if not openings:
                assert written >= wanted, f"{written} rows of {wanted}"
            await deferLater(reactor, 0.2)
            latencies = await self._end(cameras)
            await ingest.finish()
        return took, cpu, latencies

    async def _end(self, cameras: Child) -> list[float]:
        latencies: list[float] = await cameras.end("assigned")
        for link in self.links.values():
            link.abort()
        self.links.clear()
        return latencies

    def _count(self) -> int:
        with self.server.connect(DATABASE) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT COUNT(*) FROM Frames")
            return int(cursor.fetchone()[0])


def prepare(server: Server) -> None:
    with server.connect(DATABASE) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO Storage (Id, Path, Name, Scheme) VALUES (3, '/tmp', 'bench', 'Medium')")
        for number in range(1, MONITORS + 1):
            cursor.execute(
                "INSERT INTO Monitors (Id, Name, Type, Path, Width, Height, StorageId) VALUES (%s, %s, 'Ffmpeg', 'x', 640, 360, 3)",
                (number, f"Camera {number}"),
            )


def autocommitted(server: Server, events: int) -> float:
    """Events a second, two autocommitted statements each from one connection."""
    with server.connect(DATABASE) as connection, connection.cursor() as cursor:
        cursor.execute(ROW)
        event = cursor.lastrowid
        began = time.perf_counter()
        for n in range(1, events + 1):
            cursor.execute(
                "INSERT INTO Frames (EventId, FrameId, Type, TimeStamp, Delta, Score) VALUES (%s, %s, 'Alarm', NOW(), %s, 79)",
                (event, n, n / 15),
            )
            cursor.execute("UPDATE Events SET Frames = %s, AlarmFrames = %s WHERE Id = %s", (n, n, event))
        return events / (time.perf_counter() - began)


def executemany(server: Server, events: int) -> float:
    """Rows a second of a bare executemany in one transaction."""
    stamp = "2026-11-22 09:10:50"
    with server.connect(DATABASE) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT MAX(Id) FROM Events")
        event = cursor.fetchone()[0]
        rows = [(event, n, "Alarm", stamp, n / 15, 79) for n in range(1, events + 1)]
        connection.begin()
        began = time.perf_counter()
        cursor.executemany(
            "INSERT INTO Frames (EventId, FrameId, Type, TimeStamp, Delta, Score) VALUES (%s, %s, %s, %s, %s, %s)", rows
        )
        connection.commit()
        return events / (time.perf_counter() - began)


def figure(name: str, value: float) -> None:
    print(f"figure {name} {value:.3f}", flush=True)


async def main() -> None:
    server = Server().create()
    bench = Bench(server)
    try:
        prepare(server)
        await bench.start()
        await bench.run(50, 100)  # warm up
        with server.connect(DATABASE) as connection:
            hot = statistics.median(bare_commit(connection) for _ in range(200))
        bench.forget_pauses()
        commits = Child("commits", server.socket, DATABASE, OPENING_EVERY)
        _, _, latencies = await bench.run(100, 200, pace=PACE, openings=OPENINGS)
        commit = statistics.median(await commits.end("committed"))
        latencies.sort()
        p50, p99 = statistics.median(latencies), latencies[int(len(latencies) * 0.99)]
        print(
            f"bare commit {commit * 1000:.2f} ms, hot {hot * 1000:.2f} ms; {len(latencies)} assignments, median {p50 * 1000:.2f} ms"
        )
        figure("assign_p50_commits", p50 / commit)
        figure("assign_p50_hot_commits", p50 / hot)
        figure("assign_p99_ms", p99 * 1000)
        paced = bench.longest_pause
        ours, theirs, bare = [], [], []
        for _ in range(3):
            took, _cpu, _ = await bench.run(50, 800)
            ours.append(50 * 800 / took)
            theirs.append(autocommitted(server, REFERENCE_EVENTS))
            bare.append(executemany(server, 50 * 800))
            bench.forget_pauses()
        rate = statistics.median(ours)
        print(
            f"ours {rate:.0f}/s, autocommit {statistics.median(theirs):.0f}/s, executemany {statistics.median(bare):.0f}/s"
        )
        figure("ingest_vs_autocommit", rate / statistics.median(theirs))
        figure("ingest_vs_executemany", rate / statistics.median(bare))
        costs = []
        for links in (10, 100, 300):
            per_event = []
            for _ in range(2):
                events = max(
                    800, 40_000 // links
                )  # so that what a link costs once, at its opening, does not count for much
                _, cpu, _ = await bench.run(links, events)
                per_event.append(cpu / (links * events))
            costs.append(min(per_event))
            print(f"{links} links: {costs[-1] * 1e6:.1f} us of CPU per event")
        figure("ingest_growth", max(costs) / min(costs))
        print(
            f"longest pause at 2,000 events a second {paced * 1000:.1f} ms, at full speed {bench.longest_pause * 1000:.1f} ms"
        )
        figure("reactor_max_pause_ms", max(paced, bench.longest_pause) * 1000)
        await bench.database.stopService()
    finally:
        bench.disk.stopService()
        server.remove()


if __name__ == "__main__":
    react(lambda _reactor: ensureDeferred(main()))
