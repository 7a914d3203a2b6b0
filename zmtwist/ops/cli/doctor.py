"""`zmnextctl doctor`: looks at everything that the service needs, without the service; says of each fault how to put it right."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import socket
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from zmtwist.config import zm_conf as zmconf
from zmtwist.config.endpoints import BadAddress, check_socket_path, unix_path
from zmtwist.config.model import Config, PipelineConfig, ZmNextConfig
from zmtwist.config.settings import Settings, settle
from zmtwist.config.toml import ConfigError, load
from zmtwist.executables import INFER, Program, find_infer, find_worker, plugin_kinds
from zmtwist.extras import EXTRAS, missing
from zmtwist.fleet.process.child import CannotSpawn
from zmtwist.ops.cli.doctor_database import look_at_database
from zmtwist.ops.cli.findings import Finding, fail, ok, warn
from zmtwist.ops.cli.try_monitor import tried
from zmtwist.ops.http.token_file import BadToken, read_token
from zmtwist.pipeline.compose import compose
from zmtwist.pipeline.detection import choose
from zmtwist.pipeline.document import Refusal
from zmtwist.pipeline.monitor import Monitor, Storage
from zmtwist.untrusted.guard import Guard

RING_BYTES = 256 * 1024 * 1024
"""The most that one worker's shared memory ring takes (doc/reference/worker.md, Shared memory)."""

ZMDC_SECONDS = 3.0
START_SECONDS = 1.0

_NOBODYS = Monitor(
    id=1, function="Mocord", path="rtsp://127.0.0.1:9/", width=640, height=480, storage=Storage(id=0, path="/nowhere")
)
"""A monitor whose camera refuses connections: port 9 is nobody's as a rule."""

SHM = "/dev/shm"  # noqa: S108 - it is looked at, not written


def examine(config: str | None, zm_conf: str) -> list[Finding]:
    """Look at everything; `config` None stands for defaults."""
    findings: list[Finding] = []
    settings = _settings(config, zm_conf, findings)
    if settings is None:
        return findings
    findings += _user()
    findings += _worker(settings)
    findings += _extras(settings.config)
    findings += _directories(settings)
    findings += _sockets(settings)
    findings += _zmdc(settings)
    wanted = look_at_database(settings, findings)
    findings += _shared_memory(wanted)
    return findings


def _settings(path: str | None, zm_conf: str, findings: list[Finding]) -> Settings | None:
    try:
        config = Config() if path is None else load(path)
        values = zmconf.read(zm_conf)
        settings = settle(config, values)
    except ConfigError as error:
        findings += [fail("configuration", problem, f"edit {path or zm_conf}") for problem in error.problems]
        return None
    except OSError as error:
        findings.append(fail("configuration", f"{error.filename}: {error.strerror}", "run this as the service's user"))
        return None
    if path is None:
        findings.append(warn("configuration", "no file, all defaults", "name it with --config FILE"))
    elif not config.zmnext.enabled:
        findings.append(
            warn("configuration", f"{path}: [zmnext] enabled = false: nothing is started", "set it to true")
        )
    else:
        findings.append(ok("configuration", path))
    return settings


def _user() -> Iterator[Finding]:
    if os.geteuid() == 0:
        yield warn(
            "user",
            "looked at as root, who may do everything",
            "run this as the service's user, e.g. sudo -u www-data zmnextctl doctor",
        )


def _worker(settings: Settings) -> Iterator[Finding]:
    config = settings.config.zmnext
    program = find_worker(config.worker, os.environ)
    if program is None:
        missing = f"{config.worker.binary}: no such program, or it can't be executed"
        yield fail("worker", missing, "set [zmnext.worker] binary")
    else:
        yield ok("worker", program.path)
        faults = 0
        for finding in _plugins(program, config.pipeline):
            faults += finding.verdict == "FAIL"
            yield finding
        if not faults:
            yield from _start(settings, program)
    if config.share_inference.enabled:
        yield _infer(config)
    if shutil.which("setsid") is None:
        yield fail("setsid", "is not installed", "install util-linux")


def _start(settings: Settings, program: Program) -> Iterator[Finding]:
    """Whether the worker runs on a document as the service makes them: what a plugin needs may be missing although it is there itself."""
    pipeline, kinds = settings.config.zmnext.pipeline, plugin_kinds(program)
    document = compose(_NOBODYS, pipeline, plugins=kinds or None)
    if isinstance(document, Refusal):
        return  # the detector's finding tells why
    try:
        seen, _, _ = tried(program, settings, document, Guard(), START_SECONDS, START_SECONDS)
    except CannotSpawn as error:
        yield fail("start", str(error), "run it by hand")
        return
    if seen.ended:
        said = f": {' | '.join(seen.errors)}" if seen.errors else ""
        yield fail("start", f"the worker ends at once, {seen.ended}{said}", f"ldd {program.directory}/plugins/*/*.so")
    else:
        yield ok("start", "the worker runs, and loads what documents ask for")


def _infer(config: ZmNextConfig) -> Finding:
    program = find_infer(config.share_inference, config.worker, os.environ)
    if program is None:
        name = config.share_inference.binary or INFER
        return fail(
            "inference",
            f"{name}: no such program, or it can't be executed",
            "set [zmnext.share_inference] binary, or enabled = false",
        )
    return ok("inference", program.path)


def _plugins(program: Program, pipeline: PipelineConfig) -> Iterator[Finding]:
    directory = Path(program.directory)
    if not directory.is_dir():
        yield fail("working directory", f"{directory}: no such directory", "set [zmnext.worker] working_directory")
        return
    yield ok("working directory", str(directory))
    found = plugin_kinds(program)
    plugins = directory / "plugins"
    if found is None:
        yield ok("plugins", "the simulator needs none")
    elif not found:
        yield fail(
            "plugins",
            f"{plugins} holds none",
            "set [zmnext.worker] working_directory to the folder that holds plugins/<kind>/<kind>.so",
        )
    else:
        yield ok("plugins", f"{len(found)} in {plugins}")
        detector, problem = choose(pipeline, pipeline.detector, found, masked=True, private=False)
        if problem is not None:
            yield warn("detector", problem, "see doc/reference/config.md, What looks at the picture")
        else:
            yield ok("detector", detector or "none, as configured")


def _extras(config: Config) -> Iterator[Finding]:
    """What is not offered for want of an extra; where the configuration asks for it all the same, that is a fault."""
    asked_for = {
        "video": config.zmnext.ingest.thumbnails and "[zmnext.ingest] thumbnails",
        "conch": config.manhole.endpoint and "[manhole] endpoint",
        "mqtt": config.mqtt.url and "[mqtt] url",
    }
    lacking = list(missing())
    for extra in EXTRAS:
        if extra not in lacking:
            yield ok(extra.name, f"installed: {extra.offers}")
        elif key := asked_for[extra.name]:
            yield fail(extra.name, f"not installed, but {key} is set: no {extra.offers}", extra.remedy)
        else:
            yield ok(extra.name, f"not installed: no {extra.offers} ({extra.remedy})")


def _directories(settings: Settings) -> Iterator[Finding]:
    for what, path in (("socks", settings.socks), ("run", settings.run), ("state", settings.state)):
        there = next((p for p in (Path(path), *Path(path).absolute().parents) if p.exists()), Path("/"))
        if not there.is_dir():
            yield fail(what, f"{there} is no directory", f"move it away, or set [paths] {what}")
        elif not os.access(there, os.W_OK | os.X_OK):
            yield fail(what, f"{there} is not writable", f"give the service's user the right, or set [paths] {what}")
        else:
            groups = {os.getegid(), *os.getgroups()}
            yield open_to_others(what, there, os.geteuid(), groups) or ok(
                what, path if there == Path(path) else f"{path} (is made at the start)"
            )


def open_to_others(what: str, directory: Path, user: int, groups: Collection[int]) -> Finding | None:
    """What is wrong where others than `user`, who is the service's, can put sockets, locks or files of theirs in the place of ours.

    Root can't tell whose the service is: then only what is open to all is found.
    """
    for one in (directory, *directory.absolute().parents):
        status = one.stat()
        shared = one != directory and status.st_mode & stat.S_ISVTX  # as /tmp is, in which ours can't be replaced
        if status.st_mode & stat.S_IWOTH and not shared:
            return fail(what, f"{one} can be written to by every user", f"chmod o-w {one}")
    status = directory.stat()
    if user and status.st_uid not in (0, user):
        name = _user_name(user)
        return fail(
            what, f"{directory} belongs to {_user_name(status.st_uid)}, not to {name}", f"chown {name} {directory}"
        )
    if user and status.st_mode & stat.S_IWGRP and status.st_gid not in groups:
        return warn(
            what, f"{directory} can be written to by the group {_group_name(status.st_gid)}", f"chmod g-w {directory}"
        )
    return None


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _sockets(settings: Settings) -> Iterator[Finding]:
    api = unix_path(settings.api_endpoint)
    infer = settings.infer_socket if settings.config.zmnext.share_inference.enabled else None
    workers = f"{settings.socks}/stream_99999.sock"
    for what, path in (("worker sockets", workers), ("inference socket", infer), ("api socket", api)):
        if path is None:
            continue
        try:
            check_socket_path(path)
        except BadAddress as error:
            yield fail(what, str(error), "set [paths] socks and run to shorter paths")
        else:
            yield ok(what, path)
    if settings.config.api.web:
        yield _token(settings.token_file)


def _token(path: str) -> Finding:
    if not Path(path).exists():
        return ok("token file", f"{path} (is made at the start)")
    try:
        read_token(path)
    except BadToken as error:
        return fail("token file", str(error), f"chmod 600 {path}, or remove it: a new one is made")
    return ok("token file", path)


def _zmdc(settings: Settings) -> Iterator[Finding]:
    """ZoneMinder's own control socket. It must be spoken to at once and to the end, or it hangs."""
    if settings.config.legacy.control == "none":
        return
    path, fix = settings.legacy_socket, 'start ZoneMinder, set [legacy] socket, or control = "none" without zmdc'
    try:
        if not stat.S_ISSOCK(Path(path).stat().st_mode):
            yield fail("zmdc", f"{path} is no socket", fix)
            return
        with socket.socket(socket.AF_UNIX) as zmdc:
            zmdc.settimeout(ZMDC_SECONDS)
            zmdc.connect(path)
            zmdc.sendall(b"check;zmc;-m;0")
            zmdc.shutdown(socket.SHUT_WR)
            answered = bool(zmdc.recv(256))
    except OSError as error:
        yield fail("zmdc", f"{path}: {error.strerror or error}", fix)
        return
    yield ok("zmdc", path) if answered else warn("zmdc", f"{path} gave no answer", "look at zmdc's log")


def _shared_memory(workers: int) -> Iterator[Finding]:
    try:
        space = shutil.disk_usage(SHM)
    except OSError as error:
        yield fail(SHM, f"{error.strerror}", "mount a tmpfs there")
        return
    free, needed = space.free >> 20, workers * RING_BYTES >> 20
    if free < needed:
        yield warn(
            SHM,
            f"{free} MiB are free, {workers} workers may take {needed} MiB",
            f"mount -o remount,size={(space.used >> 20) + needed}M /dev/shm",
        )
    else:
        yield ok(SHM, f"{free} MiB are free for {workers} workers")
