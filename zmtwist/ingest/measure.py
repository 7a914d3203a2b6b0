"""How long a clip really is and how many frames it has, read off its packets: an unfinished Matroska file does not say.

Run as a program it measures the files named on its standard input, one JSON line each as it goes. A broken file may take the decoder
library's process down, or keep it busy for ever: hence a child process, killed when its time is up. Without PyAV nothing can be told
but whether a file begins like Matroska.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import attrs

SECONDS_PER_FILE = 30.0
NICENESS = 10
MAGIC = b"\x1a\x45\xdf\xa3"


@attrs.frozen
class Measure:
    """One file. Not `readable`: it holds no picture. `frames` 0: it could not be looked into (then nothing is known of it)."""

    readable: bool = True
    duration_us: int = 0
    frames: int = 0
    codec: str = ""


def measure_files(paths: Sequence[str], seconds_per_file: float = SECONDS_PER_FILE) -> dict[str, Measure]:
    """Measure files in child processes. Blocks for at most `seconds_per_file` each: call it on a thread.

    A file that the child did not survive or finish is said to be unknown, so that nobody takes it for empty.
    """
    measured: dict[str, Measure] = {}
    left = list(paths)
    while left:
        done = _run(left, seconds_per_file)
        measured |= done
        left = left[len(done) :]
        if left:
            measured[left.pop(0)] = Measure()
    return measured


def _run(paths: Sequence[str], seconds_per_file: float) -> dict[str, Measure]:
    """Those of `paths`, from the first on, that one child has managed."""
    request = "\n".join(json.dumps(path) for path in paths)
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "zmtwist.ingest.measure"],
            input=request.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=seconds_per_file * len(paths),
            check=False,
        )
        output = ended.stdout
    except subprocess.TimeoutExpired as expired:
        output = expired.stdout or b""
    lines = output.split(b"\n")[:-1]  # what follows the last newline is incomplete
    return {path: Measure(**json.loads(line)) for path, line in zip(paths, lines, strict=False)}


def measure(path: str) -> Measure:
    """Measure one file in this process. Raises OSError where it can't be opened."""
    with Path(path).open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return Measure(readable=False)
    try:
        import av
    except ImportError:
        return Measure()
    try:
        with av.open(path, metadata_errors="ignore") as container:
            if not container.streams.video:
                return Measure(readable=False)
            stream = container.streams.video[0]
            stamps = list(_stamps(container, stream, av))
            codec = stream.codec_context.codec.canonical_name
            whole = container.duration or 0
    except (av.error.InvalidDataError, av.error.EOFError):
        return Measure(readable=False)
    if not stamps:
        return Measure(readable=False)
    span = max(stamps) - min(stamps)
    # One frame has no length of its own: what the file's header says may be better.
    return Measure(True, span if len(stamps) > 1 else max(0, whole), len(stamps), codec)


def _stamps(container: object, stream: object, av: object) -> Iterator[int]:
    """Presentation times of the video's packets, in microseconds, as far as they can be read."""
    with suppress(av.error.FFmpegError):  # type: ignore[attr-defined]
        for packet in container.demux(stream):  # type: ignore[attr-defined]
            if packet.pts is not None and packet.size:
                yield round(packet.pts * packet.time_base * 1_000_000)


def main() -> None:
    """Measure the files on standard input."""
    with suppress(OSError):
        os.nice(NICENESS)
    for line in sys.stdin:
        path = json.loads(line)
        try:
            found = measure(path)
        except Exception:
            found = Measure()
        sys.stdout.write(json.dumps(attrs.asdict(found)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
