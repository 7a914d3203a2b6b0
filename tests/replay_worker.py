"""A worker that says what a real one once said: plays a capture to its first client, and ends at SIGTERM.

REPLAY_CAPTURE is the capture's path, REPLAY_ROOT takes the place of the root that the capture's paths begin with (of the same length, so
that every TLV keeps its own). REPLAY_CLIPS names the files under it that the worker had recorded; each that is not there gets its name
for content.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import sys
from pathlib import Path

ROOT = b"/srv/zoneminder/e"
OPENING = re.compile(rb'"event":"RecordingOpening","trigger":"\w+"}')


def main() -> None:
    parser = argparse.ArgumentParser()
    for option in ("--pipeline", "--socket", "--monitor-id"):
        parser.add_argument(option)
    options = parser.parse_args()
    root = os.environ["REPLAY_ROOT"].encode()
    assert len(root) == len(ROOT)
    said = Path(os.environ["REPLAY_CAPTURE"]).read_bytes().replace(ROOT, root)
    # Whoever recorded the captures gave all workers directories of monitor 3, and names that are not ours.
    said = said.replace(root + b"/3/", root + f"/{options.monitor_id}/".encode()).replace(b"-video.mp4", b"-video.mkv")
    for name in os.environ["REPLAY_CLIPS"].split(":"):
        path = Path(os.fsdecode(root), name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(name)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(options.socket)
    listening.listen(8)
    client, _ = listening.accept()
    begin, heard = 0, b""
    for number, opening in enumerate(OPENING.finditer(said), 1):
        client.sendall(said[begin : opening.end()])
        begin = opening.end()
        while heard.count(b"assign_recording") < number:  # a worker names an event only once it was told of it
            heard += client.recv(65536)
    client.sendall(said[begin:])
    while client.recv(65536):
        pass
    signal.pause()


if __name__ == "__main__":
    main()
