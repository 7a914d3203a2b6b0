"""What zmtwist knows of a monitor: plain values read off ZoneMinder's rows, independent of its version.

`zm.read.catalog` makes them; `pipeline.compose` turns them into a document. Column names are ZoneMinder's in snake_case; columns that
this database does not have are None.
"""

from __future__ import annotations

from typing import Literal

import attrs


@attrs.frozen
class Storage:
    """A row of `Storage`, or ZM_DIR_EVENTS as the storage with id 0."""

    id: int
    path: str
    scheme: Literal["Deep", "Medium", "Shallow"] = "Medium"
    name: str = ""
    server_id: int | None = None


@attrs.frozen
class Zone:
    """A row of `Zones`: its geometry is still ZoneMinder's text (doc/reference/zoneminder.md, Zones)."""

    id: int
    name: str
    type: str = "Active"
    units: str = "Pixels"
    coords: str = ""
    alarm_rgb: int | None = None
    check_method: str = "Blobs"
    min_pixel_threshold: int | None = None
    max_pixel_threshold: int | None = None
    min_alarm_pixels: float | None = None
    max_alarm_pixels: float | None = None
    filter_x: int | None = None
    filter_y: int | None = None
    min_filter_pixels: float | None = None
    max_filter_pixels: float | None = None
    min_blob_pixels: float | None = None
    max_blob_pixels: float | None = None
    min_blobs: int | None = None
    max_blobs: int | None = None


@attrs.frozen
class Monitor:
    """A row of `Monitors` with its storage and zones. Sizes are pixels as stored (before rotation), times seconds.

    `path`, `second_path`, `user` and `password` may hold credentials and never appear in `repr`.
    """

    id: int
    name: str = attrs.field(default="")
    type: str = "Ffmpeg"
    function: str | None = None
    enabled: bool = True
    capturing: str | None = None
    analysing: str | None = None
    recording: str | None = None
    deleted: bool = False
    use_zm_next: bool | None = None
    server_id: int | None = None
    device: str = ""
    channel: int | None = None
    protocol: str = ""
    method: str = ""
    host: str = ""
    port: str = ""
    sub_path: str = ""
    path: str = attrs.field(default="", repr=False)
    second_path: str = attrs.field(default="", repr=False)
    user: str = attrs.field(default="", repr=False)
    password: str = attrs.field(default="", repr=False)
    width: int = 0
    height: int = 0
    orientation: str = "ROTATE_0"
    event_prefix: str = "Event-"
    section_length: int | None = None
    pre_event_count: int | None = None
    post_event_count: int | None = None
    max_fps: float | None = None
    latitude: str | None = None
    longitude: str | None = None
    storage: Storage = attrs.field(factory=lambda: Storage(id=0, path=""))
    zones: tuple[Zone, ...] = ()
    graph_json: str | None = attrs.field(default=None, repr=False)

    @property
    def display_size(self) -> tuple[int, int]:
        """Width and height of the upright picture: swapped where the orientation turns it by a quarter."""
        if self.orientation in ("ROTATE_90", "ROTATE_270"):
            return self.height, self.width
        return self.width, self.height
