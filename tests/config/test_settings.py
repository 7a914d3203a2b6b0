from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmtwist.config.database_url import DatabaseUrl
from zmtwist.config.model import Config, FieldError, MonitorOverride, PipelineConfig, WorkerConfig
from zmtwist.config.settings import ConfigError, load, parse, settle
from zmtwist.ingest.session.options import options_of

EXAMPLE = Path(__file__).parents[2] / "etc" / "zmnext.toml"


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert str(caught.value) == "\n".join(caught.value.problems)
    assert all(problem.startswith("config: ") for problem in caught.value.problems)
    return [problem.removeprefix("config: ") for problem in caught.value.problems]


def test_an_empty_file_is_all_defaults() -> None:
    assert parse("") == Config()


def test_values() -> None:
    config = parse(
        """
        [zmnext]
        enabled = true
        monitors = [1, 2]
        reconcile_seconds = 5
        [[zmnext.monitor]]
        id = 1
        store_mode = "event"
        [[zmnext.monitor]]
        id = 2
        enabled = false
        [zmnext.worker]
        environment = { TZ = "Australia/Sydney", EMPTY = "" }
        [zmnext.pipeline]
        trigger_types = ["motion"]
        model_path = ""
        segment_max_secs = 10
        [database]
        url = "sqlite:///x.db"
        """
    )
    assert config.zmnext.monitors == (1, 2)
    assert config.zmnext.reconcile_seconds == 5.0
    assert isinstance(config.zmnext.reconcile_seconds, float)
    assert config.zmnext.monitor == (MonitorOverride(1, store_mode="event"), MonitorOverride(2, enabled=False))
    assert config.zmnext.worker.environment == {"TZ": "Australia/Sydney", "EMPTY": ""}
    assert config.zmnext.pipeline.trigger_types == ("motion",)
    assert config.zmnext.pipeline.model_path is None
    assert config.zmnext.pipeline.segment_max_secs == 10
    assert parse('[zmnext]\nmonitors = "all"').zmnext.monitors == "all"


def test_every_problem_is_told_at_once_with_its_path() -> None:
    assert problems(
        """
        bogus = 1
        [zmnext]
        enabled = "yes"
        [[zmnext.monitor]]
        id = 3
        store_mode = "evnt"
        [[zmnext.monitor]]
        id = 3
        [[zmnext.monitor]]
        grph = "x"
        [zmnext.worker]
        bianry = "x"
        min_backoff_seconds = -1
        model_path = "x"
        environment = { A = 1 }
        [zmnext.pipeline]
        detect_conf_threshold = 2
        delivery = "file"
        pre_roll_sec = 20
        max_buffer_sec = 10
        trigger_types = ["a", 1]
        [zmnext.ingest]
        timezone = "Mars/Base"
        [manhole]
        endpoint = "unix:/x"
        """
    ) == [
        "zmnext.enabled: must be true or false, got a string",
        'zmnext.monitor[0].store_mode: must be one of "none", "continuous", "event", "both", got "evnt"',
        "zmnext.monitor[2].id: is missing",
        'zmnext.monitor[2].grph: unknown key; did you mean "graph"?',
        "zmnext.monitor: 2 tables for id 3, must be one",
        "zmnext.worker.min_backoff_seconds: must be > 0, got -1",
        "zmnext.worker.environment.A: must be a string, got a whole number",
        'zmnext.worker.bianry: unknown key; did you mean "binary"?',
        "zmnext.worker.model_path: unknown key here; it belongs to [zmnext.pipeline]",
        "zmnext.pipeline.detect_conf_threshold: must be between 0 and 1, got 2",
        "zmnext.pipeline.trigger_types[1]: must be a string, got a whole number",
        'zmnext.pipeline.dir: is needed with delivery = "file"',
        "zmnext.pipeline.max_buffer_sec: must be >= pre_roll_sec (20), got 10",
        'zmnext.ingest.timezone: no such time zone on this host: "Mars/Base"; use a name like "Europe/Berlin"',
        "manhole.authorized_keys: is needed with an endpoint",
        "bogus: unknown key; known are zmnext, database, paths, legacy, api, manhole, mqtt",
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("worker.starts_per_second = true", "worker.starts_per_second: must be a number, got true or false"),
        ('worker.starts_per_second = "5"', "worker.starts_per_second: must be a number, got a string"),
        ("worker.starts_per_second = nan", "worker.starts_per_second: must be a finite number"),
        ("worker.starts_per_second = inf", "worker.starts_per_second: must be a finite number"),
        ("worker.starts_per_second = 0", "worker.starts_per_second: must be > 0, got 0"),
        ("ingest.idle_finalize_seconds = 1e303", "ingest.idle_finalize_seconds: must be <= 86400, got 1e+303"),
        ("ingest.idle_finalize_seconds = -1", "ingest.idle_finalize_seconds: must be >= 0, got -1"),
        (
            "ingest.max_frames_per_second = 1e-320",
            "ingest.max_frames_per_second: must be >= 0.001, got 9.99988867183e-321",
        ),
        ("ingest.max_frames_per_second = -1", "ingest.max_frames_per_second: must be >= 0.001, got -1"),
        ("worker.max_rss_mb = 1.0", "worker.max_rss_mb: must be a whole number, got a number"),
        ("worker.max_rss_mb = false", "worker.max_rss_mb: must be a whole number, got true or false"),
        ("worker.survive_restart = 1", "worker.survive_restart: must be true or false, got a whole number"),
        ("worker = 5", "worker: must be a table, got a whole number"),
        ('worker.binary = ""', "worker.binary: must not be empty"),
        ('worker.binary = "a\\u0000b"', "worker.binary: must not hold a NUL character"),
        ('worker.environment = { "A=B" = "x" }', 'worker.environment: "A=B" is no name for an environment variable'),
        ('worker.environment = "A=B"', "worker.environment: must be a table, got a string"),
        ('monitors = "some"', 'monitors: must be "all" or a list of monitor ids, got a string'),
        ("monitors = [1, true]", "monitors[1]: must be a whole number, got true or false"),
        ("monitors = [0, 1]", "monitors: monitor ids must be > 0, got 0"),
        ("monitor = [5]", "monitor[0]: must be a table, got a whole number"),
        ("monitor = { id = 1 }", "monitor: must be a list, got a table"),
        ('pipeline.trigger_types = "motion"', "pipeline.trigger_types: must be a list, got a string"),
        (
            'pipeline.detect_hw = "gpu"',
            'pipeline.detect_hw: must be one of "auto", "cpu", "cuda", "metal", "vaapi", "vulkan", "openvino", got "gpu"',
        ),
        (
            "pipeline.rtsp_transport = 2020-01-01",
            'pipeline.rtsp_transport: must be one of "tcp", "udp", got a date or time',
        ),
        (
            'share_inference.socket_name = "/tmp/x"',
            'share_inference.socket_name: must be a file name without a directory, got "/tmp/x"',
        ),
        (
            "worker.min_backoff_seconds = 100",
            "worker.max_backoff_seconds: must be >= min_backoff_seconds (100), got 60",
        ),
    ],
)
def test_one_wrong_value(line: str, problem: str) -> None:
    assert problems(f"[zmnext]\n{line}") == [f"zmnext.{problem}"]


def test_a_value_that_is_wrong_is_not_compared_with_others() -> None:
    text = '[zmnext.worker]\nmin_backoff_seconds = 100\nmax_backoff_seconds = "5"'
    assert problems(text) == ["zmnext.worker.max_backoff_seconds: must be a number, got a string"]


def test_text_that_is_not_toml() -> None:
    [problem] = problems("[zmnext]\nenabled = yes\n")
    assert re.fullmatch(r"not TOML: Invalid value \(at line 2, column \d+\)", problem)
    assert problems("a = " + "[" * 5000) == ["not TOML: nested too deeply"]
    assert problems("[zmnext.worker]\nmax_rss_mb = " + "9" * 5000) == ["not TOML: a number has too many digits"]


@pytest.mark.parametrize("frames", [0.001, 1e308])
def test_the_bounds_of_what_is_reckoned_in_microseconds(frames: float) -> None:
    config = parse(f"[zmnext.ingest]\nidle_finalize_seconds = 86400\nmax_frames_per_second = {frames}")
    options = options_of(config.zmnext.ingest)
    assert options.idle_us == 86_400_000_000
    assert options.frames.interval_us == max(1, round(1e6 / frames))


@pytest.mark.parametrize(
    "line",
    [
        'database.url = "mysql://u:hush/hush@h/db"',
        'database.url = "user:hushhush@h"',
        "database.url = 'postgres://u:hushhush@h/db'",
        'zmnext.pipeline.mqtt_url = "mqtts://u:hushhush@h"',
        'zmnext.pipeline.rtsp_transport = "mysql://u:hushhush@h/db"',
        'database.uri = "mysql://u:hushhush@h/db"',
        '"mysql://u:hushhush@h/db" = 1',
        'database.url = ["mysql://u:hushhush@h/db"]',
        'database.url = "mysql://u:hushhush@h/db',
    ],
)
def test_no_secret_in_a_problem(line: str) -> None:
    assert "hush" not in "\n".join(problems(line))


def test_no_secret_in_repr() -> None:
    config = parse('[database]\nurl = "mysql://u:hushhush@h/db"\n[zmnext.pipeline]\nmqtt_url = "mqtt://u:hushhush@h"')
    assert "hushhush" not in repr(config) + repr(settle(config, {}))


def test_load(tmp_path: Path) -> None:
    file = tmp_path / "z.toml"
    file.write_text("\ufeff[zmnext]\nenabled = true\n", encoding="utf-8")
    assert load(file).zmnext.enabled
    for content, problem in (
        (b"\xff", "is not UTF-8"),
        (b"x = 1", "x: unknown key"),
        (None, "cannot be read: No such file"),
    ):
        file.unlink()
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            load(file)
        assert caught.value.problems[0].startswith(f"{file}: {problem}")
        file.touch()


def test_classes_check_themselves() -> None:
    with pytest.raises(FieldError, match="max_backoff_seconds"):
        WorkerConfig(min_backoff_seconds=100)
    with pytest.raises(FieldError, match="dir: is needed"):
        PipelineConfig(delivery="file")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "enabled", "url", "graph"]) | st.text(max_size=5), inner, max_size=3)
    ),
)
TABLES = [("zmnext", name) for name in ("", "worker", "pipeline", "ingest", "monitor", "share_inference")] + [
    (name, "") for name in ("database", "paths", "legacy", "api", "manhole", "zmnext")
]


@given(st.data(), st.sampled_from(TABLES), VALUES)
def test_any_table_is_a_config_or_a_config_error(data: st.DataObject, where: tuple[str, str], value: Any) -> None:
    fields = {name for cls in all_classes() for name in attrs.fields_dict(cls)}
    table: Any = (
        data.draw(st.dictionaries(st.sampled_from(sorted(fields)) | st.text(max_size=5), VALUES, max_size=4))
        if data.draw(st.booleans())
        else value
    )
    whole = {where[0]: {where[1]: table} if where[1] else table}
    # As parse does behind the TOML reader, which has no None.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tomllib, "loads", lambda _text: whole)
        try:
            assert isinstance(parse(""), Config)
        except ConfigError as error:
            assert error.problems


def all_classes() -> list[type]:
    found = [Config, MonitorOverride]
    for cls in found:
        found += [field.type for field in attrs.fields(attrs.resolve_types(cls)) if attrs.has(field.type)]
    return found


def test_the_example_is_all_defaults_and_has_every_key() -> None:
    text = EXAMPLE.read_text()
    assert parse(text) == Config()
    optional = re.sub(r"^#(?=[\[a-z])", "", text, flags=re.MULTILINE)
    assert parse(optional) != Config()
    table = tomllib.loads(optional)

    def compare(values: dict[str, Any], cls: type, in_force: dict[str, Any]) -> None:
        assert list(values) == [field.name for field in ordered(cls)]
        for field in attrs.fields(attrs.resolve_types(cls)):
            if field.name == "monitor":
                compare(values["monitor"][0], MonitorOverride, {})
            elif attrs.has(field.type):
                compare(values[field.name], field.type, in_force.get(field.name, {}))
            else:
                has_default = field.default is not None and cls is not MonitorOverride
                assert (field.name in in_force) == has_default, f"{cls.__name__}.{field.name}"

    compare(table, Config, tomllib.loads(text))


def ordered(cls: type) -> list[attrs.Attribute[Any]]:
    """Fields as TOML must have them: plain keys before tables."""
    return sorted(attrs.fields(cls), key=lambda field: attrs.has(field.type) or field.name == "monitor")


def test_every_key_of_the_example_has_its_comment() -> None:
    lines = EXAMPLE.read_text().splitlines()
    for above, line in itertools.pairwise(lines):
        if re.match(r"#?[a-z_]+ = ", line):
            assert above.startswith("# "), line


def test_settled_from_the_host() -> None:
    zm_conf = {
        "ZM_PATH_SOCKS": "/tmp/zm",
        "ZM_DB_HOST": "db",
        "ZM_DB_NAME": "zm",
        "ZM_DIR_EVENTS": "events",
        "ZM_PATH_WEB": "/usr/share/zm",
        "ZM_SERVER_ID": "4",
        "ZM_SERVER_NAME": "north",
    }
    settings = settle(parse(""), zm_conf)
    assert settings.database == DatabaseUrl("mysql", host="db", name="zm")
    assert (settings.socks, settings.run, settings.state) == ("/tmp/zm", "/run/zmnext", "/var/lib/zmnext")
    assert settings.spool_dir == "/var/lib/zmnext/spool"
    assert settings.legacy_socket == "/tmp/zm/zmdc4.sock"
    assert settings.api_endpoint == "unix:/run/zmnext/api.sock:mode=660"
    assert settings.infer_socket == "/tmp/zm/zm_infer_gpu0.sock"
    assert (settings.events_dir, settings.web_root) == ("/usr/share/zm/events", "/usr/share/zm")
    assert (settings.server_id, settings.server_name) == (4, "north")
    assert settings.zmdc_socket(4) == "/tmp/zm/zmdc4.sock"


def test_zmdcs_socket_bears_the_number_of_a_server_that_is_known_by_its_name() -> None:
    by_name = settle(parse(""), {"ZM_DB_NAME": "zm", "ZM_SERVER_HOST": "north"})
    assert (by_name.server_id, by_name.server_name) == (None, "north")
    assert by_name.zmdc_socket(7) == "/run/zm/zmdc7.sock"
    assert by_name.zmdc_socket(None) == "/run/zm/zmdc.sock"
    configured = settle(parse('legacy.socket = "/x.sock"'), {"ZM_DB_NAME": "zm", "ZM_SERVER_NAME": "north"})
    assert configured.zmdc_socket(7) == "/x.sock"


def test_settled_without_zm_conf_and_by_the_config() -> None:
    text = """
        database.url = "sqlite:///x.db"
        paths = { run = "/r", state = "/s" }
        """
    settings = settle(parse(text), {})
    assert (settings.socks, settings.legacy_socket) == ("/run/zm", "/run/zm/zmdc.sock")
    assert (settings.spool_dir, settings.api_endpoint) == ("/s/spool", "unix:/r/api.sock:mode=660")
    assert (settings.server_id, settings.server_name) == (None, None)
    assert settings.events_dir == "/var/cache/zoneminder/events"

    own = settle(
        parse(
            text
            + """
            legacy.socket = "/l"
            api = { endpoint = "tcp:1", token_file = "/t" }
            zmnext.ingest.spool_dir = "/sp"
            """
        ),
        {"ZM_PATH_SOCKS": "/other", "ZM_DIR_EVENTS": "/abs"},
    )
    assert (own.legacy_socket, own.api_endpoint, own.token_file, own.spool_dir) == ("/l", "tcp:1", "/t", "/sp")
    assert (own.socks, own.events_dir) == ("/other", "/abs")


def test_what_cannot_be_settled_is_told_together() -> None:
    with pytest.raises(ConfigError) as caught:
        settle(parse(""), {"ZM_SERVER_ID": "one"})
    assert caught.value.problems == (
        "database.url: zm.conf has no ZM_DB_NAME (and no url is set here)",
        'zm.conf: ZM_SERVER_ID: must be a whole number, got "one"',
    )
