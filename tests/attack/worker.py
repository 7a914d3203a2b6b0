"""A worker that records clips of one picture and notes how long its openings wait for their event; or one that attacks, as a test wishes.

It has the real one's command line, socket and handshake. `ATTACK_<monitor>` names a function `module:function` that takes the `Worker` in
place of `record` when the file `ATTACK_GO` is there; `ATTACK_LOG` is where each assignment's latency is noted: a line `monitor seconds`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.waiting import wait_for
from zmtwist.sim.video import placeholder
from zmtwist.wire.encode import encode_bye, encode_event, encode_hello, encode_media, encode_response, encode_stats
from zmtwist.wire.event_details import EVENT_RECORDING_OPENING, EVENT_RECORDING_SAVED
from zmtwist.wire.frames import HEADER, MIN_LENGTH
from zmtwist.wire.messages import Hello, MessageType, Response

CLIP_SECONDS = 0.5
FRAME_SECONDS = 0.1
STATS_FRAMES = 50
"""Between two STATS: as the real one, every 5 s."""

H264 = 27
VOID = b"\xec\x81\x00"
"""What players pass over in a Matroska file."""
PICTURE = b"\x00\x00\x00\x01\x65" + bytes(200)


class Clip:
    """A file that is being recorded."""

    def __init__(self, token: str, path: Path) -> None:
        self.token = token
        self.path = path
        self.opened = time.monotonic()
        self.event_id = 0


class Worker:
    """One monitor's worker."""

    def __init__(self, document: dict[str, Any], socket_path: str, monitor_id: int) -> None:
        self.monitor_id = monitor_id
        self.root = Path(next(_roots(document), "/nowhere"))
        self.clients: dict[socket.socket, bool] = {}
        """Those that are connected, and whether each wants video."""
        self.assigned: dict[str, int] = {}
        self._lock = threading.RLock()
        self._clip: Clip | None = None
        self._sequence = 0
        self._clips = 0
        self.answer = self.assign
        """What is done with a command."""
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(socket_path)
        self._listening.listen(8)
        threading.Thread(target=self._accept, daemon=True).start()

    # What an attack is made of

    def say(self, data: bytes) -> None:
        """Bytes to every client, as they are."""
        for client in list(self.clients):
            with contextlib.suppress(OSError), self._lock:
                client.sendall(data)

    def event(self, code: int, detail: dict[str, Any] | None = None, message: str | None = None) -> bytes:
        """An event as it goes over the wire, with the next number."""
        self._sequence += 1
        wall_us = time.time_ns() // 1000
        return encode_event(code, sequence=self._sequence, wall_us=wall_us, detail=detail, message=message)

    def wait_for_client(self) -> None:
        """Until somebody listens."""
        while not self.clients:
            time.sleep(0.01)

    def film(self, number: int) -> None:
        """A picture to all who want some."""
        for client, video in list(self.clients.items()):
            if video:
                frame = encode_media(0, PICTURE, sequence=number, pts_us=number * 100_000, keyframe=True)
                with contextlib.suppress(OSError), self._lock:
                    client.sendall(frame)

    # What a good one does

    def record(self) -> None:
        """Clip after clip, with pictures, for ever."""
        for number in range(1, sys.maxsize):
            self.film(number)
            if number % STATS_FRAMES == 0:
                self.say(encode_stats(number, 0))
            with self._lock:
                if self._clip is None or time.monotonic() - self._clip.opened >= CLIP_SECONDS:
                    self.save()
                    self.open()
                assert self._clip is not None
                with self._clip.path.open("ab") as file:
                    file.write(VOID)
            time.sleep(FRAME_SECONDS)

    @property
    def clip_path(self) -> Path | None:
        """Where the clip is that is open."""
        return self._clip.path if self._clip is not None else None

    def open(self, trigger: str = "continuous") -> None:
        """Begin a clip under a name of its own, and say so."""
        self._clips += 1
        stamp = time.localtime()
        day = self.root / time.strftime("%Y-%m-%d", stamp)
        day.mkdir(parents=True, exist_ok=True)
        name = f"event-Monitor-{self.monitor_id}-0-{time.strftime('%H-%M-%S', stamp)}"
        path = day / f"{name}.mkv"
        for number in range(2, 100):
            if not path.exists():
                break
            path = day / f"{name}-{number}.mkv"
        path.write_bytes(placeholder(CLIP_SECONDS * 1000))
        token = f"{self.monitor_id}-{os.getpid()}-{self._clips}"
        self._clip = Clip(token, path)
        detail = {"event": "RecordingOpening", "clip_token": token, "trigger": trigger}
        self.say(self.event(EVENT_RECORDING_OPENING, detail))

    def save(self, cause: str = "continuous") -> None:
        """The end of the clip that is open, if one is."""
        clip, self._clip = self._clip, None
        if clip is not None:
            seconds = time.monotonic() - clip.opened
            detail = {
                "event": "EventClip", "event_id": clip.event_id, "path": str(clip.path), "cause": cause,
                "duration": seconds, "frames": max(1, round(seconds / FRAME_SECONDS)),
            }  # fmt: skip
            self.say(self.event(EVENT_RECORDING_SAVED, detail))

    def end(self, *_: object) -> None:
        """Save what is open and exit, as at SIGTERM."""
        with self._lock:
            self.save()
            self.say(encode_bye())
        os._exit(0)

    def _accept(self) -> None:
        while True:
            client, _ = self._listening.accept()
            with self._lock, contextlib.suppress(OSError):
                client.sendall(encode_hello(Hello(stream=0, codec_id=H264, width=160, height=120)))
                self.clients[client] = True
            threading.Thread(target=self._listen, args=(client,), daemon=True).start()

    def _listen(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for kind, payload in _messages(client):
                told = json.loads(payload) if payload else {}
                if kind == MessageType.SUBSCRIBE:
                    self.clients[client] = told.get("video", True)
                elif kind == MessageType.COMMAND:
                    self.answer(client, told)
        self.clients.pop(client, None)

    def assign(self, client: socket.socket, told: dict[str, Any], says: Response | None = None) -> None:
        """Take an assignment, as asked, whatever it `says` of it."""
        with self._lock:
            clip = self._clip
            self.assigned[told["clip_token"]] = told["event_id"]
            if clip is not None and clip.token == told["clip_token"] and not clip.event_id:
                _note(f"{self.monitor_id} {time.monotonic() - clip.opened:.4f}\n")
                clip.event_id = told["event_id"]
                directory = Path(told["dir"])
                directory.mkdir(parents=True, exist_ok=True)
                clip.path = clip.path.rename(directory / told["video_name"])
            client.sendall(encode_response(says or Response(request_id=told["request_id"], ok=True)))


def _messages(client: socket.socket) -> Iterator[tuple[int, bytes]]:
    stream = client.makefile("rb")
    while header := stream.read(HEADER.size):
        length, _, kind, *_ = HEADER.unpack(header)
        yield kind, stream.read(length - MIN_LENGTH)


def _roots(node: Any) -> Iterator[str]:
    """Every value under a key `root` of a document."""
    if isinstance(node, dict):
        if isinstance(node.get("root"), str):
            yield node["root"]
        for value in node.values():
            yield from _roots(value)
    elif isinstance(node, list):
        for value in node:
            yield from _roots(value)


def _note(line: str) -> None:
    if name := os.environ.get("ATTACK_LOG"):
        with Path(name).open("a") as log:
            log.write(line)


def arguments() -> argparse.Namespace:
    """The command line of a worker."""
    parser = argparse.ArgumentParser()
    for option in ("--pipeline", "--socket", "--monitor-id"):
        parser.add_argument(option, required=True)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    monitor_id = int(options.monitor_id)
    worker = Worker(json.loads(Path(options.pipeline).read_text()), options.socket, monitor_id)
    signal.signal(signal.SIGTERM, worker.end)
    attack = os.environ.get(f"ATTACK_{monitor_id}")
    if attack is None:
        worker.record()
    else:
        wait_for(Path(os.environ["ATTACK_GO"]).exists, "the attack begins", 3600)
        module, _, function = attack.partition(":")
        getattr(importlib.import_module(module), function)(worker)
    signal.pause()
