"""Encoders: a client sends nothing that aborts a worker, and what a worker sends reads back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zmtwist.wire.encode import (
    MAX_EVENT_ID,
    encode_bye,
    encode_command,
    encode_event,
    encode_hello,
    encode_media,
    encode_response,
    encode_stats,
    encode_subscribe,
    encode_talkback,
)
from zmtwist.wire.event_details import Motion, RawDetail
from zmtwist.wire.frames import HEADER, MAX_LENGTH, FrameDecoder
from zmtwist.wire.messages import (
    Bye,
    Command,
    Event,
    Hello,
    Keyframe,
    Media,
    Message,
    Response,
    Stats,
    Subscribe,
    Talkback,
)

GOOD: dict[str, Any] = {"clip_token": "7-1-2", "event_id": 512, "dir": "/srv/7", "video_name": "512-video.mp4"}


def read(data: bytes) -> Message:
    decoder = FrameDecoder()
    (message,) = decoder.feed(data)
    assert (decoder.skipped, decoder.buffered) == ({}, 0)
    return message


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.lists(st.integers(), max_size=2),
    st.sampled_from(
        ["/srv", "/a/../b", "..", ".", "a/b", "a\0b", "", "x" * 5000, "\ud800", 2**31, 2**31 - 1, 0, -1, 1.0]
    ),
)


@settings(max_examples=settings.default.max_examples * 3, deadline=None)
@given(
    name=st.just("assign_recording") | anything,
    request_id=st.integers(0, 9) | anything,
    changed=st.dictionaries(st.sampled_from([*GOOD, "other"]), anything, max_size=2),
    left_out=st.sets(st.sampled_from(sorted(GOOD)), max_size=1),
)
def test_a_command_is_refused_or_has_exactly_the_types_that_a_worker_takes(
    name: Any, request_id: Any, changed: dict[str, Any], left_out: set[str]
) -> None:
    fields = {key: value for key, value in {**GOOD, **changed}.items() if key not in left_out}
    try:
        frame = encode_command(name, request_id, fields)
    except ValueError:
        assert (name, fields) != ("assign_recording", GOOD) or not (type(request_id) is int and 0 <= request_id <= 9)
        return
    said = json.loads(frame[HEADER.size :])
    assert said.keys() == {"cmd", "request_id", *GOOD}
    assert said["cmd"] == "assign_recording"
    assert type(said["request_id"]) is int
    assert 0 <= said["request_id"] <= MAX_EVENT_ID
    assert type(said["event_id"]) is int
    assert 0 < said["event_id"] <= MAX_EVENT_ID
    for key in ("clip_token", "dir", "video_name"):
        assert type(said[key]) is str
        assert 0 < len(said[key]) <= 4096
        assert "\0" not in said[key]
    assert said["dir"].startswith("/")
    assert ".." not in said["dir"].split("/")
    assert "/" not in said["video_name"]
    assert said["video_name"] not in (".", "..")


@given(video=anything, audio=anything, events=anything)
@settings(deadline=None)
def test_a_subscribe_has_three_bools_or_is_refused(video: Any, audio: Any, events: Any) -> None:
    try:
        frame = encode_subscribe(Subscribe(video=video, audio=audio, events=events))
    except ValueError:
        assert any(type(value) is not bool for value in (video, audio, events))
        return
    assert json.loads(frame[HEADER.size :]) == {"video": video, "audio": audio, "events": events}


def test_errors_name_the_field_and_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"assign_recording: event_id: must be between 1 and 2147483647, got '512'"):
        encode_command("assign_recording", 1, {**GOOD, "event_id": "512"})
    with pytest.raises(ValueError, match=r"'reload' is not one that workers are known to take"):
        encode_command("reload", 1, {})


@pytest.mark.parametrize("codec", [-1, 2**32, True, "x"])
def test_talkback_wants_a_codec_id(codec: Any) -> None:
    assert read(encode_talkback(65542, b"au")) == Talkback(65542, b"au")
    with pytest.raises(ValueError, match="codec"):
        encode_talkback(codec, b"")
    with pytest.raises(ValueError, match="over the limit"):
        encode_talkback(1, bytes(MAX_LENGTH))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (encode_subscribe(Subscribe(video=False)), Subscribe(video=False, audio=True, events=True)),
        (encode_command("assign_recording", 3, GOOD), Command("assign_recording", 3, GOOD)),
        (encode_stats(2**64 - 1, 0), Stats(2**64 - 1, 0)),
        (encode_bye(), Bye()),
        (encode_media(0, b"p", sequence=4, pts_us=5, keyframe=True), Media(0, True, 4, 0, 5, b"p")),
        (encode_media(0, b"p", sequence=4, pts_us=5, cached=True), Keyframe(0, 4, 0, 5, b"p")),
        (encode_response(Response(3, True, "dispatched", "{}")), Response(3, True, "dispatched", "{}")),
        (
            encode_event(0x0301, sequence=9, wall_us=8, detail={"type": "motion", "changed": 7}),
            Event(0x0301, 9, 0, 8, Motion(changed=7)),
        ),
        (
            encode_event(0, sequence=9, wall_us=8, message='{"type":"of_tomorrow"}'),
            Event(0, 9, 0, 8, RawDetail("of_tomorrow", '{"type":"of_tomorrow"}')),
        ),
    ],
)
def test_what_is_encoded_reads_back(frame: bytes, message: Message) -> None:
    decoder = FrameDecoder()
    assert decoder.feed(frame) == [message]
    assert decoder.buffered == 0


@given(
    numbers=st.fixed_dictionaries(
        {"codec_id": st.integers(0, 2**31 - 1)},
        optional={
            "width": st.integers(0, 32_768),
            "height": st.integers(0, 32_768),
            "sample_rate": st.integers(0, 1_000_000),
            "channels": st.integers(0, 64),
            **dict.fromkeys(("frame_rate_num", "frame_rate_den", "profile", "level"), st.integers(0, 2**31 - 1)),
        },
    ),
    extradata=st.binary(max_size=300),
    stream=st.sampled_from([0, 1]),
    generation=st.integers(0, 2**32 - 1),
)
@settings(deadline=None)
def test_a_hello_reads_back(numbers: dict[str, int], extradata: bytes, stream: int, generation: int) -> None:
    hello = Hello(stream=stream, generation=generation, extradata=extradata, **numbers)
    assert read(encode_hello(hello)) == hello


def test_a_long_detail_is_cut_where_a_worker_cuts_it() -> None:
    frame = encode_event(0x0306, sequence=1, wall_us=1, detail={"type": "review_assets", "tubes": ["x" * 99_000]})
    decoder = FrameDecoder()
    assert decoder.feed(frame) == [Event(0x0306, 1, 0, 1)]
    assert decoder.skipped == {"detail": 1}
    assert len(frame) == HEADER.size + 2 + 11 + 3 + 0xFFFF


@pytest.mark.parametrize("event_id", [0, -1, MAX_EVENT_ID + 1, True, 1.0, "512"])
def test_an_event_id_that_a_worker_cannot_hold_does_not_go_out(event_id):
    assert encode_command("assign_recording", 1, {**GOOD, "event_id": MAX_EVENT_ID})
    with pytest.raises(ValueError, match="event_id: must be between 1 and 2147483647"):
        encode_command("assign_recording", 1, {**GOOD, "event_id": event_id})
