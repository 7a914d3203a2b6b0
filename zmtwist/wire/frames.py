"""Framing: an incremental decoder for the stream socket, linear in its input however it is split (doc/reference/wire.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from struct import Struct

import msgspec

from zmtwist.wire.bounds import MOST_PTS
from zmtwist.wire.event_details import RawDetail
from zmtwist.wire.messages import (
    Bye,
    Keyframe,
    MalformedMessage,
    Media,
    Message,
    MessageType,
    Stream,
    Unknown,
    decode_command,
    decode_event,
    decode_hello,
    decode_response,
    decode_stats,
    decode_subscribe,
    decode_talkback,
)

HEADER = Struct("<IBBBBIIQ")
"""u32 length of what follows this field, u8 version, type, stream, flags, u32 sequence, generation, u64 pts in microseconds."""

LENGTH_SIZE = 4
MIN_LENGTH = HEADER.size - LENGTH_SIZE
MAX_LENGTH = 32 * 1024 * 1024
VERSION = 1
FLAG_KEYFRAME = 1

_MEDIA = int(MessageType.MEDIA)
_KEYFRAME = int(MessageType.KEYFRAME)
_EVENT = int(MessageType.EVENT)
_HELLO = int(MessageType.HELLO)

_OTHERS: dict[int, Callable[[bytes], Message]] = {
    int(MessageType.STATS): decode_stats,
    int(MessageType.BYE): lambda _: Bye(),
    int(MessageType.RESPONSE): decode_response,
    int(MessageType.SUBSCRIBE): decode_subscribe,
    int(MessageType.COMMAND): decode_command,
    int(MessageType.TALKBACK): decode_talkback,
}

_UNKNOWN = frozenset(range(256)) - {int(kind) for kind in MessageType}
_MEDIA_KINDS = frozenset({_MEDIA, _KEYFRAME})
_TO_WORKERS = frozenset(map(int, (MessageType.SUBSCRIBE, MessageType.COMMAND, MessageType.TALKBACK)))

SHORT = 64 * 1024
"""The longest payload of any kind but those of `_LONGER`: a length of JSON, or of numbers, that no worker has to say more in."""

_LONGER: dict[int, int] = {
    _EVENT: 256 * 1024,  # of its TLVs, none over 64 KiB, few are long
    _HELLO: 128 * 1024,
    _MEDIA: MAX_LENGTH,
    _KEYFRAME: MAX_LENGTH,
    int(MessageType.TALKBACK): MAX_LENGTH,
}

_SMALL_READ = 4096

_Header = tuple[int, int, int, int, int, int]
"""Type, stream, flags, sequence, generation, pts."""


class UntrustedStream(Exception):
    """What came can't be right, so nothing after it can be trusted: drop the connection.

    `messages` are those that came before it in the same `feed`.
    """

    def __init__(self, reason: str, messages: list[Message]) -> None:
        super().__init__(reason)
        self.messages = messages


class MediaSeen(msgspec.Struct, gc=False):
    """What passed by of one media stream while media is skipped: how much, and the last header."""

    messages: int = 0
    payload_bytes: int = 0
    sequence: int = 0
    generation: int = 0
    pts_us: int = 0


class _Gathered:
    """A payload in the making. Whole reads are kept as they are and put together once; small ones are put together as they come, so
    that what is held costs hardly more memory than it has bytes.
    """

    def __init__(self) -> None:
        self.size = 0
        self._parts: list[bytes | bytearray] = []

    def add(self, data: bytes) -> None:
        """Append `data`."""
        self.size += len(data)
        parts = self._parts
        if len(data) >= _SMALL_READ:
            parts.append(data)
        elif parts and isinstance(parts[-1], bytearray) and len(parts[-1]) < _SMALL_READ:
            parts[-1] += data
        else:
            parts.append(bytearray(data))

    def take(self) -> bytes:
        """All of it; nothing is left here."""
        whole = b"".join(self._parts)
        self.size = 0
        self._parts = []
        return whole


class FrameDecoder:
    """Bytes in, messages out.

    `skip_media` passes over MEDIA and KEYFRAME payloads without ever holding them, and counts them in `media` by stream; an events
    client wants that. A `client` passes over what only workers are told, by its header. `skipped` counts what was passed over, by reason:
    `malformed` messages, those that are longer than their type may be (`long`), unreadable `detail`s, `raw` details that none of the known
    forms fits, `unknown` types, `foreign` ones; pass one in to go on counting. At most one message of `MAX_LENGTH` is ever held, and less
    of any that is no media.
    """

    def __init__(self, *, client: bool = False, skip_media: bool = False, skipped: Counter[str] | None = None) -> None:
        self.media: dict[int, MediaSeen] = {int(Stream.VIDEO): MediaSeen(), int(Stream.AUDIO): MediaSeen()}
        self.skipped: Counter[str] = Counter() if skipped is None else skipped
        self._passed = _UNKNOWN | (_MEDIA_KINDS if skip_media else set()) | (_TO_WORKERS if client else set())
        self._partial = b""  # of a header
        self._header: _Header | None = None  # of the message whose payload is gathered; None while one is passed over
        self._gathered = _Gathered()
        self._missing = 0  # bytes of the payload that is gathered or passed over

    @property
    def buffered(self) -> int:
        """Bytes held back until the rest of their message comes."""
        return len(self._partial) + self._gathered.size

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes, in order.

        Raises `UntrustedStream`, and nothing else, where a header's length or version is impossible, or where what came is beyond this
        decoder for any other reason (its cause); it is of no further use then.
        """
        messages: list[Message] = []
        try:
            self._feed(data, messages)
        except UntrustedStream:
            raise
        except Exception as error:
            raise UntrustedStream(f"it could not be decoded ({type(error).__name__})", messages) from error
        return messages

    def _feed(self, data: bytes, messages: list[Message]) -> None:
        if self._partial:
            data, self._partial = self._partial + data, b""
        at, end = self._go_on(data, messages) if self._missing else 0, len(data)
        unpack, header_size, passed = HEADER.unpack_from, HEADER.size, self._passed
        while end - at >= header_size:
            length, version, kind, stream, flags, sequence, generation, pts = unpack(data, at)
            if version != VERSION or not MIN_LENGTH <= length <= MAX_LENGTH:
                raise UntrustedStream(f"header with length {length}, version {version}", messages)
            at += header_size
            after = at + length - MIN_LENGTH
            if kind in passed:
                self._pass(kind, stream, length - MIN_LENGTH, sequence, generation, pts, messages)
            elif length > SHORT and length - MIN_LENGTH > _LONGER.get(kind, SHORT):
                self.skipped["long"] += 1
            elif after > end:
                self._header = (kind, stream, flags, sequence, generation, pts)
                self._gathered.add(data[at:])
            elif kind == _EVENT:
                self._take_event(sequence, generation, data, at, after, messages)
            else:
                self._take(kind, stream, flags, sequence, generation, pts, data[at:after], messages)
            if after > end:
                self._missing = after - end
                return
            at = after
        self._partial = data[at:]

    def _go_on(self, data: bytes, messages: list[Message]) -> int:
        """Go on with the message that an earlier read began; how much of `data` belongs to it."""
        at = min(self._missing, len(data))
        self._missing -= at
        if self._header is not None:
            self._gathered.add(data if at == len(data) else data[:at])
            if not self._missing:
                header, self._header = self._header, None
                self._take(*header, self._gathered.take(), messages)
        return at

    def _pass(
        self, kind: int, stream: int, size: int, sequence: int, generation: int, pts: int, messages: list[Message]
    ) -> None:
        """Note a message that is passed over."""
        if kind in _UNKNOWN:
            self.skipped["unknown"] += 1
            messages.append(Unknown(kind, stream, size))
        elif kind in _TO_WORKERS:
            self.skipped["foreign"] += 1
        elif kind == _MEDIA and (seen := self.media.get(stream)) is not None:
            seen.messages += 1
            seen.payload_bytes += size
            seen.sequence = sequence
            seen.generation = generation
            seen.pts_us = pts

    def _take_event(
        self, sequence: int, generation: int, data: bytes, at: int, end: int, messages: list[Message]
    ) -> None:
        """Add the EVENT whose payload is `data[at:end]`."""
        try:
            event, readable = decode_event(sequence, generation, data, at, end)
        except MalformedMessage:
            self.skipped["malformed"] += 1
            return
        if not readable:
            self.skipped["detail"] += 1
        elif type(event.detail) is RawDetail:
            self.skipped["raw"] += 1
        messages.append(event)

    def _take(
        self,
        kind: int,
        stream: int,
        flags: int,
        sequence: int,
        generation: int,
        pts: int,
        payload: bytes,
        messages: list[Message],
    ) -> None:
        """Add a message of any known type; where its payload is not what the type says, only count it."""
        try:
            if pts >= MOST_PTS:
                raise MalformedMessage(f"a presentation time of {pts} us")
            if kind == _MEDIA:
                messages.append(Media(stream, bool(flags & FLAG_KEYFRAME), sequence, generation, pts, payload))
            elif kind == _EVENT:
                self._take_event(sequence, generation, payload, 0, len(payload), messages)
            elif kind == _KEYFRAME:
                messages.append(Keyframe(stream, sequence, generation, pts, payload))
            elif kind == _HELLO:
                messages.append(decode_hello(stream, generation, payload))
            else:
                messages.append(_OTHERS[kind](payload))
        except MalformedMessage:
            self.skipped["malformed"] += 1


def encode_frame(
    kind: int,
    payload: bytes = b"",
    *,
    stream: int = 0,
    flags: int = 0,
    sequence: int = 0,
    generation: int = 0,
    pts_us: int = 0,
) -> bytes:
    """One framed message. Raises `ValueError` for a payload over the limit, `struct.error` for a field out of its range."""
    length = MIN_LENGTH + len(payload)
    if length > MAX_LENGTH:
        raise ValueError(f"a payload of {len(payload)} bytes is over the limit of {MAX_LENGTH - MIN_LENGTH}")
    header = HEADER.pack(length, VERSION, kind, stream, flags, sequence, generation, pts_us)
    return header + payload
