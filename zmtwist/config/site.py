"""The part of the settings that says whose monitors are read, and where storages are."""

from __future__ import annotations

from zmtwist.config.settings import Settings
from zmtwist.zm.read.catalog import Site


def site_of(settings: Settings) -> Site:
    """The part of the settings that reads of the catalog depend on."""
    return Site(
        server_id=settings.server_id,
        server_name=settings.server_name,
        default_storage_id=settings.config.zmnext.ingest.default_storage_id,
        events_dir=settings.events_dir,
        web_dir=settings.web_root,
    )
