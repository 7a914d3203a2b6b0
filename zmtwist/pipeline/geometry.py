"""Polygons on the unit square: clipping, containment, and a camera's turned or mirrored picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

Point = tuple[float, float]

LARGEST_SIDE = 65_535


def known_size(size: tuple[int, int]) -> bool:
    """Whether a picture of this width and height can be reckoned with: ZoneMinder has 0 where it was never told."""
    return all(2 <= side <= LARGEST_SIDE for side in size)


# From the upright picture, as ZoneMinder shows it, back to the camera's own. ROTATE_90 turns clockwise.
_TO_CAMERA: dict[str, Callable[[float, float], Point]] = {
    "ROTATE_90": lambda x, y: (y, 1 - x),
    "ROTATE_180": lambda x, y: (1 - x, 1 - y),
    "ROTATE_270": lambda x, y: (1 - y, x),
    "FLIP_HORI": lambda x, y: (1 - x, y),
    "FLIP_VERT": lambda x, y: (x, 1 - y),
}
_TO_UPRIGHT = _TO_CAMERA | {"ROTATE_90": _TO_CAMERA["ROTATE_270"], "ROTATE_270": _TO_CAMERA["ROTATE_90"]}


def to_camera(point: Point, orientation: str) -> Point:
    """Where a point of the upright picture is in the camera's own; both on the unit square."""
    turn = _TO_CAMERA.get(orientation)
    return turn(*point) if turn is not None else point


def to_upright(point: Point, orientation: str) -> Point:
    """Where a point of the camera's own picture is in the upright one."""
    turn = _TO_UPRIGHT.get(orientation)
    return turn(*point) if turn is not None else point


def clip(polygon: Sequence[Point]) -> tuple[Point, ...]:
    """The part of `polygon` inside the unit square (Sutherland and Hodgman); empty where there is none."""
    points = list(polygon)
    for axis, limit, sign in ((0, 0.0, 1), (0, 1.0, -1), (1, 0.0, 1), (1, 1.0, -1)):
        points = _clip_side(points, axis, limit, sign)
    return tuple(points)


def _clip_side(points: list[Point], axis: int, limit: float, sign: int) -> list[Point]:
    kept: list[Point] = []
    for before, point in zip(points[-1:] + points[:-1], points, strict=True):
        inside, was_inside = ((p[axis] - limit) * sign >= 0 for p in (point, before))
        if inside != was_inside:
            share = (limit - before[axis]) / (point[axis] - before[axis])
            other = before[1 - axis] + share * (point[1 - axis] - before[1 - axis])
            kept.append((limit, other) if axis == 0 else (other, limit))
        if inside:
            kept.append(point)
    return kept


def area(polygon: Sequence[Point]) -> float:
    """The area of a simple polygon."""
    pairs = zip(polygon, [*polygon[1:], *polygon[:1]], strict=True)
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs)) / 2


def contains(polygon: Sequence[Point], point: Point) -> bool:
    """Whether `point` is inside `polygon` or on its edge."""
    x, y = point
    inside = False
    for (x1, y1), (x2, y2) in zip(polygon, [*polygon[1:], *polygon[:1]], strict=True):
        cross = (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)
        if abs(cross) < 1e-12 and min(x1, x2) <= x <= max(x1, x2) and min(y1, y2) <= y <= max(y1, y2):
            return True
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
            inside = not inside
    return inside


def outside(polygons: Sequence[Sequence[Point]]) -> list[tuple[Point, ...]]:
    """Trapezoids that together cover what of the unit square is in none of `polygons`.

    The square is cut into bands at every corner and crossing, so that within a band no two edges meet. Its time grows with the square of
    the number of corners.
    """
    edges = [
        [(a, b) if a[1] < b[1] else (b, a) for a, b in zip(polygon, [*polygon[1:], *polygon[:1]], strict=True)]
        for polygon in polygons
    ]
    every = [edge for polygon in edges for edge in polygon if edge[0][1] < edge[1][1]]
    cuts = {0.0, 1.0, *(y for polygon in polygons for _, y in polygon)}
    cuts.update(y for n, one in enumerate(every) for other in every[:n] if (y := _crossing(one, other)) is not None)
    found = []
    levels = sorted(y for y in cuts if 0.0 <= y <= 1.0)
    for top, bottom in pairwise(levels):
        if bottom - top > 1e-9:
            found += _gaps(edges, top, bottom)
    return found


_Edge = tuple[Point, Point]
"""From its upper end to its lower one."""


def _crossing(one: _Edge, other: _Edge) -> float | None:
    """The height at which two edges cross; None where they do not."""
    top, bottom = max(one[0][1], other[0][1]), min(one[1][1], other[1][1])
    if top >= bottom:
        return None
    before, after = _x(one, top) - _x(other, top), _x(one, bottom) - _x(other, bottom)
    return None if before * after >= 0 else top + (bottom - top) * before / (before - after)


def _x(edge: _Edge, y: float) -> float:
    (x1, y1), (x2, y2) = edge
    return x1 + (x2 - x1) * (y - y1) / (y2 - y1)


def _gaps(edges: Sequence[Sequence[_Edge]], top: float, bottom: float) -> list[tuple[Point, ...]]:
    """What of the band is in no polygon: between the sides of the square and stretches that are."""
    middle = (top + bottom) / 2
    stretches: list[tuple[float, float, _Edge, _Edge]] = []
    for polygon in edges:
        crossed = sorted((_x(edge, middle), edge) for edge in polygon if edge[0][1] < middle < edge[1][1])
        stretches += [(a[0], b[0], a[1], b[1]) for a, b in zip(crossed[::2], crossed[1::2], strict=False)]
    left: _Edge = (0.0, 0.0), (0.0, 1.0)
    reached = 0.0
    found: list[tuple[Point, ...]] = []
    for begins, ends, first, last in [*sorted(stretches), (1.0, 1.0, ((1.0, 0.0), (1.0, 1.0)), left)]:
        if begins > reached + 1e-9:
            found.append(
                ((_x(left, top), top), (_x(first, top), top), (_x(first, bottom), bottom), (_x(left, bottom), bottom))
            )
        if ends > reached:
            reached, left = ends, last
    return found
