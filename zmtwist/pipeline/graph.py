"""Stored graphs: what an operator puts under capture in place of the default detector. Checked before use, and fitted to the monitor."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import attrs

from zmtwist.pipeline.geometry import known_size
from zmtwist.pipeline.monitor import Monitor
from zmtwist.pipeline.zones import Area, intrusion_rules, zone_rows

DETECTORS: Final = frozenset({"decode_detect", "detect_onnx", "detect_openvocab", "detect_pose", "detect_seg"})

# The events that a kind of node publishes and the recorder can be triggered by; None for those that publish nothing of the sort.
_PUBLISHES: Final[dict[str, str | None]] = {
    **dict.fromkeys(("decode_detect", "detect_onnx", "detect_openvocab"), "detection"),
    **dict.fromkeys(("motion_gate", "motion_pixel_diff", "motion_hybrid"), "motion"),
    "detect_pose": "pose",
    "detect_seg": "segmentation",
    "recognize_face": "face",
    "lpr": "lpr",
    "audio_detect": "audio_event",
    "tracker": "tracked_detection",
    "analytics_rules": "analytics",
    "alert_policy": "alert",
    "describe_vlm": "description",
    "llm_event_review": "reasoning",
    **dict.fromkeys(
        (
            "decode_ffmpeg",
            "encode_ffmpeg",
            "hello",
            "overlay",
            "zones",
            "privacy_mask",
            "output_mqtt",
            "output_webhook",
            "output_webrtc",
            "output_mse",
            "store",
            "store_snapshot",
            "review_export",
        )
    ),
}

_OURS: Final = frozenset({"store", "store_filesystem", "store_event"})
KINDS: Final = frozenset(_PUBLISHES) - _OURS
_IDS_OF_OURS: Final = frozenset({"capture", "record", "mqtt"})
_KEYS: Final = frozenset({"id", "kind", "cfg", "config", "children", "queue_depth", "stream_filter"})
_SIZED: Final = frozenset(
    {"motion_gate", "zones", "motion_pixel_diff", "privacy_mask", "encode_ffmpeg", "store_snapshot", "describe_vlm"}
    | {"detect_onnx", "detect_openvocab", "detect_pose", "detect_seg", "recognize_face", "lpr"}
)
_SECRET_KEYS: Final = frozenset({"password", "auth_header", "api_key", "token"})

_LONGEST_TEXT: Final = 65_536
_MOST_NODES: Final = 64
_DEEPEST: Final = 8
_DEEPEST_CFG: Final = 32

Node = dict[str, Any]


@attrs.frozen
class GraphText:
    """A stored graph as found: `where` for the operator; `problem` where it is known of but could not be read.

    `instead_of`: where there are others of the same monitor, which give way to this one.
    """

    where: str
    text: str = attrs.field(default="", repr=False)
    problem: str | None = None
    instead_of: tuple[str, ...] = ()


class GraphError(Exception):
    """A graph that can't be used: the message begins with the JSON path and quotes no value but kinds and ids."""


@attrs.frozen
class _Check:
    """What a graph is held to. `tells` says whether a string tells something of the camera that must not be stored in a graph."""

    kinds: frozenset[str]
    tells: Callable[[str], bool]
    ids: set[str] = attrs.field(factory=set)

    def nodes(self, value: Any, path: str, depth: int) -> list[Node]:
        if not isinstance(value, list):
            raise GraphError(f"{path}: must be a list of nodes")
        if depth > _DEEPEST:
            raise GraphError(f"{path}: nested more than {_DEEPEST} deep")
        return [self.node(node, f"{path}[{index}]", depth) for index, node in enumerate(value)]

    def node(self, value: Any, path: str, depth: int) -> Node:
        if not isinstance(value, dict):
            raise GraphError(f"{path}: must be an object")
        for key in value:
            if key not in _KEYS:
                raise GraphError(f"{path}: has a key that no node has; known are {', '.join(sorted(_KEYS))}")
        kind = self.kind(value.get("kind"), f"{path}.kind")
        node: Node = {"id": self.id(value.get("id"), f"{path}.id"), "kind": kind}
        if "cfg" in value and "config" in value:
            raise GraphError(f"{path}: has both cfg and config")
        cfg = value.get("cfg", value.get("config", {}))
        if not isinstance(cfg, dict):
            raise GraphError(f"{path}.cfg: must be an object")
        self.strings(cfg, f"{path}.cfg", 0)
        node["cfg"] = cfg
        if "queue_depth" in value:
            node["queue_depth"] = _whole(value["queue_depth"], f"{path}.queue_depth", 1, 1000)
        if "stream_filter" in value:
            node["stream_filter"] = [_whole(number, f"{path}.stream_filter", 0, 63) for number in _list(value, path)]
        node["children"] = self.nodes(value.get("children", []), f"{path}.children", depth + 1)
        return node

    def kind(self, value: Any, path: str) -> str:
        if not isinstance(value, str):
            raise GraphError(f"{path}: must be a string")
        if value.startswith("capture_") or value in _OURS:
            raise GraphError(f'{path}: "{value}" is made from the monitor and has no place in a graph')
        if value not in self.kinds:
            near = difflib.get_close_matches(value[:64], sorted(self.kinds), n=1)
            hint = (
                f'did you mean "{near[0]}"?' if near else "add it to [zmnext.pipeline] extra_kinds if the worker has it"
            )
            raise GraphError(f"{path}: unknown kind; {hint}")
        return value

    def id(self, value: Any, path: str) -> str:
        if value is None:
            value = f"node{len(self.ids) + 1}"
        if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", value):
            raise GraphError(f"{path}: must be 1 to 64 letters, digits, dots, dashes or underscores")
        if value in self.ids or value in _IDS_OF_OURS:
            raise GraphError(f'{path}: "{value}" is taken')
        if len(self.ids) == _MOST_NODES:
            raise GraphError(f"{path}: more than {_MOST_NODES} nodes")
        self.ids.add(value)
        return value

    def strings(self, value: Any, path: str, depth: int) -> None:
        if depth > _DEEPEST_CFG:
            raise GraphError(f"{path}: nested too deeply")
        if isinstance(value, dict):
            for key, inner in value.items():
                self.strings(key, path, depth)
                self.strings(inner, f"{path}.{key[:64]}", depth + 1)
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                self.strings(inner, f"{path}[{index}]", depth + 1)
        elif isinstance(value, float) and not math.isfinite(value):
            raise GraphError(f"{path}: is too large a number")
        elif isinstance(value, str) and self.tells(value):
            raise GraphError(f"{path}: holds a URL or a credential of the camera, which are the monitor's to give")


def parse_graph(
    text: str, *, extra_kinds: Sequence[str] = (), tells: Callable[[str], bool] = lambda _: False
) -> list[Node]:
    """The nodes of a stored graph, `{"plugins": [...]}`, in one spelling. Raises `GraphError`."""
    if len(text) > _LONGEST_TEXT:
        raise GraphError(f"$: longer than {_LONGEST_TEXT} characters")
    try:
        graph = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise GraphError(f"$: not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except ValueError:
        raise GraphError("$: has a number that JSON does not have") from None
    except RecursionError:
        raise GraphError("$: nested too deeply") from None
    if not isinstance(graph, dict) or set(graph) != {"plugins"}:
        raise GraphError('$: must be {"plugins": [...]} and nothing else')
    return _Check(KINDS.union(extra_kinds), tells).nodes(graph["plugins"], "plugins", 1)


def _no_constant(_name: str) -> None:
    raise ValueError


def _list(node: Node, path: str) -> list[Any]:
    found = node["stream_filter"]
    if not isinstance(found, list):
        raise GraphError(f"{path}.stream_filter: must be a list of stream ids")
    return found


def _whole(value: Any, path: str, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise GraphError(f"{path}: must be a whole number from {least} to {most}")
    return value


def walk(nodes: Sequence[Node]) -> Iterator[Node]:
    """Every node of a tree, parents first."""
    for node in nodes:
        yield node
        yield from walk(node.get("children", ()))


def streams(nodes: Sequence[Node]) -> set[int]:
    """Every stream id that some node asks for."""
    asked: set[int] = set()
    for node in walk(nodes):
        for found in (node.get("stream_filter"), node["cfg"].get("stream_filter")):
            asked.update(number for number in (found if isinstance(found, list) else [found]) if type(number) is int)
    return asked


def can_trigger(nodes: Sequence[Node], trigger_types: Sequence[str]) -> bool:
    """Whether anything in the tree publishes one of `trigger_types`; a kind that we know nothing of may."""
    return any(node["kind"] not in _PUBLISHES or _PUBLISHES[node["kind"]] in trigger_types for node in walk(nodes))


def secrets(nodes: Sequence[Node]) -> Iterator[str]:
    """The credentials of other services in a graph's settings."""
    for node in walk(nodes):
        for key, value in node["cfg"].items():
            if key in _SECRET_KEYS and isinstance(value, str) and value:
                yield value


def fit(nodes: Sequence[Node], monitor: Monitor, areas: Sequence[Area]) -> list[Node]:
    """A copy of the graph with what the monitor knows put where the graph is silent: frame sizes and ids for the stages that need them,
    zones for `zones`, and a rule per including zone for `analytics_rules`.
    `motion_pixel_diff` looks at the whole picture: no zones reach it.
    """
    size = (monitor.width, monitor.height)
    return [_fit(node, monitor, areas, size if known_size(size) else None) for node in nodes]


def _fit(node: Node, monitor: Monitor, areas: Sequence[Area], size: tuple[int, int] | None) -> Node:
    cfg, kind = dict(node["cfg"]), node["kind"]
    if kind == "decode_ffmpeg":
        if cfg.get("output_format") == "grayscale":
            cfg["output_format"] = "gray"  # what is meant; the worker would silently give colour
        size = _scaled(cfg.get("scale", "orig"), size)
    if kind in ("zones", "motion_pixel_diff"):
        cfg.setdefault("monitor_id", monitor.id)
    if size is not None:
        if kind in _SIZED:
            cfg = {"frame_width": size[0], "frame_height": size[1]} | cfg
        if kind == "zones" and areas:
            # The list lies one deeper than one would think; a bare one is not read.
            cfg.setdefault("zones", {"zones": zone_rows(areas, size, monitor.orientation)})
        if kind == "analytics_rules" and areas:
            cfg.setdefault("rules", intrusion_rules(areas, size, monitor.orientation))
    children = [_fit(child, monitor, areas, size) for child in node["children"]]
    return {**node, "cfg": cfg, "children": children}


def detect_size(nodes: Sequence[Node], monitor: Monitor) -> tuple[int, int] | None:
    """The size of the main stream's picture as detectors in the tree get it; None where it is not known, or not one for all."""
    size = (monitor.width, monitor.height)
    decoders = [node["cfg"] for node in walk(nodes) if node["kind"] == "decode_ffmpeg"]
    sizes = {_scaled(cfg.get("scale", "orig"), size) for cfg in decoders} or {size}
    found = sizes.pop() if len(sizes) == 1 else None
    return found if found is not None and known_size(found) else None


def motion_cells(nodes: Sequence[Node]) -> int:
    """How many samples of the picture `motion_gate` compares, of which it says how many have changed; 0 where that is not known."""
    gates = [node["cfg"] for node in walk(nodes) if node["kind"] == "motion_gate"]
    numbers = [(cfg.get("frame_width"), cfg.get("frame_height"), cfg.get("downscale", 4)) for cfg in gates]
    if len(numbers) != 1 or not all(type(number) is int and 0 < number < 65_536 for number in numbers[0]):
        return 0
    width, height, step = map(int, numbers[0])
    return -(-width // step) * -(-height // step)


def _scaled(scale: Any, size: tuple[int, int] | None) -> tuple[int, int] | None:
    """The picture's size behind a decoder with this `scale`; None where that can't be told."""
    if scale == "orig":
        return size
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", scale, re.ASCII) if isinstance(scale, str) else None
    return (int(found[1]), int(found[2])) if found else None
