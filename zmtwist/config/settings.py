"""From the operator's file to settled settings: the config with every default filled in that depends on the host."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs

from zmtwist.config.database_url import DatabaseUrl, from_zm_conf, parse_url
from zmtwist.config.model import Config
from zmtwist.config.toml import ConfigError, load, parse
from zmtwist.untrusted.integers import whole

__all__ = ["ConfigError", "Settings", "api_endpoint", "load", "parse", "settle", "token_file"]

DEFAULT_SOCKS = "/run/zm"
DEFAULT_EVENTS = "/var/cache/zoneminder/events"
DEFAULT_WEB = "/usr/share/zoneminder/www"


@attrs.frozen
class Settings:
    """What the service runs on. Paths are as they are to be used."""

    config: Config
    database: DatabaseUrl
    socks: str
    """Where the workers' stream sockets are."""
    run: str
    state: str
    spool_dir: str
    legacy_socket: str
    """Where zmdc.pl listens."""
    api_endpoint: str
    token_file: str
    infer_socket: str
    """Where the shared `zm-infer` listens."""
    events_dir: str
    """ZM_DIR_EVENTS: the root of the storage with id 0."""
    web_root: str
    server_id: int | None
    """Only this server's monitors are handled; None, and no name either, handles all."""
    server_name: str | None
    """Where the id is not given: the name to look up in `Servers`."""

    def zmdc_socket(self, server_id: int | None) -> str:
        """Where zmdc.pl listens once it is known which server this is, be it by its name."""
        if self.config.legacy.socket or self.server_id is not None or server_id is None:
            return self.legacy_socket
        return f"{self.socks}/zmdc{server_id}.sock"


def settle(config: Config, zm_conf: Mapping[str, str]) -> Settings:
    """Fill in what the host decides; `zm_conf` is what `config.zm_conf.read` gave. Raises `ConfigError` with every problem."""
    problems: list[str] = []

    database = DatabaseUrl("sqlite")
    try:
        database = parse_url(config.database.url) if config.database.url is not None else from_zm_conf(zm_conf)
    except ValueError as error:
        hint = "" if config.database.url is not None else " (and no url is set here)"
        problems.append(f"database.url: {error}{hint}")

    server_text = zm_conf.get("ZM_SERVER_ID", "")
    server_id = whole(server_text)
    if server_text and server_id is None:
        problems.append(f'zm.conf: ZM_SERVER_ID: must be a whole number, got "{server_text}"')
    if problems:
        raise ConfigError(tuple(problems))

    socks = config.paths.socks or zm_conf.get("ZM_PATH_SOCKS") or DEFAULT_SOCKS
    run, state = config.paths.run, config.paths.state
    web_root = zm_conf.get("ZM_PATH_WEB") or DEFAULT_WEB
    return Settings(
        config=config,
        database=database,
        socks=socks,
        run=run,
        state=state,
        spool_dir=config.zmnext.ingest.spool_dir or f"{state}/spool",
        legacy_socket=config.legacy.socket or f"{socks}/zmdc{server_text}.sock",
        api_endpoint=api_endpoint(config),
        token_file=token_file(config),
        infer_socket=config.zmnext.share_inference.socket_in(socks),
        events_dir=str(Path(web_root, zm_conf.get("ZM_DIR_EVENTS") or DEFAULT_EVENTS)),
        web_root=web_root,
        server_id=server_id or None,
        server_name=zm_conf.get("ZM_SERVER_NAME") or zm_conf.get("ZM_SERVER_HOST") or None,
    )


def api_endpoint(config: Config) -> str:
    """Where the API listens, as a Twisted endpoint description."""
    return config.api.endpoint or f"unix:{config.paths.run}/api.sock:mode=660"


def token_file(config: Config) -> str:
    """Where the API's token is kept."""
    return config.api.token_file or f"{config.paths.state}/api.token"
