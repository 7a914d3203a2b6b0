"""Which objects of a detection count by the monitor's zones, which the detector itself ignores. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from zmtwist.pipeline.geometry import known_size
from zmtwist.pipeline.monitor import Monitor
from zmtwist.pipeline.zones import Area, Placement, classify, parse_zones
from zmtwist.wire.event_details import DetectedObject

UNKNOWN_SIZE = (0, 0)
_CORNERS = {(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)}
_COUNTING = frozenset({"Active", "Inclusive", "Exclusive"})


@attrs.frozen
class Zoning:
    """A monitor's zones, and the size of the picture that its detector sees (0 x 0 unknown: then every object counts)."""

    areas: tuple[Area, ...]
    size: tuple[int, int]
    orientation: str
    everywhere: Placement | None
    """Where the zones are the whole picture: what holds for every object."""

    def place(self, found: DetectedObject) -> Placement:
        """Whether the object counts, and by which zones."""
        if self.everywhere is not None:
            return self.everywhere
        if (box := found.box) is not None:
            return classify(self.areas, box, self.size, self.orientation)
        said = [area for area in self.areas if str(area.id) == str(found.zone_id)]
        if not said:
            return Placement(counts=True)
        return Placement(counts=said[0].type in _COUNTING, zones=tuple(a for a in said if a.type in _COUNTING))

    def counting(
        self, objects: Iterable[DetectedObject]
    ) -> tuple[tuple[DetectedObject, ...], tuple[tuple[str, ...], ...]]:
        """Those of `objects` that count, and beside each the names of its zones."""
        kept: list[DetectedObject] = []
        names: list[tuple[str, ...]] = []
        for found in objects:
            placement = self.place(found)
            if placement.counts:
                kept.append(found)
                names.append(tuple(area.name for area in placement.zones))
        return tuple(kept), tuple(names)


def zoning_of(monitor: Monitor, size: tuple[int, int] | None) -> tuple[Zoning | None, tuple[str, ...]]:
    """The zoning of `monitor`, None where no zone of it can make a difference, and a sentence for each zone that can't be read.

    `size` is that of the detector's picture before it is turned upright, None unknown.
    """
    areas, problems = parse_zones(monitor)
    areas = tuple(area for area in areas if area.type != "Privacy")
    if not areas:
        return None, problems
    everywhere = None
    if all(area.type in _COUNTING and set(area.points) == _CORNERS and len(area.points) == 4 for area in areas):
        everywhere = Placement(counts=True, zones=areas)
    seen = size if size is not None and known_size(size) else UNKNOWN_SIZE
    return Zoning(areas, seen, monitor.orientation, everywhere), problems
