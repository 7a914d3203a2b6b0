"""A camera over RTSP whose picture tells the time, for trials of a real worker. Run by Debian's own Python, which has GStreamer's bindings:

    /usr/bin/python3 tests/real/rtsp_camera.py --size 640x480 --fps 15 --gop 1
    /usr/bin/python3 tests/real/rtsp_camera.py --help

It says `ready PORT` on stdout, serves `/live` (and `/sub`, a small second stream) on 127.0.0.1, and takes commands on stdin, one a line:

    motion off | left | right   a light square stands still, or moves in that half of the picture
    away                        connections end, new ones are refused: a camera that lost its power or network
    back                        it answers again
    silent | heard              no frames, on connections that stay; frames again
    quit                        (or the end of stdin)

SIGSTOP makes it mute: connections are taken by the kernel, and nothing is answered.

The time is a row of 48 black and white cells at the top left, each a 160th of the picture wide (an 80th with --noise): 42 bits of
milliseconds since the epoch and 6 that count those that are set, most significant bit first. `picture.py` reads it out of a decoded frame.
It is small enough to be no motion by ZoneMinder's own thresholds.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")

from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

TIME_BITS, CHECK_BITS = 42, 6
BLACK, WHITE = b"\x10", b"\xeb"
AUDIO = {
    "none": "",
    "aac": "audiotestsrc is-live=true wave=ticks ! audio/x-raw,rate=16000,channels=1 ! voaacenc ! rtpmp4gpay name=pay1",
    "mulaw": "audiotestsrc is-live=true wave=ticks ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay name=pay1",
}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="of 127.0.0.1; 0: any")
    parser.add_argument("--size", default="640x480", help="of /live")
    parser.add_argument("--sub", default="320x240", help="size of /sub")
    parser.add_argument("--fps", type=int, default=10)
    parser.add_argument("--gop", type=float, default=1.0, help="seconds between keyframes")
    parser.add_argument("--bframes", type=int, default=0)
    parser.add_argument("--kbit", type=int, default=0, help="bit rate; 0: a fixed quantizer of 24")
    parser.add_argument("--codec", choices=["h264", "h265"], default="h264")
    parser.add_argument("--audio", choices=sorted(AUDIO), default="none")
    parser.add_argument("--noise", action="store_true", help="a background that can't be compressed: large keyframes")
    return parser.parse_args()


class Picture:
    """Draws frames in I420."""

    def __init__(self, size: str, noise: bool) -> None:
        self.width, self.height = map(int, size.split("x"))
        width, height = self.width, self.height
        self.cell = width // (80 if noise else 160)
        self.side = height // 3
        row = bytes(48 + 128 * x // width for x in range(width))
        luma = bytearray(os.urandom(width * height)) if noise else bytearray(row * height)
        for y in range(0, height, max(height // 8, 1)):
            luma[y * width : (y + 2) * width] = b"\xb0" * (2 * width)
        self._base = bytes(luma) + b"\x70" * (width * height // 4) + b"\x90" * (width * height // 4)

    def draw(self, milliseconds: int, motion: str, step: int) -> bytes:
        """The frame of this time; `step` counts frames while something moves."""
        frame, width, cell = bytearray(self._base), self.width, self.cell
        low = milliseconds % (1 << TIME_BITS)
        word = low << CHECK_BITS | low.bit_count() % (1 << CHECK_BITS)
        bits = [word >> shift & 1 for shift in range(TIME_BITS + CHECK_BITS - 1, -1, -1)]
        row = b"".join((WHITE if bit else BLACK) * cell for bit in bits)
        for y in range(cell):
            frame[y * width : y * width + len(row)] = row
        # The square goes to and fro within its half of the picture; when it rests it lies in the left one.
        room = width // 2 - self.side - 16
        at = abs(step * (width // 20) % (2 * room) - room)
        left = 8 + at + (width // 2 if motion == "right" else 0)
        for y in range(self.height // 2, self.height // 2 + self.side):
            frame[y * width + left : y * width + left + self.side] = WHITE * self.side
        return bytes(frame)


class Camera:
    """The server and its streams."""

    def __init__(self, given: argparse.Namespace, loop: Any) -> None:
        self.given, self.loop = given, loop
        self.motion, self.silent, self.step = "off", False, 0
        self.sources: dict[Any, tuple[Any, Picture]] = {}
        self.server = GstRtspServer.RTSPServer()
        self.server.set_address("127.0.0.1")
        self.server.set_service(str(given.port))
        for path, size in (("/live", given.size), ("/sub", given.sub)):
            picture = Picture(size, given.noise)
            factory = GstRtspServer.RTSPMediaFactory()
            factory.set_launch(self._launch(picture))
            factory.set_shared(True)
            factory.connect("media-configure", self._configured, picture)
            self.server.get_mount_points().add_factory(path, factory)
        self.attached = self.server.attach(None)
        if not self.attached:
            sys.exit(f"cannot listen on port {given.port}")
        self.server.set_service(str(self.server.get_bound_port()))
        self.due = time.monotonic()
        self._pump()

    def _launch(self, picture: Picture) -> str:
        given = self.given
        group = max(1, round(given.fps * given.gop))
        caps = f"video/x-raw,format=I420,width={picture.width},height={picture.height},framerate={given.fps}/1"
        # A client asks for a place in time when it plays. Where there is sound, whose source has such places, the picture must agree; then
        # times begin anew for all clients with each that comes, as no camera's do.
        places = "seekable" if given.audio != "none" else "stream"
        source = f"appsrc name=source is-live=true format=time do-timestamp=true stream-type={places} caps={caps}"
        if given.codec == "h265":
            coder = f"x265enc speed-preset=ultrafast tune=zerolatency key-int-max={group} ! h265parse ! rtph265pay name=pay0"
        else:
            rate = f"bitrate={given.kbit}" if given.kbit else "pass=quant quantizer=24"
            # Left to choose, the encoder takes a profile without B-frames, since the payloader names none.
            delay, profile = "tune=zerolatency", ""
            if given.bframes:
                delay, profile = f"bframes={given.bframes} b-adapt=false", " ! video/x-h264,profile=main"
            coder = (
                f"x264enc speed-preset=ultrafast threads=1 key-int-max={group} option-string=scenecut=0 {rate} {delay}"
                f"{profile} ! rtph264pay config-interval=-1 name=pay0"
            )
        return f"( {source} ! {coder} pt=96 {AUDIO[given.audio]} )"

    def _configured(self, factory: Any, media: Any, picture: Picture) -> None:
        source = media.get_element().get_child_by_name("source")
        source.connect("seek-data", lambda source, place: True)
        self.sources[media] = (source, picture)
        media.connect("unprepared", lambda media: self.sources.pop(media, None))

    def _pump(self) -> bool:
        """Push a frame to all who look, and come again when the next one is due."""
        if self.motion != "off":
            self.step += 1
        if not self.silent:
            for source, picture in list(self.sources.values()):
                frame = picture.draw(time.time_ns() // 1_000_000, self.motion, self.step)
                source.emit("push-buffer", Gst.Buffer.new_wrapped(frame))
        self.due = max(self.due + 1 / self.given.fps, time.monotonic() - 1)
        GLib.timeout_add(max(0, round((self.due - time.monotonic()) * 1000)), self._pump)
        return False

    def obey(self, command: str) -> None:
        words = command.split()
        if words[:1] == ["motion"]:
            self.motion = words[1]
        elif words == ["away"] and self.attached:
            GLib.source_remove(self.attached)
            self.attached = 0
            self.server.client_filter(lambda server, client: GstRtspServer.RTSPFilterResult.REMOVE)
        elif words == ["back"] and not self.attached:
            self.attached = self.server.attach(None)
        elif words in (["silent"], ["heard"]):
            self.silent = words == ["silent"]
        elif words == ["quit"]:
            self.loop.quit()
        print("done", command, flush=True)

    def heard(self, stdin: Any, condition: Any) -> bool:
        data = os.read(0, 4096)
        for line in data.decode().splitlines() or ["quit"]:
            self.obey(line.strip())
        return bool(data)


def main() -> None:
    given = options()
    Gst.init(None)
    loop = GLib.MainLoop()
    camera = Camera(given, loop)
    GLib.io_add_watch(0, GLib.PRIORITY_DEFAULT, GLib.IOCondition.IN | GLib.IOCondition.HUP, camera.heard)
    print("ready", camera.server.get_service(), flush=True)
    loop.run()


if __name__ == "__main__":
    main()
