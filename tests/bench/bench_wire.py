"""What decoding costs, against a bare loop over the same bytes: `python tests/bench/bench_wire.py`.

The bare loop is what no decoder in Python can do without: unpack each header and slice off each payload. It keeps nothing, but looks at
each slice, so that none can be left out. Both take the same 64 KiB reads, whose cut messages the bare loop gets put together for free.
The two run in turns, many times, and the medians are compared, so that a busy machine slows both.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from struct import Struct
from time import perf_counter

sys.path.insert(0, str(Path(__file__).parents[2]))

from zmtwist.wire.encode import encode_event, encode_media
from zmtwist.wire.frames import FrameDecoder
from zmtwist.wire.messages import Event, Message

READ = 64 * 1024
TURNS = 41
EVENT_SIZE = 200
MEDIA_SIZE = 8 * 1024
MIB = 1024 * 1024

_HEADER = Struct("<IBBBBIIQ")


def bare(reads: list[bytes]) -> int:
    """Headers unpacked, payloads sliced off and looked at; the reads end at message ends."""
    unpack, seen = _HEADER.unpack_from, 0
    for data in reads:
        at, end = 0, len(data)
        while at < end:
            length, _version, _kind, _stream, _flags, _sequence, _generation, _pts = unpack(data, at)
            payload = data[at + 24 : at + 4 + length]
            seen += payload[0]
            at += 4 + length
    return seen


def decode(reads: list[bytes], *, skip_media: bool) -> int:
    """The same bytes through the decoder; the messages are dropped read by read, as a link does."""
    decoder, messages = FrameDecoder(skip_media=skip_media), 0
    for data in reads:
        messages += len(decoder.feed(data))
    return messages + decoder.media[0].messages


def cut(data: bytes, size: int) -> list[bytes]:
    """`data` in reads of `size`, as they come from a socket."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def event() -> bytes:
    """A detection with one object, of 200 bytes in all."""
    found = {"label": "person", "confidence": 0.91, "bbox": [100, 200, 300, 400], "class_id": 0}
    detail = {"type": "detection", "stream_id": 0, "pts_usec": 4000000, "detections": [found]}
    short = encode_event(0x0301, sequence=5, wall_us=1795338654000000, detail=detail)
    found["label"] += "x" * (EVENT_SIZE - len(short))
    frame = encode_event(0x0301, sequence=5, wall_us=1795338654000000, detail=detail)
    (message,) = FrameDecoder().feed(frame)
    if len(frame) != EVENT_SIZE or not isinstance(message, Event) or type(message.detail).__name__ != "Detection":
        raise AssertionError(f"not the event that is to be measured: {len(frame)} bytes, {json.dumps(detail)}")
    return frame


def ratio(one: Callable[[], object], other: Callable[[], object]) -> float:
    """How many times as long `one` takes as `other`: medians of turns taken one after the other."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(TURNS):
        for run, kept in zip((one, other), times, strict=True):
            start = perf_counter()
            run()
            kept.append(perf_counter() - start)
    return median(times[0]) / median(times[1])


def against_bare(message: bytes, count: int, *, skip_media: bool) -> float:
    """The decoder's time over the bare loop's, for `count` of one message."""
    data, per_read = message * count, READ // len(message)
    reads, whole = cut(data, READ), cut(data, per_read * len(message))
    if decode(reads, skip_media=skip_media) != count:
        raise AssertionError("the decoder lost messages")
    return ratio(lambda: decode(reads, skip_media=skip_media), lambda: bare(whole))


def keep(reads: list[bytes]) -> list[Message]:
    """All messages of the reads, held until the end."""
    feed = FrameDecoder().feed
    return [message for data in reads for message in feed(data)]


def growth() -> float:
    """One message of 32 MiB in 64 KiB reads against 32 of 1 MiB: the worse of held and passed over.

    What is held is kept to the end in both, so that both fill as much new memory: to get that costs more than decoding does.
    """
    large, small = (encode_media(0, bytes(size - 24), sequence=1, pts_us=0) for size in (32 * MIB, MIB))
    one, many = cut(large, READ), cut(small * 32, READ)
    held = ratio(lambda: keep(one), lambda: keep(many))
    passed = ratio(lambda: decode(one, skip_media=True), lambda: decode(many, skip_media=True))
    return max(held, passed)


def main() -> None:
    """Print the figures of the contract (doc/reference/wire.md, Cost of decoding)."""
    gc.disable()
    typed = against_bare(event(), 5_000, skip_media=False)
    media = against_bare(encode_media(0, bytes(MEDIA_SIZE - 24), sequence=1, pts_us=0), 1_000, skip_media=True)
    print(f"figure wire_typed_vs_bare {typed:.2f}")
    print(f"figure wire_media_vs_bare {media:.2f}")
    print(f"figure wire_growth {growth():.2f}")


if __name__ == "__main__":
    main()
