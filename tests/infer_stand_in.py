"""Stands in for `zm-infer`: listens at `--socket` a moment after its start, takes clients and says so, and ends at SIGTERM.

INFER_MOOD, if it is set, names a file: where that says "crash", this ends with status 7 at once.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path


def main() -> None:
    gpu, path = (sys.argv[sys.argv.index(name) + 1] for name in ("--gpu", "--socket"))
    mood = Path(os.environ.get("INFER_MOOD", os.devnull))
    if mood.exists() and mood.read_text() == "crash":
        print(f"[INFER][ERROR] no GPU {gpu}", file=sys.stderr, flush=True)
        raise SystemExit(7)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    time.sleep(0.3)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        print(f"[INFER][INFO] ready on GPU {gpu}", flush=True)
        while True:
            client, _ = listener.accept()
            client.close()


main()
