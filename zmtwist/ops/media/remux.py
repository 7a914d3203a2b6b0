"""A finished clip as fragmented MP4, for browsers that don't know Matroska: the same frames, not encoded again.

Run as a program it is a media child (`media.child_program`) that does so for one clip, which it is given open.
"""

from __future__ import annotations

import os
from typing import BinaryIO

import msgspec

from zmtwist.media.child_program import CLIP, MATROSKA, opened, serve
from zmtwist.ops.media.fmp4 import Sink
from zmtwist.ops.media.h26x import NAMES, Unshowable, browser_name, parameter_sets
from zmtwist.wire.messages import Hello

NICENESS = 5
MEMORY_MIB = 512
SECONDS = 30
"""For one piece."""

_OPTIONS = {"movflags": "empty_moov+default_base_moof+frag_keyframe+skip_trailer"}
_LEAST = 256 * 1024


class Opened(msgspec.Struct, frozen=True):
    """The child's first answer: the codec by a browser's name, or the `problem` that it can't be shown for."""

    codec: str = ""
    problem: str = ""


def format_of(beginning: bytes) -> str:
    """The name of the one format that a clip with these first bytes is read as: workers write Matroska, ZoneMinder's own capture MP4."""
    return "mov" if beginning[4:8] == b"ftyp" else MATROSKA


class Remux:
    """The video of one clip, piece by piece; without sound. Raises Unshowable for what is no such clip."""

    def __init__(self, file: BinaryIO) -> None:
        import av

        self._av = av
        kind = format_of(file.read(8))
        file.seek(0)
        try:
            self._input = opened(file, kind)
        except av.FFmpegError as error:
            raise Unshowable(f"its clip can't be read: {error.strerror}") from None
        video = next(iter(self._input.streams.video), None)
        codec_id = None if video is None else video.codec_context.codec.id
        if video is None or codec_id not in NAMES:
            raise Unshowable("its clip holds neither H.264 nor H.265")
        parameters = parameter_sets(Hello(0, codec_id, bytes(video.codec_context.extradata or b"")))
        self.codec = browser_name(codec_id, parameters)
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
        except self._av.FFmpegError:
            pass
        return self._sink.take()


class Remuxing:
    """What the child does: opens the clip when it is asked first, then gives it piece by piece."""

    def __init__(self) -> None:
        self._remux: Remux | None = None

    def answer(self, _message: bytes) -> bytes:
        """`Opened`, and pieces from then on."""
        if self._remux is not None:
            return self._remux.piece()
        try:
            self._remux = Remux(os.fdopen(CLIP, "rb", 0))
        except Unshowable as error:
            return msgspec.msgpack.encode(Opened(problem=str(error)))
        except Exception as error:  # no memory, or numbers that are out of all bounds
            return msgspec.msgpack.encode(Opened(problem=f"its clip can't be read: {type(error).__name__}"))
        return msgspec.msgpack.encode(Opened(self._remux.codec))


def main() -> None:
    """Remux the clip that is open."""
    serve(Remuxing().answer, niceness=NICENESS, memory_mib=MEMORY_MIB, seconds=SECONDS)


if __name__ == "__main__":
    main()
