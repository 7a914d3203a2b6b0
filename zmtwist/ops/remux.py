"""A finished clip as fragmented MP4, for browsers that don't know Matroska: the same frames, not encoded again. Needs PyAV; blocks."""

from __future__ import annotations

from typing import BinaryIO

import av

from zmtwist.ops.codecs import NAMES, Unshowable, browser_name, parameter_sets
from zmtwist.ops.fragments import Sink
from zmtwist.wire.messages import Hello

_OPTIONS = {"movflags": "empty_moov+default_base_moof+frag_keyframe+skip_trailer"}
_LEAST = 256 * 1024


class Remux:
    """The video of one clip, piece by piece; without sound. Raises Unshowable for what is no such clip. For one thread at a time."""

    def __init__(self, file: BinaryIO) -> None:
        try:
            self._input = av.open(file, "r")
        except av.FFmpegError as error:
            raise Unshowable(f"its clip can't be read: {error.strerror}") from None
        video = next(iter(self._input.streams.video), None)
        codec_id = None if video is None else video.codec_context.codec.id
        if video is None or codec_id not in NAMES:
            raise Unshowable("its clip holds neither H.264 nor H.265")
        parameters = parameter_sets(Hello(0, codec_id, bytes(video.codec_context.extradata or b"")))
        self.kind = f'video/mp4; codecs="{browser_name(codec_id, parameters)}"'
        self._sink = Sink()
        self._output = av.open(self._sink, "w", format="mp4", options=_OPTIONS)
        self._stream = self._output.add_stream_from_template(video)
        self._packets = self._input.demux(video)

    def piece(self) -> bytes:
        """The next piece, some frames; empty at the end. What is damaged ends it early."""
        try:
            for packet in self._packets:
                if packet.dts is None:  # the demuxer's last word
                    continue
                packet.stream = self._stream
                self._output.mux_one(packet)
                if self._sink.size >= _LEAST:
                    return self._sink.take()
            self._output.close()
        except av.FFmpegError:
            pass
        return self._sink.take()
