"""Messages of workers, mutated at every level: `python -m tests.wire.fuzz [--count N] [--seed N]`; 1,000,000 in some minutes.

The seeds are the captures' messages and one of each kind of detail. What is mutated is the header, the list of TLVs, the JSON (a value for
another, keys gone or twice, levels, lists without end), or bytes. Each goes the whole way: decoder, guard, session, and the form in which
changes are kept on disk. Nothing may come out of it but the decoder's one error, nothing may take long, and little may be held.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from time import process_time
from typing import Any

import attrs
import msgspec

from tests.wire.test_event_details import KINDS
from zmtwist.changes import AddData, Change
from zmtwist.ingest.session.options import Options
from zmtwist.ingest.session.session import Session
from zmtwist.untrusted.guard import Guard
from zmtwist.wire.encode import encode_event
from zmtwist.wire.frames import HEADER, MIN_LENGTH, FrameDecoder, UntrustedStream
from zmtwist.wire.guarded import guarded_event, guarded_response
from zmtwist.wire.messages import Event, MessageType, Response, kind_of

CAPTURES = Path(__file__).parent.parent / "data" / "captures"
NOW = 1_795_338_650_000_000
SLOW_SECONDS = 1.0
"""Of processor time, for one message. The longest takes some 20 ms on a machine that does nothing else."""

EVENT, HELLO = int(MessageType.EVENT), int(MessageType.HELLO)
_TLV = Struct("<BH")

NUMBERS = (
    0,
    1,
    -1,
    255,
    2**15,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**53,
    2**63 - 1,
    2**63,
    -(2**63),
    -(2**63) - 1,
    2**64,
    10**30,
    10**400,
)
FLOATS = (0.0, -0.0, 0.5, 1e-300, 1e15, 1e16, 1e300, -1e300, float("inf"), float("-inf"), float("nan"))
TEXTS = (
    "", "x", "person", "a\x00b", "\x1b[31m", "\n" * 5, "\ud800", "\U0010ffff", "é" * 80, "/" * 300, "../../etc/passwd", "k" * 5000,
    "rtsp://u:p@h/", "continuous", "motion", "StreamConnected", "{" * 50, '"' * 50, "9" * 4400, "\u2028", "3-1-2",
)  # fmt: skip
TYPES = tuple({said.get("type", said.get("event")) for _, said, _ in KINDS} - {None})


@attrs.define
class Found(Exception):
    """Something that must not be, and the bytes that brought it about."""

    what: str
    data: bytes

    def __str__(self) -> str:
        return f"{self.what}\n{self.data[:2000].hex()}"


def seeds() -> list[bytes]:
    """Good messages of every kind, one each; media cut short."""
    frames = []
    for capture in sorted(CAPTURES.glob("*.bin")):
        data, at = capture.read_bytes(), 0
        while at < len(data):
            length, *fields = HEADER.unpack_from(data, at)
            payload = data[at + HEADER.size : at + 4 + length]
            if fields[1] in (MessageType.MEDIA, MessageType.KEYFRAME):
                payload = payload[:40]
            frames.append(HEADER.pack(MIN_LENGTH + len(payload), *fields) + payload)
            at += 4 + length
    for code, said, _ in KINDS:
        given: dict[str, Any] = {"message": json.dumps(said)} if code == 0 else {"detail": said}
        frames += [encode_event(code, sequence=1, wall_us=NOW, **given)] * 12  # the captures have many of few kinds
    return list(frames)


class Mutator:
    """Mutated messages without end, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.frames = seeds()

    def __iter__(self) -> Iterator[bytes]:
        while True:
            chance = self.chance
            frame = chance.choice(self.frames)
            length, version, kind, stream, flags, sequence, generation, pts = HEADER.unpack_from(frame)
            payload = frame[HEADER.size :]
            for _ in range(chance.choice((1, 1, 1, 2, 3))):
                match chance.randrange(5):
                    case 0:
                        kind = chance.choice((kind, *map(int, MessageType), chance.randrange(256)))
                        stream = chance.choice((0, 1, 2, chance.randrange(256)))
                        sequence, generation = (chance.choice((0, 1, chance.getrandbits(32), 2**32 - 1)) for _ in "12")
                        pts = chance.choice((0, chance.getrandbits(33), chance.getrandbits(64), 2**63, 2**64 - 1))
                    case 1 if kind in (EVENT, HELLO):
                        payload = self.tlvs(kind, payload)
                    case 2 | 3 if b"{" in payload:
                        payload = self.json(kind, payload)
                    case _:
                        payload = self.bytes(payload)
            length = MIN_LENGTH + len(payload)
            if chance.random() < 0.02:
                length = chance.choice((0, length - 1, length + 1, chance.getrandbits(32), MIN_LENGTH, 2**25))
                version = chance.choice((1, 1, 0, 255))
            yield HEADER.pack(length, version, kind, stream, flags, sequence, generation, pts) + payload

    def bytes(self, data: bytes) -> bytes:
        """A few bytes flipped, gone, or more."""
        chance, made = self.chance, bytearray(data)
        at = chance.randrange(len(made) + 1)
        match chance.randrange(4):
            case 0 if made:
                made[at % len(made)] ^= 1 << chance.randrange(8)
            case 1:
                del made[at : at + chance.randint(1, 30)]
            case 2:
                made[at:at] = chance.randbytes(chance.randint(1, 20))
            case _:
                made[at:at] = made[at : at + 40] * chance.randint(1, 4)
        return bytes(made)

    def tlvs(self, kind: int, payload: bytes) -> bytes:
        """The list of TLVs with other tags, lengths and values, in another order, some twice or gone."""
        chance, at = self.chance, 0 if kind == HELLO else 2
        code, parts = payload[:at], []
        while at + 3 <= len(payload):
            tag, length = _TLV.unpack_from(payload, at)
            parts.append((tag, payload[at + 3 : at + 3 + length]))
            at += 3 + length
        if parts:
            number = chance.randrange(len(parts))
            tag, value = parts[number]
            match chance.randrange(6):
                case 0:
                    parts[number] = chance.choice((*range(12), 0x10, 0xFF)), value
                case 1:
                    parts[number] = (
                        tag,
                        chance.choice((b"", b"\xff" * len(value), chance.randbytes(len(value)), value[:-1])),
                    )
                case 2:
                    parts += [parts[number]] * chance.choice((1, 2, 70))
                case 3:
                    chance.shuffle(parts)
                case 4:
                    del parts[number]
                case _:
                    parts[number] = tag, value * chance.choice((2, 9))
        if code and chance.random() < 0.2:
            code = chance.choice(
                (b"\0\0", b"\1\0", b"\1\1", b"\6\1", b"\1\2", b"\1\3", b"\3\3", b"\4\3", b"\6\3", b"\xff\xff")
            )
        body = b"".join(_TLV.pack(tag, len(value) & 0xFFFF) + value for tag, value in parts)
        if parts and chance.random() < 0.1:
            at = chance.randrange(len(body))
            body = body[:at] + chance.choice((b"\0", b"\xff")) + body[at + 1 :]
        return code + body

    def json(self, kind: int, payload: bytes) -> bytes:
        """The JSON in it, with something else in some places; the TLV around it fits."""
        begin, end = payload.find(b"{"), payload.rfind(b"}") + 1
        try:
            value = json.loads(payload[begin:end])
        except (ValueError, RecursionError):
            return self.bytes(payload)
        try:
            for _ in range(self.chance.choice((1, 1, 2, 5))):
                value = self.value(value)
            body = json.dumps(value).encode("utf-8", "surrogatepass")
        except (ValueError, RecursionError):
            return self.bytes(payload)
        body = body[:0xFFFF]
        if kind == EVENT and begin >= 3:
            return payload[: begin - 2] + len(body).to_bytes(2, "little") + body + payload[end:]
        return payload[:begin] + body + payload[end:]

    def value(self, value: Any, depth: int = 0) -> Any:
        """`value` with one thing in it changed."""
        chance = self.chance
        if depth < 6 and chance.random() < 0.8:
            if isinstance(value, dict) and value:
                key = chance.choice(list(value))
                made = {**value, key: self.value(value[key], depth + 1)}
                if chance.random() < 0.1:
                    made[
                        chance.choice((*TEXTS[:4], "type", "event", "detections", "objects", "clip_token", "path"))
                    ] = made.pop(key)
                return made
            if isinstance(value, list) and value:
                number = chance.randrange(len(value))
                return [*value[:number], self.value(value[number], depth + 1), *value[number + 1 :]]
        match chance.randrange(9):
            case 0:
                return chance.choice(NUMBERS)
            case 1:
                return chance.choice(FLOATS)
            case 2:
                return chance.choice(TEXTS)
            case 3:
                return chance.choice((None, True, False, [], {}, [[]], [None], {"": None}))
            case 4:
                return [copy.copy(value)] * chance.choice((0, 1, 2, 300 if depth else 1))
            case 5:
                return {chance.choice(("type", "x")): value}
            case 6:
                return chance.choice(TYPES)
            case 7:
                nested: Any = value
                for _ in range(chance.choice((5, 40, 400))):
                    nested = [nested]
                return nested
        return str(value) if not isinstance(value, str) else len(value)


class Way:
    """All that a message goes through, from the socket to what is written."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.guard = Guard(["s3cret pass"])
        self.kinds: Counter[str] = Counter()
        self.untrusted = 0
        self._at = NOW
        self._begin()

    def _begin(self) -> None:
        self.session = Session(3, "run", Options(motion_area=640 * 360), rate=self.chance.choice((0.0, 10.0, 1000.0)))

    def take(self, data: bytes) -> None:
        """One message. Raises `Found`."""
        decoder = FrameDecoder(client=self.chance.random() < 0.8, skip_media=self.chance.random() < 0.5)
        began = process_time()
        try:
            step = len(data) if self.chance.random() < 0.8 else max(1, len(data) // 3)
            for at in range(0, len(data), step):
                for message in decoder.feed(data[at : at + step]):
                    if isinstance(message, Event):
                        self._event(guarded_event(message, self.guard))
                    elif isinstance(message, Response):
                        guarded_response(message, self.guard)
        except UntrustedStream as untrusted:
            self.untrusted += 1
            if untrusted.__cause__ is not None:
                raise Found(f"the decoder: {untrusted.__cause__!r}", data) from untrusted.__cause__
        except Exception as error:
            raise Found(repr(error), data) from error
        if decoder.buffered > len(data):
            raise Found("more is held than came", data)
        if (seconds := process_time() - began) > SLOW_SECONDS:
            raise Found(f"it took {seconds:.2f} s", data)

    def _event(self, event: Event) -> None:
        self.kinds[kind_of(event.detail)] += 1
        self._at += self.chance.choice((0, 10_000, 1_000_000))
        self._write(*self.session.handle(event, self._at))
        if self.chance.random() < 0.02:
            self._write(*self.session.tick(self._at))
        if self.chance.random() < 0.002:
            self._write(*self.session.gone(self._at))
            self._begin()

    def _write(self, session: Session, changes: list[Change]) -> None:
        self.session = session
        if len(changes) > 2_000:
            raise OverflowError(f"{len(changes)} changes come of one message")
        for change in changes:
            if isinstance(change, AddData):
                change.json.encode("ascii")
                msgspec.json.decode(change.json)
        if changes:
            kept = msgspec.msgpack.encode(changes)
            if msgspec.msgpack.decode(kept, type=list[Change]) != changes:
                raise ValueError("what is kept on disk is not what was to be written")


def fuzz(count: int, seed: int) -> Way:
    """`count` messages. Raises `Found` for what must not be."""
    way = Way(seed)
    for number, data in enumerate(Mutator(seed), 1):
        way.take(data)
        if number == count:
            break
    return way


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    options = parser.parse_args()
    print(f"{options.count} mutated messages, seed {options.seed}", flush=True)
    began = process_time()
    try:
        way = fuzz(options.count, options.seed)
    except Found as found:
        sys.exit(f"FOUND: {found}")
    print(
        f"nothing found in {process_time() - began:.0f} s; {way.untrusted} streams not to be trusted; {dict(way.kinds)}"
    )


if __name__ == "__main__":
    main()
