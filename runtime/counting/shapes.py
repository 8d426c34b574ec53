"""Counting lines and zones, and how they are written on the command line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.errors import UserError

Point = tuple[float, float]

LINE_FORM = "write NAME:X1,Y1,X2,Y2, e.g. door:100,200,400,200"
ZONE_FORM = "write NAME:X1,Y1,X2,Y2,X3,Y3,..., e.g. yard:0,0,640,0,640,480"


@dataclass(frozen=True)
class Line:
    """A line that is crossed.

    Looking from start to end, what crosses from the left hand to the right hand goes in: for a line
    drawn from left to right, in is downwards on the picture.

    Attributes:
        name: Unique among lines and zones.
        start_xy: In pixels of the frame.
        end_xy: In pixels of the frame.
    """

    name: str
    start_xy: Point
    end_xy: Point


@dataclass(frozen=True)
class Zone:
    """A polygon in which things stay.

    Attributes:
        name: Unique among lines and zones.
        points_xy: At least three corners in order, in pixels of the frame; the last is joined to
            the first, and no two edges cross.
    """

    name: str
    points_xy: tuple[Point, ...]


def parse_shapes(
    lines: Sequence[str], zones: Sequence[str], size_wh: tuple[int, int]
) -> tuple[tuple[Line, ...], tuple[Zone, ...]]:
    """Read the texts behind ``--line`` and ``--zone``.

    Coordinates are pixels of the frame, or shares of its width and height where all numbers of a
    text lie between 0 and 1.

    Args:
        lines: Texts as ``door:100,200,400,200``.
        zones: Texts as ``yard:0,0,640,0,640,480``.
        size_wh: Size of the frames in pixels.

    Returns:
        The lines and the zones, in pixels.

    Raises:
        UserError: A text has another form, a name comes twice, a line has no length, a zone has no
            area or crosses itself, or all of it lies outside the frame.

    Examples:
        >>> parse_shapes(["door:0,0.5,1,0.5"], [], (640, 480))[0]
        (Line(name='door', start_xy=(0.0, 240.0), end_xy=(640.0, 240.0)),)
    """
    taken: set[str] = set()
    found_lines = []
    for text in lines:
        name, points = _parse(text, "--line", LINE_FORM, size_wh, taken)
        if len(points) != 2:
            raise UserError(f"--line {text}: {2 * len(points)} numbers instead of 4: {LINE_FORM}")
        if points[0] == points[1]:
            raise UserError(f"--line {text}: start and end are the same point: {LINE_FORM}")
        found_lines.append(Line(name, points[0], points[1]))
    found_zones = []
    for text in zones:
        name, points = _parse(text, "--zone", ZONE_FORM, size_wh, taken)
        if len(points) > 1 and points[0] == points[-1]:
            points = points[:-1]
        if len(points) < 3:
            raise UserError(f"--zone {text}: fewer than three corners: {ZONE_FORM}")
        _check_polygon(text, points)
        found_zones.append(Zone(name, tuple(points)))
    return tuple(found_lines), tuple(found_zones)


def _parse(
    text: str, option: str, form: str, size_wh: tuple[int, int], taken: set[str]
) -> tuple[str, list[Point]]:
    """Return name and points in pixels, and add the name to ``taken``."""
    name, colon, rest = text.rpartition(":")
    name = name.strip()
    if not colon or not name:
        raise UserError(f"{option} {text}: no name: {form}")
    try:
        values = [float(cell) for cell in rest.split(",")]
    except ValueError:
        values = []
    if not values or len(values) % 2 or not all(math.isfinite(value) for value in values):
        raise UserError(f"{option} {text}: {rest!r} is not pairs of numbers: {form}")
    if name in taken:
        raise UserError(f"{option} {text}: the name {name!r} is given twice: use another name")
    taken.add(name)
    width, height = size_wh
    scale_x, scale_y = (width, height) if all(0 <= value <= 1 for value in values) else (1, 1)
    xs = [round(value * scale_x, 3) for value in values[::2]]
    ys = [round(value * scale_y, 3) for value in values[1::2]]
    if max(xs) < 0 or min(xs) > width or max(ys) < 0 or min(ys) > height:
        raise UserError(
            f"{option} {text}: it lies outside the picture of {width}x{height}: "
            "give pixels in it, or shares between 0 and 1"
        )
    return name, list(zip(xs, ys, strict=True))


def _check_polygon(text: str, points: list[Point]) -> None:
    count = len(points)
    edges = [(points[index], points[(index + 1) % count]) for index in range(count)]
    area = sum(a[0] * b[1] - a[1] * b[0] for a, b in edges) / 2
    neighbours_fold = any(
        _turn(a, b, c) == 0 and (b[0] - a[0]) * (c[0] - b[0]) + (b[1] - a[1]) * (c[1] - b[1]) <= 0
        for (a, b), (_, c) in zip(edges, edges[1:] + edges[:1], strict=True)
    )
    crossing = any(
        _touch(*edges[first], *edges[second])
        for first in range(count)
        for second in range(first + 2, count)
        if (second + 1) % count != first
    )
    if neighbours_fold or crossing:
        raise UserError(f"--zone {text}: its edges cross or fold back: give the corners in order")
    if abs(area) < 1:
        raise UserError(f"--zone {text}: it has no area: give corners that are not in one line")


def _turn(a: Point, b: Point, c: Point) -> float:
    """Return twice the signed area of a triangle; 0 when its corners are in one line."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _touch(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Tell whether two segments have a point in common."""
    if max(a[0], b[0]) < min(c[0], d[0]) or max(c[0], d[0]) < min(a[0], b[0]):
        return False
    if max(a[1], b[1]) < min(c[1], d[1]) or max(c[1], d[1]) < min(a[1], b[1]):
        return False
    return _turn(a, b, c) * _turn(a, b, d) <= 0 and _turn(c, d, a) * _turn(c, d, b) <= 0
