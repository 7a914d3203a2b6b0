"""Documents, held to the ones written by hand in tests/data/documents, and to what must hold for any monitor."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zmtwist.config.model import MonitorOverride, PipelineConfig
from zmtwist.pipeline.compose import Inference, compose
from zmtwist.pipeline.document import Document, Refusal
from zmtwist.pipeline.graph import GraphText
from zmtwist.pipeline.monitor import Monitor, Storage, Zone
from zmtwist.untrusted.redact import Redactor

DOCUMENTS = Path(__file__).parent.parent / "data" / "documents"

STORAGE = Storage(id=1, path="/srv/events")
MODEL = PipelineConfig(model_path="/m/yolo.onnx")
PLAIN = PipelineConfig(detect=False)
GRAPH = json.dumps(
    {
        "plugins": [
            {
                "id": "dec",
                "kind": "decode_ffmpeg",
                "config": {"output_format": "gray"},
                "queue_depth": 8,
                "children": [{"kind": "zones", "children": [{"id": "motion", "kind": "motion_pixel_diff"}]}],
            }
        ]
    }
)

TABLE: dict[str, tuple[Monitor, PipelineConfig, dict[str, Any]]] = {
    "ffmpeg_record": (
        Monitor(
            id=1,
            path="rtsp://192.0.2.10:554/main",
            method="rtpRtsp",
            function="Record",
            section_length=600,
            storage=STORAGE,
        ),
        MODEL,
        {},
    ),
    "file_mocord": (
        Monitor(id=5, type="File", path="/srv/zm/small clip.mp4", function="Mocord", storage=STORAGE),
        PLAIN,
        {},
    ),
    "second_stream_event": (
        Monitor(
            id=2,
            type="Libvlc",
            function="Record",
            capturing="Always",
            analysing="Always",
            recording="OnMotion",
            path="rtsp://old:words@cam.example/main?x=1&y=%2F",
            second_path="rtsp://cam.example/sub",
            user="us er",
            password='p@:/%"{}',
            method="rtpUni",
            pre_event_count=20,
            post_event_count=21,
            max_fps=10.0,
            storage=STORAGE,
        ),
        attrs.evolve(MODEL, mqtt_url="mqtt://mq:mq%3Apw@broker.example:1884/house/cams"),
        {},
    ),
    "remote_view_only": (
        Monitor(
            id=3,
            type="Remote",
            protocol="http",
            host="admin:hunter22@10.0.0.9",
            port="8080",
            path="/axis",
            sub_path="video.cgi?fps=5",
            function="Monitor",
        ),
        PLAIN,
        {},
    ),
    "fields": (
        Monitor(id=4, path="rtsps://viewer:s3cret%2Fword@[2001:db8::1]:322/€", function="Record", storage=STORAGE),
        PipelineConfig(detect=False, credentials="fields", segment_max_secs=60),
        {},
    ),
    "graph": (
        Monitor(
            id=6,
            path="rtsp://cam.example/main",
            second_path="rtsp://cam.example/sub",
            function="Modect",
            width=101,
            height=51,
            storage=STORAGE,
            zones=(
                Zone(
                    1,
                    "Gate",
                    coords="0,0 100,0 100,50 0,50",
                    min_pixel_threshold=25,
                    min_alarm_pixels=100,
                    filter_x=3,
                    filter_y=3,
                ),
                Zone(2, "Off", type="Inactive", coords="0,0 100,0 100,50"),
            ),
        ),
        PLAIN,
        {"graph": GraphText("graphs/monitor_6.json", GRAPH)},
    ),
    "privacy": (
        Monitor(
            id=7,
            path="rtsp://cam.example/main",
            recording="Always",
            analysing="Always",
            width=641,
            height=481,
            orientation="ROTATE_90",
            storage=STORAGE,
            zones=(Zone(1, "Neighbour", type="Privacy", coords="0.00,0.00 50.00,0.00 50.00,50.00 0.00,50.00"),),
        ),
        MODEL,
        {"inference": Inference("/run/zm/zm_infer_gpu1.sock", 1)},
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_document(name: str) -> None:
    monitor, config, more = TABLE[name]
    document = compose(monitor, config, **more)
    assert isinstance(document, Document)
    assert json.loads(document.text) == json.loads((DOCUMENTS / f"{name}.json").read_text())
    assert document == compose(monitor, config, **more)
    assert document.text == json.dumps(json.loads(document.text), separators=(",", ":"))
    assert document.warnings == WARNINGS.get(name, ())


SECOND = "SecondPath is not used: the worker can't tell a second stream from the main one"
WARNINGS = {
    "second_stream_event": (SECOND, "the worker sends the camera's URL, with its credentials, through output_mqtt"),
    "graph": (SECOND,),
}


def test_every_golden_document_is_used() -> None:
    assert {file.stem for file in DOCUMENTS.glob("*.json")} == set(TABLE)


def test_what_ingest_and_fleet_need() -> None:
    event = composed("second_stream_event")
    assert (event.mode, event.store_root, event.lead_sec, event.private) == ("event", "/srv/events", 4.5, False)
    segments = composed("file_mocord")
    assert (segments.mode, segments.lead_sec) == ("both", 0.0)
    view = composed("remote_view_only")
    assert (view.mode, view.store_root) == ("none", None)
    assert composed("privacy").private
    assert re.fullmatch("[0-9a-f]{64}", event.digest)
    assert event.digest != segments.digest


def composed(name: str, **changes: Any) -> Document:
    monitor, config, more = TABLE[name]
    document = compose(monitor, attrs.evolve(config, **changes), **more)
    assert isinstance(document, Document)
    return document


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"type": "Local", "device": "/dev/video0"}, "Type Local, a capture device"),
        ({"type": "WebSite"}, "a web page"),
        ({"type": "cURL"}, "cURL"),
        ({"type": "VNC"}, "VNC"),
        ({"type": "NVSocket"}, "NVSocket"),
        ({"type": "Holodeck"}, 'its Type is "Holodeck"'),
        ({"type": "Remote", "path": "/x", "protocol": "", "host": "h"}, "needs a Protocol and a Host"),
        ({"path": "/dev/video0"}, "its Path is no URL"),
        ({"path": "gopher://h/x"}, "scheme"),
        ({"path": "rtsp://u:pa/ss@h/x"}, "percent-encode"),
        ({"path": "rtsp://u:1/ss@h:99999/x", "user": "u", "password": "w"}, None),
        ({"path": "rtsp://h:99999/x"}, "port"),
        ({"path": 'rtsp://h"o/x'}, "host"),
        ({"type": "File", "path": ""}, "Path is empty"),
        ({"type": "File", "path": '/srv/"x".mp4'}, "a quote"),
        ({"storage": Storage(id=4, path="")}, "storage (id 4)"),
        ({"function": "Mocrod"}, '"Mocrod"'),
        ({"recording": "Sometimes"}, '"Sometimes"'),
    ],
)
def test_refusals_say_why(changes: dict[str, Any], reason: str | None) -> None:
    refusal = compose(attrs.evolve(TABLE["ffmpeg_record"][0], **changes), PLAIN)
    if reason is None:
        assert isinstance(refusal, Document)
        return
    assert isinstance(refusal, Refusal)
    assert refusal.monitor_id == 1
    assert reason in refusal.reason
    assert "pa/ss" not in refusal.reason


@pytest.mark.parametrize(
    ("monitor", "config", "reason"),
    [
        ({"width": 0}, {}, "Width and Height"),
        ({}, {"transcode": False}, "transcode"),
        ({"zones": (Zone(1, "x", type="Privacy", coords="1,2"),)}, {}, "can't be read"),
        ({"zones": (Zone(1, "x", type="Privacy", coords="900,900 950,900 950,950"),)}, {}, "can't be read"),
    ],
)
def test_privacy_fails_closed(monitor: dict[str, Any], config: dict[str, Any], reason: str) -> None:
    base, settings_, _ = TABLE["privacy"]
    refusal = compose(attrs.evolve(base, **monitor), attrs.evolve(settings_, **config))
    assert isinstance(refusal, Refusal)
    assert reason in refusal.reason


def test_privacy_keeps_stored_graphs_and_second_streams_off_the_raw_picture() -> None:
    base, config, _ = TABLE["privacy"]
    document = compose(attrs.evolve(base, second_path="rtsp://cam.example/sub", graph_json=GRAPH), config)
    assert isinstance(document, Document)
    assert [kind for kind in kinds(document) if kind.startswith("motion")] == []
    assert "/sub" not in document.text
    assert "before it is masked" in document.warnings[1]
    [capture] = json.loads(document.text)["plugins"]
    assert [child["kind"] for child in capture["children"]] == ["decode_ffmpeg"]


def kinds(document: Document) -> list[str]:
    return re.findall('"kind":"([a-z_]+)"', document.text)


def test_override_of_the_mode() -> None:
    document = compose(TABLE["ffmpeg_record"][0], PLAIN, MonitorOverride(id=1, store_mode="none"))
    assert isinstance(document, Document)
    assert document.mode == "none"
    assert kinds(document) == ["capture_rtsp_multi"]


def test_a_bad_graph_gives_way_to_the_default_and_says_so() -> None:
    monitor = attrs.evolve(TABLE["ffmpeg_record"][0], graph_json='{"plugins": [{"kind": "stoer"}]}')
    document = compose(monitor, MODEL)
    assert isinstance(document, Document)
    assert kinds(document) == ["capture_rtsp_multi", "decode_detect", "store"]
    [warning] = document.warnings
    assert warning.startswith("the stored graph (monitor_pipeline) is not used: plugins[0].kind: unknown kind")
    unread = compose(monitor, MODEL, graph=GraphText("x.json", problem="it can't be read: no"))
    assert isinstance(unread, Document)
    assert unread.warnings == (
        "the stored graph (monitor_pipeline) is not used: x.json comes first",
        "the stored graph (x.json) is not used: it can't be read: no",
    )


def test_of_several_graphs_it_is_told_which_are_not_used() -> None:
    monitor = attrs.evolve(TABLE["ffmpeg_record"][0], graph_json=GRAPH)
    document = compose(monitor, MODEL, graph=GraphText("x.json", GRAPH, instead_of=("y.json",)))
    assert isinstance(document, Document)
    assert document.warnings == (
        "the stored graph (y.json) is not used: x.json comes first",
        "the stored graph (monitor_pipeline) is not used: x.json comes first",
    )


@pytest.mark.parametrize(
    "told", ["rtsp://elsewhere/x", "see HTTP://10.0.0.9:8080/axis/video.cgi?fps=5", "hunter22", "admin:hunter22"]
)
def test_a_graph_must_not_tell_of_the_camera(told: str) -> None:
    graph = json.dumps({"plugins": [{"kind": "describe_vlm", "cfg": {"deep": [{"prompt": told}]}}]})
    document = compose(attrs.evolve(TABLE["remote_view_only"][0], graph_json=graph), PLAIN)
    assert isinstance(document, Document)
    assert "plugins[0].cfg.deep[0].prompt: holds a URL or a credential" in document.warnings[0]
    assert "hunter22" not in document.warnings[0]


def test_a_graph_that_asks_for_a_second_stream_is_not_used() -> None:
    """The worker sends both streams as one: rates, frame numbers and the live view would be of neither, and no trigger of it is heard."""
    graph = '{"plugins": [{"kind": "decode_detect", "cfg": {"stream_filter": [1]}}]}'
    monitor = attrs.evolve(TABLE["graph"][0], graph_json=graph)
    document = compose(monitor, MODEL)
    assert isinstance(document, Document)
    assert "/sub" not in document.text
    assert "asks for a second stream" in document.warnings[1]


@pytest.mark.parametrize(
    ("name", "monitor", "size"),
    [
        ("file_mocord", {"width": 640, "height": 360, "orientation": "ROTATE_90"}, (640, 360)),
        ("file_mocord", {"width": 0, "height": 0}, None),
        ("second_stream_event", {}, None),  # Width and Height are not known
        ("privacy", {"width": 640, "height": 360}, (640, 360)),
        ("graph", {"graph_json": '{"plugins": [{"kind": "decode_detect"}]}', "width": 640, "height": 360}, (640, 360)),
        (
            "file_mocord",
            {"graph_json": '{"plugins": [{"kind": "decode_ffmpeg", "cfg": {"scale": "320x180"}}]}'},
            (320, 180),
        ),
        ("file_mocord", {"graph_json": '{"plugins": [{"kind": "decode_ffmpeg", "cfg": {"scale": "half"}}]}'}, None),
    ],
)
def test_the_size_of_the_picture_that_detectors_see(name: str, monitor: dict[str, Any], size: Any) -> None:
    base, config, _ = TABLE[name]
    document = compose(attrs.evolve(base, **monitor), config)
    assert isinstance(document, Document)
    assert document.detect_size == size


def test_an_event_recorder_that_nothing_triggers_is_left_with_zmc() -> None:
    """Taken from ZoneMinder's own capture, such a camera would record nothing."""
    monitor = attrs.evolve(TABLE["graph"][0], second_path="")
    nothing = compose(monitor, PLAIN)
    assert isinstance(nothing, Refusal)
    assert nothing.reason == "stays with the legacy daemon: nothing in its pipeline can trigger a clip"
    assert composed("graph").warnings == (SECOND,)
    deaf = compose(*TABLE["graph"][:1], attrs.evolve(PLAIN, trigger_types=("audio_event",)), **TABLE["graph"][2])
    assert isinstance(deaf, Refusal)


def test_secrets_are_seen_nowhere() -> None:
    document = composed("second_stream_event")
    refused = compose(attrs.evolve(TABLE["second_stream_event"][0], type="Local"), PLAIN)
    seen = [
        repr(document),
        repr(TABLE["second_stream_event"][0]),
        repr(refused),
        document.redacted(),
        *document.warnings,
    ]
    for secret in ('p@:/%"{}', "p%40%3A%2F%25", "mq:pw", "words"):
        assert not [text for text in seen if secret in text]
    assert "rtsp://***@cam.example/main?x=1&y=%2F" in document.redacted()
    redactor = Redactor(document.secrets)
    assert redactor.redact('opening us er:p@:/%"{} for mq:pw') == "opening *** for ***"


ANY = st.text(max_size=30)
OFTEN = st.sampled_from(
    [
        "",
        "rtsp://cam/x",
        "rtsp://u:p@ss@cam:554/x?a=b",
        'http://é.example/ü"{}\\',
        "rtsp://[::1]/",
        "/srv/a.mp4",
        "100,1 2,3.5 4,5",
        "0,0 9,0 9,9",
    ]
)
TEXT = ANY | OFTEN
WORDS = (
    st.sampled_from(
        [
            "Ffmpeg",
            "Libvlc",
            "Remote",
            "File",
            "Local",
            "Record",
            "Modect",
            "Always",
            "OnMotion",
            "None",
            "Privacy",
            "rtpUni",
        ]
    )
    | TEXT
)
WHOLE = st.integers(-(2**40), 2**70) | st.integers(-1, 2000)
NUMBER = st.floats() | st.floats(0, 100)


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


ZONES = st.builds(
    Zone,
    id=WHOLE,
    name=TEXT,
    type=st.sampled_from(["Active", "Inclusive", "Exclusive", "Preclusive", "Inactive", "Privacy"]) | TEXT,
    units=st.sampled_from(["Pixels", "Percent"]),
    coords=TEXT
    | st.lists(st.tuples(NUMBER, NUMBER), max_size=6).map(lambda ps: " ".join(f"{x:.2f},{y:.2f}" for x, y in ps)),
    min_pixel_threshold=optional(WHOLE),
    min_alarm_pixels=optional(NUMBER),
)
MONITORS = st.builds(
    Monitor,
    id=st.integers(1, 2**32),
    name=TEXT,
    type=WORDS,
    function=optional(WORDS),
    capturing=optional(WORDS),
    analysing=optional(WORDS),
    recording=optional(WORDS),
    method=WORDS,
    protocol=st.sampled_from(["http", "rtsp"]) | TEXT,
    host=TEXT,
    port=TEXT | st.sampled_from(["", "554"]),
    sub_path=TEXT,
    path=TEXT,
    second_path=TEXT,
    user=TEXT,
    password=TEXT,
    width=WHOLE,
    height=WHOLE,
    orientation=st.sampled_from(["ROTATE_0", "ROTATE_90", "ROTATE_180", "ROTATE_270", "FLIP_HORI", "FLIP_VERT"]) | TEXT,
    section_length=optional(WHOLE),
    pre_event_count=optional(WHOLE),
    post_event_count=optional(WHOLE),
    max_fps=optional(NUMBER),
    storage=st.builds(Storage, id=WHOLE, path=TEXT | st.just("/srv/events")),
    zones=st.lists(ZONES, max_size=3).map(tuple),
    graph_json=optional(
        st.just(GRAPH)
        | st.recursive(
            st.none() | NUMBER | TEXT,
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(st.sampled_from(["plugins", "kind", "cfg", "children", "id"]) | TEXT, inner)
            ),
        ).map(json.dumps)
    ),
)
CONFIGS = st.builds(
    PipelineConfig,
    detect=st.booleans(),
    model_path=optional(st.just("/m/é.onnx")),
    credentials=st.sampled_from(["url", "fields"]),
    mqtt_url=optional(st.just("mqtt://u:p%40ss@h")),
    segment_max_secs=optional(st.integers(1, 1000)),
    pre_roll_sec=optional(st.integers(0, 15)),
    max_buffer_sec=optional(st.integers(15, 60)),
)


@settings(max_examples=settings.default.max_examples * 2, deadline=None)
@given(MONITORS, CONFIGS)
def test_any_monitor_gives_a_document_or_a_reason(monitor: Monitor, config: PipelineConfig) -> None:
    result = compose(monitor, config)
    if isinstance(result, Refusal):
        assert result.reason
        return
    root = json.loads(result.text)["plugins"][0]
    assert result.text.isascii()
    assert result.redacted()
    strings = [
        value for stream in root["cfg"].get("streams", []) for value in stream.values() if isinstance(value, str)
    ]
    for value in strings:
        assert not set(value) & set('"\\{}')
        assert value.isascii()
        assert value.isprintable()
    if result.private:
        assert [
            child["kind"] for child in root["children"] if child["kind"] not in ("decode_ffmpeg", "output_mqtt")
        ] == []
    for node in re.findall(r'"mode":"event".*?"max_buffer_sec":\d+', result.text):
        pre, buffered = (int(re.search(rf'"{key}":(\d+)', node)[1]) for key in ("pre_roll_sec", "max_buffer_sec"))  # type: ignore[index]
        assert pre <= buffered


@settings(max_examples=settings.default.max_examples, deadline=None)
@given(
    st.text(min_size=1, max_size=12).map(lambda text: f"Zq{text}Xj"),
    st.sampled_from(["Path", "Pass", "Path, encoded"]),
    st.sampled_from(["url", "fields"]),
)
def test_a_password_is_never_seen(password: str, place: str, credentials: Any) -> None:
    monitor = Monitor(id=1, function="Monitor", path="rtsp://cam/x", user="bob", password=password)
    if place != "Pass":
        spelled = quote(password, safe="") if "encoded" in place else password
        monitor = Monitor(id=1, function="Monitor", path=f"rtsp://bob:{spelled}@cam/x")
    result = compose(monitor, PipelineConfig(credentials=credentials))
    seen = repr(monitor) + repr(result)
    if isinstance(result, Document):
        seen += result.redacted() + Redactor(result.secrets).redact(
            f"url={json.loads(result.text)['plugins'][0]['cfg']} {password}"
        )
    for form in (password, quote(password, safe=""), json.dumps(password)[1:-1]):
        assert form not in seen


def test_a_password_with_a_raw_slash_is_secret_to_its_end() -> None:
    """The worker takes `Yak` for the host and what follows for the path, and may speak of each by itself."""
    for tail in ("Yak/Gnu4Tail@Impala", "Yak?Gnu4Tail", "Yak#Gnu4Tail"):
        monitor = Monitor(id=1, function="Monitor", path=f"rtsp://bob:Zebra@{tail}@cam/x")
        document = compose(monitor, PLAIN)
        assert isinstance(document, Document)
        assert "Gnu4Tail" not in document.redacted()
        assert "Gnu4Tail" not in Redactor(document.secrets).replace(f"host Yak, path /{tail.partition('Yak')[2]}@cam/x")


def test_secrets_too_short_to_replace_everywhere_are_hidden_by_their_place() -> None:
    monitor = Monitor(id=1, function="Monitor", path="rtsp://cam/x", user="me", password="z9")
    for credentials in ("url", "fields"):
        document = compose(monitor, PipelineConfig(credentials=credentials, mqtt_url="mqtt://a:z9@h"))
        assert isinstance(document, Document)
        assert "z9" in document.text
        assert "z9" not in document.redacted()
