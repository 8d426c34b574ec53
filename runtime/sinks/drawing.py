"""Tracks, counting lines and zones drawn over the frames."""

from __future__ import annotations

import colorsys
from collections import deque
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from runtime.counting import Counter, Line, LineTally, Zone, ZoneTally
from runtime.opencv import cv2
from runtime.types import FrameResult, Tracks

Frame = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]

GOLDEN_RATIO = 0.618034
FONT = cv2.FONT_HERSHEY_SIMPLEX
# Fixed-point coordinates keep a slow walker's trail from stepping from pixel to pixel.
SHIFT = 3
WHITE, BLACK = (255, 255, 255), (20, 20, 20)
LINE_COLOUR, ZONE_COLOUR = (60, 220, 255), (255, 200, 60)
ZONE_TINT = 0.18


@lru_cache(maxsize=4096)
def track_colour(track_id: int) -> Colour:
    """Return the BGR colour of an identity, the same in every run.

    Steps of the golden ratio around the colour wheel keep neighbouring ids far apart
    (Ankerl, "How to generate random colors programmatically", 2009).
    """
    hue = track_id * GOLDEN_RATIO % 1
    lightness = 0.62 if track_id % 2 else 0.5
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.85)
    return round(255 * blue), round(255 * green), round(255 * red)


class Trails:
    """The last positions of each track, where it touches the ground.

    Args:
        length: Number of frames a trail reaches back.
    """

    def __init__(self, length: int) -> None:
        self._frames: deque[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]
        self._frames = deque(maxlen=max(length, 1))

    def add(self, tracks: Tracks) -> None:
        """Take in the tracks of the next frame and forget what has grown too old."""
        feet = (tracks.boxes_xyxy[:, [0, 3]] + tracks.boxes_xyxy[:, [2, 3]]) / 2
        self._frames.append((tracks.ids, feet.astype(np.float32)))

    def lines(self) -> dict[int, npt.NDArray[np.float32]]:
        """Return the trail of each track as ``[N, 2]`` points xy in pixels, oldest first."""
        ids = np.concatenate([frame[0] for frame in self._frames] or [np.zeros(0, np.int64)])
        if not len(ids):
            return {}
        order = np.argsort(ids, kind="stable")
        points = np.concatenate([frame[1] for frame in self._frames])[order]
        known, starts = np.unique(ids[order], return_index=True)
        return dict(zip(known.tolist(), np.split(points, starts[1:]), strict=True))


class Painter:
    """Draws the results of one source; several sinks may share it.

    Args:
        fps: Frames per second of the source.
        class_names: Names by class index; shown when there is more than one.
        counter: Whose lines, zones and tallies to draw.
        trail_seconds: How far the trails reach back, in seconds.
    """

    def __init__(
        self,
        fps: float,
        class_names: Sequence[str] = (),
        counter: Counter | None = None,
        trail_seconds: float = 2.0,
    ) -> None:
        self._class_names = tuple(class_names)
        self._counter = counter
        self._trail_length = round(fps * trail_seconds)
        self._trails = Trails(self._trail_length)
        self._last: tuple[FrameResult, Frame] | None = None

    def paint(self, result: FrameResult) -> Frame:
        """Return the frame with all that is known about it; the same picture for the same result.

        Args:
            result: The next frame; not changed.
        """
        if self._last is not None and self._last[0] is result:
            return self._last[1]
        if self._last is not None and self._last[1].shape != result.frame.shape:
            # Old positions mean nothing in a frame of another size.
            self._trails = Trails(self._trail_length)
        self._trails.add(result.tracks)
        picture = draw_tracks(result.frame, result.tracks, self._class_names, self._trails)
        if self._counter is not None:
            draw_counts(picture, self._counter)
        self._last = (result, picture)
        return picture


def draw_tracks(
    frame: Frame,
    tracks: Tracks,
    class_names: Sequence[str] = (),
    trails: Trails | None = None,
) -> Frame:
    """Draw boxes, ids and trails.

    Args:
        frame: uint8 BGR ``[H, W, 3]``; not changed.
        tracks: Tracks of this frame in its pixels.
        class_names: Names by class index; shown when there is more than one.
        trails: Where the tracks came from, this frame included.

    Returns:
        A new picture of the same shape.
    """
    picture = frame.copy()
    thickness = _thickness(picture)
    if trails is not None:
        for track_id, points in trails.lines().items():
            colour = track_colour(track_id)
            cv2.polylines(picture, [_fixed(points)], False, colour, thickness, cv2.LINE_AA, SHIFT)
    rows = zip(
        tracks.ids.tolist(), tracks.boxes_xyxy.tolist(), tracks.classes.tolist(), strict=True
    )
    for track_id, (left, top, right, bottom), class_index in rows:
        colour = track_colour(track_id)
        corner, opposite = (round(left), round(top)), (round(right), round(bottom))
        cv2.rectangle(picture, corner, opposite, colour, thickness)
        text = str(track_id)
        if len(class_names) > 1 and class_index < len(class_names):
            text = f"{class_names[class_index]} {text}"
        _draw_label(picture, text, corner, colour)
    return picture


def draw_counts(picture: Frame, counter: Counter) -> None:
    """Draw counting lines and zones with their tallies into a picture.

    Args:
        picture: uint8 BGR ``[H, W, 3]``, changed in place.
        counter: The counter; its shapes are scaled where the picture has another size.
    """
    height, width = picture.shape[:2]
    scale = np.divide((width, height), counter.size_wh or (width, height))
    places: list[tuple[str, tuple[int, int], Colour]] = []
    for zone in counter.zones:
        places.append(_draw_zone(picture, zone, scale, counter.tally.zones[zone.name]))
    for line in counter.lines:
        places.append(_draw_line(picture, line, scale, counter.tally.lines[line.name]))
    taken: list[Box] = []
    for text, corner, colour in places:
        taken.append(_draw_label(picture, text, corner, colour, taken))


def letterbox(picture: Frame, size_wh: tuple[int, int]) -> Frame:
    """Fit a picture into another size, with black bars where the shapes differ.

    Args:
        picture: uint8 BGR ``[H, W, 3]``.
        size_wh: Width and height of the result in pixels.

    Returns:
        ``picture`` itself where it has the size.
    """
    height, width = picture.shape[:2]
    if (width, height) == size_wh:
        return picture
    scale = min(size_wh[0] / width, size_wh[1] / height)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    left, top = (size_wh[0] - inner[0]) // 2, (size_wh[1] - inner[1]) // 2
    canvas = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(
        picture, inner, interpolation=method
    )
    return canvas


def _draw_zone(
    picture: Frame, zone: Zone, scale: npt.NDArray[np.float64], tally: ZoneTally
) -> tuple[str, tuple[int, int], Colour]:
    """Draw the polygon; return text, place and colour of its label."""
    points = np.array(zone.points_xy) * scale
    left, top, tint = _zone_tint(zone, (float(scale[0]), float(scale[1])), picture.shape[:2])
    if tint.size:
        part = picture[top : top + tint.shape[0], left : left + tint.shape[1]]
        cv2.add(part, tint, dst=part)
    thickness = _thickness(picture)
    cv2.polylines(picture, [_fixed(points)], True, ZONE_COLOUR, thickness, cv2.LINE_AA, SHIFT)
    text = f"{zone.name}: {tally.present} here, {tally.entered} came, {tally.left} left"
    # On the upper edge, since those in the zone stand below it.
    return text, (round(points[:, 0].mean()), round(points[:, 1].min())), ZONE_COLOUR


@lru_cache(maxsize=32)
def _zone_tint(
    zone: Zone, scale: tuple[float, float], size_hw: tuple[int, int]
) -> tuple[int, int, Frame]:
    """Return left, top and a picture to add there, which brightens the zone."""
    points = np.array(zone.points_xy) * scale
    limits = size_hw[::-1]
    left, top = np.floor(points.min(axis=0)).clip(0, limits).astype(int).tolist()
    right, bottom = np.ceil(points.max(axis=0)).clip(0, limits).astype(int).tolist()
    tint = np.zeros((bottom - top, right - left, 3), np.uint8)
    if tint.size:
        colour = [round(ZONE_TINT * value) for value in ZONE_COLOUR]
        cv2.fillPoly(tint, [_fixed(points - (left, top))], colour, cv2.LINE_8, SHIFT)
    return left, top, tint


def _draw_line(
    picture: Frame, line: Line, scale: npt.NDArray[np.float64], tally: LineTally
) -> tuple[str, tuple[int, int], Colour]:
    """Draw the line and the way in; return text, place and colour of its label."""
    start, end = np.array([line.start_xy, line.end_xy]) * scale
    thickness = _thickness(picture)
    middle, along = (start + end) / 2, end - start
    reach = 14 * thickness
    tip = middle + np.array([-along[1], along[0]]) / max(np.hypot(*along), 1e-9) * reach
    for colour, extra in ((BLACK, 2), (LINE_COLOUR, 0)):
        width = 2 * thickness + extra
        cv2.polylines(
            picture, [_fixed(np.array([start, end]))], False, colour, width, cv2.LINE_AA, SHIFT
        )
        a, b = (tuple(_fixed(point)[0, 0].tolist()) for point in (middle, tip))
        cv2.arrowedLine(picture, a, b, colour, width, cv2.LINE_AA, SHIFT, 0.45)
    text = f"{line.name}: {sum(tally.inward.values())} in, {sum(tally.outward.values())} out"
    # Beside the end, where the fewest boxes and the arrow cross it.
    return text, (round(end[0]), round(end[1])), LINE_COLOUR


def _draw_label(
    picture: Frame,
    text: str,
    corner: tuple[int, int],
    colour: Colour,
    taken: Sequence[Box] = (),
) -> Box:
    """Draw text on a filled box above ``corner``, or where the picture has room for it.

    Args:
        picture: Changed in place.
        text: What to write.
        corner: Lower left corner of the box, if there is room.
        colour: Of the box.
        taken: Boxes that it must not cover, as far as there is room below them.

    Returns:
        Left, top, right and bottom of the box.
    """
    thickness = _thickness(picture)
    scale = max(0.38, picture.shape[0] / 1500)
    width, height = _text_size(text, scale, thickness)
    pad = 2 + thickness
    box_width, box_height = width + 2 * pad, height + 2 * pad
    left = min(max(corner[0], 0), max(picture.shape[1] - box_width, 0))
    bottom = corner[1] if corner[1] >= box_height else max(corner[1], 0) + box_height
    bottom = min(bottom, picture.shape[0])
    for other in taken:
        beside = left >= other[2] or left + box_width <= other[0]
        if not beside and bottom > other[1] and bottom - box_height < other[3]:
            bottom = other[3] + box_height + 1
    top = bottom - box_height
    cv2.rectangle(picture, (left, top), (left + box_width, bottom), colour, cv2.FILLED)
    blue, green, red = colour
    ink = BLACK if 0.114 * blue + 0.587 * green + 0.299 * red > 120 else WHITE
    cv2.putText(picture, text, (left + pad, bottom - pad), FONT, scale, ink, thickness, cv2.LINE_AA)
    return left, top, left + box_width, bottom


@lru_cache(maxsize=4096)
def _text_size(text: str, scale: float, thickness: int) -> tuple[int, int]:
    (width, height), _ = cv2.getTextSize(text, FONT, scale, thickness)
    return width, height


def _thickness(picture: Frame) -> int:
    return max(1, round(picture.shape[0] / 480))


def _fixed(points: npt.NDArray[np.floating]) -> npt.NDArray[np.int32]:
    """Return points ``[N, 2]`` as OpenCV's ``[N, 1, 2]`` with ``SHIFT`` bits of fraction."""
    return np.rint(points * (1 << SHIFT)).astype(np.int32).reshape(-1, 1, 2)
