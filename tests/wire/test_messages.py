"""One payload to one message."""

from __future__ import annotations

import json
from contextlib import suppress
from struct import pack
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zmtwist.wire.encode import encode_hello
from zmtwist.wire.event_details import Lifecycle, Motion, RawDetail, StreamState, decode_detail
from zmtwist.wire.frames import FrameDecoder
from zmtwist.wire.messages import (
    Command,
    Event,
    Hello,
    MalformedMessage,
    Response,
    Stats,
    Subscribe,
    Talkback,
    decode_command,
    decode_event,
    decode_hello,
    decode_response,
    decode_stats,
    decode_subscribe,
    decode_talkback,
    kind_of,
)

DECODERS = [
    decode_command,
    decode_response,
    decode_stats,
    decode_subscribe,
    decode_talkback,
    lambda payload: decode_hello(0, 0, payload),
    lambda payload: decode_event(0, 0, payload),
]


def tlv(tag: int, value: bytes, length: int | None = None) -> bytes:
    return pack("<BH", tag, len(value) if length is None else length) + value


def u32(value: int) -> bytes:
    return pack("<I", value)


def test_hello_with_all_its_fields() -> None:
    values = {0x01: 27, 0x03: 1920, 0x04: 1080, 0x05: 25, 0x06: 1, 0x07: 8000, 0x08: 2, 0x09: 100, 0x0A: 31}
    payload = tlv(0x02, b"\x01avcC") + b"".join(tlv(tag, u32(value)) for tag, value in values.items())
    assert decode_hello(1, 3, payload) == Hello(
        stream=1,
        codec_id=27,
        extradata=b"\x01avcC",
        width=1920,
        height=1080,
        frame_rate_num=25,
        frame_rate_den=1,
        sample_rate=8000,
        channels=2,
        profile=100,
        level=31,
        generation=3,
    )


def test_unknown_tags_and_known_ones_of_a_wrong_length_are_skipped() -> None:
    payload = tlv(0x77, b"new") + tlv(0x03, b"\1\2") + tlv(0x01, u32(27)) + tlv(0x04, b"")
    assert decode_hello(0, 0, payload) == Hello(stream=0, codec_id=27)
    payload = pack("<H", 0x201) + tlv(0x01, b"\1") + tlv(0x77, b"new") + tlv(0x03, b"\1") + tlv(0x07, u32(1))
    assert decode_event(4, 5, payload) == (Event(0x201, 4, 5), True)


def test_event_with_every_tag() -> None:
    payload = b"".join(
        (
            pack("<H", 0x201),
            tlv(0x01, pack("<Q", 1_795_338_654_000_000)),
            tlv(0x02, "grün".encode()),
            tlv(0x03, u32(2)),
            tlv(0x04, u32(1)),
            tlv(0x05, u32(9)),
            tlv(0x06, b"ALARM"),
            tlv(0x07, pack("<H", 6)),
            tlv(0x10, b'{"type":"motion","changed":3}'),
        )
    )
    event = Event(
        code=0x201,
        sequence=8,
        generation=1,
        wall_us=1_795_338_654_000_000,
        detail=Motion(changed=3),
        message="grün",
        state=2,
        previous_state=1,
        state_name="ALARM",
        number=9,
        health=6,
    )
    assert decode_event(8, 1, payload) == (event, True)


@settings(deadline=None)
@given(
    tag=st.sampled_from([0x02, 0x06, 0x10, 0x77]),
    body=st.sampled_from([b'{"type":"motion","changed":3}', b'{"type":"new"}', b"{cut", b"", b"[1]", b"text"]),
    wall=st.integers(0, 2**64 - 1),
)
def test_the_order_of_tlvs_makes_no_difference(tag: int, body: bytes, wall: int) -> None:
    """The usual order has a way of its own through the decoder."""
    code, clock, detail = pack("<H", 0x301), tlv(0x01, pack("<Q", wall)), tlv(tag, body)
    usual = decode_event(1, 2, code + clock + detail)
    assert usual == decode_event(1, 2, code + detail + clock)
    assert usual == decode_event(
        1, 2, b"before" + code + clock + detail + b"after", 6, 6 + 2 + len(clock) + len(detail)
    )
    assert usual[0].wall_us == wall


def test_json_in_the_message_is_the_detail_and_no_longer_the_message() -> None:
    said = b'{"event":"StreamConnected","stream_id":0,"url":"rtsp://u:secret@cam/1"}'
    event, readable = decode_event(0, 0, pack("<H", 0) + tlv(0x02, said))
    assert readable
    assert event.detail == StreamState("StreamConnected")
    assert "secret" not in repr(event)
    event, _ = decode_event(0, 0, pack("<H", 0x101) + tlv(0x02, b'{"type":"connection_failed"}'))
    assert event.detail == Lifecycle("connection_failed")


def test_plain_text_in_the_message_stays_text() -> None:
    assert decode_event(0, 0, pack("<H", 1) + tlv(0x02, b"all well \xff")) == (
        Event(1, message="all well \N{REPLACEMENT CHARACTER}"),
        True,
    )


def test_a_detail_cut_at_the_limit_of_its_tlv_costs_the_detail_and_not_the_event() -> None:
    huge = json.dumps({"type": "review_assets", "tubes": [{"track_id": n} for n in range(9000)]}).encode()[:0xFFFF]
    assert decode_event(3, 0, pack("<H", 0x306) + tlv(0x10, huge)) == (Event(0x306, 3), False)


@pytest.mark.parametrize("payload", [b"", b"\1", b"\1\3\1", b"\1\3\1\4\0abc", b"\1\3" + tlv(0x10, b"{}", 0xFFFF)])
def test_an_event_whose_tlvs_run_past_its_end_is_malformed(payload: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_event(0, 0, payload)


@pytest.mark.parametrize(
    "payload", [b"", tlv(0x03, u32(1)), tlv(0x01, u32(27)) + b"\3", tlv(0x01, u32(27)) + tlv(0x03, b"", 4)]
)
def test_a_hello_without_codec_or_past_its_end_is_malformed(payload: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_hello(0, 0, payload)


@pytest.mark.parametrize("tag", [0x01, 0x02, 0x03, 0x0A, 0x7E])
@pytest.mark.parametrize("value", [b"", b"\1\2\3", bytes(4), bytes(300)])
def test_a_tlv_ends_where_its_message_does_or_before_to_the_byte(tag: int, value: bytes) -> None:
    codec = tlv(0x01, u32(27))
    assert decode_hello(0, 0, codec + tlv(tag, value)).extradata == (value if tag == 0x02 else b"")
    assert decode_hello(0, 0, tlv(tag, value) + codec).codec_id == 27
    for payload in (codec + tlv(tag, value, len(value) + 1), codec + tlv(tag, value) + b"\2", codec + b"\2\0"):
        with pytest.raises(MalformedMessage):
            decode_hello(0, 0, payload)


def test_thousands_of_tiny_tlvs_are_malformed_and_cost_no_time() -> None:
    few, many = tlv(0x7E, b"") * 63, tlv(0x7E, b"") * 65
    assert decode_event(0, 0, b"\1\3" + few)[0].code == 0x301
    with pytest.raises(MalformedMessage, match="EVENT: more than 64 TLVs"):
        decode_event(0, 0, b"\1\3" + many)
    assert decode_hello(0, 0, tlv(0x01, u32(27)) + few).codec_id == 27
    with pytest.raises(MalformedMessage, match="HELLO: more than 64 TLVs"):
        decode_hello(0, 0, tlv(0x01, u32(27)) + many)


def test_the_small_ones() -> None:
    assert decode_stats(pack("<QQ", 95, 2)) == Stats(95, 2)
    assert decode_response(b'{"ok":true,"message":"dispatched"}') == Response(0, True, "dispatched", "")
    assert decode_subscribe(b'{"video":false}') == Subscribe(video=False, audio=True, events=True)
    assert decode_command(b'{"name":"a","request_id":3,"x":[1]}') == Command("a", 3, {"x": [1]})
    assert decode_talkback(pack("<I", 65542) + b"au") == Talkback(65542, b"au")


@pytest.mark.parametrize(
    ("decode", "payload"),
    [
        (decode_stats, b"\0" * 15),
        (decode_response, b'{"request_id":"1"}'),
        (decode_response, b'{"message":"\xff"}'),
        (decode_subscribe, b'{"video":"yes"}'),
        (decode_subscribe, b'{"video":1}'),
        (decode_command, b"[]"),
        (decode_command, b'{"cmd":1}'),
        (decode_command, b'{"cmd":"a","request_id":"1"}'),
        (decode_command, b'{"cmd":"a","request_id":true}'),
        (decode_command, b"{}"),
        (decode_talkback, b"\0\0\0"),
    ],
)
def test_payloads_that_are_not_what_their_type_says_are_malformed(decode: Any, payload: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode(payload)


@settings(max_examples=settings.default.max_examples * 4, deadline=None)
@given(payload=st.binary(max_size=200) | st.binary(max_size=40).map(lambda tail: b"\1\3\x10\x20\0" + tail))
def test_no_payload_raises_anything_else(payload: bytes) -> None:
    for decode in DECODERS:
        with suppress(MalformedMessage):
            decode(payload)


def test_kinds_have_short_names() -> None:
    assert kind_of(None) == "none"
    assert kind_of(Motion()) == "motion"
    assert kind_of(StreamState("StreamConnected")) == "StreamState"
    assert kind_of(RawDetail("motion")) == "raw:motion"
    assert kind_of(RawDetail("EventClip")) == "raw:EventClip"


def test_no_worker_makes_up_names_of_kinds() -> None:
    kinds = (decode_detail(0, json.dumps({"type": f"made up {number}"}).encode()) for number in range(100))
    assert {kind_of(kind) for kind in kinds} == {"other"}


@pytest.mark.parametrize(
    "tags",
    [
        {"width": 2**32 - 1, "height": 0xFFFF, "channels": 65, "sample_rate": 1_000_001},
        {"level": 2**31, "profile": 2**32 - 1},
    ],
)
def test_numbers_that_no_stream_has_are_taken_as_not_said(tags: dict[str, int]) -> None:
    frame = encode_hello(Hello(stream=0, codec_id=27, frame_rate_num=25, **tags))
    assert FrameDecoder(client=True).feed(frame) == [Hello(stream=0, codec_id=27, frame_rate_num=25)]
    with pytest.raises(MalformedMessage, match="no codec id"):
        decode_hello(0, 0, tlv(0x01, u32(2**31)))


@pytest.mark.parametrize("payload", [b'{"x":' * 80 + b"1" + b"}" * 80, b'{"x":"' + bytes(70_000) + b'"}'])
def test_bodies_that_are_too_long_or_too_deep_are_not_decoded(payload: bytes) -> None:
    with pytest.raises(MalformedMessage, match="too long, too deep"):
        decode_command(payload)
