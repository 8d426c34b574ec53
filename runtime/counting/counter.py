"""Counting who crosses lines and stays in zones.

A track stands where its box touches the ground: in the middle of its lower edge. Standing clear of
a line or a zone's border means standing farther from it than ``margin`` times the height of the
box, since that is how far boxes tremble.

Lines: a step is the straight way between two sightings of an identity, however many frames it was
lost in between. A step that crosses the line counts at once. Until the identity stands clear of the
line, further crossings only balance each other; what remains of them counts when it stands clear.
So trembling on the line counts once, and turning back counts once in and once out. Who is first
seen on the line counts when clear of it.

Zones: an identity enters with its first sighting inside and leaves with the first one outside that
is clear of the border.

An identity unseen for more than ``forget_seconds`` is forgotten; in a zone it then left when it was
last seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.counting.shapes import Line, Zone
from runtime.counting.tally import LineTally, Tally, ZoneTally
from runtime.types import Tracks

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Counter:
    """Counts crossings and visits, frame by frame; see the module for the rules.

    Args:
        lines: The lines.
        zones: The zones.
        classes: Names by class index.
        size_wh: Size in pixels of the frames that lines and zones are drawn on; needed only where
            frames may come in another size.
        margin: What standing clear means, as a share of the height of the box.
        forget_seconds: Give at least the tracker's ``lost_seconds``.

    Attributes:
        tally: What was counted so far.

    Examples:
        >>> counter = Counter([Line("door", (0, 50), (100, 50))], [], ["person"])
        >>> for y in (20, 80):
        ...     tally = counter.update(Tracks([1], [[40, y - 20, 50, y]], [0.9], [0]), y / 100)
        >>> tally.lines["door"].inward
        {'person': 1}
    """

    def __init__(
        self,
        lines: Sequence[Line],
        zones: Sequence[Zone],
        classes: Sequence[str] = (),
        *,
        size_wh: tuple[int, int] | None = None,
        margin: float = 0.1,
        forget_seconds: float = 2.0,
    ) -> None:
        self.lines = tuple(lines)
        self.zones = tuple(zones)
        self._classes = list(classes)
        self.size_wh = size_wh
        self._margin = margin
        self._forget_seconds = forget_seconds
        self._starts = np.array([line.start_xy for line in lines], float).reshape(-1, 2)
        self._ends = np.array([line.end_xy for line in lines], float).reshape(-1, 2)
        self._corners = [np.array(zone.points_xy, float) for zone in zones]
        columns: list[Any] = [
            ("id", np.int64),
            ("foot_xy", np.float64, (2,)),
            ("seen", np.float64),
            ("armed", np.bool_, (len(lines),)),
            ("pending", np.int32, (len(lines),)),
            ("inside", np.bool_, (len(zones),)),
            ("since", np.float64, (len(zones),)),
        ]
        # One row per identity that is not forgotten, sorted by id.
        self._state = np.zeros(0, columns)
        # Crossings by line, direction (in, out) and class.
        self._crossings = np.zeros((len(lines), 2, len(classes)), np.int64)
        self._entered, self._left = np.zeros((2, len(zones)), np.int64)
        self._finished_seconds, self._longest = np.zeros((2, len(zones)))
        self._now, self._jumped_back = -math.inf, 0.0
        self.tally = self._make_tally()

    def update(
        self, tracks: Tracks, timestamp: float, size_wh: tuple[int, int] | None = None
    ) -> Tally:
        """Take in the tracks of the next frame; call it for frames without tracks as well.

        Args:
            tracks: The tracks, in pixels of the frame.
            timestamp: Seconds since the start of the source. Where it jumps back, time goes on from
                where it was.
            size_wh: Size of this frame in pixels, where it may differ from the counter's.

        Returns:
            What was counted up to this frame.
        """
        timestamp = self._steady(timestamp)
        self._forget(timestamp)
        boxes_xyxy = tracks.boxes_xyxy.astype(np.float64)
        if size_wh is not None and self.size_wh is not None and size_wh != self.size_wh:
            boxes_xyxy *= np.tile(np.divide(self.size_wh, size_wh), 2)
        feet_xy = np.stack([boxes_xyxy[:, [0, 2]].mean(axis=1), boxes_xyxy[:, 3]], axis=1)
        clear = self._margin * (boxes_xyxy[:, 3] - boxes_xyxy[:, 1])
        rows = self._rows_of(tracks.ids, feet_xy)
        if self.lines:
            self._cross(rows, feet_xy, clear, tracks.classes)
        for index in range(len(self.zones)):
            self._visit(index, rows, feet_xy, clear, timestamp)
        self._state["foot_xy"][rows] = feet_xy
        self._state["seen"][rows] = timestamp
        self.tally = self._make_tally()
        return self.tally

    def _steady(self, timestamp: float) -> float:
        """Return a time that never runs back, or visits would last less than nothing."""
        self._jumped_back += max(0.0, self._now - (timestamp + self._jumped_back))
        self._now = timestamp + self._jumped_back
        return self._now

    def _rows_of(self, ids: npt.NDArray[np.int64], feet_xy: Floats) -> npt.NDArray[np.intp]:
        """Return the state's rows of identities, adding those that are new."""
        new = ~np.isin(ids, self._state["id"])
        if new.any():
            added = np.zeros(int(new.sum()), self._state.dtype)
            added["id"], added["foot_xy"] = ids[new], feet_xy[new]
            state = np.concatenate([self._state, added])
            self._state = state[np.argsort(state["id"], kind="stable")]
        return np.searchsorted(self._state["id"], ids)

    def _cross(
        self,
        rows: npt.NDArray[np.intp],
        feet_xy: Floats,
        clear: Floats,
        classes: npt.NDArray[np.int64],
    ) -> None:
        state, starts, ends = self._state, self._starts, self._ends
        before = state["foot_xy"][rows]
        was_right = _turn(starts, ends, before[:, None]) >= 0
        is_right = _turn(starts, ends, feet_xy[:, None]) >= 0
        # The step passes between the ends of the line where they lie on both sides of it.
        one, other = (_turn(before[:, None], feet_xy[:, None], tips) for tips in (starts, ends))
        step = np.where(one * other <= 0, is_right.astype(np.int32) - was_right, 0)
        at_once = np.where(state["armed"][rows], step, 0)
        pending = state["pending"][rows] + step - at_once
        armed = state["armed"][rows] & (at_once == 0)
        is_clear = _distances(feet_xy, starts, ends) > clear[:, None]
        state["armed"][rows] = armed | is_clear
        state["pending"][rows] = np.where(is_clear, 0, pending)
        counts = at_once + np.where(is_clear, pending, 0)
        track, line = np.nonzero(counts)
        if len(track):
            self._name_classes(int(classes.max()))
            found = counts[track, line]
            place = (line, (found < 0).astype(np.intp), classes[track])
            np.add.at(self._crossings, place, np.abs(found))

    def _visit(
        self,
        zone: int,
        rows: npt.NDArray[np.intp],
        feet_xy: Floats,
        clear: Floats,
        timestamp: float,
    ) -> None:
        corners = self._corners[zone]
        following = np.roll(corners, -1, axis=0)
        was_inside = self._state["inside"][rows, zone]
        is_inside = _contains(corners, following, feet_xy)
        is_clear = (_distances(feet_xy, corners, following) > clear[:, None]).all(axis=1)
        enters = rows[~was_inside & is_inside]
        leaves = rows[was_inside & ~is_inside & is_clear]
        self._state["inside"][enters, zone] = True
        self._state["since"][enters, zone] = timestamp
        self._entered[zone] += len(enters)
        self._end_visits(zone, timestamp - self._state["since"][leaves, zone])
        self._state["inside"][leaves, zone] = False

    def _end_visits(self, zone: int, seconds: Floats) -> None:
        self._left[zone] += len(seconds)
        self._finished_seconds[zone] += seconds.sum()
        self._longest[zone] = seconds.max(initial=self._longest[zone])

    def _forget(self, timestamp: float) -> None:
        gone = timestamp - self._state["seen"] > self._forget_seconds
        if not gone.any():
            return
        lost = self._state[gone]
        for zone in range(len(self.zones)):
            visits = lost[lost["inside"][:, zone]]
            self._end_visits(zone, visits["seen"] - visits["since"][:, zone])
        self._state = self._state[~gone]

    def _name_classes(self, highest: int) -> None:
        """Give names to classes that have none."""
        missing = range(len(self._classes), highest + 1)
        if missing:
            self._classes += [f"class {index}" for index in missing]
            self._crossings = np.pad(self._crossings, ((0, 0), (0, 0), (0, len(missing))))

    def _make_tally(self) -> Tally:
        lines = {
            line.name: LineTally(*(self._by_class(counts) for counts in both))
            for line, both in zip(self.lines, self._crossings, strict=True)
        }
        zones = {}
        for index, zone in enumerate(self.zones):
            here = self._state[self._state["inside"][:, index]]
            lasting = here["seen"] - here["since"][:, index]
            entered = int(self._entered[index])
            total = float(self._finished_seconds[index] + lasting.sum())
            zones[zone.name] = ZoneTally(
                present=len(here),
                entered=entered,
                left=int(self._left[index]),
                mean_dwell_seconds=total / max(entered, 1),
                longest_dwell_seconds=float(lasting.max(initial=self._longest[index])),
            )
        return Tally(lines, zones)

    def _by_class(self, counts: npt.NDArray[np.int64]) -> dict[str, int]:
        return {self._classes[index]: int(counts[index]) for index in np.flatnonzero(counts)}


def _turn(start: Floats, end: Floats, point: Floats) -> Floats:
    """Return, for points ``[..., 2]``, a number above 0 where ``point`` is to the right hand.

    It is twice the signed area of the triangle; arguments are broadcast.
    """
    along, away = end - start, point - start
    return along[..., 0] * away[..., 1] - along[..., 1] * away[..., 0]


def _distances(points: Floats, starts: Floats, ends: Floats) -> Floats:
    """Return ``[N, M]`` distances of points ``[N, 2]`` from segments ``[M, 2]``, in pixels."""
    along = ends - starts
    away = points[:, None] - starts
    share = ((away * along).sum(axis=-1) / (along**2).sum(axis=-1)).clip(0, 1)
    return np.hypot(*np.moveaxis(away - share[..., None] * along, -1, 0))


def _contains(corners: Floats, following: Floats, points: Floats) -> Bools:
    """Tell which points ``[N, 2]`` a polygon contains.

    A ray to the right leaves it through an odd number of edges.
    """
    y = points[:, None, 1]
    spans = (corners[:, 1] > y) != (following[:, 1] > y)
    downwards = following[:, 1] - corners[:, 1]
    is_left = _turn(corners, following, points[:, None]) * downwards > 0
    return ((spans & is_left).sum(axis=1) % 2).astype(np.bool_)
