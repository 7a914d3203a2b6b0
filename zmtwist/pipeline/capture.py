"""The capture node: where a monitor's picture comes from, or why the worker can't have it."""

from __future__ import annotations

import re
from typing import Any, Final

import attrs

from zmtwist.config.model import PipelineConfig
from zmtwist.pipeline.camera_url import CameraUrl, parse_camera_url, safe
from zmtwist.pipeline.document import Unfit
from zmtwist.pipeline.monitor import Monitor

MAIN_STREAM: Final = 0

_LEGACY: Final = {
    "local": "a capture device of this host",
    "website": "a web page",
    "curl": "a stream read by cURL",
    "vnc": "a VNC screen",
    "nvsocket": "an NVSocket camera",
}

# ZoneMinder's Method: what it means to FFmpeg, and what has to be said where the worker has no such transport.
_TRANSPORTS: Final[dict[str, tuple[str, str | None]]] = {
    "rtprtsp": ("tcp", None),
    "rtpuni": ("udp", None),
    "rtpmulti": ("udp", "Method asks for multicast, which the worker does not have: unicast UDP is used"),
    "rtprtsphttp": ("tcp", "Method asks for RTSP over HTTP, which the worker does not have: plain TCP is used"),
}


@attrs.frozen
class Capture:
    """The node without children, what it must keep secret, and the stream that detection should read."""

    node: dict[str, Any] = attrs.field(repr=False)
    camera_urls: tuple[str, ...] = ()
    """Without credentials."""
    address: tuple[str, int] | None = None
    """Host and TCP port of the main stream's camera, None where it has none."""
    credentials: bool = False
    """Whether URLs with credentials in them are given to the worker, which prints and publishes them."""
    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)
    warnings: tuple[str, ...] = ()


def capture(monitor: Monitor, config: PipelineConfig) -> Capture:
    """How the worker captures `monitor`. Raises `Unfit`.

    Its SecondPath is left out: the worker sends both streams as one, under one count of frames, and its recorder hears no trigger of the
    second.
    """
    kind = monitor.type.lower()
    if kind in _LEGACY:
        raise Unfit(f"Type {monitor.type}, {_LEGACY[kind]}, is nothing that zm-next can capture")
    if kind == "file":
        return _file(monitor)
    if kind in ("ffmpeg", "libvlc"):
        main = parse_camera_url(monitor.path, monitor.user, monitor.password)
    elif kind == "remote":
        main = _remote(monitor)
    else:
        raise Unfit(f'its Type is "{monitor.type}", which zm-next does not know')
    transport, warning = _TRANSPORTS.get(monitor.method.lower(), (config.rtsp_transport, None))
    warnings = [warning] if warning else []
    if monitor.second_path:
        warnings.append("SecondPath is not used: the worker can't tell a second stream from the main one")
    return Capture(
        node={"id": "capture", "kind": "capture_rtsp_multi", "cfg": {"streams": [_stream(main, transport, config)]}},
        camera_urls=(main.bare, *_bare(monitor.second_path)),
        address=main.address,
        credentials=bool(main.in_query) or (main.user is not None and config.credentials == "url"),
        secrets=_secrets(monitor, main),
        warnings=tuple(warnings),
    )


def _bare(url: str) -> tuple[str, ...]:
    """A camera's URL without its credentials, which must not stand in a graph either; nothing for what is none."""
    try:
        return (parse_camera_url(url).bare,) if url else ()
    except Unfit:
        return ()


def _stream(url: CameraUrl, transport: str, config: PipelineConfig) -> dict[str, Any]:
    stream = {"stream_id": MAIN_STREAM, "url": url.full, "transport": transport, "max_retry_attempts": -1}
    if config.credentials == "fields" and url.user is not None:
        word = url.password or ""
        if not (safe(url.user) and safe(word)):
            raise Unfit(
                'its User or Pass has a character that credentials = "fields" can\'t carry; use credentials = "url"'
            )
        stream |= {"url": url.bare, "username": url.user, "password": word}
    return stream


def _remote(monitor: Monitor) -> CameraUrl:
    """Protocol, Host, Port, Path and SubPath make one URL; Host may hold the credentials in front of an `@`."""
    if "://" in monitor.path:
        return parse_camera_url(monitor.path, monitor.user, monitor.password)
    if not monitor.protocol or not monitor.host:
        raise Unfit("Type Remote needs a Protocol and a Host")
    port = f":{monitor.port.strip()}" if monitor.port.strip() else ""
    path = monitor.path.strip()
    if monitor.sub_path.strip():
        path = f"{path.rstrip('/')}/{monitor.sub_path.strip().lstrip('/')}"
    if path and not path.startswith(("/", "?")):
        path = f"/{path}"
    return parse_camera_url(
        f"{monitor.protocol.strip()}://{monitor.host.strip()}{port}{path}", monitor.user, monitor.password
    )


def _file(monitor: Monitor) -> Capture:
    path = monitor.path
    if not path.strip() or not safe(path):
        raise Unfit(
            "its Path is empty or has a quote, a backslash, a brace or a character beyond ASCII, which the worker can't read"
        )
    cfg = {"path": path, "stream_id": MAIN_STREAM, "loop": True, "realtime": True}
    return Capture(node={"id": "capture", "kind": "capture_file", "cfg": cfg}, secrets=_secrets(monitor))


def _secrets(monitor: Monitor, url: CameraUrl | None = None) -> tuple[str, ...]:
    """Those of the URL used, and the columns' own, used or not."""
    found = list(url.secrets) if url is not None else []
    if monitor.password:
        found += [monitor.password, f"{monitor.user}:{monitor.password}"]
    for path in (monitor.path, monitor.second_path):
        rest = path.partition("://")[2]
        userinfo = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[0]
        if password := userinfo.partition(":")[2]:
            found += [userinfo, password, *_with_a_raw_slash(rest)]
    return tuple(dict.fromkeys(secret for secret in found if secret))


def _with_a_raw_slash(rest: str) -> list[str]:
    """What of a URL is secret too, should the @ of a password be taken for the end of it, and its slash for the path's:
    `bob:p@ss/word@camera/`. The worker reads it so, and may speak of host and path by themselves."""
    password = rest.partition(":")[2].rpartition("@")[0]
    parts = [part.end() for part in re.finditer("[@/?#]", password)]
    if not re.search("[/?#]", password):
        return []
    return [password] if "=" in password else [password, *(password[part:] for part in parts)]
