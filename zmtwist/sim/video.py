"""What cameras make: packets and clips, and the light camera, whose packets are made up (no PyAV, almost no cost)."""

from __future__ import annotations

import os
from struct import pack
from typing import Protocol

import msgspec

from zmtwist.sim.scene import Thing
from zmtwist.wire.messages import Hello, Stream

CODEC_H264 = 27
BUFFER = 256 * 1024
"""So many bytes of a clip stay in the muxer's buffer: FFmpeg's for files."""


class Packet(msgspec.Struct, frozen=True, gc=False):
    """One encoded frame: `data` as clients get it (length-prefixed), `raw` as it was encoded (Annex B)."""

    pts_us: int
    keyframe: bool
    data: bytes
    raw: bytes


class Clip(Protocol):
    """A clip's open file."""

    def write(self, packet: Packet, offset_us: int) -> None:
        """Append one packet, so many microseconds from the clip's beginning. Raises `OSError`."""

    def close(self) -> None:
        """Finish the file."""


class Source(Protocol):
    """A camera."""

    width: int
    height: int
    frame_us: int

    def hello(self) -> Hello:
        """The video stream's codec parameters."""

    def packet(self, pts_us: int, wall: float, thing: Thing | None) -> Packet:
        """The frame at `pts_us`."""

    def clip(self, path: str) -> Clip:
        """A new clip at `path`. Raises `OSError`."""


class LightCamera:
    """A camera whose packets are made up; its clips hold one picture each, whatever duration is announced.

    Packets come in the order of decoding: between two frames that others refer to lie `bframes`, with earlier times, that come after.
    """

    def __init__(self, size: tuple[int, int], fps: float, gop: float, media_bytes: int, bframes: int = 0) -> None:
        self.width, self.height = size
        self.frame_us = round(1_000_000 / fps)
        self._group = max(1, round(fps * gop))
        self._bframes = bframes
        self._frames = 0
        self._plain = _filler(0x41, media_bytes)
        self._key = _filler(0x65, 4 * media_bytes)

    def hello(self) -> Hello:
        """Codec parameters without extradata."""
        return Hello(int(Stream.VIDEO), CODEC_H264, width=self.width, height=self.height)

    def packet(self, pts_us: int, wall: float, thing: Thing | None) -> Packet:
        """The next packet; time and thing do not show."""
        index = self._frames % self._group
        self._frames += 1
        if self._bframes and index:
            pts_us += self.frame_us * (self._bframes if index % (self._bframes + 1) == 1 else -1)
        data = self._plain if index else self._key
        return Packet(pts_us, not index, data, data)

    def clip(self, path: str) -> LightClip:
        """A placeholder at `path`. Raises `OSError`."""
        return LightClip(path, self.frame_us)


class LightClip:
    """A placeholder: a whole Matroska file of one black frame, which gives the clip's true duration, and void up to about its true size.

    As with a real one the last 256 KiB are not in the file before it is closed.
    """

    def __init__(self, path: str, frame_us: int) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        self._frame_us = frame_us
        self._last_us = 0
        self._bytes = self._flushed = 0

    def write(self, packet: Packet, offset_us: int) -> None:
        """Take note of the packet's time and size."""
        self._last_us = offset_us
        self._bytes += len(packet.data)
        if self._bytes - self._flushed >= BUFFER:
            self._flush(self._bytes // BUFFER * BUFFER)

    def _flush(self, size: int) -> None:
        head = placeholder((self._last_us + self._frame_us) / 1000)
        rest = size - len(head) - len(_element("ec"))
        os.pwrite(self._file, head if rest < 0 else head + _element_head("ec", rest), 0)
        os.ftruncate(self._file, max(size, len(head)))
        self._flushed = size

    def close(self) -> None:
        """Write what is missing, and close the file."""
        self._flush(self._bytes)
        os.close(self._file)


def _filler(unit: int, size: int) -> bytes:
    """One made-up NAL unit with its length before it."""
    body = bytes((unit,)) + b"\x55" * max(size - 5, 0)
    return len(body).to_bytes(4, "big") + body


def _element(identifier: str, *content: bytes) -> bytes:
    """One EBML element, its size always in eight bytes."""
    body = b"".join(content)
    return _element_head(identifier, len(body)) + body


def _element_head(identifier: str, size: int) -> bytes:
    return bytes.fromhex(identifier) + (1 << 56 | size).to_bytes(8, "big")


def placeholder(duration_ms: float) -> bytes:
    """A Matroska file of one black 16 by 16 H.264 frame that says it lasts `duration_ms` milliseconds."""
    parameters = bytes.fromhex("0142c00affe100146742c00ada7a1000000300100000030148f1226a01000468ce0fc8")
    frame = bytes.fromhex("0000000a6588843a2628000902e0")
    header = _element("1a45dfa3", _element("4282", b"matroska"), _element("4287", b"\x04"), _element("4285", b"\x02"))
    info = _element("1549a966", _element("2ad7b1", b"\x0f\x42\x40"), _element("4489", pack(">d", duration_ms)))
    size = _element("e0", _element("b0", b"\x10"), _element("ba", b"\x10"))
    track = _element(
        "ae",
        _element("d7", b"\x01"),
        _element("73c5", b"\x01"),
        _element("83", b"\x01"),
        _element("86", b"V_MPEG4/ISO/AVC"),
        size,
        _element("63a2", parameters),
    )
    cluster = _element("1f43b675", _element("e7", b"\x00"), _element("a3", b"\x81\x00\x00\x80", frame))
    return header + _element("18538067", info, _element("1654ae6b", track), cluster)
