"""`zmnextctl try N`: a worker for a monitor, some seconds long and beside everything: no rows, and nothing is left behind.

It runs on the document that the service would give it, but records everything into a directory that is removed afterwards.
"""

from __future__ import annotations

import json
import os
import secrets
import selectors
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import attrs

from zmtwist.composer import composer
from zmtwist.config.model import MonitorOverride
from zmtwist.config.settings import Settings
from zmtwist.config.site import site_of
from zmtwist.executables import Program, environment_for, find_worker
from zmtwist.extras import VIDEO, missing
from zmtwist.fleet.policy import unwanted_reason
from zmtwist.fleet.process.child import KEPT_LINES, CannotSpawn, launch_chain
from zmtwist.fleet.process.output import KeptLines, LineSplitter, last_errors, level
from zmtwist.fleet.process.policy import Exit
from zmtwist.fleet.process.preflight import check_directory, check_store_root
from zmtwist.ingest.clips.probe import Measure, measure_files
from zmtwist.ops.cli.findings import Finding, fail, ok, warn
from zmtwist.ops.cli.try_judge import Seen, judge
from zmtwist.pipeline.document import Document, Refusal, dump
from zmtwist.pipeline.graph import DETECTORS, Node, walk
from zmtwist.recovery.fsck import CannotCheck, looking
from zmtwist.untrusted.guard import NAME, Guard, Guards
from zmtwist.wire.encode import encode_subscribe
from zmtwist.wire.frames import FrameDecoder, UntrustedStream
from zmtwist.wire.messages import Subscribe
from zmtwist.zm.db.schema import probe
from zmtwist.zm.read.catalog import read

END_SECONDS: Final = 8.0
"""How long the worker may take to finish its clip and end."""

_ENDED_HASTILY: Final = 2.0
_ONE_CLIP: Final = 3600
_MEASURING: Final = 20.0
_TICK: Final = 0.1
_UNBOUND_TICK: Final = 0.005
_READ: Final = 1 << 18

_RINGS: Final = "/dev/shm/zm_shmring_"  # noqa: S108 - the worker's own choice
_FIRST_ID, _IDS = 900_000_000, 99_000_000
"""Ids that no monitor has: the worker's ring is the host's, and a second worker of one id would share it."""

_TELLS_OTHERS: Final = frozenset(
    {"output_mqtt", "output_webhook", "output_webrtc", "output_mse", "store_snapshot", "review_export"}
)
"""Kinds of nodes that do not stay within the trial."""

_LOOKS: Final = DETECTORS | {"motion_gate", "motion_pixel_diff", "motion_hybrid", "audio_detect", "analytics_rules"}


@attrs.frozen
class Trial:
    """A document for a trial: its text, the kinds of nodes that look at the picture, what would begin a clip, and what was left out."""

    text: str = attrs.field(repr=False)
    looks: tuple[str, ...]
    triggers: frozenset[str]
    left_out: tuple[str, ...]


def trial_of(document: str, root: str) -> Trial:
    """The trial of a document: clips go to `root`, one opens at once whatever would begin one else, and nobody else is told anything."""
    value: dict[str, Any] = json.loads(document)
    tree: list[Node] = value["plugins"]
    left_out = tuple(dict.fromkeys(node["kind"] for node in walk(tree) if node["kind"] in _TELLS_OTHERS))
    tree = _without(tree, _TELLS_OTHERS)
    triggers: set[str] = set()
    for node in walk(tree):
        if node["kind"] == "store":
            cfg = node["cfg"]
            triggers.update(cfg.get("trigger_types", ()))
            cfg |= {
                "root": root,
                "mode": "both" if cfg["mode"] == "event" else cfg["mode"],
                "max_secs": _ONE_CLIP,
            }
    looks = tuple(dict.fromkeys(node["kind"] for node in walk(tree) if node["kind"] in _LOOKS))
    return Trial(dump(value | {"plugins": tree}), looks, frozenset(triggers), left_out)


def _without(tree: Sequence[Node], kinds: frozenset[str]) -> list[Node]:
    kept = [node for node in tree if node["kind"] not in kinds]
    return [{**node, "children": _without(node["children"], kinds)} if node.get("children") else node for node in kept]


def try_monitor(config: str, zm_conf: str, monitor_id: int, seconds: float) -> list[Finding]:
    """Try a monitor for `seconds`. Raises ConfigError, CannotCheck; KeyboardInterrupt, where it was told to end, with all put away."""
    with looking(config, zm_conf) as (settings, sql):
        reading = read(sql, probe(sql, str(settings.database)), site_of(settings))
    monitor = next((one for one in reading.monitors if one.id == monitor_id), None)
    if monitor is None:
        unreadable = reading.unreadable.get(monitor_id)
        why = f"its row makes no sense: {unreadable}" if unreadable else "there is none, or it is another server's"
        raise CannotCheck(f"monitor {monitor_id}: {why}", "no_such_monitor")
    guards = Guards()
    composed = composer(settings, guards)(monitor)
    findings = []
    if (reason := unwanted_reason(monitor, settings.config.zmnext)) is not None:
        findings.append(warn("monitor", f"it does not run on zm-next: {reason}", "tried all the same"))
    if isinstance(composed, Document) and composed.mode == "none":
        findings.append(warn("monitor", "it is not to record", "tried as if it recorded continuously"))
        composed = composer(_recording(settings, monitor_id), guards)(monitor)
    if isinstance(composed, Refusal):
        return [*findings, fail("document", composed.reason, "change the monitor in ZoneMinder, or leave it with zmc")]
    findings += [warn("document", text, "see doc/reference/config.md") for text in composed.warnings]
    guard = guards.of(monitor_id)
    try:
        program = _program(settings)
        if composed.store_root is not None:
            check_store_root(composed.store_root)
        seen, clips, trial = tried(program, settings, composed, guard, seconds)
    except CannotSpawn as error:
        return [*findings, fail("worker", str(error), "zmnextctl doctor")]
    findings += judge(seen, clips, trial.looks, trial.triggers, composed.mode, can_measure=VIDEO not in missing())
    if trial.left_out:
        findings.append(ok("left out", f"{', '.join(trial.left_out)}: others would be told of a trial"))
    return [attrs.evolve(one, found=guard.text(one.found)) for one in findings]


def _recording(settings: Settings, monitor_id: int) -> Settings:
    """Settings by which the monitor records continuously."""
    others = tuple(one for one in settings.config.zmnext.monitor if one.id != monitor_id)
    own = next((one for one in settings.config.zmnext.monitor if one.id == monitor_id), MonitorOverride(monitor_id))
    zmnext = attrs.evolve(settings.config.zmnext, monitor=(*others, attrs.evolve(own, store_mode="continuous")))
    return attrs.evolve(settings, config=attrs.evolve(settings.config, zmnext=zmnext))


def _program(settings: Settings) -> Program:
    program = find_worker(settings.config.zmnext.worker, os.environ)
    if program is None:
        raise CannotSpawn(f"{settings.config.zmnext.worker.binary}: no such program, or it can't be executed")
    check_directory(program)
    return program


def tried(
    program: Program,
    settings: Settings,
    document: Document,
    guard: Guard,
    seconds: float,
    patience: float = END_SECONDS,
) -> tuple[Seen, list[Measure], Trial]:
    """Run the trial, and put everything away, whatever happens. `patience`: for how long its end is waited for. Raises CannotSpawn."""
    with (
        _Interrupts() as interrupts,
        tempfile.TemporaryDirectory(prefix="zm-try-", ignore_cleanup_errors=True) as directory,
    ):
        clips = Path(directory, "clips")
        clips.mkdir()
        guard.learn(document.secrets, str(clips))
        trial = trial_of(document.text, str(clips))
        worker_id = _free_id()
        try:
            run = _Run(
                [
                    *launch_chain(ends_with_us=True),
                    program.path,
                    *("--pipeline", "/dev/stdin", "--socket", f"{directory}/s"),
                    *("--monitor-id", str(worker_id)),
                ],
                environment_for(settings.config.zmnext.worker, os.environ),
                program.directory,
                trial.text.encode(),
                f"{directory}/s",
                guard,
            )
            try:
                run.watch(seconds, lambda: interrupts.told)
            finally:
                run.end(_ENDED_HASTILY if interrupts.told else patience)
            measures = [] if interrupts.told else _measured(clips)
        finally:
            Path(f"{_RINGS}{worker_id}").unlink(missing_ok=True)
    if interrupts.told:
        raise KeyboardInterrupt
    return run.seen, measures, trial


def _free_id() -> int:
    while True:
        number = _FIRST_ID + secrets.randbelow(_IDS)
        if not Path(f"{_RINGS}{number}").exists():
            return number


def _measured(clips: Path) -> list[Measure]:
    paths = sorted(str(path) for path in clips.glob("*/*.mkv"))
    return list(measure_files(paths, _MEASURING).values())


class _Interrupts:
    """Remembers that the operator, or the host, wants an end: nothing is cut off in the middle, so that all can be put away."""

    _SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.told = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _Interrupts:
        self._before = {number: signal.signal(number, self._note) for number in self._SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        self.told = True


class _Run:
    """One worker process: all that it writes and sends is read until it has gone."""

    def __init__(
        self,
        command: Sequence[str],
        environment: dict[str, str],
        directory: str,
        document: bytes,
        path: str,
        guard: Guard,
    ) -> None:
        self.seen = Seen(lambda said: guard.text(said, NAME))
        self._path = path
        self._kept = KeptLines(KEPT_LINES, guard)
        self._lines = LineSplitter()
        self._decoder = FrameDecoder(client=True)
        self._selector = selectors.DefaultSelector()
        self._link: socket.socket | None = None
        self._over = False
        stdin = os.memfd_create("pipeline")  # no pipe: nothing waits for the worker to read it, and no disk sees it
        try:
            os.write(stdin, document)
            os.lseek(stdin, 0, os.SEEK_SET)
            self._begun = time.monotonic()
            self._process = subprocess.Popen(
                command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, cwd=directory
            )
        except OSError as error:
            self._selector.close()
            raise CannotSpawn(f"{error.filename or command[0]}: {error.strerror}") from None
        finally:
            os.close(stdin)
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        self._output = self._process.stdout
        self._selector.register(self._output, selectors.EVENT_READ, self._heard)

    def watch(self, seconds: float, told: Callable[[], bool]) -> None:
        """Watch it until the time is up, it ends, it is clear that there is nothing to be seen, or the operator has `told` to end."""
        self._pump(self._begun + seconds, lambda: self._ended or told() or self.seen.futile)
        self.seen.watched = time.monotonic() - self._begun
        if self._ended:
            self._pump(time.monotonic() + 1.0, lambda: not self._selector.get_map())
            code = self._process.returncode
            self.seen.ended = str(Exit(code=code) if code >= 0 else Exit(signal=-code))
        self.seen.errors = last_errors(self._kept.texts(), by_itself=self._ended)

    def end(self, seconds: float) -> None:
        """End it, read what it still says, and leave no process of its group."""
        self._over = True
        self._signal(signal.SIGTERM)
        self._pump(time.monotonic() + seconds, lambda: self._ended)
        self.seen.refused_to_end = not self._ended
        self._signal(signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5.0)
        self._selector.close()
        self._output.close()
        if self._link is not None:
            self._link.close()

    @property
    def _ended(self) -> bool:
        return self._process.poll() is not None

    def _signal(self, number: signal.Signals) -> None:
        """To its group, which it leads once it is under way, or else to itself."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)
            return
        self._process.send_signal(number)

    def _pump(self, until: float, done: Callable[[], bool]) -> None:
        while not done() and (left := until - time.monotonic()) > 0:
            if self._link is None and not self._over:
                self._connect()
            tick = _TICK if self._link is not None or self._over else _UNBOUND_TICK
            for key, _ in self._selector.select(min(left, tick)):
                key.data()

    def _connect(self) -> None:
        link = socket.socket(socket.AF_UNIX)
        link.settimeout(_TICK)
        try:
            link.connect(self._path)
            link.sendall(encode_subscribe(Subscribe(audio=False)))
        except OSError:  # it is not bound yet
            link.close()
            return
        self._link = link
        self._selector.register(link, selectors.EVENT_READ, self._received)

    def _received(self) -> None:
        assert self._link is not None  # noqa: S101 - it is what was read from
        try:
            data = self._link.recv(_READ)
            messages = self._decoder.feed(data)
        except OSError:
            data, messages = b"", []
        except UntrustedStream as error:
            data, messages = b"", error.messages
            self.seen.broken = str(error)
        if not self._over:
            at = time.monotonic() - self._begun
            for message in messages:
                self.seen.message(message, at)
        if not data:
            self._selector.unregister(self._link)
            self._over = True

    def _heard(self) -> None:
        data = os.read(self._output.fileno(), _READ)
        for line in self._lines.feed(data):
            self._line(line)
        if not data:
            self._selector.unregister(self._output)

    def _line(self, raw: bytes) -> None:
        if not self._over:
            self.seen.line(raw)
        if raw.strip() and level(raw) != "debug":
            self._kept.add_raw(raw)
