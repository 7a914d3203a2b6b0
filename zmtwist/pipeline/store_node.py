"""The `store` node: how long clips are, and what begins one."""

from __future__ import annotations

import math
from typing import Any, Final

import attrs

from zmtwist.config.model import Mode, PipelineConfig
from zmtwist.pipeline.document import Unfit
from zmtwist.pipeline.monitor import Monitor

MAX_SECS: Final = 300
PRE_ROLL_SEC: Final = 5
POST_ROLL_SEC: Final = 10
MAX_BUFFER_SEC: Final = 15

# Bounds for what a monitor's columns may ask for: the pre-roll is held in the worker's memory.
_LONGEST_PRE_ROLL: Final = 60
_LONGEST_POST_ROLL: Final = 3600

# The buffer begins at a keyframe, so it must reach further back than the pre-roll; the contract's 5 and 15 differ by this.
_BUFFER_BEYOND_PRE_ROLL: Final = 10

_QUEUE_DEPTH: Final = 120


@attrs.frozen
class Lengths:
    """Seconds, as the `store` node takes them."""

    max_secs: int = MAX_SECS
    pre_roll_sec: int = PRE_ROLL_SEC
    post_roll_sec: int = POST_ROLL_SEC
    max_buffer_sec: int = MAX_BUFFER_SEC


def lengths(monitor: Monitor, config: PipelineConfig) -> Lengths:
    """The config's values; where it leaves one unset, the monitor's column; where that says nothing, the contract's default.

    PreEventCount and PostEventCount are frames: they say how long only where MaxFPS is known, so without it they are not heeded
    (ZoneMinder's own default of 5 frames would make clips end in a fraction of a second).
    """
    frame_rate = monitor.max_fps if monitor.max_fps and math.isfinite(monitor.max_fps) and monitor.max_fps > 0 else None

    def seconds(count: int | None, least: int, most: int, default: int) -> int:
        if count is None or frame_rate is None or count < 0:
            return default
        return min(max(math.ceil(min(count / frame_rate, most)), least), most)

    pre = config.pre_roll_sec
    if pre is None:
        pre = seconds(monitor.pre_event_count, 0, _LONGEST_PRE_ROLL, PRE_ROLL_SEC)
        if config.max_buffer_sec is not None:
            pre = min(pre, config.max_buffer_sec)
    post = config.post_roll_sec
    if post is None:
        post = seconds(monitor.post_event_count, 1, _LONGEST_POST_ROLL, POST_ROLL_SEC)
    section = monitor.section_length if monitor.section_length and monitor.section_length > 0 else MAX_SECS
    return Lengths(
        max_secs=config.segment_max_secs or section,
        pre_roll_sec=pre,
        post_roll_sec=post,
        max_buffer_sec=config.max_buffer_sec or max(MAX_BUFFER_SEC, pre + _BUFFER_BEYOND_PRE_ROLL),
    )


_WINDOW_SEC: Final = 2.0
_HALF_GOP_SEC: Final = 0.5


def lead_of(store: dict[str, Any]) -> float:
    """By how many seconds a clip begins before its trigger: what the recorder keeps besides the pre-roll, back to the keyframe before that,
    of which one a second is the commonest. What it was in truth is known when the clip is saved."""
    return _lead(float(store["cfg"]["pre_roll_sec"]), float(store["cfg"]["max_buffer_sec"]))


def triggered_lead(monitor: Monitor, config: PipelineConfig) -> float:
    """As `lead_of`, of the monitor's triggered clips, be it that it records none by now."""
    length = lengths(monitor, config)
    return _lead(length.pre_roll_sec, length.max_buffer_sec)


def _lead(pre_roll_sec: float, max_buffer_sec: float) -> float:
    return min(max_buffer_sec, pre_roll_sec + _WINDOW_SEC + _HALF_GOP_SEC)


def store_node(monitor: Monitor, mode: Mode, config: PipelineConfig) -> dict[str, Any]:
    """The recorder of stream 0. Raises `Unfit` where the monitor's storage has no place to write to."""
    root = monitor.storage.path
    if not root.startswith("/") or "\0" in root:
        raise Unfit(f"its storage (id {monitor.storage.id}) has no absolute path")
    length = lengths(monitor, config)
    cfg: dict[str, Any] = {"mode": mode}
    if mode in ("continuous", "both"):
        cfg["max_secs"] = length.max_secs
    if mode in ("event", "both"):
        cfg["pre_roll_sec"] = length.pre_roll_sec
        cfg["post_roll_sec"] = length.post_roll_sec
        cfg["max_buffer_sec"] = length.max_buffer_sec
        cfg["trigger_types"] = list(config.trigger_types)
    cfg |= {"root": root, "monitor_id": monitor.id, "stream_filter": [0]}
    return {"id": "record", "kind": "store", "cfg": cfg, "queue_depth": _QUEUE_DEPTH}
