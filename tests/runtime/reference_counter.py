"""Counting in exact arithmetic, one identity and one shape at a time, as the rules say it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest

from runtime.counting import Line, Tally, Zone

Point = tuple[int, int]


def squared_distance(point: Point, a: Point, b: Point) -> Fraction:
    """Return the squared distance of a point from a segment."""
    along = (b[0] - a[0], b[1] - a[1])
    away = (point[0] - a[0], point[1] - a[1])
    length = along[0] ** 2 + along[1] ** 2
    share = Fraction(away[0] * along[0] + away[1] * along[1], length)
    share = min(max(share, Fraction(0)), Fraction(1))
    return (away[0] - share * along[0]) ** 2 + (away[1] - share * along[1]) ** 2


def direction(line: Line, before: Point, after: Point) -> int:
    """Return 1 for a step in, -1 for one out and 0 for one that does not cross the line."""
    (ax, ay), (bx, by) = line.start_xy, line.end_xy

    def side(point: Point) -> int:
        return (bx - ax) * (point[1] - ay) - (by - ay) * (point[0] - ax)

    first, second = side(before), side(after)
    if (first >= 0) == (second >= 0):
        return 0
    # Where the step meets the line, as a share of the line's length.
    share = Fraction(first, first - second)
    x = before[0] + share * (after[0] - before[0])
    y = before[1] + share * (after[1] - before[1])
    along = ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / Fraction(
        (bx - ax) ** 2 + (by - ay) ** 2
    )
    if not 0 <= along <= 1:
        return 0
    return 1 if second >= 0 else -1


def contains(corners: Sequence[Point], point: Point) -> bool:
    """Tell whether a ray to the right leaves the polygon through an odd number of edges."""
    inside = False
    for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]], strict=True):
        if (ay > point[1]) != (by > point[1]):
            meets = ax + Fraction((bx - ax) * (point[1] - ay), by - ay)
            inside ^= point[0] < meets
    return inside


class ReferenceCounter:
    """What ``runtime.counting.Counter`` must equal; classes are the ids modulo 2."""

    def __init__(
        self, lines: Sequence[Line], zones: Sequence[Zone], margin: Fraction, forget: int
    ) -> None:
        self.lines, self.zones = lines, zones
        self.margin, self.forget = margin, forget
        self.people: dict[int, dict] = {}
        self.crossings: dict[tuple[str, int, int], int] = {}
        self.visits: dict[str, list[list]] = {zone.name: [] for zone in zones}

    def update(self, tracks: Sequence[tuple[int, Point, int]], time: int) -> None:
        for track_id, person in list(self.people.items()):
            if time - person["seen"] > self.forget:
                del self.people[track_id]
                for visit in person["visits"].values():
                    visit[2] = True
        for track_id, foot, height in tracks:
            person = self.people.setdefault(
                track_id, {"foot": foot, "armed": set(), "pending": {}, "visits": {}}
            )
            clear = (self.margin * height) ** 2
            for line in self.lines:
                self._step(line, track_id, person, foot, clear)
            for zone in self.zones:
                self._stay(zone, person, foot, clear, time)
            person["foot"], person["seen"] = foot, time

    def _step(self, line: Line, track_id: int, person: dict, foot: Point, clear: Fraction) -> None:
        step = direction(line, person["foot"], foot)
        if step and line.name in person["armed"]:
            self._count(line, track_id, step)
            person["armed"].remove(line.name)
        else:
            person["pending"][line.name] = person["pending"].get(line.name, 0) + step
        if squared_distance(foot, line.start_xy, line.end_xy) > clear:
            self._count(line, track_id, person["pending"].pop(line.name, 0))
            person["armed"].add(line.name)

    def _count(self, line: Line, track_id: int, step: int) -> None:
        if step:
            key = (line.name, 1 if step > 0 else -1, track_id % 2)
            self.crossings[key] = self.crossings.get(key, 0) + abs(step)

    def _stay(self, zone: Zone, person: dict, foot: Point, clear: Fraction, time: int) -> None:
        corners = list(zone.points_xy)
        visit = person["visits"].get(zone.name)
        if visit is not None:
            visit[1] = time
        if contains(corners, foot):
            if visit is None:
                person["visits"][zone.name] = [time, time, False]
                self.visits[zone.name].append(person["visits"][zone.name])
        elif visit is not None and all(
            squared_distance(foot, a, b) > clear
            for a, b in zip(corners, [*corners[1:], corners[0]], strict=True)
        ):
            visit[2] = True
            del person["visits"][zone.name]

    def assert_equals(self, tally: Tally) -> None:
        for line in self.lines:
            for step, found in ((1, "inward"), (-1, "outward")):
                wanted = {
                    name: self.crossings[line.name, step, label]
                    for label, name in enumerate(("person", "car"))
                    if (line.name, step, label) in self.crossings
                }
                assert getattr(tally.lines[line.name], found) == wanted, (line.name, found)
        for zone in self.zones:
            visits, found = self.visits[zone.name], tally.zones[zone.name]
            ended = sum(visit[2] for visit in visits)
            assert (found.entered, found.left) == (len(visits), ended)
            assert found.present == len(visits) - ended
            lengths = [visit[1] - visit[0] for visit in visits]
            assert found.longest_dwell_seconds == max(lengths, default=0)
            mean = sum(lengths) / max(len(lengths), 1)
            assert found.mean_dwell_seconds == pytest.approx(mean)
