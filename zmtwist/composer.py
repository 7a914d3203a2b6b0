"""Composing with what lies on disk: the shell around the pure `pipeline.compose`, which reads stored graphs from files."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

import attrs
from twisted.logger import Logger

from zmtwist.config.model import MonitorOverride, WorkerConfig
from zmtwist.config.settings import Settings
from zmtwist.durable import durable_write
from zmtwist.executables import find_worker, plugin_kinds
from zmtwist.pipeline.compose import Inference, compose
from zmtwist.pipeline.document import Document, Refusal
from zmtwist.pipeline.graph import GraphText
from zmtwist.pipeline.monitor import Monitor
from zmtwist.untrusted.guard import Guards

_LONGEST_FILE = 65_536

KEY_FILE = "digest.key"
KEY_BYTES = 32

log = Logger()


def composer(settings: Settings, guards: Guards, key: bytes = b"") -> Callable[[Monitor], Document | Refusal]:
    """A function that composes any monitor's document under `settings`, and tells `guards` its secrets. Graph files are read anew at each
    call. `key` is that of the documents' digests.

    Composing is work, and most monitors are what they were: what the last call for a monitor gave is given again where nothing differs
    that it was made of.
    """
    config = settings.config.zmnext
    overrides = {override.id: override for override in config.monitor}
    share = config.share_inference
    inference = Inference(settings.infer_socket, share.gpu_id) if share.enabled else None
    plugins = plugins_of(config.worker)
    last: dict[int, tuple[Monitor, GraphText | None, Document | Refusal]] = {}

    def compose_one(monitor: Monitor) -> Document | Refusal:
        override = overrides.get(monitor.id)
        graph = stored_graph(monitor.id, config.pipeline.graph_dir, override)
        known = last.get(monitor.id)
        if known is not None and known[:2] == (monitor, graph):
            return known[2]
        composed = compose(monitor, config.pipeline, override, graph=graph, inference=inference, plugins=plugins)
        if isinstance(composed, Document):
            guards.of(monitor.id).learn(composed.secrets, composed.store_root)
            composed = attrs.evolve(composed, key=key)
        last[monitor.id] = monitor, graph, composed
        return composed

    return compose_one


def digest_key(state: str) -> bytes:
    """The key of documents' digests in `[paths] state`, made at the first start.

    Without the old one, workers that are adopted look as if their documents had changed: they are started anew when their clips end.
    """
    path = Path(state, KEY_FILE)
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
            status, key = os.fstat(file.fileno()), file.read(KEY_BYTES + 1)
        if stat.S_ISREG(status.st_mode) and not status.st_mode & 0o077 and len(key) == KEY_BYTES:
            return key
        problem = "it is not what was written, or others may read it"
    except FileNotFoundError:
        problem = ""
    except OSError as error:
        problem = error.strerror or str(error)
    if problem:
        log.warn("the key of documents' digests is made anew: {path}: {problem}", path=str(path), problem=problem)
    key = secrets.token_bytes(KEY_BYTES)
    try:
        durable_write(path, key)
    except OSError as error:
        log.warn(
            "the key of documents' digests is this run's only: {path}: {error}", path=str(path), error=error.strerror
        )
    return key


def plugins_of(worker: WorkerConfig) -> frozenset[str] | None:
    """The kinds of plugins that workers find, None where that can't be told (the simulator needs none)."""
    program = find_worker(worker, os.environ)
    return (plugin_kinds(program) or None) if program is not None else None


def stored_graph(monitor_id: int, graph_dir: str | None, override: MonitorOverride | None = None) -> GraphText | None:
    """The graph that the config gives a monitor: the override's, which is JSON text or the path of a file (from `graph_dir`, if relative),
    or else `graph_dir`/monitor_{id}.json where there is one. A named file that can't be read gives a `GraphText` with a problem.
    """
    directory = Path(graph_dir or ".")
    file = directory / f"monitor_{monitor_id}.json"
    there = graph_dir is not None and file.exists()
    if override is not None and override.graph is not None:
        if override.graph.lstrip().startswith("{"):
            named = GraphText("[[zmnext.monitor]] graph", override.graph)
        else:
            named = _read(directory / override.graph)
        return attrs.evolve(named, instead_of=(str(file),)) if there and directory / override.graph != file else named
    return _read(file) if there else None


def _read(file: Path) -> GraphText:
    try:
        with open(file, "rb", opener=_at_once) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                return GraphText(str(file), problem="it must be a file, and is something else")
            return GraphText(str(file), stream.read(_LONGEST_FILE + 1).decode("utf-8-sig"))
    except OSError as error:
        return GraphText(str(file), problem=f"it can't be read: {error.strerror}")
    except UnicodeDecodeError:
        return GraphText(str(file), problem="it is not UTF-8")


def _at_once(path: str, flags: int) -> int:
    """Open without waiting for the other end of a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)
