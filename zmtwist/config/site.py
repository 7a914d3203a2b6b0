"""The part of the settings that says whose monitors are read, and where storages are."""

from __future__ import annotations

import attrs

from zmtwist.config.settings import Settings


@attrs.frozen
class Site:
    """What of this host and its configuration a read depends on.

    `server_id` (ZM_SERVER_ID) None: `server_name` is looked up in `Servers` at each read; without one, this is a single server, and all
    monitors are its own. `events_dir` and `web_dir` are ZM_DIR_EVENTS and ZM_PATH_WEB.
    """

    server_id: int | None = None
    server_name: str | None = None
    default_storage_id: int | None = None
    events_dir: str = "/var/cache/zoneminder/events"
    web_dir: str = "/usr/share/zoneminder/www"


def site_of(settings: Settings) -> Site:
    """The part of the settings that reads of the catalog depend on."""
    return Site(
        server_id=settings.server_id,
        server_name=settings.server_name,
        default_storage_id=settings.config.zmnext.ingest.default_storage_id,
        events_dir=settings.events_dir,
        web_dir=settings.web_root,
    )
