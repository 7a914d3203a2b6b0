"""A monitor, the config and perhaps a stored graph into the document of one worker, or the reason why it can't have one."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import attrs

from zmtwist.config import MonitorOverride, PipelineConfig
from zmtwist.pipeline.capture import MAIN_STREAM, Capture, capture
from zmtwist.pipeline.document import Document, Refusal, Unfit, dump
from zmtwist.pipeline.graph import (
    DETECTORS,
    GraphError,
    GraphText,
    Node,
    can_trigger,
    detect_size,
    fit,
    parse_graph,
    secrets,
    streams,
    walk,
)
from zmtwist.pipeline.mode import mode_of
from zmtwist.pipeline.monitor import Monitor
from zmtwist.pipeline.mqtt import Broker, mqtt_node, parse_broker
from zmtwist.pipeline.privacy import is_private, masked_tree
from zmtwist.pipeline.recorder import store_node
from zmtwist.pipeline.zones import parse_zones
from zmtwist.redact import Redactor, mask

DETECTOR = "decode_detect"
"""The default detector's kind."""


@attrs.frozen
class Inference:
    """The shared `zm-infer` that detect nodes send their pictures to."""

    endpoint: str
    gpu_id: int = 0


def compose(
    monitor: Monitor,
    config: PipelineConfig,
    override: MonitorOverride | None = None,
    *,
    graph: GraphText | None = None,
    inference: Inference | None = None,
    plugins: Collection[str] | None = None,
) -> Document | Refusal:
    """The document that `monitor` should run on. The same arguments always give the same text.

    `graph` is a stored graph from a file; without one the table's is used, `monitor.graph_json`. A graph that can't be used gives way to
    the default with a warning that says why. `plugins` are the kinds that the worker has, None where nobody knows.
    """
    try:
        return _Composer(monitor, config, override, graph, inference, plugins).document()
    except Unfit as unfit:
        return Refusal(monitor.id, mask(f"stays with the legacy daemon: {unfit}"))


@attrs.frozen
class _Composer:
    """One composition: its inputs, and the warnings that come up on the way."""

    monitor: Monitor
    config: PipelineConfig
    override: MonitorOverride | None
    graph: GraphText | None
    inference: Inference | None
    plugins: Collection[str] | None
    warnings: list[str] = attrs.field(factory=list, init=False)

    def document(self) -> Document:
        monitor, config = self.monitor, self.config
        mode = mode_of(monitor, self.override)
        store = None if mode == "none" else store_node(monitor, mode, config)
        areas, unread = parse_zones(monitor)
        self.warnings.extend(unread)
        private = is_private(monitor)
        source = capture(monitor, config, second=False)
        stored = self._stored(source, private)
        detects = config.detect and (self.plugins is None or DETECTOR in self.plugins)
        if not private and (detects if stored is None else 1 in streams(stored)):
            source = capture(monitor, config, second=True)
        self.warnings.extend(source.warnings)

        children: list[Node]
        if private:
            children = masked_tree(monitor, areas, config, store)
            if config.detect and config.model_path is None:
                self.warnings.append("nothing is detected: behind a privacy mask that needs a model_path")
        else:
            children = [self._detector(source)] if detects else []
            if stored is not None:
                children = fit(stored, monitor, areas)
            elif config.detect and not detects:
                # A worker that is asked for a plugin which it has not got records nothing either.
                self.warnings.append(f"detect is on, but the worker has no plugin {DETECTOR}: nothing is detected")
            if store is not None:
                children.append(store)
        broker = parse_broker(config.mqtt_url) if config.mqtt_url is not None else None
        if broker is not None:
            children.append(mqtt_node(broker, monitor.id))
        shares = self._share(children)
        self._warn(mode, children, source)

        root = {**source.node, "children": children}
        return Document(
            monitor_id=monitor.id,
            text=dump({"name": f"monitor_{monitor.id}", "root": True, "plugins": [root]}),
            mode=mode,
            store_root=None if store is None else store["cfg"]["root"],
            camera=source.address,
            pre_roll_sec=store["cfg"]["pre_roll_sec"] if store is not None and mode == "event" else 0,
            detect_size=detect_size(children, monitor) if source.detect_stream == MAIN_STREAM else None,
            shares_inference=shares,
            private=private,
            warnings=tuple(map(mask, self.warnings)),
            secrets=tuple(dict.fromkeys((*source.secrets, *_of_broker(broker), *secrets(stored or [])))),
        )

    def _stored(self, source: Capture, private: bool) -> list[Node] | None:
        """The stored graph, if there is one that can be used."""
        graph = self.graph
        if graph is None and self.monitor.graph_json is not None:
            graph = GraphText("monitor_pipeline", self.monitor.graph_json)
        if graph is None:
            return None
        redactor = Redactor(source.secrets)

        def tells(text: str) -> bool:
            lower = text.lower()
            return (
                "rtsp://" in lower
                or "rtsps://" in lower
                or redactor.replace(text) != text
                or any(url.lower() in lower for url in source.camera_urls)
            )

        problem = graph.problem
        if problem is None and private:
            problem = "it would see the picture before it is masked, and the monitor has a Privacy zone"
        if problem is None:
            try:
                return parse_graph(graph.text, extra_kinds=self.config.extra_kinds, tells=tells)
            except GraphError as error:
                problem = str(error)
        self.warnings.append(f"the stored graph ({graph.where}) is not used: {problem}")
        return None

    def _detector(self, source: Capture) -> Node:
        """The default detector. Without a model the worker is asked all the same, and the operator told."""
        cfg: dict[str, Any] = {}
        if self.config.model_path is None:
            self.warnings.append("detect is on, but no model_path is set: the worker may detect nothing")
        else:
            cfg["model_path"] = self.config.model_path
        cfg |= {
            "input_size": self.config.detect_input_size,
            "conf_threshold": self.config.detect_conf_threshold,
            "hw": self.config.detect_hw,
            "stream_filter": [source.detect_stream],
        }
        return {"id": "detect", "kind": DETECTOR, "cfg": cfg, "queue_depth": 4}

    def _share(self, children: list[Node]) -> bool:
        """Have the detectors use the shared inference, where there is one; whether any does."""
        detectors = [node for node in walk(children) if node["kind"] in DETECTORS]
        if self.inference is None:
            return False
        for node in detectors:
            node["cfg"] |= {"infer_endpoint": self.inference.endpoint, "gpu_id": self.inference.gpu_id}
        return bool(detectors)

    def _warn(self, mode: str, children: list[Node], source: Capture) -> None:
        if mode == "event" and not can_trigger(children, self.config.trigger_types):
            self.warnings.append("nothing in its pipeline can trigger a clip, so nothing will be recorded")
        publishers = [node["kind"] for node in walk(children) if node["kind"] in ("output_mqtt", "output_webhook")]
        if source.credentials and publishers:
            self.warnings.append(f"the worker sends the camera's URL, with its credentials, through {publishers[0]}")


def _of_broker(broker: Broker | None) -> tuple[str, ...]:
    return (broker.password, f"{broker.username}:{broker.password}") if broker is not None and broker.password else ()
