"""The worker's messages as typed values, and one payload to one message (doc/reference/wire.md)."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from typing import Any

import msgspec

from zmtwist.wire.bounds import UNREADABLE, Whole, too_much
from zmtwist.wire.event_details import KNOWN_KINDS, Detail, MalformedDetail, RawDetail, decode_detail


class MessageType(IntEnum):
    """Byte 5 of the header."""

    HELLO = 0x01
    MEDIA = 0x02
    KEYFRAME = 0x03
    STATS = 0x04
    BYE = 0x05
    EVENT = 0x06
    SUBSCRIBE = 0x10
    COMMAND = 0x11
    RESPONSE = 0x12
    TALKBACK = 0x13


class Stream(IntEnum):
    """Byte 6 of the header."""

    VIDEO = 0
    AUDIO = 1
    MONITOR = 2


class Hello(msgspec.Struct, frozen=True):
    """Codec parameters of one stream. `codec_id` is FFmpeg's AVCodecID; what the worker did not say is None."""

    stream: int
    codec_id: int
    extradata: bytes = b""
    width: int | None = None
    height: int | None = None
    frame_rate_num: int | None = None
    frame_rate_den: int | None = None
    sample_rate: int | None = None
    channels: int | None = None
    profile: int | None = None
    level: int | None = None
    generation: int = 0


class Media(msgspec.Struct, frozen=True, gc=False):
    """One access unit. `sequence` counts every unit of the stream, so that a gap shows how many were not received."""

    stream: int
    keyframe: bool
    sequence: int
    generation: int
    pts_us: int
    payload: bytes


class Keyframe(msgspec.Struct, frozen=True, gc=False):
    """The last keyframe, sent once on connect (or after a SUBSCRIBE)."""

    stream: int
    sequence: int
    generation: int
    pts_us: int
    payload: bytes


class Stats(msgspec.Struct, frozen=True, gc=False):
    """Messages that the worker sent to this client, and dropped for it; every 5 s, so the link's heartbeat."""

    sent: int
    dropped: int


class Bye(msgspec.Struct, frozen=True, gc=False):
    """The worker is stopping."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """Something that a plugin published. `wall_us` is the worker's clock in microseconds since the epoch, 0 where not given.

    `sequence` counts events on the monitor stream; `detail` is None where the event carries none, or one that was malformed. `message` is
    plain text only: JSON that comes in its place is the `detail` (and may hold the camera's URL, so it is kept nowhere else).
    """

    code: int
    sequence: int = 0
    generation: int = 0
    wall_us: int = 0
    detail: Detail | None = None
    message: str | None = None
    state: int | None = None
    previous_state: int | None = None
    state_name: str | None = None
    number: int | None = None
    health: int | None = None


class Response(msgspec.Struct, frozen=True):
    """The worker's answer to a COMMAND."""

    request_id: Whole = 0
    ok: bool = False
    message: str = ""
    data: str = ""


class Subscribe(msgspec.Struct, frozen=True):
    """What a client wants to get. Absent keys count as true at the worker, so all three are always sent."""

    video: bool = True
    audio: bool = True
    events: bool = True


class Command(msgspec.Struct, frozen=True):
    """A client's command as a worker receives it: `cmd` (or `name`) and its other fields."""

    cmd: str
    request_id: int = 0
    fields: dict[str, Any] = {}


class Talkback(msgspec.Struct, frozen=True):
    """Raw audio towards the camera."""

    codec: int
    payload: bytes


class Unknown(msgspec.Struct, frozen=True):
    """A message of a type that is not in the specification: named and passed over."""

    type: int
    stream: int
    size: int


Message = Hello | Media | Keyframe | Stats | Bye | Event | Response | Subscribe | Command | Talkback | Unknown


class MalformedMessage(Exception):
    """One message's payload is not what its type says; the stream as such is still in step."""


_U16 = Struct("<H")
_U32 = Struct("<I")
_U64 = Struct("<Q")
_STATS = Struct("<QQ")
_TLV = Struct("<BH")
MOST_TLVS = 64
"""More than any worker has to say in one message: thousands of tiny ones would keep the reactor for seconds."""


_INT = 2**31 - 1
"""What the C int of FFmpeg's that a number is handed to can hold."""

_HELLO_NUMBERS = {
    0x01: ("codec_id", _INT),
    0x03: ("width", 32_768),
    0x04: ("height", 32_768),
    0x05: ("frame_rate_num", _INT),
    0x06: ("frame_rate_den", _INT),
    0x07: ("sample_rate", 1_000_000),
    0x08: ("channels", 64),
    0x09: ("profile", _INT),
    0x0A: ("level", _INT),
}
"""Each number's name, and the most that is believed."""

_EVENT_FIELDS = {
    0x03: ("state", _U32),
    0x04: ("previous_state", _U32),
    0x05: ("number", _U32),
    0x07: ("health", _U16),
}
_TLV_WALL, _TLV_MESSAGE, _TLV_STATE_NAME, _TLV_DETAIL = 0x01, 0x02, 0x06, 0x10

_USUAL = Struct("<HBHQBH")
"""How nearly every event begins: its code, the wall clock, and the head of one more TLV, the last."""


def _tlvs(kind: str, payload: bytes, at: int) -> Iterator[tuple[int, int, int]]:
    """Tag, first byte and end of each TLV from `at` on. Raises `MalformedMessage` for one past the end, or one too many."""
    count, end = 0, len(payload)
    while at < end:
        count += 1
        if count > MOST_TLVS:
            raise MalformedMessage(f"{kind}: more than {MOST_TLVS} TLVs")
        if at + 3 > end:
            raise MalformedMessage(f"{kind}: a TLV header runs past the payload")
        tag, length = _TLV.unpack_from(payload, at)
        at += 3
        if at + length > end:
            raise MalformedMessage(f"{kind}: TLV {tag:#x} of {length} bytes runs past the payload")
        yield tag, at, at + length
        at += length


def decode_hello(stream: int, generation: int, payload: bytes) -> Hello:
    """HELLO's TLV list. What is no number that a stream can have is taken as not said.

    Raises `MalformedMessage` for a TLV past the end, or without a codec id.
    """
    fields: dict[str, Any] = {}
    for tag, at, after in _tlvs("HELLO", payload, 0):
        if tag == 0x02:
            fields["extradata"] = payload[at:after]
        elif after - at == 4 and tag in _HELLO_NUMBERS:
            name, most = _HELLO_NUMBERS[tag]
            value = _U32.unpack_from(payload, at)[0]
            if value <= most:
                fields[name] = value
    if "codec_id" not in fields:
        raise MalformedMessage("HELLO: no codec id")
    return Hello(stream=stream, generation=generation, **fields)


def decode_event(
    sequence: int, generation: int, data: bytes, start: int = 0, end: int | None = None
) -> tuple[Event, bool]:
    """The EVENT whose payload (a code and a TLV list) is `data[start:end]`, and whether its JSON detail (if any) could be read.

    Raises `MalformedMessage` for a payload without a code or with a TLV past the end. A detail that is no JSON (one cut at
    65,535 bytes, for one) costs the detail, not the event.
    """
    if end is None:
        end = len(data)
    body = start + _USUAL.size
    if body <= end:
        code, first, first_length, wall, second, length = _USUAL.unpack_from(data, start)
        if second == _TLV_DETAIL and body + length == end and first == _TLV_WALL and first_length == 8:
            try:
                return Event(code, sequence, generation, wall, decode_detail(code, data[body:end])), True
            except MalformedDetail:
                return Event(code, sequence, generation, wall), False
    return _decode_any_event(sequence, generation, data[start:end])


def _decode_any_event(sequence: int, generation: int, payload: bytes) -> tuple[Event, bool]:
    """As `decode_event`, whatever TLVs there are."""
    if len(payload) < 2:
        raise MalformedMessage("EVENT: no code")
    code: int = _U16.unpack_from(payload)[0]
    wall = 0
    body: bytes | None = None
    message: str | None = None
    rest: dict[str, Any] = {}
    for tag, at, after in _tlvs("EVENT", payload, 2):
        if tag == _TLV_DETAIL:
            body = payload[at:after]
        elif tag == _TLV_WALL:
            if after - at == 8:
                wall = _U64.unpack_from(payload, at)[0]
        elif tag == _TLV_MESSAGE:
            if payload[at : at + 1] != b"{":
                message = payload[at:after].decode("utf-8", "replace")
            elif body is None:
                body = payload[at:after]
        elif tag == _TLV_STATE_NAME:
            rest["state_name"] = payload[at:after].decode("utf-8", "replace")
        elif (field := _EVENT_FIELDS.get(tag)) is not None and after - at == field[1].size:
            rest[field[0]] = field[1].unpack_from(payload, at)[0]
    detail: Detail | None = None
    readable = True
    if body is not None:
        try:
            detail = decode_detail(code, body)
        except MalformedDetail:
            readable = False
    return Event(code, sequence, generation, wall, detail, message, **rest), readable


def decode_stats(payload: bytes) -> Stats:
    """STATS: two u64. Raises `MalformedMessage` for any other size."""
    if len(payload) != _STATS.size:
        raise MalformedMessage(f"STATS: expected {_STATS.size} bytes, got {len(payload)}")
    return Stats(*_STATS.unpack(payload))


_response = msgspec.json.Decoder(Response)
_subscribe = msgspec.json.Decoder(Subscribe)
_object = msgspec.json.Decoder(dict[str, Any])


def _decode_json(decoder: msgspec.json.Decoder[Any], name: str, payload: bytes) -> Any:
    if too_much(payload):
        raise MalformedMessage(f"{name}: too long, too deep, or of too many parts")
    try:
        return decoder.decode(payload)
    except UNREADABLE as error:
        raise MalformedMessage(f"{name}: {error}") from None


def decode_response(payload: bytes) -> Response:
    """RESPONSE. Raises `MalformedMessage` where it is not the JSON object it should be."""
    response: Response = _decode_json(_response, "RESPONSE", payload)
    return response


def decode_subscribe(payload: bytes) -> Subscribe:
    """SUBSCRIBE, as the simulator receives it. Raises `MalformedMessage` for a wrong JSON type (which aborts a real worker)."""
    subscribe: Subscribe = _decode_json(_subscribe, "SUBSCRIBE", payload)
    return subscribe


def decode_command(payload: bytes) -> Command:
    """COMMAND, as the simulator receives it. Raises `MalformedMessage` for a wrong JSON type (which aborts a real worker)."""
    fields: dict[str, Any] = _decode_json(_object, "COMMAND", payload)
    cmd = fields.pop("cmd", None)
    name = fields.pop("name", None) if cmd is None else cmd
    request_id = fields.pop("request_id", 0)
    if not isinstance(name, str) or not isinstance(request_id, int) or isinstance(request_id, bool):
        raise MalformedMessage("COMMAND: cmd must be a string, request_id an integer")
    return Command(name, request_id, fields)


def decode_talkback(payload: bytes) -> Talkback:
    """TALKBACK: u32 codec, then audio. Raises `MalformedMessage` for fewer than 4 bytes."""
    if len(payload) < 4:
        raise MalformedMessage("TALKBACK: no codec")
    return Talkback(_U32.unpack_from(payload)[0], payload[4:])


def kind_of(detail: Detail | None) -> str:
    """A short name of what a detail is, for counters and logs: `motion`, `StreamState`, `raw:motion`, `none`; `other` of what no known
    plugin says. There are no more names than are known here, whatever a worker says.
    """
    if detail is None:
        return "none"
    if isinstance(detail, RawDetail):
        return f"raw:{detail.kind}" if detail.kind in KNOWN_KINDS else "other"
    tag = detail.__struct_config__.tag
    return tag if isinstance(tag, str) else type(detail).__name__
