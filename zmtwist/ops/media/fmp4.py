"""Access units to fragmented MP4, one fragment a frame: what Media Source Extensions play while it is still being made.

Run as a program it is a media child (`media.child_program`) that does so for one camera. It alone needs PyAV.
"""

from __future__ import annotations

from fractions import Fraction
from heapq import heappop, heappush
from typing import Literal

import attrs
import msgspec

from zmtwist.media.child_program import serve
from zmtwist.ops.media.h26x import NAMES, Unshowable, annex_b, browser_name, length_size, parameter_sets
from zmtwist.wire.messages import Hello

REORDERED = 2
"""By how many frames the order of decoding may be ahead of that of showing. More is not found outside of films."""

FRAME_US = 40_000
"""How far apart the first frames are taken to be decoded, in microseconds: before there are neighbours to tell."""

NICENESS = 5
MEMORY_MIB = 384
SECONDS = 10
"""For one frame."""

_MICROSECONDS = Fraction(1, 1_000_000)
_TICKS = Fraction(1, 90_000)
_OPTIONS = {"movflags": "empty_moov+default_base_moof+frag_every_frame+skip_trailer"}


class ClockWentBack(Exception):
    """A keyframe is older than what came before it: a new stream has begun."""


@attrs.frozen
class Fragment:
    """One frame as `moof` and `mdat`. Playing can begin at a `key` one."""

    data: bytes
    key: bool


class Unit(msgspec.Struct, frozen=True):
    """An access unit, as a child is asked to add it. With the first one, a keyframe, goes what its worker says of the stream."""

    payload: bytes
    pts_us: int
    key: bool
    hello: Hello | None = None


class Made(msgspec.Struct, frozen=True):
    """A child's answer to a unit: the frame before it, if there is one.

    Once, before any frame, it is the `head` that goes before all of them, and the `codec` by a browser's name. `over`: nothing more will
    be made, and `why`.
    """

    data: bytes = b""
    key: bool = False
    codec: str = ""
    head: bytes = b""
    over: Literal["", "unshowable", "clock", "failed"] = ""
    why: str = ""


class Timeline:
    """Times to decode frames at, which workers don't tell: the same as those to show them at, in order, some frames earlier."""

    def __init__(self) -> None:
        self._waiting: list[int] = []
        self._last: int | None = None

    def decode_at(self, pts: int) -> int | None:
        """When to decode the frame to be shown at `pts`; None for one that would come too late. Microseconds; always rises."""
        if self._last is None:
            self._waiting = [pts - n * FRAME_US for n in range(REORDERED, 0, -1)]
        elif pts <= self._last:
            return None
        heappush(self._waiting, pts)
        earliest = heappop(self._waiting)
        if self._last is not None and earliest <= self._last:
            earliest = self._last + 1
        self._last = earliest
        return earliest


class Sink:
    """What PyAV writes to; `size` bytes are there."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size = 0

    def write(self, data: bytes) -> int:
        """PyAV calls this."""
        self._parts.append(bytes(data))
        self.size += len(data)
        return len(data)

    def take(self) -> bytes:
        """All that was written since the last call."""
        self.size = 0
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


class Fragmenter:
    """One stream's fragments, from a keyframe on. Raises Unshowable for what browsers have no name for.

    A fragment comes out when the next frame is there: only then is known how long it is to be shown. `head` goes before the first one.
    """

    def __init__(self, hello: Hello, keyframe: bytes) -> None:
        if hello.codec_id not in NAMES:
            raise Unshowable(f"its codec (FFmpeg's number {hello.codec_id}) is neither H.264 nor H.265")
        if not hello.width or not hello.height:
            raise Unshowable("its worker does not tell the size of the picture")
        self._length_size = length_size(hello)
        # Whatever is in the stream, that of HELLO may come before it; where HELLO has none, it is in the keyframe or nowhere.
        self._parameters = parameter_sets(hello)
        self.codec = browser_name(hello.codec_id, self._parameters or self._plain(keyframe))
        self.head = b""
        self._timeline = Timeline()
        self._sink = Sink()
        import av

        self._container = av.open(self._sink, "w", format="mp4", options=_OPTIONS)
        name = NAMES[hello.codec_id]
        self._stream = self._container.add_mux_stream(name, width=hello.width, height=hello.height, time_base=_TICKS)
        self._held: bool | None = None

    def _plain(self, payload: bytes) -> bytes:
        return annex_b(payload, self._length_size)

    def add(self, payload: bytes, pts_us: int, *, key: bool) -> Fragment | None:
        """Take one frame, and give the one before it. Raises ClockWentBack, Unshowable, and `av.FFmpegError` for what is no frame."""
        data = self._plain(payload)
        if not data:
            return None
        decode_at = self._timeline.decode_at(pts_us)
        if decode_at is None:
            if key:
                raise ClockWentBack
            return None
        import av

        packet = av.Packet(self._parameters + data if self._held is None else data)
        packet.stream, packet.time_base = self._stream, _MICROSECONDS
        packet.pts, packet.dts, packet.is_keyframe = pts_us, decode_at, key
        self._container.mux_one(packet)
        held, self._held = self._held, key
        written = self._sink.take()
        if held is None:
            if not written:
                raise Unshowable("its codec parameters are not whole")
            self.head = written
            return None
        return Fragment(written, held)

    def close(self) -> Fragment | None:
        """The last frame, which is shown for as long as the one before it."""
        self._container.close()
        written, held = self._sink.take(), self._held
        return Fragment(written, held) if written and held is not None else None


class Fragmenting:
    """What the child does: answers units for one stream. Never raises."""

    def __init__(self) -> None:
        self._fragmenter: Fragmenter | None = None

    def answer(self, message: bytes) -> bytes:
        """The answer to a unit."""
        try:
            made = self._add(_decode(message))
        except Unshowable as error:
            made = Made(over="unshowable", why=str(error))
        except ClockWentBack:
            made = Made(over="clock")
        except Exception as error:  # PyAV's own, or no memory, or numbers that are out of all bounds
            made = Made(over="failed", why=f"{type(error).__name__}: {error}"[:300])
        return _encode(made)

    def _add(self, unit: Unit) -> Made:
        if self._fragmenter is None:
            self._fragmenter = Fragmenter(unit.hello or Hello(0, 0), unit.payload)
        begun = self._fragmenter.head
        made = self._fragmenter.add(unit.payload, unit.pts_us, key=unit.key)
        if not begun:
            return Made(codec=self._fragmenter.codec, head=self._fragmenter.head)
        return Made() if made is None else Made(made.data, made.key)


_decode = msgspec.msgpack.Decoder(Unit).decode
_encode = msgspec.msgpack.Encoder().encode


def main() -> None:
    """Make fragments of what comes on standard input."""
    serve(Fragmenting().answer, niceness=NICENESS, memory_mib=MEMORY_MIB, seconds=SECONDS)


if __name__ == "__main__":
    main()
