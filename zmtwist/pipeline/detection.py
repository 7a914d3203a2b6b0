"""How a monitor's picture is looked at: by which of the stages that the worker has, and where in the picture.

Which plugins a worker has differs from host to host: `decode_detect` is built with CUDA or Metal only, `detect_onnx` with ONNX Runtime. On
all others motion is what there is: `motion_gate`, which compares pictures that were scaled down and made grey, and knows no zones, so
that what no zone includes is blacked out before it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, Final, Literal

from zmtwist.config.model import PipelineConfig
from zmtwist.pipeline.geometry import Point, area, known_size, outside, to_camera
from zmtwist.pipeline.graph import Node, walk
from zmtwist.pipeline.monitor import Monitor
from zmtwist.pipeline.zones import Area, including, intrusion_rules

Detector = Literal["fused", "onnx", "motion"]

_NEEDS: Final[dict[Detector, tuple[str, ...]]] = {
    "fused": ("decode_detect",),
    "onnx": ("decode_ffmpeg", "motion_gate", "detect_onnx"),
    "motion": ("decode_ffmpeg", "motion_gate"),
}
"""The plugins of each, in the order in which they are tried."""

MOTION_WIDTH: Final = 320
"""Motion is looked for in a picture of about this width: enough for a person at the far end of a yard, at a few percent of a core."""

DETECT_LONGEST: Final = 1280
"""The longer side of the picture that a detector behind its own decoder gets; the model sees less of it yet."""

PIXEL_THRESHOLD: Final = 25
ALARM_SHARE: Final = 0.03
"""ZoneMinder's defaults for a zone: how much a pixel's brightness must change, and which share of the zone's pixels."""

SWEPT_SHARE: Final = 1 / 8
"""zmc compares with a picture of some seconds ago, so that all that has come into view counts; `motion_gate` with the frame before, where
only the edges of what moves differ: this much of the former, as a rule."""

SLIVER: Final = 0.005
"""Zones that leave out less of the picture than this cover all of it: they were drawn by hand."""

FEWEST_PIXELS: Final = 12
"""Fewer changed pixels than this are noise."""

ENCODED_FPS: Final = 30
_BITS_PER_PIXEL: Final = 0.1
_BIT_RATES: Final = (1_000_000, 16_000_000)


def missing(tree: Sequence[Node], plugins: Collection[str] | None) -> tuple[str, ...]:
    """The kinds in a tree that the worker does not have; none where it is not known what it has."""
    return () if plugins is None else tuple(sorted({node["kind"] for node in walk(tree)} - set(plugins)))


def choose(
    config: PipelineConfig, wish: str, plugins: Collection[str] | None, *, masked: bool, private: bool
) -> tuple[Detector | None, str | None]:
    """The detector that `wish` (`auto` or a name) comes to, None for none, and what the operator should know of that.

    `masked`: zones leave parts of the picture out. `private`: nothing may decode the picture for itself.
    """
    if not config.detect or wish == "none":
        return None, None
    lacks = {name: why for name in _NEEDS if (why := _lack(name, config, plugins, masked=masked, private=private))}
    able = [name for name in _NEEDS if name not in lacks]
    if not able:
        return None, f"nothing can look at its picture: {', '.join(dict.fromkeys(lacks.values()))}"
    if wish in ("auto", *able):
        return next(name for name in able if wish in ("auto", name)), None
    return able[0], f'detector = "{wish}" can\'t be had ({lacks[_named(wish)]}): {able[0]} is used'


def _named(wish: str) -> Detector:
    return next(name for name in _NEEDS if name == wish)


def _lack(
    name: Detector, config: PipelineConfig, plugins: Collection[str] | None, *, masked: bool, private: bool
) -> str | None:
    """What the worker or the configuration lacks for a detector."""
    if name == "fused" and private:
        return "decode_detect sees the picture before it is masked"
    needed = [*_NEEDS[name], *(["privacy_mask"] if masked and name == "motion" else [])]
    if plugins is not None and (absent := [kind for kind in needed if kind not in plugins]):
        return f"the worker has no plugin {absent[0]}"
    # The simulator, of which alone it is not known what it has, detects without a model.
    needs_model = name == "onnx" or (name == "fused" and plugins is not None)
    return "no model_path is set" if needs_model and config.model_path is None else None


def nodes(
    chosen: Detector, monitor: Monitor, areas: Sequence[Area], config: PipelineConfig, *, private: bool = False
) -> list[Node]:
    """What goes under capture for a detector; with `private`, what goes behind the mask."""
    if chosen == "fused":
        return [_fused(config)]
    if chosen == "onnx":
        return [onnx_node(config, (monitor.width, monitor.height))] if private else [_onnx(monitor, config)]
    return [_motion(monitor, areas)]


def _fused(config: PipelineConfig) -> Node:
    cfg: dict[str, Any] = {} if config.model_path is None else {"model_path": config.model_path}
    cfg |= {
        "input_size": config.detect_input_size,
        "conf_threshold": config.detect_conf_threshold,
        "hw": config.detect_hw,
        "roi_motion": True,
        "stream_filter": [0],
    }
    return {"id": "detect", "kind": "decode_detect", "cfg": cfg, "queue_depth": 4}


_ONNX_PROVIDERS = {"cuda": "cuda", "metal": "coreml"}


def onnx_node(config: PipelineConfig, size: tuple[int, int]) -> Node:
    """The detector for pictures of `size` that are decoded already."""
    cfg: dict[str, Any] = {
        "model_path": config.model_path,
        "input_size": config.detect_input_size,
        "conf_threshold": config.detect_conf_threshold,
        **_frame(size),
    }
    if config.detect_hw in _ONNX_PROVIDERS:
        cfg["ep"] = _ONNX_PROVIDERS[config.detect_hw]
    return {"id": "detect", "kind": "detect_onnx", "cfg": cfg, "queue_depth": 4}


def _onnx(monitor: Monitor, config: PipelineConfig) -> Node:
    """Decoded once, looked at by the model only while something moves."""
    size = _scaled(monitor, longest=DETECT_LONGEST)
    gate = {**_frame(size), "gate": True}
    return _decoder(size, "rgb24", _stage("gate", "motion_gate", gate, onnx_node(config, size)))


def _motion(monitor: Monitor, areas: Sequence[Area]) -> Node:
    """Motion in the zones that include, or wherever none excludes it."""
    size = _scaled(monitor, width=MOTION_WIDTH)
    frame = _frame(size)
    included = including(areas)
    gate = _stage("motion", "motion_gate", {**frame, **thresholds(monitor, included, size), "gate": False})
    regions = blacked(areas, size, monitor.orientation)
    if regions:
        gate = _stage("zones", "privacy_mask", {"mode": "black", **frame, "regions": regions}, gate)
    return _decoder(size, "gray", gate)


def leaves_out(areas: Sequence[Area]) -> bool:
    """Whether any part of the picture is in no zone that counts."""
    return bool(_uncovered(areas))


def blacked(areas: Sequence[Area], size: tuple[int, int], orientation: str) -> list[list[list[float]]]:
    """Polygons in pixels of the camera's picture that cover all of it where motion does not count."""
    width, height = size
    regions = []
    for polygon in _uncovered(areas):
        turned = (to_camera(point, orientation) for point in polygon)
        regions.append([[round(x * width, 2), round(y * height, 2)] for x, y in turned])
    return regions


def _uncovered(areas: Sequence[Area]) -> list[tuple[Point, ...]]:
    """What counts nowhere, on the unit square: outside of the zones that include, if there are any; what Preclusive and Privacy cover."""
    included = including(areas)
    found = outside([zone.points for zone in included]) if included else []
    if sum(map(area, found)) < SLIVER:
        found = []
    return [*found, *(zone.points for zone in areas if zone.type in ("Preclusive", "Privacy"))]


def thresholds(monitor: Monitor, included: Sequence[Area], size: tuple[int, int]) -> dict[str, int]:
    """`motion_gate`'s settings out of the zones' own: the most sensitive of them, since there is one gate for all."""
    pixel = min((z.zone.min_pixel_threshold for z in included if z.zone.min_pixel_threshold), default=PIXEL_THRESHOLD)
    pixels = size[0] * size[1]
    shares = [_alarm_share(monitor, zone) * zone.share for zone in included] or [ALARM_SHARE]
    changed = max(FEWEST_PIXELS, round(min(shares) * pixels * SWEPT_SHARE))
    return {"downscale": 1, "pixel_threshold": min(255, max(1, pixel)), "min_changed_pixels": changed}


def _alarm_share(monitor: Monitor, zone: Area) -> float:
    """Which share of the zone must change: MinAlarmPixels is percent of the zone where its Coords are, else pixels of the picture."""
    least = zone.zone.min_alarm_pixels
    if least is None or not math.isfinite(least) or least <= 0:
        return ALARM_SHARE
    if zone.percent and least <= 100:
        return least / 100
    width, height = monitor.width, monitor.height
    if not known_size((width, height)):
        return ALARM_SHARE
    return min(1.0, least / max(1.0, zone.share * width * height))


STAYS_SECONDS: Final = 300
"""For how long the clip of an object that stays in a zone is kept going."""


def following(monitor: Monitor, areas: Sequence[Area], chosen: Detector, post_roll_sec: int) -> Node:
    """What makes objects count only within the zones: each is followed, and rules say when one has come into a zone, and that it stays.

    A rule speaks once of an object; so there is one for each stretch of time after which the recorder would end the clip.
    """
    size = (monitor.width, monitor.height) if chosen == "fused" else _scaled(monitor, longest=DETECT_LONGEST)
    step = max(1, post_roll_sec - 2)
    entered = intrusion_rules(areas, size, monitor.orientation)
    stays = [
        {**rule, "type": "loiter", "seconds": seconds}
        for rule in entered
        for seconds in range(step, STAYS_SECONDS + 1, step)
    ]
    analytics = _stage("rules", "analytics_rules", {"rules": [*entered, *stays]})
    return _stage("track", "tracker", {}, analytics)


def encoder(monitor: Monitor, store: Node) -> Node:
    """The picture encoded again at its full size, for the recorder. Without `fps` the worker's encoder reckons with a million."""
    width, height = monitor.width, monitor.height
    fps = round(monitor.max_fps) if monitor.max_fps and 1 <= monitor.max_fps <= 120 else ENCODED_FPS
    least, most = _BIT_RATES
    bit_rate = min(most, max(least, round(width * height * fps * _BITS_PER_PIXEL)))
    cfg = {"codec": "h264", **_frame((width, height)), "fps": fps, "gop": fps, "bitrate": bit_rate}
    return _stage("encode", "encode_ffmpeg", cfg, store)


def _scaled(monitor: Monitor, *, width: int | None = None, longest: int | None = None) -> tuple[int, int]:
    """The size of a smaller picture of the same shape, in even numbers; 16:9 where the monitor's is not known."""
    size = (monitor.width, monitor.height)
    if not known_size(size):
        size = (1280, 720)
    bound = width / size[0] if width is not None else (longest or max(size)) / max(size)
    share = min(1.0, bound)
    return max(2, 2 * round(size[0] * share / 2)), max(2, 2 * round(size[1] * share / 2))


def _frame(size: tuple[int, int]) -> dict[str, int]:
    return {"frame_width": size[0], "frame_height": size[1]}


def _decoder(size: tuple[int, int], pixels: str, child: Node) -> Node:
    cfg = {"output_format": pixels, "scale": f"{size[0]}x{size[1]}", "stream_filter": [0]}
    return {"id": "look", "kind": "decode_ffmpeg", "cfg": cfg, "queue_depth": 8, "children": [child]}


def _stage(name: str, kind: str, cfg: dict[str, Any], *children: Node) -> Node:
    node: Node = {"id": name, "kind": kind, "cfg": cfg, "queue_depth": 8}
    return {**node, "children": list(children)} if children else node
