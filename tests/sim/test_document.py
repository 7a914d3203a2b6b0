from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.sim.harness import document, node
from zmtwist.sim.document import (
    KINDS,
    FileInput,
    NotLoadable,
    Stage,
    UnknownPlugin,
    load,
    plugins_in,
    scan_streams,
    understand,
)


def rtsp(url: str, **more: Any) -> bytes:
    capture = node("capture_rtsp_multi", streams=[{"url": url, "stream_id": 0, "transport": "tcp", **more}])
    return json.dumps({"plugins": [capture]}).encode()


def test_the_captures_documents_are_understood(pytestconfig: pytest.Config) -> None:
    data = (pytestconfig.rootpath / "tests/data/captures/event.pipeline.json").read_bytes()
    pipeline = understand(data, 3)
    assert pipeline.source == FileInput("/srv/zm/small.mp4", 0, loop=False)
    assert [stage.kind for stage in pipeline.stages] == ["capture_file", "decode_ffmpeg", "motion_gate", "store"]
    store = pipeline.store
    assert store is not None
    assert (store.mode, store.root, store.monitor_id) == ("event", "/srv/zoneminder/e", 3)
    assert (store.pre_roll_sec, store.post_roll_sec, store.max_buffer_sec) == (1, 2, 4)
    assert store.trigger_types == ("motion",)


def test_config_counts_before_cfg_and_a_nodes_own_stream_filter_not_at_all() -> None:
    detector = {"id": "d", "kind": "decode_detect", "config": {"hw": "auto"}, "stream_filter": [1]}
    recorder = {"id": "s", "kind": "store", "cfg": {"root": "/c"}, "config": {"root": "/e", "stream_filter": [0]}}
    pipeline = understand(json.dumps(document(detector, recorder)).encode(), 7)
    assert Stage("decode_detect") in pipeline.stages
    store = pipeline.store
    assert store is not None
    assert (store.monitor_id, store.max_secs, store.mode, store.root) == (7, 300, "continuous", "/e")
    assert store.takes(0) and not store.takes(1)


def test_what_a_decoder_does_not_pass_on_is_not_seen_below_it() -> None:
    tree = node("decode_ffmpeg", node("motion_gate"), node("zones", stream_filter=[2]), stream_filter=[1])
    stages = {stage.kind: stage for stage in understand(json.dumps(document(tree)).encode(), 7).stages}
    assert [stages["motion_gate"].sees(stream) for stream in (0, 1)] == [False, True]
    assert stages["zones"].streams == (2,)
    assert stages["capture_file"].sees(0) and stages["capture_file"].sees(1)


def test_the_plugins_are_those_of_the_folder_if_there_is_one(tmp_path: Path) -> None:
    assert plugins_in(tmp_path) == KINDS
    for kind in ("store", "capture_file", "empty"):
        (tmp_path / "plugins" / kind).mkdir(parents=True)
    (tmp_path / "plugins/store/store.so").touch()
    (tmp_path / "plugins/capture_file/capture_file.so").touch()
    (tmp_path / "plugins/empty/other.so").touch()
    kinds = plugins_in(tmp_path)
    assert kinds == {"store", "capture_file"}
    understand(json.dumps(document(node("store", root="/e"))).encode(), 3, kinds)
    with pytest.raises(UnknownPlugin, match=r"plugins/motion_gate/motion_gate\.so: cannot open shared object file"):
        understand(json.dumps(document(node("motion_gate"))).encode(), 3, kinds)


def test_a_document_without_input_or_recorder_is_taken_as_it_is() -> None:
    pipeline = understand(json.dumps({"plugins": [node("output_mqtt", host="h")]}).encode(), 3)
    assert (pipeline.source, pipeline.store, pipeline.name) == (None, None, "monitor_3")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"plugins":[]}',
        b'{"plugins":["store"]}',
        b'{"plugins":[{"kind":"store","cfg":{}}]}',
        b'{"plugins":[{"kind":"store","cfg":{"root":"/e","mode":"sometimes"}}]}',
        b'{"plugins":[{"kind":"capture_file","cfg":{"path":7}}]}',
        b'{"plugins":[{"kind":"capture_file","children":{}}]}',
    ],
)
def test_what_is_no_document_is_not_loadable(data: bytes) -> None:
    with pytest.raises(NotLoadable):
        understand(data, 3)


def test_an_unknown_plugin_is_named_wherever_it_stands() -> None:
    with pytest.raises(UnknownPlugin, match=r"plugins/teleport/teleport\.so"):
        understand(json.dumps(document(node("decode_ffmpeg", node("teleport")))).encode(), 3)


def test_a_missing_document_is_not_loadable(tmp_path: Path) -> None:
    with pytest.raises(NotLoadable, match="No such file"):
        load(str(tmp_path / "none.json"), 3)


def test_a_file_input_opens_where_there_is_a_file_or_a_sim_path(tmp_path: Path) -> None:
    (tmp_path / "small.mp4").touch()
    assert FileInput(str(tmp_path / "small.mp4")).opens
    assert FileInput("sim:front").opens
    assert not FileInput(str(tmp_path / "none.mp4")).opens


def test_streams_are_scanned() -> None:
    text = (
        '{"streams":[{"stream_id":0,"url":"rtsp://u:p%40@10.0.0.9:554/a?x=1&y=2"},{"url":"rtsp://h/b","stream_id":1}]}'
    )
    streams = scan_streams(text)
    assert [(stream.stream_id, stream.url) for stream in streams] == [
        (0, "rtsp://u:p%40@10.0.0.9:554/a?x=1&y=2"),
        (1, "rtsp://h/b"),
    ]
    assert all(stream.connects for stream in streams)
    assert scan_streams('{"note":"[{"}') == ()


@pytest.mark.parametrize("password", ['a"b', "a\\b", "a}b", "a{b", "a b"])
def test_a_value_that_the_scanner_cannot_take_never_connects(password: str) -> None:
    source = understand(rtsp(f"rtsp://user:{password}@10.0.0.9/live"), 3).source
    assert isinstance(source, tuple)
    assert not any(stream.connects for stream in source)


def test_the_scanner_knows_no_escapes_and_ends_an_object_at_its_first_brace() -> None:
    (stream,) = scan_streams('{"streams":[{"url":"rtsp://u:a\\"b@h/","stream_id":0}]}')
    assert stream.url == "rtsp://u:a\\"
    assert scan_streams('{"streams":[{"url":"rtsp://u:a}b@h/","stream_id":0}]}') == ()
