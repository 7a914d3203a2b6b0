"""How long a clip really is and how many frames it has, read off its packets: an unfinished Matroska file does not say.

Run as a program it is a media child (`media.child_program`), which is asked for one file after the other. Without PyAV nothing can be told
but whether a file begins like Matroska.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import attrs
import msgspec

from zmtwist.media.child_program import NoFile, open_regular, opened, serve

SECONDS_PER_FILE = 60
NICENESS = 10
MEMORY_MIB = 512
MAGIC = b"\x1a\x45\xdf\xa3"

LONGEST_US = 7 * 24 * 3600 * 1_000_000
"""No clip is longer; one that says so has times that make no sense."""


@attrs.frozen
class Measure:
    """One file. Not `readable`: it holds no picture. `frames` 0: it could not be looked into (then nothing is known of it)."""

    readable: bool = True
    duration_us: int = 0
    frames: int = 0
    codec: str = ""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Measure).decode


def measure_files(paths: Sequence[str], seconds_per_file: float = SECONDS_PER_FILE + 5) -> dict[str, Measure]:
    """Measure files in child processes. Blocks for at most `seconds_per_file` each: call it on a thread.

    A file that the child did not survive or finish is said to be unknown, so that nobody takes it for empty.
    """
    from zmtwist.media.child import answers, command  # what the child itself has no use for

    measured: dict[str, Measure] = {}
    left = list(paths)
    while left:
        for answer in answers(command(__name__), map(os.fsencode, tuple(left)), seconds_per_file):
            try:
                measured[left[0]] = _decode(answer)
            except (msgspec.MsgspecError, ValueError):
                break
            left.pop(0)
        if left:
            measured[left.pop(0)] = Measure()
    return measured


def measure(path: str) -> Measure:
    """Measure one file in this process. Raises OSError where it can't be opened."""
    try:
        file = open_regular(path)
    except NoFile:
        return Measure(readable=False)
    with file:
        if file.read(len(MAGIC)) != MAGIC:
            return Measure(readable=False)
        file.seek(0)
        try:
            import av
        except ImportError:
            return Measure()
        try:
            with opened(file) as container:
                return _of(container, av)
        except (av.error.InvalidDataError, av.error.EOFError):
            return Measure(readable=False)


def _of(container: Any, av: Any) -> Measure:
    if not container.streams.video:
        return Measure(readable=False)
    stream = container.streams.video[0]
    frames, first, last = 0, 0, 0
    for stamp in _stamps(container, stream, av):
        first, last = (min(first, stamp), max(last, stamp)) if frames else (stamp, stamp)
        frames += 1
    if not frames:
        return Measure(readable=False)
    # One frame has no length of its own: what the file's header says may be better.
    length = last - first if frames > 1 else max(0, container.duration or 0)
    if length > LONGEST_US:
        return Measure()
    return Measure(True, length, frames, stream.codec_context.codec.canonical_name)


def _stamps(container: Any, stream: Any, av: Any) -> Iterator[int]:
    """Presentation times of the video's packets, in microseconds, as far as they can be read."""
    with suppress(av.error.FFmpegError):
        for packet in container.demux(stream):
            if packet.pts is not None and packet.size:
                yield round(packet.pts * packet.time_base * 1_000_000)


def answer(message: bytes) -> bytes:
    """The measure of the file whose path is asked for. Never raises."""
    try:
        return _encode(measure(os.fsdecode(message)))
    except Exception:
        return _encode(Measure())


def main() -> None:
    """Measure what is asked for on standard input."""
    serve(answer, niceness=NICENESS, memory_mib=MEMORY_MIB, seconds=SECONDS_PER_FILE)


if __name__ == "__main__":
    main()
