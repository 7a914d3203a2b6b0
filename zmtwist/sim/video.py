"""What cameras make: packets and clips, and the light camera, whose packets are made up (no PyAV, almost no cost)."""

from __future__ import annotations

import os
from struct import pack
from typing import Protocol

import msgspec

from zmtwist.sim.scene import Thing
from zmtwist.wire.messages import Hello, Stream

CODEC_H264 = 27


class Packet(msgspec.Struct, frozen=True, gc=False):
    """One encoded frame: `data` as clients get it (length-prefixed), `raw` as it was encoded (Annex B)."""

    pts_us: int
    keyframe: bool
    data: bytes
    raw: bytes


class Clip(Protocol):
    """A clip's open file."""

    def write(self, packet: Packet) -> None:
        """Append one packet."""

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
    """A camera whose packets are made up; its clips are a placeholder each, whatever duration is announced."""

    def __init__(self, size: tuple[int, int], fps: float, gop: float, media_bytes: int) -> None:
        self.width, self.height = size
        self.frame_us = round(1_000_000 / fps)
        self._group = max(1, round(fps * gop))
        self._frames = 0
        self._plain = _filler(0x41, media_bytes)
        self._key = _filler(0x65, 4 * media_bytes)

    def hello(self) -> Hello:
        """Codec parameters without extradata."""
        return Hello(int(Stream.VIDEO), CODEC_H264, width=self.width, height=self.height)

    def packet(self, pts_us: int, wall: float, thing: Thing | None) -> Packet:
        """The next packet; time and thing do not show."""
        keyframe = self._frames % self._group == 0
        self._frames += 1
        data = self._key if keyframe else self._plain
        return Packet(pts_us, keyframe, data, data)

    def clip(self, path: str) -> LightClip:
        """A placeholder at `path`. Raises `OSError`."""
        return LightClip(path, self.frame_us)


class LightClip:
    """A placeholder: a whole Matroska file of one black frame, which gives the clip's true duration at the close."""

    def __init__(self, path: str, frame_us: int) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(self._file, placeholder(frame_us / 1000))
        self._frame_us = frame_us
        self._first: int | None = None
        self._last = 0

    def write(self, packet: Packet) -> None:
        """Take note of the packet's time."""
        if self._first is None:
            self._first = packet.pts_us
        self._last = packet.pts_us

    def close(self) -> None:
        """Write the duration, and close the file."""
        if self._first is not None:
            os.pwrite(self._file, placeholder((self._last - self._first + self._frame_us) / 1000), 0)
        os.close(self._file)


def _filler(unit: int, size: int) -> bytes:
    """One made-up NAL unit with its length before it."""
    body = bytes((unit,)) + b"\x55" * max(size - 5, 0)
    return len(body).to_bytes(4, "big") + body


def _element(identifier: str, *content: bytes) -> bytes:
    """One EBML element, its size always in eight bytes."""
    body = b"".join(content)
    return bytes.fromhex(identifier) + (1 << 56 | len(body)).to_bytes(8, "big") + body


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
