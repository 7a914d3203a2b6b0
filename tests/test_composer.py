from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import attrs
import pytest

from zmtwist import composer as documents
from zmtwist.composer import KEY_FILE, composer, digest_key, plugins_of, stored_graph
from zmtwist.config.model import MonitorOverride, WorkerConfig
from zmtwist.config.settings import parse, settle
from zmtwist.pipeline.document import Document, Refusal
from zmtwist.pipeline.monitor import Monitor
from zmtwist.untrusted.guard import Guards

MONITOR = Monitor(id=3, path="rtsp://cam/x", function="Monitor")
GRAPH = '{"plugins": [{"kind": "%s"}]}'


def test_where_graphs_come_from(tmp_path: Path) -> None:
    directory = str(tmp_path)
    assert stored_graph(3, None) is None
    assert stored_graph(3, directory) is None
    file = tmp_path / "monitor_3.json"
    file.write_text("in the directory")
    found = stored_graph(3, directory)
    assert found is not None
    assert (found.where, found.text, found.problem) == (str(file), "in the directory", None)
    text = stored_graph(3, directory, MonitorOverride(3, graph=' {"plugins": []}'))
    assert text is not None
    assert text.text == ' {"plugins": []}'
    assert text.instead_of == (str(file),)
    same = stored_graph(3, directory, MonitorOverride(3, graph="monitor_3.json"))
    assert same is not None
    assert same.instead_of == ()
    missing = stored_graph(3, directory, MonitorOverride(3, graph="none.json"))
    assert missing is not None
    assert missing.problem == "it can't be read: No such file or directory"
    file.write_bytes(b"\xff")
    broken = stored_graph(3, directory)
    assert broken is not None
    assert broken.problem == "it is not UTF-8"


def test_composing_under_settings(tmp_path: Path) -> None:
    settings = settle(
        parse(
            f"""
            database.url = "sqlite:///x"
            paths.socks = "/s"
            zmnext.share_inference.enabled = true
            zmnext.pipeline.graph_dir = "{tmp_path}"
            zmnext.monitor = [{{ id = 4, store_mode = "none" }}]
            """
        ),
        {},
    )
    compose = composer(settings, Guards())

    def children(monitor: Monitor) -> list[tuple[str, str | None]]:
        document = compose(monitor)
        assert isinstance(document, Document)
        nodes = json.loads(document.text)["plugins"][0]["children"]
        assert document.shares_inference == ("infer_endpoint" in document.text)
        return [(node["kind"], node["cfg"].get("infer_endpoint")) for node in nodes]

    assert children(MONITOR) == [("decode_detect", "/s/zm_infer_gpu0.sock")]
    (tmp_path / "monitor_3.json").write_text(GRAPH % "detect_pose")
    assert children(MONITOR) == [("detect_pose", "/s/zm_infer_gpu0.sock")]
    (tmp_path / "monitor_3.json").write_text(GRAPH % "tracker")
    assert children(MONITOR) == [("tracker", None)]
    assert children(Monitor(id=4, path="rtsp://cam/x", function="Record")) == [
        ("decode_detect", "/s/zm_infer_gpu0.sock")
    ]


def test_a_pipe_or_a_directory_in_place_of_a_graph_is_told_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "monitor_3.json")
    (tmp_path / "monitor_4.json").mkdir()
    found = [stored_graph(monitor_id, str(tmp_path)) for monitor_id in (3, 4)]
    assert [graph and graph.problem for graph in found] == [
        "it must be a file, and is something else",
        "it can't be read: Is a directory",
    ]
    held = [os.path.realpath(fd) for fd in Path("/proc/self/fd").iterdir()]
    assert not [path for path in held if path.startswith(str(tmp_path))]


def test_composing_is_done_anew_only_where_something_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'database.url = "sqlite:///x"\npaths.socks = "/s"\n'
    settings = settle(parse(f'{text}zmnext.pipeline.graph_dir = "{tmp_path}"'), {})
    done: list[int] = []
    real = documents.compose

    def counted(monitor: Monitor, *args: Any, **kwargs: Any) -> Document | Refusal:
        done.append(monitor.id)
        return real(monitor, *args, **kwargs)

    monkeypatch.setattr(documents, "compose", counted)
    compose = composer(settings, Guards())
    first = compose(MONITOR)
    assert compose(attrs.evolve(MONITOR)) == first
    assert done == [3]
    compose(attrs.evolve(MONITOR, id=4))
    assert compose(MONITOR) == first
    assert done == [3, 4]
    refused = attrs.evolve(MONITOR, path="")
    assert isinstance(compose(refused), Refusal)
    assert isinstance(compose(refused), Refusal)
    assert done == [3, 4, 3]
    assert compose(MONITOR) == first
    (tmp_path / "monitor_3.json").write_text(GRAPH % "tracker")
    changed = compose(MONITOR)
    assert changed != first
    (tmp_path / "monitor_3.json").write_text(GRAPH % "detect_pose")
    assert compose(MONITOR) not in (first, changed)
    (tmp_path / "monitor_3.json").unlink()
    assert compose(MONITOR) == first
    done.clear()
    assert composer(settings, Guards())(MONITOR) == first
    assert done == [3], "other settings have nothing of it"


def test_the_plugins_are_those_that_lie_beside_the_program(tmp_path):
    program = tmp_path / "zm-core"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    worker = WorkerConfig(binary=str(program))
    assert plugins_of(worker) is None
    for kind, file in (("store", "store.so"), ("motion_gate", "motion_gate.so"), ("broken", "other.so")):
        (tmp_path / "plugins" / kind).mkdir(parents=True)
        (tmp_path / "plugins" / kind / file).touch()
    assert plugins_of(worker) == {"store", "motion_gate"}
    assert plugins_of(WorkerConfig(binary="/nonexistent/zm-core")) is None


def test_a_digest_tells_documents_apart_but_fits_no_guess(tmp_path: Path) -> None:
    settings = settle(parse('database.url = "sqlite:///x"'), {})
    camera = attrs.evolve(MONITOR, type="Ffmpeg", path="rtsp://bob:Quagga7@cam/x")
    guards = Guards()

    def digest(monitor: Monitor, key: bytes) -> str:
        composed = composer(settings, guards, key)(monitor)
        assert isinstance(composed, Document)
        assert "one key" not in repr(composed)
        return composed.digest

    other = attrs.evolve(camera, path="rtsp://bob:Quagga8@cam/x")
    assert digest(camera, b"one key") == digest(camera, b"one key")
    assert len({digest(camera, b"one key"), digest(other, b"one key"), digest(camera, b"another key")}) == 3
    assert guards.of(camera.id).text("login Quagga7, login Quagga8") == "login ***, login ***"


def test_the_key_of_digests_is_kept_for_its_owner_and_made_anew_where_it_is_no_good(tmp_path: Path) -> None:
    file = tmp_path / KEY_FILE
    key = digest_key(str(tmp_path))
    assert len(key) == 32
    assert file.stat().st_mode & 0o777 == 0o600
    assert digest_key(str(tmp_path)) == key
    for spoil in (
        lambda: file.chmod(0o640),
        lambda: file.write_bytes(b"short"),
        lambda: (file.rename(tmp_path / "elsewhere"), file.symlink_to("elsewhere")),
    ):
        spoil()
        another = digest_key(str(tmp_path))
        assert another != key
        assert not file.is_symlink()
        assert digest_key(str(tmp_path)) == another
    assert (tmp_path / "elsewhere").read_bytes() != another
    assert digest_key("/nowhere") != digest_key("/nowhere"), "it goes on with one of this run's own"
