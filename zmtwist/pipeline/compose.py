"""A monitor, the config and perhaps a stored graph into the document of one worker, or the reason why it can't have one."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import attrs

from zmtwist.config.model import Mode, MonitorOverride, PipelineConfig
from zmtwist.config.mqtt_url import WorkerBroker, worker_broker_of
from zmtwist.pipeline.capture import MAIN_STREAM, Capture, capture
from zmtwist.pipeline.detection import Detector, choose, following, leaves_out, missing, nodes
from zmtwist.pipeline.document import Document, Refusal, Unfit, dump
from zmtwist.pipeline.graph import (
    DETECTORS,
    GraphError,
    GraphText,
    Node,
    can_trigger,
    detect_size,
    fit,
    motion_cells,
    parse_graph,
    secrets,
    streams,
    walk,
)
from zmtwist.pipeline.mode import mode_of
from zmtwist.pipeline.monitor import Monitor
from zmtwist.pipeline.mqtt_node import mqtt_node
from zmtwist.pipeline.privacy import is_private, masked_tree
from zmtwist.pipeline.store_node import lead_of, store_node
from zmtwist.pipeline.zones import Area, including, parse_zones
from zmtwist.untrusted.redact import Redactor, mask

MOST_CORNERS = 200
"""Of a monitor's zones together: what they leave out is reckoned in a time that grows with the square of this."""

_BY_OBJECTS = frozenset({"detection", "tracked_detection"})


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
    the default with a warning that says why. `plugins` are the kinds that the worker has, None where nobody knows: then it is taken to have
    every one. What can't be run with them is refused: the camera is better left with zmc than taken and not recorded.
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
        source = capture(monitor, config)
        self.warnings.extend(source.warnings)
        stored = self._stored(source, private)
        children = self._looking(mode, areas, store, private) if stored is None else fit(stored, monitor, areas)
        if store is not None and not private:
            children.append(store)
        if store is not None and mode == "event" and not can_trigger(children, store["cfg"]["trigger_types"]):
            reason = "; ".join(self.warnings)
            raise Unfit(f"nothing in its pipeline can trigger a clip{f' ({reason})' if reason else ''}")
        broker = worker_broker_of(config.mqtt_url) if config.mqtt_url is not None else None
        if broker is not None:
            node = mqtt_node(broker, monitor.id)
            if missing([node], self.plugins):
                self.warnings.append(f"its worker publishes nothing by MQTT: it has no plugin {node['kind']}")
            else:
                children.append(node)
        shares = self._share(children)
        publishers = [node["kind"] for node in walk(children) if node["kind"] in ("output_mqtt", "output_webhook")]
        if source.credentials and publishers:
            self.warnings.append(f"the worker sends the camera's URL, with its credentials, through {publishers[0]}")

        root = {**source.node, "children": children}
        if absent := missing([root], self.plugins):
            raise Unfit(f"the worker has no plugin {absent[0]}")
        return Document(
            monitor_id=monitor.id,
            text=dump({"name": f"monitor_{monitor.id}", "root": True, "plugins": [root]}),
            mode=mode,
            store_root=None if store is None else store["cfg"]["root"],
            camera=source.address,
            lead_sec=lead_of(store) if store is not None and mode == "event" else 0.0,
            detect_size=detect_size(children, monitor),
            motion_cells=motion_cells(children),
            shares_inference=shares,
            private=private,
            warnings=tuple(map(mask, self.warnings)),
            secrets=tuple(dict.fromkeys((*source.secrets, *_of_broker(broker), *secrets(stored or [])))),
        )

    def _looking(self, mode: Mode, areas: Sequence[Area], store: Node | None, private: bool) -> list[Node]:
        """What looks at the picture where no graph is stored; with a privacy mask in front of the recorder, that too."""
        monitor, config = self.monitor, self.config
        if sum(len(zone.points) for zone in areas) > MOST_CORNERS:
            self.warnings.append(f"its zones have more than {MOST_CORNERS} corners together: the whole picture counts")
            areas = [zone for zone in areas if zone.type == "Privacy"]
        override = self.override.detector if self.override is not None else None
        detector, problem = choose(
            config, override or config.detector, self.plugins, masked=leaves_out(areas), private=private
        )
        analysed = mode in ("event", "both") or (monitor.analysing or "None").lower() == "always"
        if not analysed and override is None and detector != "fused":
            # ZoneMinder does not look at its picture either: one that nothing else decodes is not decoded for it.
            detector, problem = None, None
        if problem is not None:
            self.warnings.append(problem)
        if detector is not None:
            self._tell_of_zones(detector, areas, store)
        tree = [] if detector is None else nodes(detector, monitor, areas, config, private=private)
        if store is not None and detector is not None and detector != "motion":
            self._trigger_by_objects(tree, areas, detector, store["cfg"])
        return masked_tree(monitor, areas, config, store, tree, self.plugins) if private else tree

    def _tell_of_zones(self, detector: Detector, areas: Sequence[Area], store: Node | None) -> None:
        """What the zones ask for and the worker can't do: one sentence for each."""
        if detector == "motion":
            for zone in areas:
                if zone.type == "Preclusive":
                    self.warnings.append(
                        f'zone "{zone.name}" is Preclusive: motion in it is not looked at, and stops no other'
                    )
        elif store is not None and including(areas) and leaves_out(areas) and not self._follows():
            name = including(areas)[0].name
            self.warnings.append(
                f'zone "{name}" decides which frames are alarms, not what is recorded: the worker lacks tracker or analytics_rules'
            )

    def _follows(self) -> bool:
        return self.plugins is not None and {"tracker", "analytics_rules"} <= set(self.plugins)

    def _trigger_by_objects(self, tree: list[Node], areas: Sequence[Area], detector: Detector, cfg: Node) -> None:
        """Have clips begin by objects: within the zones where they restrict that, and never by the motion that wakes a detector."""
        triggers = cfg.get("trigger_types", [])
        if detector == "onnx":
            triggers = [kind for kind in triggers if kind != "motion"]
        if including(areas) and leaves_out(areas) and self._follows() and set(triggers) & _BY_OBJECTS:
            tree.append(following(self.monitor, areas, detector, cfg["post_roll_sec"]))
            triggers = [kind for kind in triggers if kind not in _BY_OBJECTS] + ["analytics"]
        if "trigger_types" in cfg:
            cfg["trigger_types"] = triggers

    def _stored(self, source: Capture, private: bool) -> list[Node] | None:
        """The stored graph, if there is one that can be used."""
        graph, in_table = self.graph, self.monitor.graph_json
        if graph is None and in_table is not None:
            graph = GraphText("monitor_pipeline", in_table)
        elif graph is not None and in_table is not None:
            graph = attrs.evolve(graph, instead_of=(*graph.instead_of, "monitor_pipeline"))
        if graph is None:
            return None
        for where in graph.instead_of:
            self.warnings.append(f"the stored graph ({where}) is not used: {graph.where} comes first")
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
                tree = parse_graph(graph.text, extra_kinds=self.config.extra_kinds, tells=tells)
            except GraphError as error:
                problem = str(error)
            else:
                if absent := missing(tree, self.plugins):
                    problem = f"the worker has no plugin {absent[0]}"
                elif streams(tree) - {MAIN_STREAM}:
                    problem = "it asks for a second stream, which the worker can't tell from the main one"
                else:
                    return tree
        self.warnings.append(f"the stored graph ({graph.where}) is not used: {problem}")
        return None

    def _share(self, children: list[Node]) -> bool:
        """Have the detectors use the shared inference, where there is one; whether any does."""
        detectors = [node for node in walk(children) if node["kind"] in DETECTORS]
        if self.inference is None:
            return False
        for node in detectors:
            node["cfg"] |= {"infer_endpoint": self.inference.endpoint, "gpu_id": self.inference.gpu_id}
        return bool(detectors)


def _of_broker(broker: WorkerBroker | None) -> tuple[str, ...]:
    return (broker.password, f"{broker.username}:{broker.password}") if broker is not None and broker.password else ()
