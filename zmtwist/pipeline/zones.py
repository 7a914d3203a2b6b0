"""ZoneMinder's zones (doc/reference/zoneminder.md, Zones): read, handed to the stages that honour them, and applied to detections.

Zones are drawn on the upright picture while the worker sees the camera's own, so both directions turn (`geometry`). Detectors ignore
zones; `classify` is how ingest makes up for that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, cast, get_args

import attrs

from zmtwist.pipeline.geometry import Point, area, clip, contains, known_size, to_camera, to_upright
from zmtwist.pipeline.monitor import Monitor, Zone

ZoneType = Literal["Active", "Inclusive", "Exclusive", "Preclusive", "Privacy"]

_TYPES: Final = {name.lower(): name for name in get_args(ZoneType)}
_INCLUDING: Final = frozenset({"Active", "Inclusive", "Exclusive"})
_PAIR = re.compile(r"([+-]?\d{1,6}(?:\.\d{0,6})?),([+-]?\d{1,6}(?:\.\d{0,6})?)", re.ASCII)
_SMALLEST = 1e-6


@attrs.frozen
class Area:
    """A zone that could be read: its corners on the unit square of the upright picture."""

    id: int
    name: str
    type: ZoneType
    points: tuple[Point, ...]
    zone: Zone = attrs.field(repr=False)
    """The row, for its thresholds."""

    @property
    def share(self) -> float:
        """Its part of the picture's area."""
        return area(self.points)

    @property
    def percent(self) -> bool:
        """Whether its thresholds may be percent of its area, as where its Coords have a decimal point."""
        return "." in self.zone.coords

    def pixels(self, size: tuple[int, int], orientation: str) -> list[tuple[int, int]]:
        """Its corners in whole pixels of the camera's own picture of `size`."""
        width, height = size
        turned = (to_camera(point, orientation) for point in self.points)
        return [(math.floor(x * (width - 1) + 0.5), math.floor(y * (height - 1) + 0.5)) for x, y in turned]


@attrs.frozen
class Placement:
    """Where a detected object is. `counts` says whether it makes an alarm frame; `zones` are those that it counts by."""

    counts: bool
    zones: tuple[Area, ...] = ()


def parse_zones(monitor: Monitor) -> tuple[tuple[Area, ...], tuple[str, ...]]:
    """The zones of `monitor` that are not Inactive, and a sentence for each that can't be read and is left out."""
    areas, problems = [], []
    for zone in monitor.zones:
        if zone.type.lower() == "inactive":
            continue
        try:
            areas.append(_area(zone, monitor.display_size))
        except ValueError as problem:
            problems.append(f'zone {zone.id} "{zone.name}" is left out: {problem}')
    return tuple(areas), tuple(problems)


def _area(zone: Zone, size: tuple[int, int]) -> Area:
    if (kind := _TYPES.get(zone.type.lower())) is None:
        raise ValueError(f'its type is "{zone.type}", which is none of ZoneMinder\'s')
    pairs = [_PAIR.fullmatch(pair) for pair in zone.coords.split()]
    if None in pairs or len(pairs) < 3:
        raise ValueError("its Coords are not three or more x,y pairs")
    numbers = [(float(pair[1]), float(pair[2])) for pair in pairs if pair is not None]
    if _percent(zone, numbers, size):
        points = [(x / 100, y / 100) for x, y in numbers]
    elif not known_size(size):
        raise ValueError("its Coords are pixels, and the monitor's Width and Height are not known")
    else:
        points = [(x / (size[0] - 1), y / (size[1] - 1)) for x, y in numbers]
    points = list(clip(points))
    if len(points) < 3 or area(points) < _SMALLEST:
        raise ValueError("nothing of it is inside the picture")
    return Area(id=zone.id, name=zone.name, type=cast(ZoneType, kind), points=tuple(points), zone=zone)


def _percent(zone: Zone, numbers: Iterable[Point], size: tuple[int, int]) -> bool:
    """Whether Coords are percent of the picture, or else its pixels.

    A decimal point says percent, to zmc and PHP alike. Whole numbers are pixels to zmc, and percent to PHP if none is above 100; PHP's
    reading is taken where Units says percent too, and the picture is so large that a zone in its first 100 pixels is unlikely.
    """
    if "." in zone.coords:
        return True
    largest = max(max(pair) for pair in numbers)
    return zone.units.lower() == "percent" and largest <= 100 and (not known_size(size) or min(size) > 200)


def classify(
    zones: Sequence[Area],
    bbox: tuple[float, float, float, float],
    frame_size: tuple[int, int],
    orientation: str = "ROTATE_0",
) -> Placement:
    """Where an object stands whose `bbox` (x, y, width, height in pixels of the camera's picture of `frame_size`) a detector gave.

    It stands at the centre of its box's lower edge, in the upright picture. It counts by the Active, Inclusive and Exclusive zones
    around that point, so not if it is in none, nor if it is only in a Preclusive one. Without any such zone the whole picture counts but
    for Preclusive zones; an unknown frame size or a box that makes no sense counts too: an alarm too many beats one too few.
    """
    x, y, width, height = bbox
    if not known_size(frame_size) or not all(map(math.isfinite, bbox)):
        return Placement(counts=True)
    left_top, right_bottom = (
        to_upright((px / frame_size[0], py / frame_size[1]), orientation)
        for px, py in ((x, y), (x + width, y + height))
    )
    foot = tuple(
        min(max(value, 0.0), 1.0) for value in ((left_top[0] + right_bottom[0]) / 2, max(left_top[1], right_bottom[1]))
    )
    around = [zone for zone in zones if contains(zone.points, (foot[0], foot[1]))]
    counting = tuple(zone for zone in around if zone.type in _INCLUDING)
    if any(zone.type in _INCLUDING for zone in zones):
        return Placement(counts=bool(counting), zones=counting)
    return Placement(counts=not any(zone.type == "Preclusive" for zone in around))


def including(zones: Iterable[Area]) -> list[Area]:
    """The zones in which something counts."""
    return [zone for zone in zones if zone.type in _INCLUDING]


def zone_rows(zones: Iterable[Area], size: tuple[int, int], orientation: str) -> list[dict[str, Any]]:
    """Zones as the worker's `zones` stage reads them: ZoneMinder's column names, corners in pixels of the camera's picture."""
    return [_row(zone, zone.pixels(size, orientation)) for zone in zones if zone.type != "Privacy"]


_COLUMNS: Final = {
    "CheckMethod": "check_method",
    "MinPixelThreshold": "min_pixel_threshold",
    "MaxPixelThreshold": "max_pixel_threshold",
    "MinAlarmPixels": "min_alarm_pixels",
    "MaxAlarmPixels": "max_alarm_pixels",
    "FilterX": "filter_x",
    "FilterY": "filter_y",
    "MinFilterPixels": "min_filter_pixels",
    "MaxFilterPixels": "max_filter_pixels",
    "MinBlobPixels": "min_blob_pixels",
    "MaxBlobPixels": "max_blob_pixels",
    "MinBlobs": "min_blobs",
    "MaxBlobs": "max_blobs",
    "AlarmRGB": "alarm_rgb",
}

# Where Coords are percent, these are percent of the zone's area (doc/reference/zoneminder.md, Zones), while the worker counts pixels.
_OF_AREA: Final = frozenset(name for name in _COLUMNS if name.endswith(("AlarmPixels", "FilterPixels", "BlobPixels")))


def _row(zone: Area, corners: Sequence[tuple[int, int]]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "Id": zone.id,
        "Name": zone.name,
        "Type": zone.type,
        "Coords": " ".join(f"{x},{y}" for x, y in corners),
    }
    scale = area(corners) / 100 if zone.percent else 1
    for column, name in _COLUMNS.items():
        value = getattr(zone.zone, name)
        if isinstance(value, str):
            row[column] = value
        elif value is not None and math.isfinite(value):
            row[column] = round(value * scale) if column in _OF_AREA and value <= 100 else round(value)
    return row


def intrusion_rules(zones: Iterable[Area], size: tuple[int, int], orientation: str) -> list[dict[str, Any]]:
    """One rule for `analytics_rules` per zone that includes."""
    return [
        {"name": zone.name, "type": "intrusion", "polygon": [list(corner) for corner in zone.pixels(size, orientation)]}
        for zone in including(zones)
    ]
