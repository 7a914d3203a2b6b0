"""Makes the pictures by which ZoneMinder's console shows an event: `snapshot.jpg` of its clip's first frame, `alarm.jpg` of its best.

Run as a program it is a media child (`media.child_program`), at the lowest priority: one job after the other, each of one clip.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec

from zmtwist.ingest.clips.placement import move
from zmtwist.media.child_program import open_regular, opened, serve

SNAPSHOT = "snapshot.jpg"
ALARM = "alarm.jpg"

NICENESS = 19
MEMORY_MIB = 2048
LARGEST_MIB = 64
SECONDS = 30
"""For one job; whoever gives them out waits for less."""

MOST_FRAMES = 1500
"""Decoded for one picture, at most: as many as any camera leaves between two keyframes. Then the last of them has to do."""

HALF_A_FRAME = 0.02
"""Seconds that a frame may lie before the wanted time, where the clip's rate is not known."""

QUALITY = 4
"""JPEG quantiser: 2 is the best there is, 31 the worst."""


class NoPicture(Exception):
    """The clip has no frame that can be decoded."""


class Job(msgspec.Struct, frozen=True):
    """Pictures to make of the clip `video` in `directory`. `alarm_us` is the best alarm frame's offset, None where there is none."""

    directory: str
    video: str
    alarm_us: int | None = None


class Done(msgspec.Struct, frozen=True):
    """How many pictures were `made`; `gone`: there is no such clip any more; `problem`: why there are not more, if so."""

    made: int = 0
    gone: bool = False
    problem: str = ""


def do(job: Job) -> Done:
    """Make the pictures that the event does not have. Never raises."""
    made = 0
    try:
        for _ in make(job):
            made += 1
    except FileNotFoundError:
        return Done(made, gone=True)
    except Exception as error:  # of whatever kind: it costs a picture, and the next clip is another
        return Done(made, problem=f"{type(error).__name__}: {error}"[:300])
    return Done(made)


def make(job: Job) -> Iterator[str]:
    """Put the missing pictures into their places, one by one; the names of those. Never overwrites anything.

    Raises `NoPicture`, OSError or PyAV's errors; FileNotFoundError for a clip that is gone.
    """
    clip = Path(job.directory, job.video)
    wanted = {SNAPSHOT: 0} | ({} if job.alarm_us is None else {ALARM: job.alarm_us})
    missing = {name: offset for name, offset in wanted.items() if not os.path.lexists(clip.with_name(name))}
    with open_regular(str(clip)) as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o666
        if not missing:
            return
        with opened(file) as container:
            container.streams.video[0].codec_context.thread_count = 1
            for name, offset_us in missing.items():
                _put(clip.with_name(name), _jpeg(_frame_at(container, offset_us)), mode)
                yield name


def aside(directory: str, name: str) -> Path:
    """Where a picture is written before it gets its name."""
    return Path(directory, f".{name}.part")


def _put(path: Path, content: bytes, mode: int) -> None:
    part = aside(str(path.parent), path.name)
    part.write_bytes(content)
    part.chmod(mode)
    try:
        move(part, path)
    except FileExistsError:  # ZoneMinder's console has made one meanwhile
        part.unlink()


def _frame_at(container: Any, offset_us: int) -> Any:
    """The frame at this offset from the clip's beginning, or the last one that can be decoded before it."""
    import av

    stream = container.streams.video[0]
    begin_us = container.start_time or 0
    rate = stream.average_rate
    wanted = (begin_us + offset_us) / 1_000_000 - (float(1 / rate) / 2 if rate else HALF_A_FRAME)
    with suppress(av.error.FFmpegError):  # a clip that was cut off may have no index: then from where it stands
        container.seek(begin_us + offset_us)
    last = None
    for number, frame in enumerate(_frames(container, stream), 1):
        last = frame
        if number >= MOST_FRAMES or (frame.time is not None and frame.time >= wanted):
            break
    if last is None:
        raise NoPicture("no frame of it can be decoded")
    return last


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    """The frames from here on, those left out that make no sense."""
    import av

    with suppress(av.error.FFmpegError):
        for packet in container.demux(stream):
            with suppress(av.error.InvalidDataError):
                yield from packet.decode()


def _jpeg(frame: Any) -> bytes:
    import av

    encoder: Any = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    encoder.options = {"qmin": str(QUALITY), "qmax": str(QUALITY)}
    picture = frame.reformat(format="yuvj420p")
    picture.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode(None)])


def answer(message: bytes) -> bytes:
    """What became of the job that is asked for."""
    return _encode(do(_decode(message)))


_decode = msgspec.msgpack.Decoder(Job).decode
_encode = msgspec.msgpack.Encoder().encode


def main() -> None:
    """Do the jobs on standard input."""
    serve(answer, niceness=NICENESS, memory_mib=MEMORY_MIB, seconds=SECONDS, file_mib=LARGEST_MIB)


if __name__ == "__main__":
    main()
