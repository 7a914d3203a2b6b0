"""The synthetic camera: a test pattern as H.264, encoded once for clients and clips alike. This module alone needs PyAV."""

from __future__ import annotations

import re
import time
from fractions import Fraction
from io import BytesIO
from typing import cast

import av
import av.codec.context

from zmtwist.sim.pattern import Pattern
from zmtwist.sim.scene import Thing
from zmtwist.sim.video import CODEC_H264, Packet
from zmtwist.wire.messages import Hello, Stream

MICROSECONDS = Fraction(1, 1_000_000)
_START_CODE = re.compile(rb"\x00\x00\x00?\x01")


def split_units(annex_b: bytes) -> list[bytes]:
    """The NAL units of an Annex B byte stream."""
    return [unit for unit in _START_CODE.split(annex_b) if unit]


def length_prefixed(annex_b: bytes) -> bytes:
    """The same units, each behind its length as four bytes, which is what clients get (HELLO's extradata says so)."""
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in split_units(annex_b))


def decoder_configuration(annex_b: bytes) -> bytes:
    """AVCDecoderConfigurationRecord (ISO 14496-15, 5.3.3.1) of one SPS and one PPS, as in the captures' HELLO."""
    sps, pps = split_units(annex_b)
    head = bytes((1, sps[1], sps[2], sps[3], 0xFF, 0xE1)) + len(sps).to_bytes(2, "big") + sps
    return head + b"\x01" + len(pps).to_bytes(2, "big") + pps


class Camera:
    """Makes packets, one per frame. A keyframe comes every `gop` seconds, and every group of pictures stands alone."""

    def __init__(self, name: str, size: tuple[int, int], fps: float, gop: float) -> None:
        self.width, self.height = size
        self.frame_us = round(1_000_000 / fps)
        self._name = name
        self._frames = 0
        self._codec = codec = av.CodecContext.create("libx264", "w")
        codec.width, codec.height = size
        codec.pix_fmt = "yuv420p"
        codec.time_base = MICROSECONDS
        codec.framerate = Fraction(fps).limit_denominator(1001)
        codec.gop_size = max(1, round(fps * gop))
        codec.thread_count = 1
        codec.flags |= av.codec.context.Flags.global_header
        codec.options = {"preset": "ultrafast", "tune": "zerolatency", "x264-params": "scenecut=0:info=0"}
        codec.open()
        self._parameters = bytes(codec.extradata or b"")
        self._pattern = Pattern(self.width, self.height, self._blank().planes[0].line_size, name)
        self._template: av.VideoStream | None = None

    def _blank(self) -> av.VideoFrame:
        frame = av.VideoFrame(self.width, self.height, "yuv420p")
        for plane in frame.planes[1:]:
            plane.update(b"\x80" * plane.buffer_size)
        return frame

    def hello(self) -> Hello:
        """The video stream's codec parameters."""
        extradata = decoder_configuration(self._parameters)
        return Hello(int(Stream.VIDEO), CODEC_H264, extradata, width=self.width, height=self.height)

    def packet(self, pts_us: int, wall: float, thing: Thing | None) -> Packet:
        """The frame at `pts_us`, showing the wall time (seconds since the epoch) and `thing`."""
        clock = time.strftime("%H:%M:%S", time.localtime(wall)) + f".{int(wall * 10) % 10}"
        frame = self._blank()
        frame.planes[0].update(bytes(self._pattern.draw(clock, thing.box if thing is not None else None)))
        # The encoder's own times go on where the camera's begin anew.
        frame.pts, frame.time_base = self._frames * self.frame_us, MICROSECONDS
        self._frames += 1
        # With zerolatency each frame gives its packet at once.
        (encoded,) = self._codec.encode(frame)
        raw = bytes(encoded)
        packet = Packet(pts_us, encoded.is_keyframe, length_prefixed(raw), raw)
        if self._template is None:
            opened = av.open(BytesIO(self._parameters + raw), format="h264")
            self._template = opened.streams.video[0]
        return packet

    def clip(self, path: str) -> MatroskaClip:
        """A new clip at `path` for this camera's packets. Raises `OSError` where it can't be made."""
        return MatroskaClip(path, cast("av.VideoStream", self._template), self.frame_us)


class MatroskaClip:
    """Writes packets to a Matroska file as they are. It may be renamed meanwhile: the file stays open."""

    def __init__(self, path: str, template: av.VideoStream, frame_us: int) -> None:
        self._frame_us = frame_us
        self._container = av.open(path, "w", format="matroska")
        self._stream = self._container.add_stream_from_template(template)
        self._container.start_encoding()

    def write(self, packet: Packet, offset_us: int) -> None:
        """See `Clip`."""
        out = av.Packet(packet.raw)
        out.stream, out.time_base = self._stream, MICROSECONDS
        out.pts = out.dts = offset_us
        out.duration = self._frame_us
        out.is_keyframe = packet.keyframe
        self._container.mux_one(out)

    def close(self) -> None:
        """Write what a player needs at the end, and close the file."""
        self._container.close()
