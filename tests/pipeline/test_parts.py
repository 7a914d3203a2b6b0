"""Modes, lengths, camera URLs, brokers and graphs by themselves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from zmtwist.config.model import MonitorOverride, PipelineConfig
from zmtwist.config.mqtt_url import worker_broker_of
from zmtwist.pipeline.camera_url import parse_camera_url
from zmtwist.pipeline.document import Unfit
from zmtwist.pipeline.graph import GraphError, fit, parse_graph
from zmtwist.pipeline.mode import mode_of
from zmtwist.pipeline.monitor import Monitor, Zone
from zmtwist.pipeline.store_node import Lengths, lengths
from zmtwist.pipeline.zones import parse_zones


@pytest.mark.parametrize(
    ("columns", "mode"),
    [
        ({"function": "None"}, "none"),
        ({"function": "Monitor"}, "none"),
        ({"function": "Record"}, "continuous"),
        ({"function": "Mocord"}, "both"),
        ({"function": "Modect"}, "event"),
        ({"function": "Nodect"}, "event"),
        ({}, "none"),
        ({"function": "Record", "recording": "None", "analysing": "Always"}, "none"),
        ({"function": "None", "recording": "Always", "analysing": "None"}, "continuous"),
        ({"recording": "Always", "analysing": "Always"}, "both"),
        ({"recording": "Always"}, "continuous"),
        ({"recording": "OnMotion", "analysing": "Always"}, "event"),
        ({"function": "Record", "capturing": "Always", "analysing": "Always", "recording": None}, "continuous"),
    ],
)
def test_mode(columns: dict[str, Any], mode: str) -> None:
    assert mode_of(Monitor(id=1, **columns)) == mode
    assert mode_of(Monitor(id=1, **columns), MonitorOverride(id=1, graph="x")) == mode
    assert mode_of(Monitor(id=1, **columns), MonitorOverride(id=1, store_mode="both")) == "both"


@pytest.mark.parametrize(
    ("columns", "config", "expected"),
    [
        ({}, {}, Lengths(300, 5, 10, 15)),
        ({"section_length": 600, "pre_event_count": 5, "post_event_count": 5}, {}, Lengths(600, 5, 10, 15)),
        ({"pre_event_count": 75, "post_event_count": 101, "max_fps": 10.0}, {}, Lengths(300, 8, 11, 18)),
        ({"pre_event_count": 0, "post_event_count": 0, "max_fps": 5.0}, {}, Lengths(300, 0, 1, 15)),
        ({"pre_event_count": 60000, "post_event_count": 60000, "max_fps": 1.0}, {}, Lengths(300, 60, 3600, 70)),
        (
            {"section_length": 600, "pre_event_count": 75, "max_fps": 1.0},
            {"segment_max_secs": 30, "pre_roll_sec": 2},
            Lengths(30, 2, 10, 15),
        ),
        ({"pre_event_count": 75, "max_fps": 1.0}, {"max_buffer_sec": 20}, Lengths(300, 20, 10, 20)),
        ({"section_length": 0, "pre_event_count": 3, "max_fps": 0.0}, {"post_roll_sec": 4}, Lengths(300, 5, 4, 15)),
    ],
)
def test_lengths(columns: dict[str, Any], config: dict[str, Any], expected: Lengths) -> None:
    assert lengths(Monitor(id=1, **columns), PipelineConfig(**config)) == expected


@pytest.mark.parametrize(
    ("text", "user", "password", "full"),
    [
        ("rtsp://cam/x", "", "", "rtsp://cam/x"),
        ("RTSP://cam:/x", "", "", "rtsp://cam/x"),
        ("rtsp://u:p@cam/x", "", "", "rtsp://u:p@cam/x"),
        ("rtsp://u:p@ss@cam/x", "", "", "rtsp://u:p%40ss@cam/x"),
        ("rtsp://u:p%40s%zz@cam/x", "", "", "rtsp://u:p%40s%25zz@cam/x"),
        ("rtsp://u:p@cam/x", "me", "new", "rtsp://me:new@cam/x"),
        ("rtsp://u:p@cam/x", "me", "", "rtsp://u:p@cam/x"),
        ("rtsp://u@cam/x", "", "new", "rtsp://u:new@cam/x"),
        ("rtsp://cam/x", "me", "", "rtsp://me@cam/x"),
        (
            'rtsp://cam/a b{"é\\}?q={1}&r=%7b&s=a+b#part',
            "",
            "",
            "rtsp://cam/a%20b%7B%22%C3%A9%5C%7D?q=%7B1%7D&r=%7b&s=a+b",
        ),
        ("rtsp://bücher.example:1/x", "", "", "rtsp://xn--bcher-kva.example:1/x"),
        ("rtsp://[fe80::1%25eth0]:554/x", "", "", "rtsp://[fe80::1%25eth0]:554/x"),
        ("rtsp://cam?x=a@b/c", "", "", "rtsp://cam?x=a@b/c"),
    ],
)
def test_camera_url(text: str, user: str, password: str, full: str) -> None:
    assert parse_camera_url(text, user, password).full == full


@pytest.mark.parametrize(
    "text",
    [
        "cam/x",
        "rtsp:///x",
        "rtsp://cam:port/x",
        "rtsp://cam:0/x",
        "rtsp://bob:/Zq9XwGnu/@10.0.0.1:554/live",
        "rtsp://bob:?Zq9XwGnu@10.0.0.1/live",
        "rtsp://bob:#Zq9XwGnu@10.0.0.1/live",
        "rtsp://ca m/x",
        "rtsp://[::1/x",
        "file:///etc/passwd",
    ],
)
def test_camera_url_refused(text: str) -> None:
    with pytest.raises(Unfit):
        parse_camera_url(text)


def test_secrets_in_the_query() -> None:
    url = parse_camera_url("http://cam/video?user=bob&pwd=s%20cret&x=1")
    assert url.secrets == ("s cret",)


@pytest.mark.parametrize(
    ("tail", "secrets"),
    [
        ("videostream.cgi?loginuse=admin&loginpas=Quagga77", ("Quagga77",)),
        ("v?usr=admin&userpwd=Quagga%2077", ("Quagga 77",)),
        ("v?password=a;b/c&x=1", ("a;b/c", "a")),
        ("v?password%3DQuagga77", ("Quagga77",)),
        ("v?user%5Btoken%5D=Quagga77", ("Quagga77",)),
        (
            "user=admin_password=Quagga77_channel=1_stream=0.sdp",
            ("Quagga77_channel=1_stream=0.sdp", "Quagga77"),
        ),
        ("pw=;Quagga77;", (";Quagga77;",)),
        ("token=Quagga77/live", ("Quagga77/live", "Quagga77")),
        ("v?auth=basic&session=true&keyframe=100&side=left&author=bob&passive=yes1", ()),
        ("live/main?channel=1", ()),
    ],
)
def test_secrets_of_a_url_go_by_any_name(tail: str, secrets: tuple[str, ...]) -> None:
    url = parse_camera_url(f"http://cam/{tail}")
    assert url.secrets == secrets
    assert url.full == f"http://cam/{tail}"  # the worker gets it all the same


def test_broker() -> None:
    plain = worker_broker_of("mqtt://localhost")
    assert (plain.host, plain.port, plain.base_topic, plain.client_id, plain.username) == (
        "localhost",
        1883,
        "zm-next",
        "zmnext",
        "",
    )
    full = worker_broker_of("mqtt://me:p%40%2F@h:18830/a/b/?client_id=zm")
    assert (full.port, full.base_topic, full.client_id, full.username, full.password) == (
        18830,
        "a/b",
        "zm",
        "me",
        "p@/",
    )
    assert "p@/" not in repr(full)


@pytest.mark.parametrize(
    "url",
    [
        "mqtts://u:hushhush@h",
        "http://u:hushhush@h",
        "mqtt://u:hushhush@",
        "mqtt://u:hush/hush@h",
        "mqtt://u:12/hushhush@h",
        "mqtt://u:hushhush@h?qos=1",
        "hushhush",
    ],
)
def test_broker_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"must|needs|has|make") as caught:
        worker_broker_of(url)
    assert "hush" not in str(caught.value)


NEST: Any = {"kind": "tracker"}
for _ in range(9):
    NEST = {"kind": "tracker", "children": [NEST]}


@pytest.mark.parametrize(
    ("graph", "problem"),
    [
        ([], '$: must be {"plugins": [...]}'),
        ({"plugins": [], "name": "x"}, "$: must be"),
        ({"plugins": {}}, "plugins: must be a list"),
        ({"plugins": [1]}, "plugins[0]: must be an object"),
        ({"plugins": [{}]}, "plugins[0].kind: must be a string"),
        (
            {"plugins": [{"kind": "tracker"}, {"kind": "motion_gat"}]},
            'plugins[1].kind: unknown kind; did you mean "motion_gate"?',
        ),
        ({"plugins": [{"kind": "zzz"}]}, "extra_kinds"),
        ({"plugins": [{"kind": "capture_file"}]}, 'plugins[0].kind: "capture_file" is made from the monitor'),
        ({"plugins": [{"kind": "zones", "children": [{"kind": "store"}]}]}, 'plugins[0].children[0].kind: "store"'),
        ({"plugins": [{"kind": "tracker", "id": "record"}]}, 'plugins[0].id: "record" is taken'),
        ({"plugins": [{"kind": "tracker", "id": "a"}, {"kind": "lpr", "id": "a"}]}, 'plugins[1].id: "a" is taken'),
        ({"plugins": [{"kind": "tracker", "id": "a b"}]}, "plugins[0].id: must be 1 to 64"),
        ({"plugins": [{"kind": "tracker", "child": []}]}, "plugins[0]: has a key that no node has"),
        ({"plugins": [{"kind": "tracker", "cfg": []}]}, "plugins[0].cfg: must be an object"),
        ({"plugins": [{"kind": "tracker", "cfg": {}, "config": {}}]}, "both cfg and config"),
        ({"plugins": [{"kind": "tracker", "queue_depth": 0}]}, "plugins[0].queue_depth: must be a whole number from 1"),
        ({"plugins": [{"kind": "tracker", "queue_depth": True}]}, "plugins[0].queue_depth"),
        ({"plugins": [{"kind": "tracker", "stream_filter": 1}]}, "plugins[0].stream_filter: must be a list"),
        ({"plugins": [{"kind": "tracker"}] * 65}, "more than 64 nodes"),
        ({"plugins": [NEST]}, "nested more than 8 deep"),
        ({"plugins": [{"kind": "lpr", "cfg": {"x": "y" * 70000}}]}, "longer than 65536"),
    ],
)
def test_graph_refused_with_its_path(graph: Any, problem: str) -> None:
    with pytest.raises(GraphError) as caught:
        parse_graph(json.dumps(graph))
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 60000,
        '{"plugins": [{"kind": "lpr", "cfg": {"x": NaN}}]}',
        '{"plugins": [{"kind": "lpr", "cfg": {"x": 1e999}}]}',
        "1" * 5000,
    ],
)
def test_graph_that_is_not_json(text: str) -> None:
    with pytest.raises(GraphError):
        parse_graph(text)


def test_more_kinds_by_config() -> None:
    [node] = parse_graph('{"plugins": [{"kind": "my_stage"}]}', extra_kinds=["my_stage"])
    assert node == {"id": "node1", "kind": "my_stage", "cfg": {}, "children": []}


def test_fitting_leaves_what_the_graph_says() -> None:
    monitor = Monitor(id=1, width=201, height=101, zones=(Zone(1, "z", coords="0.0,0.0 100.0,0.0 100.0,100.0"),))
    nodes = parse_graph(
        json.dumps(
            {
                "plugins": [
                    {
                        "kind": "decode_ffmpeg",
                        "cfg": {"scale": "51x26"},
                        "children": [{"kind": "zones", "cfg": {"frame_height": 9}}],
                    },
                    {
                        "kind": "decode_ffmpeg",
                        "cfg": {"scale": "720p"},
                        "children": [{"kind": "motion_gate"}, {"kind": "zones"}],
                    },
                    {"kind": "analytics_rules"},
                    {"kind": "analytics_rules", "cfg": {"rules": []}},
                ]
            }
        )
    )
    small, unknown, rules, own = fit(nodes, monitor, parse_zones(monitor)[0])
    cfg = small["children"][0]["cfg"]
    assert (cfg["frame_width"], cfg["frame_height"]) == (51, 9)
    assert cfg["zones"]["zones"][0]["Coords"] == "0,0 50,0 50,25"
    assert [child["cfg"] for child in unknown["children"]] == [{}, {"monitor_id": 1}]
    assert rules["cfg"]["rules"][0]["polygon"] == [[0, 0], [200, 0], [200, 100]]
    assert own["cfg"] == {"rules": []}
