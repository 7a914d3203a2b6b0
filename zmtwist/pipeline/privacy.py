"""Privacy zones, failing closed: the picture is decoded, masked and encoded again, and nothing else ever sees it.

The worker's `privacy_mask` lets frames of another size than it was told pass unmasked, so the decoder is made to scale to the size that
the zones were drawn on, whatever the camera sends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zmtwist.config import PipelineConfig
from zmtwist.pipeline.document import Unfit
from zmtwist.pipeline.geometry import known_size
from zmtwist.pipeline.monitor import Monitor
from zmtwist.pipeline.zones import Area

_ONNX_PROVIDERS = {"cuda": "cuda", "metal": "coreml"}


def is_private(monitor: Monitor) -> bool:
    """Whether any part of the picture must not be seen, be its zone readable or not."""
    return any(zone.type.strip().lower() == "privacy" for zone in monitor.zones)


def masked_tree(
    monitor: Monitor, areas: Sequence[Area], config: PipelineConfig, store: dict[str, Any] | None
) -> list[dict[str, Any]]:
    """What goes under capture for a monitor with Privacy zones, `store` recording what was encoded again; nothing where nothing would
    look at the picture. Raises `Unfit` where the picture can't be masked as drawn."""
    detect = config.detect and config.model_path is not None
    if store is None and not detect:
        return []
    if not config.transcode:
        raise Unfit(
            "it has a Privacy zone, which needs the recording to be encoded again, and transcode = false forbids that"
        )
    size = (monitor.width, monitor.height)
    if not known_size(size):
        raise Unfit("it has a Privacy zone, and its Width and Height are not known")
    masks = [zone for zone in areas if zone.type == "Privacy"]
    if len(masks) != sum(zone.type.strip().lower() == "privacy" for zone in monitor.zones):
        raise Unfit("it has a Privacy zone that can't be read")
    frame = {"frame_width": size[0], "frame_height": size[1]}
    behind: list[dict[str, Any]] = []
    if detect:
        behind.append(_detector(config, frame))
    if store is not None:
        encode = {"codec": "h264", **frame}
        behind.append({"id": "encode", "kind": "encode_ffmpeg", "cfg": encode, "queue_depth": 8, "children": [store]})
    regions = [[list(corner) for corner in zone.pixels(size, monitor.orientation)] for zone in masks]
    mask = {"mode": "black", **frame, "regions": regions}
    decode = {"output_format": "rgb24", "scale": f"{size[0]}x{size[1]}", "stream_filter": [0]}
    return [
        {
            "id": "decode",
            "kind": "decode_ffmpeg",
            "cfg": decode,
            "queue_depth": 8,
            "children": [{"id": "privacy", "kind": "privacy_mask", "cfg": mask, "queue_depth": 8, "children": behind}],
        }
    ]


def _detector(config: PipelineConfig, frame: dict[str, int]) -> dict[str, Any]:
    """The detector for frames that are decoded already."""
    cfg: dict[str, Any] = {
        "model_path": config.model_path,
        "input_size": config.detect_input_size,
        "conf_threshold": config.detect_conf_threshold,
        **frame,
    }
    if config.detect_hw in _ONNX_PROVIDERS:
        cfg["ep"] = _ONNX_PROVIDERS[config.detect_hw]
    return {"id": "detect", "kind": "detect_onnx", "cfg": cfg, "queue_depth": 4}
