"""How the simulator may be tuned, and made to misbehave, from outside: the environment, since a fleet passes only a worker's options.

`ZM_CORE_SIM` holds `key=value` pairs separated by commas, `ZM_CORE_SIM_<monitor id>` further ones for that monitor alone, which win.
A key without a value means `1`. Durations are seconds; those that start a misbehaviour count from the socket's bind.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Literal

import msgspec

VARIABLE = "ZM_CORE_SIM"


class BadTuning(Exception):
    """The environment variable can't be used; the text says which key and why."""


class Tuning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All keys with their defaults. `HELP` tells what each means."""

    fps: float = 10.0
    size: str = "320x240"
    gop: float = 1.0
    light: bool = False
    media_bytes: int = 400
    sub: str = "160x120"
    bframes: int = 0
    without: str = ""
    connect: float | None = None
    dial: bool = False
    uptime: float = 0.0
    retry: float = 1.0
    length: float | None = None
    dead: bool = False
    first: float = 3.0
    present: float = 3.0
    period: float = 10.0
    detect_rate: float = 5.0
    order: Literal["before", "after"] = "before"
    early: bool = False
    awaited: bool = False
    bind_delay: float = 0.0
    exit: int | None = None
    crash_after: float | None = None
    crash_by: str = "SEGV"
    mute: float | None = None
    stall: float | None = None
    freeze: float | None = None
    refuse_term: bool = False
    no_bye: bool = False
    malformed: float | None = None
    untrusted: float | None = None
    slow_assign: float = 0.0
    clip_error: bool = False
    rss: float = 0.0
    flood: float = 0.0
    shm: bool = False
    stats: float = 5.0

    @property
    def crash_signal(self) -> signal.Signals | None:
        """The signal that `crash_by` names, None where it is an exit status (or nothing)."""
        return signal.Signals.__members__.get(f"SIG{self.crash_by.removeprefix('SIG')}")

    @property
    def dimensions(self) -> tuple[int, int]:
        """Width and height of the picture in pixels."""
        return _dimensions(self.size)

    @property
    def second(self) -> tuple[int, int]:
        """Those of a second stream's picture."""
        return _dimensions(self.sub)


def _dimensions(size: str) -> tuple[int, int]:
    width, _, height = size.partition("x")
    return int(width), int(height)


HELP = """\
fps=10            frames a second
size=320x240      width and height of the picture, even numbers from 64x48 on
gop=1             seconds between keyframes
light             no PyAV and no real video: made-up packets, and a tiny placeholder for a clip (hundreds of cameras on two cores)
media_bytes=400   size of a made-up packet in light mode (a keyframe's is four times that; over 1 MiB it is lost)
sub=160x120       width and height of the picture of a second RTSP stream
bframes=0         in light mode: so many frames in a row that are decoded after a later one
without=A+B       plugins that it has not got: a document that names one ends it with status 4
connect=S         seconds from the camera's answer (or the bind) to the first frame (0.008 for a file, 0.3 for RTSP)
dial              connect to an RTSP camera's address for real; whoever listens there says `1` for frames, `0` for none, and may hang up
uptime=S          an RTSP camera's first connection has lasted S seconds when it begins; the recorder refuses as many after a reconnect
retry=1           seconds from the first failed attempt at RTSP to the second; the next pauses double, after five attempts it gives up
length=S          length of the 'file': with "loop": false the input ends there, and the open clip stays open
dead              the input never delivers: connection_failed for a file, refused connections for RTSP
first=3           second at which an object first appears
present=3         seconds that it stays
period=10         seconds from one appearance to the next (no longer than `present`: always one there)
detect_rate=5     detections a second while there is an object (motion comes with every frame)
order=before      a detection comes `before` the opening of the clip that it triggers, or `after` it
early             the first frame, and with it the first opening, comes before any client is accepted
awaited           the first frame of a file comes when a client is connected, however long that takes
bind_delay=S      wait before the socket is bound
exit=N            exit with status N at once
crash_after=S     die S seconds after the bind ...
crash_by=SEGV     ... by this signal, or with this exit status if it is a number
mute=S            after S seconds no frames and no STATS any more, on connections that stay open
stall=S           after S seconds no frames any more, while STATS go on: a silent camera (over RTSP: SIGTERM has no effect then)
freeze=S          after S seconds stop by SIGSTOP, as a worker does that hangs in a system call
refuse_term       ignore SIGTERM and SIGINT
no_bye            close without BYE at a clean stop
malformed=S       after S seconds send what a client has to skip: a TLV past its payload, an unknown type, an unknown code, cut JSON
untrusted=S       after S seconds send a header that can't be right
slow_assign=S     act on an assignment only S seconds after it came
clip_error        every rename fails, as one to another file system does
rss=M             grow by M MiB a second
flood=N           write N log lines a second
shm               make the ring /dev/shm/zm_shmring_<monitor id>, and leave it at a crash
stats=5           seconds between two STATS
"""


def parse_tuning(environment: Mapping[str, str], monitor_id: int) -> Tuning:
    """The tuning for one monitor. Raises `BadTuning`."""
    pairs: dict[str, str] = {}
    for variable in (VARIABLE, f"{VARIABLE}_{monitor_id}"):
        for item in environment.get(variable, "").split(","):
            key, equals, value = item.strip().partition("=")
            if key:
                pairs[key.strip()] = value.strip() if equals else "1"
    try:
        tuning = msgspec.convert(pairs, Tuning, strict=False)
        sizes = (tuning.dimensions, tuning.second)
    except (msgspec.ValidationError, ValueError) as error:
        raise BadTuning(f"{VARIABLE}: {error}") from None
    if not tuning.crash_by.isdecimal() and tuning.crash_signal is None:
        raise BadTuning(f"{VARIABLE}: crash_by: a signal's name or an exit status is wanted, got {tuning.crash_by}")
    if any(width < 64 or height < 48 or width % 2 or height % 2 for width, height in sizes):
        raise BadTuning(
            f"{VARIABLE}: size: two even numbers from 64x48 on are wanted, got {tuning.size} and {tuning.sub}"
        )
    if min(tuning.fps, tuning.gop, tuning.period, tuning.detect_rate, tuning.stats, tuning.retry) <= 0:
        raise BadTuning(f"{VARIABLE}: fps, gop, period, detect_rate, stats and retry must be above 0")
    return tuning
