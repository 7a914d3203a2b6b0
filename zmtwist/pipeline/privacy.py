"""Privacy zones, failing closed: the picture is decoded, masked and encoded again, and nothing else ever sees it.

The worker's `privacy_mask` lets frames of another size than it was told pass unmasked, so the decoder is made to scale to the size that
the zones were drawn on, whatever the camera sends.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from zmtwist.config.model import PipelineConfig
from zmtwist.pipeline.detection import encoder, missing
from zmtwist.pipeline.document import Unfit
from zmtwist.pipeline.geometry import known_size
from zmtwist.pipeline.graph import Node
from zmtwist.pipeline.monitor import Monitor
from zmtwist.pipeline.zones import Area


def is_private(monitor: Monitor) -> bool:
    """Whether any part of the picture must not be seen, be its zone readable or not."""
    return any(zone.type.strip().lower() == "privacy" for zone in monitor.zones)


def masked_tree(
    monitor: Monitor,
    areas: Sequence[Area],
    config: PipelineConfig,
    store: Node | None,
    looking: list[Node],
    plugins: Collection[str] | None,
) -> list[Node]:
    """What goes under capture for a monitor with Privacy zones, `store` recording what was encoded again; nothing where nothing would
    look at the picture. `looking` is what detects: behind the mask, unless it decodes a small picture of its own and blacks the zones out
    of that. Raises `Unfit` where the picture can't be masked as drawn.
    """
    beside = [node for node in looking if node["kind"] == "decode_ffmpeg"]
    behind = [node for node in looking if node not in beside]
    if store is None and not looking:
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
    if store is not None:
        behind.append(encoder(monitor, store))
    if not behind:
        return beside
    regions = [[list(corner) for corner in zone.pixels(size, monitor.orientation)] for zone in masks]
    cfg = {"mode": "black", "frame_width": size[0], "frame_height": size[1], "regions": regions}
    mask = {"id": "privacy", "kind": "privacy_mask", "cfg": cfg, "queue_depth": 8, "children": behind}
    decode = {"output_format": "rgb24", "scale": f"{size[0]}x{size[1]}", "stream_filter": [0]}
    tree = [{"id": "decode", "kind": "decode_ffmpeg", "cfg": decode, "queue_depth": 8, "children": [mask]}]
    if absent := missing(tree, plugins):
        raise Unfit(f"it has a Privacy zone, and the worker has no plugin {absent[0]} to mask it with")
    return [*tree, *beside]
