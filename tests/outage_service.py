"""The service as a process of its own that writes down every change it decides on, before anything comes of it.

`python -m tests.outage_service CONFIG JOURNAL`; a line of the journal is a JSON array: time, monitor id, change.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from twisted.internet import reactor
from twisted.logger import globalLogPublisher, textFileLogObserver

from zmtwist.changes import Change
from zmtwist.config.settings import settle
from zmtwist.config.toml import parse
from zmtwist.ingest.writer.writer import Writer
from zmtwist.service import ZmNext


def main(config: str, journal: str) -> None:
    globalLogPublisher.addObserver(textFileLogObserver(sys.stdout))
    writing = Path(journal).open("ab", buffering=0)  # noqa: SIM115
    submit = Writer.submit

    def noted(self: Writer, monitor_id: int, changes: Sequence[Change]) -> None:
        for change in changes:
            writing.write(msgspec.json.encode((time.time(), monitor_id, change)) + b"\n")
        submit(self, monitor_id, changes)

    Writer.submit = noted
    service = ZmNext(reactor, settle(parse(Path(config).read_text()), {}))
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.callWhenRunning(service.startService)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
