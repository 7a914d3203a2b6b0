"""The decoder: the captures exactly, any split, bounded memory, and nothing but one error out of it."""

from __future__ import annotations

import random
import tracemalloc
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from struct import pack, pack_into
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.doubles import CAPTURES
from zmtwist.wire.encode import (
    encode_bye,
    encode_event,
    encode_hello,
    encode_media,
    encode_response,
    encode_stats,
)
from zmtwist.wire.frames import (
    HEADER,
    MAX_LENGTH,
    MIN_LENGTH,
    FrameDecoder,
    UntrustedStream,
    encode_frame,
)
from zmtwist.wire.messages import (
    Bye,
    Event,
    Hello,
    Keyframe,
    Media,
    Message,
    Response,
    Stats,
    Unknown,
)

COUNTS: dict[str, dict[Any, int]] = {
    "event": {
        (Hello, 0): 1,
        (Hello, 1): 1,
        (Keyframe, 0): 1,
        (Media, 0): 58,
        (Media, 1): 45,
        (Event, None): 59,
        (Stats, None): 2,
        (Bye, None): 1,
    },
    "continuous": {
        (Hello, 0): 1,
        (Hello, 1): 1,
        (Keyframe, 0): 1,
        (Media, 0): 111,
        (Media, 1): 86,
        (Event, None): 7,
        (Response, None): 3,
        (Stats, None): 2,
        (Bye, None): 1,
    },
    "both": {
        (Hello, 0): 1,
        (Hello, 1): 1,
        (Keyframe, 0): 1,
        (Media, 0): 111,
        (Media, 1): 87,
        (Event, None): 118,
        (Response, None): 3,
        (Stats, None): 2,
        (Bye, None): 1,
    },
    "dead_input": {(Event, None): 1, (Stats, None): 2, (Bye, None): 1},
}
"""As tests/data/captures/README.md has them."""

DATA = {name: (CAPTURES / f"{name}.bin").read_bytes() for name in COUNTS}
WHOLE = {name: FrameDecoder().feed(data) for name, data in DATA.items()}


def fed(decoder: FrameDecoder, pieces: Iterable[bytes]) -> list[Message]:
    return [message for piece in pieces for message in decoder.feed(piece)]


def split(data: bytes, at: Iterable[int]) -> list[bytes]:
    bounds = [0, *sorted({point % (len(data) + 1) for point in at}), len(data)]
    return [data[start:end] for start, end in pairwise(bounds)]


@pytest.mark.parametrize("name", COUNTS)
def test_captures_whole(name: str) -> None:
    decoder = FrameDecoder()
    messages = decoder.feed(DATA[name])
    assert Counter((type(message), getattr(message, "stream", None)) for message in messages) == COUNTS[name]
    assert decoder.skipped == {}
    assert decoder.buffered == 0


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("skip_media", [False, True])
def test_captures_byte_by_byte(name: str, skip_media: bool) -> None:
    decoder = FrameDecoder(skip_media=skip_media)
    messages = fed(decoder, (DATA[name][at : at + 1] for at in range(len(DATA[name]))))
    wanted = [message for message in WHOLE[name] if not (skip_media and isinstance(message, Media | Keyframe))]
    assert messages == wanted
    if skip_media:
        assert decoder.media[0].messages == COUNTS[name].get((Media, 0), 0)
        assert decoder.media[1].messages == COUNTS[name].get((Media, 1), 0)


@settings(max_examples=settings.default.max_examples * 3 // 5, deadline=None)
@given(
    name=st.sampled_from(sorted(COUNTS)),
    at=st.lists(st.integers(0, 2**20), max_size=40),
    skip_media=st.booleans(),
)
def test_captures_at_random_splits(name: str, at: list[int], skip_media: bool) -> None:
    decoder = FrameDecoder(skip_media=skip_media)
    messages = fed(decoder, split(DATA[name], at))
    assert messages == [m for m in WHOLE[name] if not (skip_media and isinstance(m, Media | Keyframe))]
    assert decoder.buffered == 0


@given(
    frames=st.lists(
        st.one_of(
            st.builds(encode_frame, st.integers(0, 255), st.binary(max_size=60), stream=st.integers(0, 255)),
            st.builds(encode_stats, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)),
            st.builds(
                encode_media, st.sampled_from([0, 1, 9]), st.binary(max_size=90), sequence=st.just(1), pts_us=st.just(2)
            ),
        ),
        max_size=12,
    ),
    at=st.lists(st.integers(0, 2000), max_size=12),
    skip_media=st.booleans(),
)
@settings(deadline=None)
def test_a_split_changes_nothing(frames: list[bytes], at: list[int], skip_media: bool) -> None:
    data = b"".join(frames)
    whole, pieces = FrameDecoder(skip_media=skip_media), FrameDecoder(skip_media=skip_media)
    assert fed(pieces, split(data, at)) == whole.feed(data)
    assert (pieces.skipped, pieces.media) == (whole.skipped, whole.media)
    assert pieces.buffered == 0


def test_what_was_passed_over_is_told_and_never_held() -> None:
    decoder = FrameDecoder(skip_media=True)
    frame = encode_media(0, b"x" * 1_000_000, sequence=41, pts_us=7)
    data = frame + encode_media(7, b"of no known stream", sequence=1, pts_us=0) + encode_stats(1, 0)
    most = 0
    messages = []
    for at in range(0, len(data), 4096):
        messages += decoder.feed(data[at : at + 4096])
        most = max(most, decoder.buffered)
    assert messages == [Stats(1, 0)]
    assert most < HEADER.size
    seen = decoder.media[0]
    assert (seen.messages, seen.payload_bytes, seen.sequence, seen.pts_us) == (1, 1_000_000, 41, 7)
    assert decoder.media[1].messages == 0


def test_tiny_reads_cost_hardly_more_memory_than_they_have_bytes() -> None:
    decoder = FrameDecoder()
    data = encode_media(0, bytes(300_000), sequence=1, pts_us=0)
    tracemalloc.start()
    try:
        for at in range(0, len(data) - 3, 3):
            decoder.feed(data[at : at + 3])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert decoder.buffered > 290_000
    assert held < 450_000


def test_unknown_types_malformed_messages_and_raw_or_cut_details_are_counted_and_passed_over() -> None:
    decoder = FrameDecoder()
    cut = encode_event(0x306, sequence=1, wall_us=1, detail={"type": "review_assets", "tubes": ["x" * 99_000]})
    raw = encode_event(0, sequence=2, wall_us=1, message='{"type":"of_tomorrow"}')
    odd = encode_frame(0x66, b"abc", stream=9)
    messages = decoder.feed(cut + raw + odd + encode_frame(0x04, b"short") + encode_bye())
    assert [type(message) for message in messages] == [Event, Event, Unknown, Bye]
    assert messages[2] == Unknown(0x66, 9, 3)
    assert decoder.skipped == {"detail": 1, "raw": 1, "unknown": 1, "malformed": 1}


def test_a_client_passes_over_what_only_workers_are_told_without_holding_it() -> None:
    decoder, most = FrameDecoder(client=True), 0
    for kind in (0x10, 0x11, 0x13):
        data = encode_frame(kind, b'{"a":[' + b"[]," * 300_000 + b"[]]}")
        for at in range(0, len(data), 1 << 16):
            assert decoder.feed(data[at : at + (1 << 16)]) == []
            most = max(most, decoder.buffered)
    assert decoder.feed(encode_bye()) == [Bye()]
    assert decoder.skipped == {"foreign": 3}
    assert most < HEADER.size


@pytest.mark.parametrize(
    ("kind", "most"), [(0x01, 131_072), (0x04, 65_536), (0x05, 65_536), (0x06, 262_144), (0x12, 65_536)]
)
def test_a_message_longer_than_its_type_may_be_is_passed_over_without_holding_it(kind: int, most: int) -> None:
    for size, held in ((most, True), (most + 1, False)):
        decoder = FrameDecoder(client=True)
        data = encode_frame(kind, bytes(size))
        decoder.feed(data[:1000])
        assert (decoder.buffered > 0) == held
        decoder.feed(data[1000:])
        assert (decoder.skipped["long"] == 0) == held
        assert decoder.feed(encode_bye()) == [Bye()]


def test_media_of_an_impossible_time_are_malformed() -> None:
    decoder = FrameDecoder(client=True)
    frames = [
        encode_media(0, b"x", sequence=1, pts_us=pts, cached=cached) for pts in (2**53, 2**64 - 1) for cached in (0, 1)
    ]
    assert decoder.feed(b"".join(frames)) == []
    assert decoder.skipped == {"malformed": 4}
    assert len(decoder.feed(encode_media(0, b"x", sequence=1, pts_us=2**53 - 1))) == 1


@pytest.mark.parametrize(
    "header",
    [
        HEADER.pack(MIN_LENGTH - 1, 1, 4, 0, 0, 0, 0, 0),
        HEADER.pack(0, 1, 4, 0, 0, 0, 0, 0),
        HEADER.pack(MAX_LENGTH + 1, 1, 2, 0, 0, 0, 0, 0),
        HEADER.pack(2**32 - 1, 1, 6, 2, 0, 0, 0, 0),
        HEADER.pack(MIN_LENGTH, 2, 5, 0, 0, 0, 0, 0),
    ],
)
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_an_impossible_header_ends_the_stream_with_what_came_before_it(header: bytes, step: int) -> None:
    decoder = FrameDecoder()
    data = encode_stats(1, 2) + encode_bye() + header
    got: list[Message] = []
    with pytest.raises(UntrustedStream) as caught:
        for at in range(0, len(data), step):
            got += decoder.feed(data[at : at + step])
    assert got + caught.value.messages == [Stats(1, 2), Bye()]
    assert decoder.buffered <= HEADER.size


def test_the_longest_message_is_taken_and_its_length_believed_only_so_far() -> None:
    decoder = FrameDecoder()
    payload = bytes(MAX_LENGTH - MIN_LENGTH)
    data = memoryview(encode_media(0, payload, sequence=1, pts_us=0))
    got: list[Message] = []
    for at in range(0, len(data), 1 << 16):
        got += decoder.feed(bytes(data[at : at + (1 << 16)]))
    assert len(got) == 1
    assert isinstance(got[0], Media)
    assert len(got[0].payload) == len(payload)
    assert decoder.buffered == 0
    with pytest.raises(ValueError, match="over the limit"):
        encode_frame(2, payload + b"x")


def mutated(chance: random.Random) -> bytes:
    """A short stream of good frames with a few things wrong: bytes, lengths, TLV lengths, cuts, insertions."""
    detail = {"type": "detection", "detections": [{"label": "person", "bbox": [1, 2, 3, 4]}]}
    frames = [
        encode_hello(Hello(stream=0, codec_id=27, extradata=b"\1\2\3")),
        encode_event(0x301, sequence=1, wall_us=2, detail=detail),
        encode_event(0, sequence=2, wall_us=2, message='{"type":"lpr","plates":[{"text":"x"}]}'),
        encode_media(chance.choice((0, 1, 2)), bytes(50), sequence=3, pts_us=4),
        encode_media(0, bytes(50), sequence=0, pts_us=0, cached=True),
        encode_stats(1, 2),
        encode_response(Response(1, True, "m", "d")),
        encode_frame(0x10, b'{"video":false}'),
        encode_frame(0x11, b'{"cmd":"a","request_id":1}'),
        encode_bye(),
    ]
    chance.shuffle(frames)
    data = bytearray(b"".join(frames[: chance.randint(1, 5)]))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data))
        match chance.randrange(5):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randint(1, 30)]
            case 2:
                data[at:at] = chance.randbytes(chance.randint(1, 30))
            case 3 if len(data) > 1:
                pack_into("<H", data, min(at, len(data) - 2), chance.choice((0, 1, 0x7FFF, 0xFFFF)))
            case _:
                data[at:at] = pack("<I", chance.choice((0, 19, 20, 21, 24, MAX_LENGTH, MAX_LENGTH + 1, 2**32 - 1)))
        data = data or bytearray(b"\0")
    return bytes(data)


def test_ten_thousand_mutated_streams_raise_one_error_at_most_and_hold_no_more_than_they_were_given() -> None:
    chance = random.Random(20261122)
    ends: Counter[str] = Counter()
    for _ in range(10_000):
        data = mutated(chance)
        decoder = FrameDecoder(skip_media=chance.random() < 0.5)
        step = chance.choice((1, 5, 64, 4096))
        try:
            for at in range(0, len(data), step):
                decoder.feed(data[at : at + step])
                assert decoder.buffered <= min(len(data), MAX_LENGTH + 4)
        except UntrustedStream:
            ends["untrusted"] += 1
            continue
        # Never stalled: what it waits for is no more than one message, and once that is there it goes on.
        if not decoder.buffered:
            ends["clean"] += decoder.feed(encode_bye()) == [Bye()]
        else:
            ends["waiting"] += 1
    assert ends["untrusted"] > 1000
    assert ends["clean"] > 1000
