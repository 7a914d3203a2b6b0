"""Messages to bytes: strictly what a client may send, and what a worker sends (the simulator's side). Source: doc/reference/wire.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from struct import Struct
from typing import Any, TypeGuard

import msgspec

from zmtwist.wire.frames import FLAG_KEYFRAME, encode_frame
from zmtwist.wire.messages import Hello, MessageType, Response, Stream, Subscribe

MAX_EVENT_ID = 2**31 - 1
"""The worker holds an event id in a C int; a larger one comes back wrong."""

MAX_PATH = 4096
MAX_NAME = 255
"""What Linux takes for a path and for a file name."""

MAX_TLV = 0xFFFF
_TLV = Struct("<BH")
_U16 = Struct("<H")
_U32 = Struct("<I")
_U64 = Struct("<Q")
_STATS = Struct("<QQ")


def _json(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (msgspec.MsgspecError, UnicodeEncodeError, TypeError) as error:
        raise ValueError(f"not to be written as JSON: {error}") from None


# A client's messages. A wrong JSON type aborts the worker, so nothing goes out that has not been looked at.


def encode_subscribe(subscribe: Subscribe) -> bytes:
    """SUBSCRIBE with all three keys. Raises `ValueError` for anything but bools."""
    for name in ("video", "audio", "events"):
        if not isinstance(getattr(subscribe, name), bool):
            raise ValueError(f"subscribe: {name}: must be true or false, got {getattr(subscribe, name)!r}")
    return encode_frame(MessageType.SUBSCRIBE, _json(subscribe), stream=Stream.MONITOR)


def _is_text(value: object, limit: int) -> TypeGuard[str]:
    """A string that a C program can hold: not empty, no NUL, at most `limit` characters."""
    return isinstance(value, str) and 0 < len(value) <= limit and "\0" not in value


def _check_assign(fields: Mapping[str, Any]) -> None:
    token, event_id = fields["clip_token"], fields["event_id"]
    directory, name = fields["dir"], fields["video_name"]
    if not _is_text(token, MAX_PATH):
        raise ValueError(f"assign_recording: clip_token: must be a non-empty string, got {token!r:.80}")
    if isinstance(event_id, bool) or not isinstance(event_id, int) or not 0 < event_id <= MAX_EVENT_ID:
        raise ValueError(f"assign_recording: event_id: must be between 1 and {MAX_EVENT_ID}, got {event_id!r}")
    if not _is_text(directory, MAX_PATH) or directory[0] != "/" or ".." in PurePosixPath(directory).parts:
        raise ValueError(f"assign_recording: dir: must be an absolute path, got {directory!r:.80}")
    if not _is_text(name, MAX_NAME) or "/" in name or name in (".", ".."):
        raise ValueError(f"assign_recording: video_name: must be a bare file name, got {name!r:.80}")


_COMMANDS = {"assign_recording": (frozenset({"clip_token", "event_id", "dir", "video_name"}), _check_assign)}


def encode_command(name: str, request_id: int, fields: Mapping[str, Any]) -> bytes:
    """COMMAND. Raises `ValueError` for a command that is not known, missing or foreign fields, or a value the worker can't take."""
    if not isinstance(name, str) or name not in _COMMANDS:
        raise ValueError(f"command: {name!r} is not one that workers are known to take ({', '.join(_COMMANDS)})")
    if isinstance(request_id, bool) or not isinstance(request_id, int) or not 0 <= request_id <= MAX_EVENT_ID:
        raise ValueError(f"{name}: request_id: must be between 0 and {MAX_EVENT_ID}, got {request_id!r}")
    wanted, check = _COMMANDS[name]
    if fields.keys() != wanted:
        raise ValueError(f"{name}: expected the fields {sorted(wanted)}, got {sorted(map(str, fields))}")
    check(fields)
    return encode_frame(
        MessageType.COMMAND, _json({"cmd": name, "request_id": request_id, **fields}), stream=Stream.MONITOR
    )


def encode_talkback(codec: int, audio: bytes) -> bytes:
    """TALKBACK: audio towards the camera. Raises `ValueError` for a codec id that is no u32, or more audio than one message holds."""
    if isinstance(codec, bool) or not isinstance(codec, int) or not 0 <= codec < 2**32:
        raise ValueError(f"talkback: codec: must be between 0 and {2**32 - 1}, got {codec!r}")
    return encode_frame(MessageType.TALKBACK, _U32.pack(codec) + audio, stream=Stream.AUDIO)


# A worker's messages.

_HELLO_TAGS = (
    (0x01, "codec_id"),
    (0x03, "width"),
    (0x04, "height"),
    (0x05, "frame_rate_num"),
    (0x06, "frame_rate_den"),
    (0x07, "sample_rate"),
    (0x08, "channels"),
    (0x09, "profile"),
    (0x0A, "level"),
)


def _tlv(tag: int, value: bytes) -> bytes:
    """One TLV; a value over 65,535 bytes is cut there, as the worker cuts it."""
    return _TLV.pack(tag, min(len(value), MAX_TLV)) + value[:MAX_TLV]


def encode_hello(hello: Hello) -> bytes:
    """HELLO with the fields that are set."""
    parts = [_tlv(tag, _U32.pack(value)) for tag, name in _HELLO_TAGS if (value := getattr(hello, name)) is not None]
    if hello.extradata:
        parts.insert(1, _tlv(0x02, hello.extradata))
    return encode_frame(MessageType.HELLO, b"".join(parts), stream=hello.stream, generation=hello.generation)


def encode_media(
    stream: int,
    payload: bytes,
    *,
    sequence: int,
    pts_us: int,
    keyframe: bool = False,
    cached: bool = False,
    generation: int = 0,
) -> bytes:
    """MEDIA, or KEYFRAME for the `cached` one of a new connection."""
    return encode_frame(
        MessageType.KEYFRAME if cached else MessageType.MEDIA,
        payload,
        stream=stream,
        flags=FLAG_KEYFRAME if keyframe else 0,
        sequence=sequence,
        generation=generation,
        pts_us=pts_us,
    )


def encode_stats(sent: int, dropped: int) -> bytes:
    """STATS."""
    return encode_frame(MessageType.STATS, _STATS.pack(sent, dropped))


def encode_bye() -> bytes:
    """BYE."""
    return encode_frame(MessageType.BYE)


def encode_event(
    code: int, *, sequence: int, wall_us: int, detail: Mapping[str, Any] | None = None, message: str | None = None
) -> bytes:
    """EVENT with a wall clock, and a JSON detail (0x10) or a message (0x02)."""
    parts = [_U16.pack(code), _tlv(0x01, _U64.pack(wall_us))]
    if message is not None:
        parts.append(_tlv(0x02, message.encode()))
    if detail is not None:
        parts.append(_tlv(0x10, _json(detail)))
    return encode_frame(MessageType.EVENT, b"".join(parts), stream=Stream.MONITOR, sequence=sequence)


def encode_response(response: Response) -> bytes:
    """RESPONSE."""
    return encode_frame(MessageType.RESPONSE, _json(response), stream=Stream.MONITOR)
