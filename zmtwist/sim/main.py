"""`zm-core-sim`: a stand-in for the zm-next worker (doc/reference/worker.md), for the demo, the tests and the benchmarks.

usage: zm-core-sim --pipeline FILE --socket PATH --monitor-id N

It takes the real worker's options, reads the same pipeline document, serves the same stream socket and records with the same names.
Instead of cameras it has a test pattern with an object that comes and goes; it sends video only, no audio.

`capture_file` is a synthetic camera where its path exists or begins with `sim:`, else the input fails as a missing file does;
`capture_rtsp_multi` is one for every address that survives the worker's plain-text scanner; with `dial` whoever listens there says when
frames come. Motion and detector stages report the object, `store` records. Where the working directory has a folder `plugins`, it has just
those plugins of which there is a `plugins/<kind>/<kind>.so` (an empty file will do), else all.

The process is one loop over `selectors` and `sched`: a blocked send then stops the capture, the recorder and the reaction to SIGTERM, just
as in the real worker, and hundreds of them start fast and stay small (Twisted's reactor alone would cost each 25 MB and half a second).

Exit status: 0 after SIGTERM or SIGINT, 1 usage, 3 pipeline not there or not loadable, 4 a plugin could not be loaded, 5 socket could not be
bound.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from sched import scheduler

from zmtwist.sim.document import NotLoadable, Pipeline, UnknownPlugin, load, plugins_in
from zmtwist.sim.server import NotBound, Server
from zmtwist.sim.tuning import HELP, VARIABLE, BadTuning, Tuning, parse_tuning
from zmtwist.sim.video import LightCamera, Source
from zmtwist.sim.worker import Worker

USAGE, NOT_LOADABLE, NO_PLUGIN, NOT_BOUND = 1, 3, 4, 5
_OPTIONS = ("--pipeline", "--socket", "--monitor-id")
_RINGS = "/dev/shm/zm_shmring_"  # noqa: S108 (the real worker's name)
_RING_BYTES = 256 * 1024 * 1024


class Usage(Exception):
    """The command line can't be used."""


def log(text: str) -> None:
    """One line on stdout; a broken pipe there does no harm, since a worker outlives its parent."""
    with suppress(OSError):
        os.write(1, f"{text}\n".encode())


def log_error(text: str) -> None:
    """One line on stderr."""
    with suppress(OSError):
        os.write(2, f"{text}\n".encode())


def parse_options(arguments: Sequence[str]) -> tuple[str, str, int]:
    """Pipeline, socket path and monitor id. Raises `Usage`."""
    values: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name not in _OPTIONS:
            raise Usage(f"unknown option {name}")
        if not equals and not rest:
            raise Usage(f"{name} needs a value")
        values[name] = value if equals else rest.pop(0)
    if missing := [name for name in _OPTIONS if not values.get(name)]:
        raise Usage(f"missing {', '.join(missing)}")
    try:
        return values["--pipeline"], values["--socket"], int(values["--monitor-id"])
    except ValueError:
        raise Usage(f"--monitor-id must be a number, got {values['--monitor-id']}") from None


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Run the simulator; the exit status comes back."""
    given = sys.argv[1:] if arguments is None else arguments
    if "--help" in given:
        log(f"{__doc__}\n{VARIABLE} (and {VARIABLE}_<monitor id>) = key=value,key,...\n\n{HELP}")
        return 0
    try:
        path, socket_path, monitor_id = parse_options(given)
        # A worker that is to follow another has a number far beyond, so that they share no memory (fleet.launch).
        tuning = parse_tuning(environment, monitor_id % 1_000_000_000)
    except (Usage, BadTuning) as error:
        log_error(f"zm-core-sim: {error}\nusage: zm-core-sim --pipeline FILE --socket PATH --monitor-id N")
        return USAGE
    if tuning.exit is not None:
        return tuning.exit
    try:
        kinds = plugins_in(Path.cwd()).difference(tuning.without.split("+"))
        return _serve(load(path, monitor_id, kinds), socket_path, monitor_id, tuning)
    except NotLoadable as error:
        log_error(f"{error}\nFailed to load pipeline: {path}")
        return NOT_LOADABLE
    except UnknownPlugin as error:
        log_error(f"Failed to load plugin: {error}\nFailed to load plugins for pipeline.")
        return NO_PLUGIN
    except NotBound as error:
        log_error(f"[WorkerLink] {error}\nFailed to start worker link at {socket_path}")
        return NOT_BOUND


def make_camera(name: str, tuning: Tuning, stream_id: int = 0) -> Source:
    """The camera of a stream that the tuning asks for. Raises `UnknownPlugin` where it needs PyAV and that is missing."""
    size = tuning.dimensions if stream_id == 0 else tuning.second
    if tuning.light:
        return LightCamera(size, tuning.fps, tuning.gop, tuning.media_bytes, tuning.bframes)
    try:
        from zmtwist.sim.camera import Camera
    except ImportError as error:
        raise UnknownPlugin(f"real video needs PyAV ({error}): install zmtwist[sim], or set {VARIABLE}=light") from None
    return Camera(name, size, tuning.fps, tuning.gop)


class _Stop:
    """SIGTERM and SIGINT as a flag, and as something to read that ends a poll; a send that blocks goes on regardless."""

    def __init__(self, refuse: bool) -> None:
        self.wanted = False
        self._refuse = refuse
        self.readable, self._wakeup = socket.socketpair()
        for end in (self.readable, self._wakeup):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._signalled)
        signal.signal(signal.SIGINT, self._signalled)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _signalled(self, number: int, frame: object) -> None:
        self.wanted = not self._refuse


def _at_once(seconds: float) -> None:
    """No wait between two actions that are due: waiting is done in `Server.poll`."""


def _serve(pipeline: Pipeline, socket_path: str, monitor_id: int, tuning: Tuning) -> int:
    """Be a worker until told to stop. Raises `UnknownPlugin` or `NotBound`."""
    stop = _Stop(tuning.refuse_term)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it may be told to crash
    schedule = scheduler(time.monotonic, _at_once)
    server = Server(
        socket_path,
        schedule,
        lambda text: log(f"[WorkerLink] {text}"),
        monitor_id=monitor_id,
        stats_seconds=tuning.stats,
    )
    server.watch(stop.readable, lambda: stop.readable.recv(64))
    worker = Worker(
        pipeline,
        monitor_id,
        tuning,
        lambda stream_id: make_camera(pipeline.name, tuning, stream_id),
        server,
        schedule,
        log,
    )
    ring = Path(f"{_RINGS}{monitor_id}") if tuning.shm else None
    if ring is not None:
        with ring.open("wb") as file:
            file.truncate(_RING_BYTES)
    time.sleep(tuning.bind_delay)
    try:
        worker.run(lambda: stop.wanted)
    finally:
        if ring is not None:
            ring.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
