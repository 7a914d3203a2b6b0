"""Which detector a worker gets, by the plugins that it has and what the monitor asks for; and where in the picture it looks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from zmtwist.config.model import MonitorOverride, PipelineConfig
from zmtwist.pipeline.compose import compose
from zmtwist.pipeline.document import Document, Refusal
from zmtwist.pipeline.graph import walk
from zmtwist.pipeline.monitor import Monitor, Storage, Zone

MATRIX = Path(__file__).parent.parent / "data" / "documents" / "matrix" / "detectors.json"

CPU = frozenset(
    {
        "alert_policy",
        "analytics_rules",
        "capture_file",
        "capture_rtsp_multi",
        "decode_ffmpeg",
        "describe_vlm",
        "encode_ffmpeg",
    }
    | {"motion_gate", "motion_pixel_diff", "output_mqtt", "output_webhook", "overlay", "privacy_mask", "review_export"}
    | {"hello", "store", "store_snapshot", "tracker", "zones"}
)
"""What the public worker's build has on a host without CUDA, Metal and ONNX Runtime."""

WORKERS = {
    "bare": frozenset({"capture_rtsp_multi", "store"}),
    "motion": CPU,
    "onnx": CPU | {"detect_onnx"},
    "fused": CPU | {"detect_onnx", "decode_detect"},
}
MODES: dict[str, dict[str, Any]] = {
    **{f"Function {name}": {"function": name} for name in ("Monitor", "Modect", "Record", "Mocord", "Nodect")},
    **{
        f"Recording {recording}, Analysing {analysing}": {"recording": recording, "analysing": analysing}
        for recording in ("None", "OnMotion", "Always")
        for analysing in ("None", "Always")
    },
}
ALL = Zone(1, "All", coords="0,0 1919,0 1919,1079 0,1079", min_pixel_threshold=25, min_alarm_pixels=62208)
DRIVE = Zone(
    2, "Drive", coords="0.00,50.00 50.00,50.00 50.00,100.00 0.00,100.00", min_pixel_threshold=30, min_alarm_pixels=3
)
FACE = Zone(3, "Window", type="Privacy", coords="80.00,0.00 100.00,0.00 100.00,20.00 80.00,20.00")
ZONES = {"stock zone": (ALL,), "part": (DRIVE,), "part, privacy": (DRIVE, FACE)}
MODEL = PipelineConfig(model_path="/m/yolo.onnx")


def monitor(**columns: Any) -> Monitor:
    base = Monitor(id=1, path="rtsp://cam.example/main", width=1920, height=1080, storage=Storage(1, "/srv/events"))
    return attrs.evolve(base, **{"function": "Modect", "zones": (ALL,), **columns})


def outline(result: Document | Refusal) -> str:
    """The tree as kinds, with what begins a clip."""
    if isinstance(result, Refusal):
        return f"refused: {result.reason}"

    def branch(node: Any) -> str:
        inner = ", ".join(map(branch, node.get("children", ())))
        triggers = node["cfg"].get("trigger_types") if node["kind"] == "store" else None
        name = node["kind"] + (f" {node['cfg']['mode']}" if node["kind"] == "store" else "")
        return name + (f" by {'/'.join(triggers)}" if triggers else "") + (f"({inner})" if inner else "")

    [root] = json.loads(result.text)["plugins"]
    return branch(root)


def matrix() -> dict[str, str]:
    """Each combination's outline."""
    return {
        f"{worker}: {mode}, {zones}{', second stream' if second else ''}": outline(
            compose(monitor(**columns, zones=ZONES[zones], second_path=second), MODEL, plugins=plugins)
        )
        for worker, plugins in WORKERS.items()
        for mode, columns in MODES.items()
        for zones in ZONES
        for second in ("", "rtsp://cam.example/sub")
    }


def test_every_combination() -> None:
    """The outlines as they were looked at one by one. `python -m tests.pipeline.test_detection` writes them anew."""
    assert matrix() == json.loads(MATRIX.read_text())


def node(result: Document | Refusal, kind: str) -> Any:
    assert isinstance(result, Document), result
    return next(node["cfg"] for node in walk(json.loads(result.text)["plugins"]) if node["kind"] == kind)


def test_motion_on_a_host_without_any_detector() -> None:
    document = compose(monitor(zones=(DRIVE,)), PipelineConfig(), plugins=CPU)
    assert node(document, "decode_ffmpeg") == {"output_format": "gray", "scale": "320x180", "stream_filter": [0]}
    gate = node(document, "motion_gate")
    assert (gate["frame_width"], gate["frame_height"], gate["downscale"], gate["pixel_threshold"]) == (320, 180, 1, 30)
    assert gate["min_changed_pixels"] == round(0.03 * 0.25 * 320 * 180 / 8)
    mask = node(document, "privacy_mask")
    assert (mask["mode"], mask["frame_width"], mask["frame_height"]) == ("black", 320, 180)
    black = [inside(mask["regions"], x, y) for x, y in ((10, 170), (150, 100), (10, 80), (170, 170), (310, 10))]
    assert black == [False, False, True, True, True]
    assert document.motion_cells == 320 * 180
    assert document.warnings == ()


def inside(regions: Any, x: float, y: float) -> bool:
    """Whether the worker would black this pixel out: even-odd, as its plugin does it."""
    found = False
    for region in regions:
        odd = False
        for (x1, y1), (x2, y2) in zip(region, [*region[1:], region[0]], strict=True):
            if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
                odd = not odd
        found = found or odd
    return found


def test_the_stock_zone_needs_no_mask() -> None:
    document = compose(monitor(), PipelineConfig(), plugins=CPU)
    assert "privacy_mask" not in outline(document)
    assert node(document, "motion_gate")["min_changed_pixels"] == round(0.03 * 320 * 180 / 8)


@pytest.mark.parametrize(
    ("orientation", "black", "free"),
    [("ROTATE_0", (10, 10), (10, 170)), ("ROTATE_90", (310, 10), (310, 170)), ("ROTATE_180", (10, 170), (310, 10))],
)
def test_zones_are_turned_as_the_camera_is(orientation: str, black: Any, free: Any) -> None:
    document = compose(monitor(zones=(DRIVE,), orientation=orientation), PipelineConfig(), plugins=CPU)
    regions = node(document, "privacy_mask")["regions"]
    assert inside(regions, *black)
    assert not inside(regions, *free)


def test_preclusive_and_inactive_zones() -> None:
    street = Zone(4, "Street", type="Preclusive", coords="0.00,0.00 100.00,0.00 100.00,25.00 0.00,25.00")
    off = attrs.evolve(DRIVE, type="Inactive")
    document = compose(monitor(zones=(street, off)), PipelineConfig(), plugins=CPU)
    regions = node(document, "privacy_mask")["regions"]
    assert inside(regions, 160, 20)
    assert not inside(regions, 160, 160)
    assert document.warnings == ('zone "Street" is Preclusive: motion in it is not looked at, and stops no other',)


def test_objects_within_zones_begin_clips_and_keep_them_going() -> None:
    document = compose(monitor(zones=(DRIVE,)), MODEL, plugins=WORKERS["fused"])
    assert node(document, "store")["trigger_types"] == ["motion", "audio_event", "analytics"]
    rules = node(document, "analytics_rules")["rules"]
    assert rules[0] == {
        "name": "Drive", "type": "intrusion", "polygon": [[0, 540], [960, 540], [960, 1079], [0, 1079]],
    }  # fmt: skip
    assert [rule["seconds"] for rule in rules[1:3]] == [8, 16], "the recorder ends a clip 10 s after the last trigger"
    lacking = compose(monitor(zones=(DRIVE,)), MODEL, plugins=WORKERS["fused"] - {"tracker"})
    assert isinstance(lacking, Document)
    assert [warning for warning in lacking.warnings if '"Drive"' in warning]
    assert "analytics" not in node(lacking, "store")["trigger_types"]


@pytest.mark.parametrize(
    ("wish", "plugins", "model", "kinds", "warning"),
    [
        ("auto", CPU, True, "motion_gate", None),
        (
            "onnx",
            CPU,
            True,
            "motion_gate",
            'detector = "onnx" can\'t be had (the worker has no plugin detect_onnx): motion is used',
        ),
        (
            "fused",
            WORKERS["onnx"],
            True,
            "detect_onnx",
            'detector = "fused" can\'t be had (the worker has no plugin decode_detect)',
        ),
        ("onnx", WORKERS["onnx"], False, "motion_gate", "no model_path is set"),
        ("motion", WORKERS["fused"], True, "motion_gate", None),
        ("onnx", WORKERS["fused"], True, "detect_onnx", None),
        ("auto", WORKERS["fused"], False, "motion_gate", None),
    ],
)
@pytest.mark.parametrize("by_override", [False, True])
def test_a_wish(wish: Any, plugins: Any, model: bool, kinds: str, warning: str | None, by_override: bool) -> None:
    config = MODEL if model else PipelineConfig()
    override = MonitorOverride(1, detector=wish) if by_override else None
    document = compose(
        monitor(), config if by_override else attrs.evolve(config, detector=wish), override, plugins=plugins
    )
    assert isinstance(document, Document)
    found = [one["kind"] for one in walk(json.loads(document.text)["plugins"])]
    assert kinds in found
    assert ("detect_onnx" in found, "decode_detect" in found) == (kinds == "detect_onnx", kinds == "decode_detect")
    assert len(document.warnings) == (warning is not None)
    assert warning is None or warning in document.warnings[0]


def test_what_nothing_can_run_stays_with_zmc() -> None:
    refusal = compose(monitor(), MODEL, plugins=WORKERS["bare"])
    assert isinstance(refusal, Refusal)
    assert refusal.reason == (
        "stays with the legacy daemon: nothing in its pipeline can trigger a clip "
        "(nothing can look at its picture: the worker has no plugin decode_detect, the worker has no plugin decode_ffmpeg)"
    )
    off = compose(monitor(), attrs.evolve(MODEL, detector="none"), plugins=CPU)
    assert isinstance(off, Refusal)
    store = compose(monitor(function="Record"), MODEL, plugins={"capture_rtsp_multi"})
    assert isinstance(store, Refusal)
    assert store.reason.endswith("the worker has no plugin store")


def test_a_stored_graph_with_a_plugin_that_is_missing_gives_way() -> None:
    graph = '{"plugins": [{"kind": "detect_pose"}]}'
    document = compose(monitor(function="Mocord", graph_json=graph), MODEL, plugins=CPU)
    assert isinstance(document, Document)
    assert document.warnings == (
        "the stored graph (monitor_pipeline) is not used: the worker has no plugin detect_pose",
    )
    assert "detect_pose" not in outline(document)


def test_mqtt_is_left_out_where_the_worker_lacks_it() -> None:
    config = attrs.evolve(MODEL, mqtt_url="mqtt://broker.example")
    document = compose(monitor(function="Record"), config, plugins=CPU - {"output_mqtt"})
    assert isinstance(document, Document)
    assert "output_mqtt" not in outline(document)
    assert document.warnings == ("its worker publishes nothing by MQTT: it has no plugin output_mqtt",)


def test_a_privacy_mask_that_can_not_be_had_leaves_the_camera_with_zmc() -> None:
    refusal = compose(monitor(function="Record", zones=(FACE,)), MODEL, plugins=CPU - {"encode_ffmpeg"})
    assert isinstance(refusal, Refusal)
    assert "no plugin encode_ffmpeg to mask it with" in refusal.reason


@pytest.mark.parametrize(
    ("size", "max_fps", "fps", "bit_rate"),
    [((640, 480), None, 30, 1_000_000), ((1920, 1080), 15.0, 15, 3_110_400), ((3840, 2160), 60.0, 60, 16_000_000)],
)
def test_what_is_encoded_again_is_told_its_rate(size: Any, max_fps: Any, fps: int, bit_rate: int) -> None:
    """Without `fps` the worker's encoder reckons with a million frames a second, and gives grey pictures."""
    masked = monitor(function="Record", zones=(FACE,), width=size[0], height=size[1], max_fps=max_fps)
    encode = node(compose(masked, MODEL, plugins=CPU), "encode_ffmpeg")
    assert (encode["fps"], encode["gop"], encode["bitrate"]) == (fps, fps, bit_rate)
    assert (encode["frame_width"], encode["frame_height"]) == size


def test_zones_with_very_many_corners() -> None:
    many = tuple(attrs.evolve(DRIVE, id=n, name=f"Z{n}") for n in range(60))
    document = compose(monitor(zones=many), PipelineConfig(), plugins=CPU)
    assert isinstance(document, Document)
    assert "more than 200 corners" in document.warnings[0]


if __name__ == "__main__":
    MATRIX.parent.mkdir(exist_ok=True)
    MATRIX.write_text(json.dumps(matrix(), indent=1) + "\n")
