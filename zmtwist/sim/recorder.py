"""The `store` node: which packets go into which clip, and what is said of it (doc/reference/worker.md, The recorder)."""

from __future__ import annotations

import errno
import json
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from zmtwist.sim.document import DEFAULT_TRIGGERS, Store
from zmtwist.sim.video import Clip, Packet
from zmtwist.wire.event_details import EVENT_RECORDING_OPENING, EVENT_RECORDING_SAVED

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
        self.written_us = 0
        self.target: Path | None = None
        self.descriptions: list[Mapping[str, Any]] = []

    def write(self, packet: Packet) -> str | None:
        """Count a packet, and write it unless the muxer refuses it; what went wrong, if anything did.

        A first time of 0 counts as none yet, as in the captures: a run's first clip has one group of pictures more than the others, and its
        duration is short by one frame. A packet from before the first one is put at the clip's beginning, where others lie already; so one
        whose times began anew is refused, and all after it, until they have caught up with the clip's end.
        """
        self.first_us = self.first_us or packet.pts_us
        self.last_us = packet.pts_us
        self.frames += 1
        offset = max(packet.pts_us - self.first_us, 0)
        if offset < self.written_us:
            return os.strerror(errno.EINVAL)
        try:
            self.clip.write(packet, offset)
        except OSError as error:
            return error.strerror
        self.written_us = offset
        return None


class Recorder:
    """Fed with every packet and every event, in order; publishes openings and saves through `publish(code, detail)`.

    `open_clip` makes the file of a clip, for the packets of one capture stream.
    """

    def __init__(
        self,
        store: Store,
        open_clip: Callable[[str, int], Clip],
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
        self._triggered_us = 0

    def frame(self, packet: Packet, stream_id: int = 0) -> None:
        """Record one packet of a capture stream."""
        if not self._store.takes(stream_id):
            return
        self._move()
        if self._store.mode != "event":
            self._segment_frame(packet, stream_id)
            return
        self._ring.append(packet)
        self._trim(packet.pts_us)
        current = self._open
        if current is not None:
            self._write(current, packet)
            if packet.pts_us - self._triggered_us > self._store.post_roll_sec * 1_000_000:
                self.close()

    def event(self, kind: str, detail: Mapping[str, Any]) -> None:
        """What a stage has published, of type `kind`: perhaps a trigger or a description, perhaps of a stream that is not recorded."""
        store, stream_id = self._store, detail.get("stream_id", 0)
        if not store.takes(stream_id):
            return
        if kind == "description" and self._open is not None:
            self._open.descriptions.append(detail)
        if store.mode == "continuous" or kind not in (store.trigger_types or DEFAULT_TRIGGERS):
            return
        if store.mode == "both":
            if self._open is not None:
                self._open.cause = kind
            return
        if self._open is None and self._ring:
            self._begin(kind, list(self._ring), stream_id)
        # After a reconnect this is in new times, the clip's end may be in old ones.
        self._triggered_us = self._ring[-1].pts_us if self._ring else 0

    def _segment_frame(self, packet: Packet, stream_id: int) -> None:
        current = self._open
        if current is None:
            if packet.keyframe:
                self._begin(CONTINUOUS, [packet], stream_id)
        elif (
            packet.keyframe
            and current.first_us
            and packet.pts_us - current.first_us >= self._store.max_secs * 1_000_000
        ):
            self._begin(CONTINUOUS, [packet], stream_id, after=current)
        else:
            self._write(current, packet)

    def _write(self, current: _Open, packet: Packet) -> None:
        refused = current.write(packet)
        if refused == os.strerror(errno.EINVAL):
            at, end = max(packet.pts_us - current.first_us, 0), current.written_us
            told = f"muxer in stream 0: {round(end / 1000)} >= {round(at / 1000)}"
            self._log("ERROR", f"Application provided invalid, non monotonically increasing dts to {told}\n")
        if refused is not None:
            self._log("ERROR", f"store: write_frame failed: {refused}")

    def _trim(self, now_us: int) -> None:
        """Keep what the next clip begins with: back to the last keyframe that is 2 s older than the pre-roll, and no more than the buffer
        is to hold, even where that leaves a group of pictures without its keyframe. Packets with times of an older connection stay."""
        ring, window = self._ring, self._store.window_us
        begin = 0
        for index, packet in enumerate(ring):
            if packet.pts_us > now_us - window:
                break
            if packet.keyframe:
                begin = index
        for _ in range(begin):
            ring.popleft()
        oldest = now_us - self._store.longest_us
        while ring[0].pts_us < oldest and any(packet.keyframe for packet in islice(ring, 1, None)):
            ring.popleft()

    def _begin(self, cause: str, packets: list[Packet], stream_id: int, after: _Open | None = None) -> None:
        """Open a clip with `packets`; the one before it is closed first, and said to be saved right before the opening."""
        if after is not None:
            self._finish(after)
            self._open = None
        wall = self._wall()
        store = self._store
        try:
            path = own_path(store.root, store.monitor_id, stream_id, wall)
            path.parent.mkdir(parents=True, exist_ok=True)
            clip = self._open_clip(str(path), stream_id)
        except OSError as error:
            self._log("ERROR", f"store: avio_open failed for {store.root}: {error.strerror}")
            if after is not None:
                self._saved(after)
                self._log_saved(after)
            return
        self._clips += 1
        token = f"{store.monitor_id}-{int(wall)}-{self._clips}"
        self._open = current = _Open(path, clip, token, cause)
        for packet in packets:
            self._write(current, packet)
        # Nothing comes between the two events, so that they leave within 0.2 ms as the real ones do; logging follows.
        if after is not None:
            self._saved(after)
        self._publish(EVENT_RECORDING_OPENING, {"clip_token": token, "event": "RecordingOpening", "trigger": cause})
        if after is not None:
            self._log_saved(after)
        self._log("INFO", f"store: opened clip {path}")
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
            "descriptions": current.descriptions,
            "duration_usec": current.last_us - current.first_us,
            "path": path,
            "text": " | ".join(detail["text"] for detail in current.descriptions),
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
        seconds = (current.last_us - current.first_us) / 1_000_000
        told = f"event_id={current.event_id}, cause={current.cause}, duration={seconds:.2f}s, frames={current.frames}"
        self._log("INFO", f"store: wrote sidecar {current.path}.json ({len(current.descriptions)} descriptions)")
        self._log("INFO", f"store: closed clip {current.path} ({told})")

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
            told = f"could not move clip to {target} ({error.strerror}); keeping {current.path}"
            self._log("WARN", f"store: {told}")
        else:
            self._log("INFO", f"store: assigned event_id={current.event_id}, clip -> {target}")
            current.path = target
