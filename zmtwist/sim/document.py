"""The pipeline document as the worker reads it: which input, which stages that speak, which recorder (doc/reference/worker.md, Plugins)."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

KINDS = {
    "hello", "overlay", "capture_file", "capture_rtsp_multi", "decode_ffmpeg", "decode_detect", "encode_ffmpeg", "motion_gate", "zones",
    "motion_pixel_diff", "privacy_mask", "detect_onnx", "detect_openvocab", "detect_pose", "detect_seg",
    "recognize_face", "lpr", "audio_detect", "tracker", "analytics_rules", "describe_vlm", "alert_policy",
    "output_mqtt", "output_webhook", "store", "store_snapshot", "review_export", "llm_event_review",
}  # fmt: skip
"""Every plugin that the published worker brings."""

DEFAULT_TRIGGERS = ("detection", "motion", "audio_event", "tracked_detection")


class NotLoadable(Exception):
    """There is no document, or it is no JSON, or it holds no plugins (exit status 3)."""


class UnknownPlugin(Exception):
    """A plugin can't be loaded (exit status 4)."""


class FileInput(msgspec.Struct, frozen=True):
    """`capture_file`: what `path` names is a synthetic camera if it exists or begins with `sim:`."""

    path: str
    stream_id: int = 0
    loop: bool = True

    @property
    def opens(self) -> bool:
        """Whether the input can be opened."""
        return self.path.startswith("sim:") or Path(self.path).is_file()


class RtspStream(msgspec.Struct, frozen=True):
    """One stream of `capture_rtsp_multi`, as its scanner read it."""

    url: str
    stream_id: int = 0

    @property
    def connects(self) -> bool:
        """Whether this is an address at all; what the scanner has cut or left escaped is not."""
        return self.url.startswith(("rtsp://", "rtsps://")) and bool(self._host) and not set(self.url) & set('\\"{} ')

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self._host.partition(":")
        return host, int(port) if port.isdecimal() else 554

    @property
    def _host(self) -> str:
        return self.url.partition("://")[2].partition("/")[0].rpartition("@")[2]


class Stage(msgspec.Struct, frozen=True):
    """A node that publishes what it sees, on the streams that reach it (empty: on all)."""

    kind: str
    streams: tuple[int, ...] = ()

    def sees(self, stream_id: int) -> bool:
        """Whether this capture stream reaches it."""
        return not self.streams or stream_id in self.streams


class Store(msgspec.Struct, frozen=True):
    """The recorder's configuration; durations in seconds."""

    root: str
    monitor_id: int
    mode: Literal["continuous", "event", "both"] = "continuous"
    stream_filter: tuple[int, ...] = ()
    max_secs: float = 300.0
    pre_roll_sec: float = 5.0
    post_roll_sec: float = 10.0
    max_buffer_sec: float = 15.0
    trigger_types: tuple[str, ...] = ()

    def takes(self, stream_id: int) -> bool:
        """Whether it records this capture stream, and heeds what is seen on it."""
        return not self.stream_filter or stream_id in self.stream_filter

    @property
    def longest_us(self) -> float:
        """The most that is kept for the next clip, in microseconds."""
        return 1_000_000 * (self.max_buffer_sec if self.max_buffer_sec >= self.pre_roll_sec else self.pre_roll_sec + 2)

    @property
    def window_us(self) -> float:
        """How old the keyframe has to be with which a clip begins, in microseconds."""
        return max(min(self.pre_roll_sec * 1_000_000 + 2_000_000, self.longest_us), 1_000_000)


class Pipeline(msgspec.Struct, frozen=True):
    """What of a document matters to the simulator."""

    name: str
    source: FileInput | tuple[RtspStream, ...] | None
    stages: tuple[Stage, ...]
    store: Store | None


def plugins_in(directory: Path) -> frozenset[str]:
    """The kinds that a worker in this directory has, `plugins/<kind>/<kind>.so`; all that there are where it has no such folder."""
    folder = directory / "plugins"
    if not folder.is_dir():
        return frozenset(KINDS)
    return frozenset(file.stem for file in folder.glob("*/*.so") if file.stem == file.parent.name)


def load(path: str, monitor_id: int, kinds: Collection[str] = KINDS) -> Pipeline:
    """Read and understand the document at `path`. Raises `NotLoadable`, or `UnknownPlugin` for a node of none of these `kinds`."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise NotLoadable(f"Cannot open file: {path} ({error.strerror})") from None
    return understand(data, monitor_id, kinds)


def understand(data: bytes, monitor_id: int, kinds: Collection[str] = KINDS) -> Pipeline:
    """The pipeline that `data` describes. Raises `NotLoadable`, or `UnknownPlugin` for a node of none of these `kinds`."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NotLoadable(f"Exception parsing JSON: {error}") from None
    plugins = document.get("plugins") if isinstance(document, dict) else None
    if not isinstance(plugins, list) or not plugins:
        raise NotLoadable("no plugins")
    nodes = list(_walk(plugins))
    for kind, _, _ in nodes:
        if kind not in kinds:
            file = f"plugins/{kind}/{kind}.so"
            raise UnknownPlugin(f"{file}: {file}: cannot open shared object file: No such file or directory")
    try:
        return Pipeline(
            name=str(document.get("name", f"monitor_{monitor_id}")),
            source=next((source for kind, cfg, _ in nodes if (source := _source(kind, cfg)) is not None), None),
            stages=tuple(Stage(kind, streams) for kind, _, streams in nodes),
            store=next((_store(cfg, monitor_id) for kind, cfg, _ in nodes if kind == "store"), None),
        )
    except (msgspec.ValidationError, ValueError) as error:
        raise NotLoadable(str(error)) from None


def _walk(nodes: list[Any], streams: tuple[int, ...] = ()) -> Iterator[tuple[str, dict[str, Any], tuple[int, ...]]]:
    """Kind, configuration and streams of every node of the tree, parents first. A node without a filter sees what its parent passes on."""
    for node in nodes:
        if not isinstance(node, dict):
            raise NotLoadable(f"a plugin must be an object, got {type(node).__name__}")
        cfg = node.get("config", node.get("cfg", {}))
        children = node.get("children", [])
        if not isinstance(cfg, dict) or not isinstance(children, list):
            raise NotLoadable(f"plugin {node.get('id')!r}: cfg must be an object, children an array")
        wanted = cfg.get("stream_filter")
        wanted = [wanted] if isinstance(wanted, int) else wanted if isinstance(wanted, list) else []
        seen = tuple(number for number in wanted if isinstance(number, int)) or streams
        yield str(node.get("kind", "")), cfg, seen
        yield from _walk(children, seen)


def _source(kind: str, cfg: dict[str, Any]) -> FileInput | tuple[RtspStream, ...] | None:
    if kind == "capture_file":
        return msgspec.convert(cfg, FileInput)
    if kind == "capture_rtsp_multi":
        return scan_streams(json.dumps(cfg, ensure_ascii=False, separators=(",", ":")))
    return None


def _store(cfg: dict[str, Any], monitor_id: int) -> Store:
    return msgspec.convert({"monitor_id": monitor_id, **cfg}, Store)


def scan_streams(text: str) -> tuple[RtspStream, ...]:
    """The `streams` of a capture_rtsp_multi configuration, read as the worker's plain-text scanner reads them.

    It knows no escapes, and a stream ends at the first `}`. So a backslash stays in the value, a quote ends it wherever it stands, and a
    brace cuts the object: a value that holds any of them comes out wrong, or not at all, instead of raising an error.
    """
    streams: list[RtspStream] = []
    begin = text.find('"streams"')
    while begin >= 0 and (begin := text.find("{", begin)) >= 0:
        end = text.find("}", begin)
        if end < 0:
            break
        entry = text[begin:end]
        url = _scan_value(entry, "url")
        number = _scan_value(entry, "stream_id")
        if url:
            streams.append(RtspStream(url, int(number) if number.isdecimal() else len(streams)))
        begin = end
    return tuple(streams)


def _scan_value(entry: str, key: str) -> str:
    """The value after `"key":` up to the next quote (a string) or comma; empty where there is none, or no closing quote."""
    at = entry.find(f'"{key}"')
    if at < 0:
        return ""
    value = entry[at + len(key) + 2 :].lstrip(" :")
    if not value.startswith('"'):
        return value.partition(",")[0].strip()
    value, quote, _ = value[1:].partition('"')
    return value if quote else ""
