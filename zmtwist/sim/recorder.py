"""The `store` node: which packets go into which clip, and what is said of it (source: worker.md, 4, and the captures)."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from zmtwist.sim.document import Store
from zmtwist.sim.video import Clip, Packet
from zmtwist.wire.details import EVENT_RECORDING_OPENING, EVENT_RECORDING_SAVED

CONTINUOUS = "continuous"


def own_path(root: str, monitor_id: int, stream_id: int, wall: float) -> Path:
    """The name that the worker gives a clip opened at `wall` (seconds since the epoch), the first one that is not taken."""
    local = time.localtime(wall)
    stem = f"event-Monitor-{monitor_id}-{stream_id}-{time.strftime('%H-%M-%S', local)}"
    day = Path(root) / time.strftime("%Y-%m-%d", local)
    path, number = day / f"{stem}.mkv", 1
    while path.exists():
        number += 1
        path = day / f"{stem}-{number}.mkv"
    return path


def c_int(value: int) -> int:
    """`value` as a C int holds it."""
    return (value + 2**31) % 2**32 - 2**31


class _Open:
    """The clip being written."""

    def __init__(self, path: Path, clip: Clip, token: str, cause: str) -> None:
        self.path, self.clip, self.token, self.cause = path, clip, token, cause
        self.event_id = 0
        self.frames = 0
        self.first_us = self.last_us = 0
        self.target: Path | None = None

    def write(self, packet: Packet) -> None:
        with suppress(OSError):  # what did not fit is told at the close
            self.clip.write(packet)
        self.frames += 1
        # A first time of 0 counts as none yet, as in the captures: a run's first clip has one group of pictures more than the
        # others, and its duration is short by one frame.
        self.first_us = self.first_us or packet.pts_us
        self.last_us = packet.pts_us


class Recorder:
    """Fed with every packet, in order; publishes openings and saves through `publish(code, detail)`."""

    def __init__(
        self,
        store: Store,
        open_clip: Callable[[str], Clip],
        publish: Callable[[int, Mapping[str, Any]], None],
        log: Callable[[str, str], None],
        *,
        wall: Callable[[], float] = time.time,
        rename: Callable[[Path, Path], None] = os.rename,
    ) -> None:
        self._store = store
        self._open_clip = open_clip
        self._publish = publish
        self._log = log
        self._wall = wall
        self._rename = rename
        self._clips = 0
        self._open: _Open | None = None
        self._ring: deque[Packet] = deque()
        self._until_us = 0

    def frame(self, packet: Packet, trigger: str | None = None) -> None:
        """Record one packet. `trigger` is the type of what was seen in its frame, if that is one of the store's triggers."""
        self._move()
        if self._store.mode == "event":
            self._event_frame(packet, trigger)
        else:
            self._segment_frame(packet, trigger)

    def _segment_frame(self, packet: Packet, trigger: str | None) -> None:
        current = self._open
        if packet.keyframe and (
            current is None or packet.pts_us - current.first_us >= self._store.max_secs * 1_000_000
        ):
            self._begin(CONTINUOUS, [packet], after=current)
        elif current is not None:
            current.write(packet)
        if trigger is not None and self._store.mode == "both" and self._open is not None:
            self._open.cause = trigger

    def _event_frame(self, packet: Packet, trigger: str | None) -> None:
        store = self._store
        self._ring.append(packet)
        self._trim(packet.pts_us)
        if trigger is not None:
            self._until_us = packet.pts_us + round(store.post_roll_sec * 1_000_000)
        if self._open is None:
            if trigger is not None:
                self._begin(trigger, list(self._ring))
        elif packet.pts_us > self._until_us:
            self.close()
        else:
            self._open.write(packet)

    def _trim(self, now_us: int) -> None:
        """Keep whole groups of pictures, back to the last keyframe that is at least the pre-roll old, within the buffer's length."""
        wanted = now_us - self._store.pre_roll_sec * 1_000_000
        longest = now_us - self._store.max_buffer_sec * 1_000_000
        ring = self._ring
        keys = [packet.pts_us for packet in ring if packet.keyframe]
        starts = [pts for pts in keys if pts >= longest]
        begin = max((pts for pts in starts if pts <= wanted), default=starts[0] if starts else now_us)
        while ring and ring[0].pts_us < begin:
            ring.popleft()

    def _begin(self, cause: str, packets: list[Packet], after: _Open | None = None) -> None:
        """Open a clip with `packets`; the one before it is closed first, and said to be saved right before the opening."""
        if after is not None:
            self._finish(after)
            self._open = None
        wall = self._wall()
        store = self._store
        try:
            path = own_path(store.root, store.monitor_id, store.stream_id, wall)
            path.parent.mkdir(parents=True, exist_ok=True)
            clip = self._open_clip(str(path))
        except OSError as error:
            self._log("ERROR", f"store: cannot open a clip under {store.root}: {error.strerror}")
            if after is not None:
                self._saved(after)
                self._log_saved(after)
            return
        self._clips += 1
        token = f"{store.monitor_id}-{int(wall)}-{self._clips}"
        self._open = current = _Open(path, clip, token, cause)
        for packet in packets:
            current.write(packet)
        # Nothing comes between the two events, so that they leave within 0.2 ms as the real ones do; logging follows.
        if after is not None:
            self._saved(after)
        self._publish(EVENT_RECORDING_OPENING, {"clip_token": token, "event": "RecordingOpening", "trigger": cause})
        if after is not None:
            self._log_saved(after)
        self._log("INFO", f"store: recording_opening token={token} cause={cause}")

    def _finish(self, current: _Open) -> None:
        """Close the file and write its sidecar. On a full disk the clip stays as it is, and is announced all the same."""
        try:
            current.clip.close()
        except OSError as error:
            self._log("ERROR", f"store: cannot finish {current.path}: {error.strerror}")
        path = str(current.path)
        sidecar = {
            "cause": current.cause,
            "clip": current.path.name,
            "descriptions": [],
            "duration_usec": current.last_us - current.first_us,
            "path": path,
            "text": "",
        }
        try:
            Path(path + ".json").write_text(json.dumps(sidecar))
        except OSError as error:
            self._log("ERROR", f"store: cannot write {path}.json: {error.strerror}")

    def _saved(self, current: _Open) -> None:
        detail = {
            "cause": current.cause,
            "duration": (current.last_us - current.first_us) / 1_000_000,
            "event": "EventClip",
            "event_id": current.event_id,
            "frames": current.frames,
            "path": str(current.path),
        }
        self._publish(EVENT_RECORDING_SAVED, detail)

    def _log_saved(self, current: _Open) -> None:
        self._log("INFO", f"store: saved {current.path} ({current.frames} frames)")

    def close(self) -> None:
        """Close and announce the open clip, if there is one."""
        current, self._open = self._open, None
        if current is not None:
            self._finish(current)
            self._saved(current)
            self._log_saved(current)

    def assign(self, token: str, event_id: int, directory: str, video_name: str) -> None:
        """Take a client's answer to an opening: the clip keeps the id, and is renamed at the next packet.

        An answer for another clip than the open one is ignored.
        """
        current = self._open
        if current is None or current.token != token:
            self._log("INFO", f"store: assignment for {token} ignored: not the open clip")
            return
        current.event_id = c_int(event_id)
        current.target = Path(directory) / video_name

    def _move(self) -> None:
        """Rename the open clip as assigned; where that fails it keeps its own name, and still keeps the id."""
        current = self._open
        if current is None or current.target is None:
            return
        target, current.target = current.target, None
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._rename(current.path, target)
        except OSError as error:
            self._log("ERROR", f"store: cannot rename {current.path} to {target}: {error.strerror}")
        else:
            current.path = target
