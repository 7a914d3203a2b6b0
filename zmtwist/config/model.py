"""All that an operator can set: attrs classes for the TOML file of the contract (doc/reference/config.md), in its own order.

Defaults that depend on the host (paths, zm.conf) are None here and settled by `zmtwist.config.settings.settle`.
"""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import attrs

Mode = Literal["none", "continuous", "event", "both"]


MODES: tuple[Mode, ...] = ("none", "continuous", "event", "both")


Level = Literal["debug", "info", "warn", "error"]
"""Of log lines, the least first, as twisted.logger names them."""

LEVELS: tuple[Level, ...] = get_args(Level)

DEFAULT_TRIGGERS = ("detection", "motion", "audio_event", "tracked_detection")


DAY = 86_400
"""In seconds."""

OUR_PATHS = ("api", "metrics", "page")
"""With what the paths of the HTTP API begin."""

LOWEST_RATE = 0.001
"""A second."""

LONGEST_TOPIC = 1024
"""Bytes of a configured MQTT topic; the protocol takes 65,535 with all that is appended."""


class FieldError(ValueError):
    """A value that is fine by itself but not beside those of the fields `beside`: `field` is the one to change."""

    def __init__(self, field: str, problem: str, beside: tuple[str, ...]) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem
        self.beside = beside


def above_zero(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Validator: None, or a number greater than zero."""
    if value is not None and not value > 0:
        raise ValueError(f"must be > 0, got {value:.12g}")


def not_below_zero(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Validator: None, zero or more."""
    if value is not None and value < 0:
        raise ValueError(f"must be >= 0, got {value:.12g}")


def at_most_a_day(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Validator: seconds that can be reckoned with as microseconds."""
    if value > DAY:
        raise ValueError(f"must be <= {DAY}, got {value:.12g}")


def rate(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Validator: so many a second that the time between two of them can be reckoned with."""
    if not value >= LOWEST_RATE:
        raise ValueError(f"must be >= {LOWEST_RATE:g}, got {value:.12g}")


def known_zone(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Validator: None, or the name of a time zone that this host has."""
    if value is None:
        return
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f'no such time zone on this host: "{value}"; use a name like "Europe/Berlin"') from None


def file_name(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Validator: a file name without any directory."""
    if "/" in value or value in {".", ".."}:
        raise ValueError(f'must be a file name without a directory, got "{value}"')


def environment(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Validator: names that a process environment can hold."""
    for name in value:
        if not name or "=" in name:
            raise ValueError(f'"{name}" is no name for an environment variable')


def mqtt_topic(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Validator: levels of an MQTT topic that more can be appended to, and that can be published to."""
    if not value or value.startswith(("/", "$")) or value.endswith("/") or "+" in value or "#" in value:
        raise ValueError(
            f'must be levels of an MQTT topic, as in "home/zmnext", without + # or a leading $, got "{value}"'
        )
    if len(value.encode()) > LONGEST_TOPIC:
        raise ValueError(f"must have at most {LONGEST_TOPIC} bytes")


def path_of_urls(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Validator: a path that everything else can be below, and that is none of ours."""
    if not re.fullmatch(r"(/[A-Za-z0-9_~][A-Za-z0-9._~-]*)+/?", value):
        raise ValueError(f'must be a path such as "/zmnext", got "{value}"')
    if value.split("/")[1] in OUR_PATHS:
        raise ValueError(f'must not begin with one of our own paths ({", ".join(OUR_PATHS)}), got "{value}"')


def proxies(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Validator: addresses and networks, or "unix"."""
    for one in value:
        try:
            one == "unix" or ip_network(one, strict=False)
        except ValueError:
            raise ValueError(f'must be addresses, networks ("10.0.0.0/8") or "unix", got "{one}"') from None


def fraction(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Validator: between zero and one."""
    if not 0 <= value <= 1:
        raise ValueError(f"must be between 0 and 1, got {value:.12g}")


Detector = Literal["auto", "motion", "onnx", "fused", "none"]


@attrs.frozen
class MonitorOverride:
    """`[[zmnext.monitor]]`: what the operator says of one monitor in place of the database."""

    id: int = attrs.field(validator=above_zero)
    store_mode: Mode | None = None
    graph: str | None = None
    detector: Detector | None = None
    enabled: bool | None = None


@attrs.frozen
class WorkerConfig:
    """`[zmnext.worker]`: how worker processes are run. Times in seconds."""

    binary: str = "zm-core"
    working_directory: str | None = None
    min_backoff_seconds: float = attrs.field(default=1.0, validator=above_zero)
    max_backoff_seconds: float = attrs.field(default=60.0, validator=above_zero)
    stable_seconds: float = attrs.field(default=60.0, validator=above_zero)
    watchdog_seconds: float = attrs.field(default=12.0, validator=above_zero)
    stop_timeout_seconds: float = attrs.field(default=30.0, validator=above_zero)
    starts_per_second: float = attrs.field(default=4.0, validator=above_zero)
    survive_restart: bool = True
    overlap: bool = True
    max_rss_mb: int = attrs.field(default=1024, validator=not_below_zero)
    log_level: Level = "info"
    core_files: bool = False
    environment: dict[str, str] = attrs.field(factory=dict, validator=environment)

    def __attrs_post_init__(self) -> None:
        """The delays must be in order."""
        if self.max_backoff_seconds < self.min_backoff_seconds:
            raise FieldError(
                "max_backoff_seconds",
                f"must be >= min_backoff_seconds ({self.min_backoff_seconds:g}), got {self.max_backoff_seconds:g}",
                beside=("min_backoff_seconds",),
            )


@attrs.frozen
class PipelineConfig:
    """`[zmnext.pipeline]`: what documents hold. None where the monitor's own column decides (see `pipeline.compose`)."""

    delivery: Literal["stdin", "file"] = "stdin"
    dir: str | None = None
    graph_dir: str | None = None
    detect: bool = True
    detector: Detector = "auto"
    model_path: str | None = None
    detect_hw: Literal["auto", "cpu", "cuda", "metal", "vaapi", "vulkan", "openvino"] = "auto"
    detect_input_size: int = attrs.field(default=640, validator=above_zero)
    detect_conf_threshold: float = attrs.field(default=0.35, validator=fraction)
    rtsp_transport: Literal["tcp", "udp"] = "tcp"
    mqtt_url: str | None = attrs.field(default=None, repr=False)
    segment_max_secs: int | None = attrs.field(default=None, validator=above_zero)
    pre_roll_sec: int | None = attrs.field(default=None, validator=not_below_zero)
    post_roll_sec: int | None = attrs.field(default=None, validator=above_zero)
    max_buffer_sec: int | None = attrs.field(default=None, validator=above_zero)
    trigger_types: tuple[str, ...] = DEFAULT_TRIGGERS
    credentials: Literal["url", "fields"] = "url"
    transcode: bool = True
    extra_kinds: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        """A file needs a directory, and the buffer must hold the pre-roll."""
        wrong = []
        if self.delivery == "file" and self.dir is None:
            wrong.append(FieldError("dir", 'is needed with delivery = "file"', beside=("delivery",)))
        if self.max_buffer_sec is not None and self.max_buffer_sec < (self.pre_roll_sec or 0):
            problem = f"must be >= pre_roll_sec ({self.pre_roll_sec}), got {self.max_buffer_sec}"
            wrong.append(FieldError("max_buffer_sec", problem, beside=("pre_roll_sec",)))
        if wrong:
            raise wrong[0] if len(wrong) == 1 else ExceptionGroup("zmnext.pipeline", wrong)


@attrs.frozen
class IngestConfig:
    """`[zmnext.ingest]`: how worker events become rows."""

    event_name: str | None = None
    default_storage_id: int | None = attrs.field(default=None, validator=not_below_zero)
    idle_finalize_seconds: float = attrs.field(default=60.0, validator=[not_below_zero, at_most_a_day])
    queue_max: int = attrs.field(default=100_000, validator=above_zero)
    max_batch: int = attrs.field(default=2_000, validator=above_zero)
    spool_dir: str | None = None
    timezone: str | None = attrs.field(default=None, validator=known_zone)
    thumbnails: bool | None = None
    tags: bool = True
    events_without_recording: bool = True
    max_frames_per_second: float = attrs.field(default=30.0, validator=rate)
    max_data_per_minute: int = attrs.field(default=120, validator=not_below_zero)


@attrs.frozen
class ShareInferenceConfig:
    """`[zmnext.share_inference]`: one `zm-infer` for all detect nodes. `binary` None: beside the worker's, else in PATH."""

    enabled: bool = False
    binary: str | None = None
    gpu_id: int = attrs.field(default=0, validator=not_below_zero)
    socket_name: str = attrs.field(default="zm_infer_gpu{gpu}.sock", validator=file_name)

    def socket_in(self, socks: str) -> str:
        """The path of its socket, where those of workers are in `socks`."""
        return f"{socks}/{self.socket_name.replace('{gpu}', str(self.gpu_id))}"


@attrs.frozen
class ZmNextConfig:
    """`[zmnext]`: whether the service does anything at all, and for which monitors."""

    enabled: bool = False
    monitors: tuple[int, ...] | Literal["all"] = ()
    reconcile_seconds: float = attrs.field(default=60.0, validator=above_zero)
    monitor: tuple[MonitorOverride, ...] = ()
    worker: WorkerConfig = attrs.field(factory=WorkerConfig)
    pipeline: PipelineConfig = attrs.field(factory=PipelineConfig)
    ingest: IngestConfig = attrs.field(factory=IngestConfig)
    share_inference: ShareInferenceConfig = attrs.field(factory=ShareInferenceConfig)


@attrs.frozen
class DatabaseConfig:
    """`[database]`: one URL; it may hold a password, so it never shows in `repr`."""

    url: str | None = attrs.field(default=None, repr=False)


@attrs.frozen
class PathsConfig:
    """`[paths]`: where sockets, run-time files and kept state go."""

    socks: str | None = None
    run: str = "/run/zmnext"
    state: str = "/var/lib/zmnext"


@attrs.frozen
class LegacyConfig:
    """`[legacy]`: how ZoneMinder's own capture daemon is told."""

    control: Literal["zmdc", "none"] = "zmdc"
    socket: str | None = None
    set_none: bool = False


@attrs.frozen
class ApiConfig:
    """`[api]`: where the HTTP API listens; a web endpoint needs the token."""

    endpoint: str | None = None
    web: str | None = None
    token_file: str | None = None
    hosts: tuple[str, ...] = ()
    base_path: str | None = attrs.field(default=None, validator=attrs.validators.optional(path_of_urls))
    trusted_proxies: tuple[str, ...] = attrs.field(default=(), validator=proxies)


@attrs.frozen
class ManholeConfig:
    """`[manhole]`: off unless an endpoint is named."""

    endpoint: str | None = None
    authorized_keys: str | None = None

    def __attrs_post_init__(self) -> None:
        """Keys are the only way in."""
        if self.endpoint is not None and self.authorized_keys is None:
            raise FieldError("authorized_keys", "is needed with an endpoint", beside=("endpoint",))


@attrs.frozen
class MqttConfig:
    """`[mqtt]`: off without a url, which may hold a password and so never shows in `repr`. Topics are without a slash at either end."""

    url: str | None = attrs.field(default=None, repr=False)
    topic: str = attrs.field(default="zmnext", validator=mqtt_topic)
    discovery: bool = True
    discovery_prefix: str = attrs.field(default="homeassistant", validator=mqtt_topic)


@attrs.frozen
class Config:
    """The whole file."""

    zmnext: ZmNextConfig = attrs.field(factory=ZmNextConfig)
    database: DatabaseConfig = attrs.field(factory=DatabaseConfig)
    paths: PathsConfig = attrs.field(factory=PathsConfig)
    legacy: LegacyConfig = attrs.field(factory=LegacyConfig)
    api: ApiConfig = attrs.field(factory=ApiConfig)
    manhole: ManholeConfig = attrs.field(factory=ManholeConfig)
    mqtt: MqttConfig = attrs.field(factory=MqttConfig)
