"""A process that plays many workers at once for benchmarks: sockets, events as bytes, and when each assignment came back.

`python -m tests.bench.cameras DIR COUNT EVENTS PACE OPENINGS`: serves `DIR/stream_{1..COUNT}.sock`. When all have a client it sends each
an opening and then EVENTS motion events: as fast as the sockets take them if PACE is 0, else PACE events a second over all sockets; every
OPENINGS-th event of a socket is a save and a new opening (0: none). On stdout, a JSON object a line: {"sent": seconds} when all is sent,
{"assigned": [seconds, ...]} at the end, when stdin is closed.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from pathlib import Path

from zmtwist.wire.encode import encode_event, encode_response
from zmtwist.wire.event_details import EVENT_DETECTION, EVENT_RECORDING_OPENING, EVENT_RECORDING_SAVED
from zmtwist.wire.frames import FrameDecoder
from zmtwist.wire.messages import Command, Response

FRAME_US = 66_667  # 15 frames a second
RAMP = 3.0
GOLDEN = 0.618034
"""Multiples of it, without their whole parts, are spread evenly over 0 to 1."""


class Camera:
    """One worker: what it has to say, how far it has got, what it waits for."""

    def __init__(self, number: int, path: Path, events: int, openings: int) -> None:
        self.number = number
        self.events = events
        self.openings = openings
        self.said = 0
        self.clip = 0
        self.sequence = 0
        self.out = bytearray()
        self.blocked = False  # the selector tells when the socket takes more
        self.decoder = FrameDecoder()
        self.opened_at: dict[str, float] = {}
        self.assigned: list[float] = []
        self.client: socket.socket | None = None
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(path))
        self.listening.listen(8)

    def event(self, code: int, detail: dict[str, object]) -> None:
        self.sequence += 1
        self.out += encode_event(code, sequence=self.sequence, wall_us=time.time_ns() // 1000, detail=detail)

    def open(self) -> None:
        self.clip += 1
        token = f"{self.number}-1-{self.clip}"
        self.event(EVENT_RECORDING_OPENING, {"event": "RecordingOpening", "clip_token": token, "trigger": "continuous"})
        self.opened_at[token] = time.perf_counter()

    def save(self) -> None:
        path = f"/nowhere/{self.number}-{self.clip}.mkv"
        detail = {"event": "EventClip", "event_id": 0, "path": path, "cause": "motion", "duration": 3.0, "frames": 45}
        self.event(EVENT_RECORDING_SAVED, detail)

    def speak(self) -> None:
        """Say one thing more."""
        # Cameras are not in step with each other, and neither are their segments.
        if self.openings and self.said and (self.said + self.number) % self.openings == 0:
            self.save()
            self.open()
        self.said += 1
        pts = self.said * FRAME_US
        self.event(EVENT_DETECTION, {"type": "motion", "stream_id": 0, "changed": 951, "pts_usec": pts})

    def hear(self, data: bytes) -> None:
        for message in self.decoder.feed(data):
            if isinstance(message, Command):
                opened = self.opened_at.pop(str(message.fields.get("clip_token")), None)
                if opened is not None:
                    self.assigned.append(time.perf_counter() - opened)
                self.out += encode_response(Response(message.request_id, True, "dispatched"))


def tell(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def main() -> None:
    directory, count, events, pace, openings = Path(sys.argv[1]), *map(int, sys.argv[2:6])
    cameras = [Camera(n, directory / f"stream_{n}.sock", events, openings) for n in range(1, count + 1)]
    tell(listening=count)
    for camera in cameras:
        camera.client, _ = camera.listening.accept()
        camera.client.setblocking(False)
    selector = selectors.DefaultSelector()
    for camera in cameras:
        selector.register(camera.client, selectors.EVENT_READ, camera)
    selector.register(sys.stdin, selectors.EVENT_READ, None)
    began, told = time.perf_counter(), False
    tell(began=time.time())
    while True:
        now = time.perf_counter() - began
        for camera in cameras:
            # With a pace, cameras come up one after the other within some seconds, as a fleet's do, and no two in step.
            up = now - RAMP * camera.number / count - camera.number * GOLDEN % 1 * count / pace if pace else now
            due = min(events, max(0, int(up * pace / count))) if pace else events
            if up >= 0 and not camera.clip:
                camera.open()
            while camera.said < due and len(camera.out) < 65536:
                camera.speak()
            if camera.out or camera.blocked:
                send(camera, selector)
        if not told and all(camera.said >= events and not camera.out for camera in cameras):
            told = True
            tell(sent=time.perf_counter() - began)
        for key, mask in selector.select(0.002 if pace else 0.02):
            camera = key.data
            if camera is None:
                tell(assigned=[latency for c in cameras for latency in c.assigned])
                return
            if mask & selectors.EVENT_READ:
                data = camera.client.recv(65536)
                if data:
                    camera.hear(data)
                else:
                    selector.unregister(camera.client)


def send(camera: Camera, selector: selectors.BaseSelector) -> None:
    """What the socket takes; the selector tells when it takes more."""
    if camera.out:
        try:
            del camera.out[: camera.client.send(camera.out)]
        except BlockingIOError:
            pass
        except OSError:
            camera.out.clear()
            return
    if camera.blocked != bool(camera.out) and camera.client in selector.get_map():
        camera.blocked = not camera.blocked
        selector.modify(camera.client, selectors.EVENT_READ | (selectors.EVENT_WRITE if camera.blocked else 0), camera)


if __name__ == "__main__":
    main()
