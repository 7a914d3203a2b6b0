"""The recorder of a pretended worker (`store`): clips begin, grow, are renamed as assigned, and are saved, if the disk lets them."""

from __future__ import annotations

import itertools
import json
import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.simulation.clips import RATE, Clip, clip_in
from tests.simulation.storage import Storage
from tests.simulation.world import SECOND
from zmtwist.wire.event_details import EVENT_RECORDING_OPENING, EVENT_RECORDING_SAVED, RecordingOpening, RecordingSaved

if TYPE_CHECKING:
    from tests.simulation.workers import Worker

AGAIN_SECONDS = 1.0
"""Where no clip could be begun or ended, it is tried again so much later."""


class Recorder:
    """One clip at a time, in the storage of the worker's document. `refuses_until`: after its camera came back, all frames are refused for
    as long as the connection before had lasted, since their times begin anew."""

    def __init__(self, worker: Worker, storage: Storage, *, continuous: bool) -> None:
        self.worker, self.world, self.storage, self.continuous = worker, worker.world, storage, continuous
        self.clip: Clip | None = None
        self.refuses_until = 0.0

    def open(self) -> None:
        """A clip begins, under a name of its own; where that can't be made, there is none."""
        worker, world, chance = self.worker, self.world, self.world.chance
        if worker.stalled or worker.ending or self.clip is not None:
            return
        if not worker.camera.there or not self.storage.takes_files:
            worker.after(AGAIN_SECONDS, self.open)
            return
        stamp = datetime.fromtimestamp(world.wall() // SECOND)
        day = self.storage.root / f"{stamp:%Y-%m-%d}"
        day.mkdir(exist_ok=True)
        for number in itertools.count(1):
            tail = "" if number == 1 else f"-{number}"
            path = day / f"event-Monitor-{worker.monitor_id}-0-{stamp:%H-%M-%S}{tail}.mkv"
            if not path.exists():
                break
        path.touch()
        os.utime(path, ns=(world.wall() * 1000,) * 2)
        trigger = "continuous" if self.continuous else chance.choice(["motion", "detection"])
        clip = self.clip = Clip(len(world.clips) + 1, worker, path, trigger, self.storage)
        world.clips[clip.number] = clip
        world.tell(f"worker {worker.monitor_id} opens clip {clip.number} as {path.name}")
        worker.log(f"store: recording_opening token={clip.token} cause={trigger}")
        worker.say(EVENT_RECORDING_OPENING, RecordingOpening(clip.token, trigger))
        # Some are so short that the next one, by its name, may be of the same event.
        length = 45.0 if world.calm else chance.choice((chance.uniform(0.3, 2.0), chance.uniform(3.0, 12.0)))
        worker.after(length, self.close, clip)

    def close(self, clip: Clip | None = None) -> None:
        """The clip is finished; the next one follows at once, or when something moves again.

        That its time is over is told by the times of its frames: while these are refused, it is not (`clip` given), unless it must be.
        """
        worker, world = self.worker, self.world
        if worker.stalled or self.clip is None or (clip is not None and clip is not self.clip):
            return
        if clip is not None and (world.seconds() < self.refuses_until or not worker.camera.there):
            worker.after(AGAIN_SECONDS, self.close, clip)
            return
        clip = self.clip
        self.record()
        if self.clip is None:
            return
        self.clip = None
        self._save(clip)
        if not worker.ending:
            worker.after(0.0002 if self.continuous else world.chance.uniform(0.5, 3.0), self.open)

    def record(self) -> None:
        """The next frames, and the clip's new name."""
        clip, world = self.clip, self.world
        if clip is None or self.worker.stalled:
            return
        if clip.within_reach and not clip.path.exists():
            # A worker writes on whatever becomes of its file's name, but nobody but ZoneMinder may touch that while it does.
            world.never(f"clip {clip.number} is being recorded, and is not at {clip.path} any more")
            self.clip = None
            return
        self._take(clip)
        if world.seconds() - clip.begun >= clip.buffered:
            self._flush(clip, clip.came)
        self._rename(clip)

    def fail(self, storage: Storage) -> None:
        """The storage takes nothing any more, if it is the one: the next frame is refused, and that is logged at once."""
        if self.storage is storage:
            self.record()
            self.worker.after(1.01 / RATE, self.record)

    def assign(self, told: dict[str, Any]) -> None:
        """The answer to an opening."""
        clip = self.clip
        if clip is not None and clip.token == told["clip_token"]:
            clip.event_id = told["event_id"]
            clip.assigned_at = self.world.seconds()
            clip.target = Path(told["dir"]) / told["video_name"]

    def _take(self, clip: Clip) -> None:
        """Count the frames that have come since the last time."""
        now = self.world.seconds()
        seconds, clip.counted_at = now - clip.counted_at, now
        if not self.worker.camera.there:
            return
        if now < self.refuses_until or clip.lost or self.storage.full:
            if round(seconds * RATE):
                clip.refused += round(seconds * RATE)
                self.worker.log("store: write_frame failed: Invalid argument")
        else:
            clip.seconds += seconds

    def _flush(self, clip: Clip, frames: int) -> None:
        if frames <= clip.frames or clip.lost:
            return
        clip.frames = frames
        if clip.within_reach:
            clip.write(self.world.wall())

    def _rename(self, clip: Clip) -> None:
        if clip.target is None or not clip.within_reach or not self.storage.there:
            return
        target, clip.target = clip.target, None
        if self.storage.full and not target.parent.is_dir():
            return  # and so it keeps its name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and clip_in(target) is not None:
            self.world.never(f"clip {clip.number} takes the place of another, at {target}")
        clip.path.rename(target)
        clip.path = target

    def _save(self, clip: Clip) -> None:
        """A finished clip holds all its pictures, one at least, and there is a sidecar beside it, for which there may be no room. What
        is said of it counts the frames that were refused, too, and goes by times that may have begun anew."""
        worker, world = self.worker, self.world
        clip.ended_at, clip.saved = world.seconds(), True
        if not self.storage.full:
            self._flush(clip, max(1, clip.came))
        if clip.within_reach and self.storage.there:
            told = {"cause": clip.trigger, "text": "", "path": str(clip.path)}
            Path(f"{clip.path}.json").write_text("" if self.storage.full else json.dumps(told))
        event_id = clip.event_id
        if world.troubles.misnamed and world.chance.random() < 0.4:
            event_id = world.chance.randint(1, 30)
        frames = max(1, clip.came + clip.refused)
        seconds = frames / RATE if worker.camera.since <= clip.begun else worker.camera.age - worker.camera.lasted
        world.tell(f"worker {worker.monitor_id} saves clip {clip.number} as {clip.path.name}")
        worker.say(EVENT_RECORDING_SAVED, RecordingSaved(str(clip.path), event_id, clip.trigger, seconds, frames, None))


class Camera:
    """A worker's connection to its camera. Where it was lost and made again, times begin anew near 0; `lasted` is how long the one before
    had been there."""

    def __init__(self, worker: Worker) -> None:
        self._world = worker.world
        self.there = True
        self.since = self._world.seconds()
        self.lasted = 0.0

    @property
    def age(self) -> float:
        return self._world.seconds() - self.since

    def go(self) -> None:
        self.there = False
        self.lasted = self.age

    def come(self) -> None:
        self.there = True
        self.since = self._world.seconds()
