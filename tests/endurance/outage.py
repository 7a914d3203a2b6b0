"""The database is away under load: nothing is lost, and the backlog is gone faster than it grew.

`python -m tests.endurance.outage [--seconds 180] [--cameras 8] [--starve SEED]`, or `make endure`.
"""

from __future__ import annotations

import argparse
import re
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext

from tests.conftest import TIME_ZONE
from tests.endurance.host import Host
from tests.mariadb import Server
from zmtwist.changes import AddFrame, ClipSaved, OpenEvent


def hang(server: Server) -> Callable[[], None]:
    server.signal(signal.SIGSTOP)
    return lambda: server.signal(signal.SIGCONT)


def crash(server: Server) -> Callable[[], None]:
    server.stop(signal.SIGKILL)
    return server.start


def stop(server: Server) -> Callable[[], None]:
    server.stop()
    return server.start


def outage(
    host: Host, go: Callable[[Server], Callable[[], None]], seconds: float, say: Callable[[str], None] = print
) -> None:
    """Have the database away for so long. `go` takes it away, and gives what brings it back."""
    service = host.start()
    host.heard(ClipSaved, 3)
    back = go(host.server)
    away = time.monotonic()
    try:
        host.until(lambda: "goes to the spool" in host.log, "the spool")
        host.heard(OpenEvent, 1)
        host.until(lambda: time.monotonic() - away >= seconds, "the outage's end", seconds + 5)
        told = re.search(r"spool +(\d+) changes on disk, \d+ KiB, 0 gave way: ok", host.status())
        assert told is not None
    finally:
        back()
    grew, came = time.monotonic() - away, time.monotonic()
    host.until(lambda: "the spool is empty" in host.log, "the backlog gone", max(30, grew))
    drained = time.monotonic() - came
    say(f"away for {grew:.1f} s: {told[1]} changes in the spool, which were gone {drained:.1f} s after it was back")
    assert drained < grew, f"the backlog took {drained:.1f} s, and had grown for {grew:.1f} s"
    host.heard(OpenEvent, 2)
    service.terminate()
    assert service.wait(40) == 0
    assert "the database refused a" not in host.log
    assert sum(isinstance(change, AddFrame) for _, _, change in host.journal) > 60
    host.check()
    assert host.rows("SELECT Id FROM Events WHERE EndDateTime IS NULL") == []
    assert list(host.storage.glob("2*/*.mkv")) == []


def main() -> None:
    parser = argparse.ArgumentParser(description="Stops the database under load.")
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--cameras", type=int, default=8)
    parser.add_argument("--starve", type=int, metavar="SEED", help="give workers and service no time, again and again")
    options = parser.parse_args()
    server = Server(time_zone=TIME_ZONE).create()
    try:
        with (
            Host(server, cameras=options.cameras).kept_on_failure() as host,
            nullcontext() if options.starve is None else host.starved(options.starve),
        ):
            outage(host, stop, options.seconds)
    finally:
        server.remove()


if __name__ == "__main__":
    main()
