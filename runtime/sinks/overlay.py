"""Tracks drawn over the frames, as a picture or as a video that browsers play."""

from __future__ import annotations

import colorsys
import os
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError
from runtime.opencv import cv2, silenced_stderr
from runtime.sinks.base import FileSink
from runtime.types import Tracks

Frame = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

GOLDEN_RATIO = 0.618034
FONT = cv2.FONT_HERSHEY_SIMPLEX
# VP8: every browser plays it, OpenCV's own FFmpeg writes it, and it encodes faster than VP9.
FOURCC = "VP80"


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
        self._length = max(length, 1)
        self._points: dict[int, deque[tuple[int, float, float]]] = {}
        self._frame = 0

    def add(self, tracks: Tracks) -> None:
        """Take in the tracks of the next frame and forget what has grown too old."""
        self._frame += 1
        feet = (tracks.boxes_xyxy[:, [0, 3]] + tracks.boxes_xyxy[:, [2, 3]]) / 2
        for track_id, (x, y) in zip(tracks.ids.tolist(), feet.tolist(), strict=True):
            self._points.setdefault(track_id, deque()).append((self._frame, x, y))
        oldest = self._frame - self._length
        for track_id, points in list(self._points.items()):
            while points and points[0][0] <= oldest:
                points.popleft()
            if not points:
                del self._points[track_id]

    def lines(self) -> dict[int, npt.NDArray[np.float64]]:
        """Return the trail of each track as ``[N, 2]`` points xy in pixels, oldest first."""
        return {
            track_id: np.array([point[1:] for point in points])
            for track_id, points in self._points.items()
        }


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
    thickness = max(1, round(frame.shape[0] / 480))
    if trails is not None:
        for track_id, line in trails.lines().items():
            _draw_trail(picture, line, track_colour(track_id), thickness)
    rows = zip(
        tracks.ids.tolist(), tracks.boxes_xyxy.tolist(), tracks.classes.tolist(), strict=True
    )
    for track_id, (left, top, right, bottom), class_index in rows:
        colour = track_colour(track_id)
        corner, opposite = (round(left), round(top)), (round(right), round(bottom))
        cv2.rectangle(picture, corner, opposite, colour, thickness, cv2.LINE_AA)
        text = str(track_id)
        if len(class_names) > 1 and class_index < len(class_names):
            text = f"{class_names[class_index]} {text}"
        _draw_label(picture, text, corner, colour, thickness)
    return picture


def _draw_trail(
    picture: Frame, points: npt.NDArray[np.float64], colour: Colour, thickness: int
) -> None:
    # Fixed-point coordinates keep a slow walker's trail from stepping from pixel to pixel.
    shift = 3
    fixed = np.rint(points * (1 << shift)).astype(np.int32)[:, None]
    cv2.polylines(picture, [fixed], False, colour, thickness, cv2.LINE_AA, shift)


def _draw_label(
    picture: Frame, text: str, corner: tuple[int, int], colour: Colour, thickness: int
) -> None:
    """Draw text on a filled box above ``corner``, or below it where the picture ends."""
    scale = max(0.38, picture.shape[0] / 1500)
    (width, height), _ = cv2.getTextSize(text, FONT, scale, thickness)
    pad = 2 + thickness
    left = min(max(corner[0], 0), max(picture.shape[1] - width - 2 * pad, 0))
    bottom = corner[1] if corner[1] >= height + 2 * pad else corner[1] + height + 2 * pad
    top = bottom - height - 2 * pad
    cv2.rectangle(picture, (left, top), (left + width + 2 * pad, bottom), colour, cv2.FILLED)
    blue, green, red = colour
    luma = 0.114 * blue + 0.587 * green + 0.299 * red
    ink = (20, 20, 20) if luma > 120 else (255, 255, 255)
    cv2.putText(picture, text, (left + pad, bottom - pad), FONT, scale, ink, thickness, cv2.LINE_AA)


class OverlayWriter(FileSink):
    """Writes a ``.webm`` video of the frames with their tracks.

    Args:
        path: The video file.
        fps: Frames per second.
        size_wh: Size of the frames in pixels.
        class_names: Names by class index; shown when there is more than one.
        trail_seconds: How far the trails reach back, in seconds.

    Raises:
        UserError: OpenCV cannot write the video here.
    """

    _video: cv2.VideoWriter

    def __init__(
        self,
        path: str | os.PathLike[str],
        fps: float,
        size_wh: tuple[int, int],
        class_names: Sequence[str] = (),
        trail_seconds: float = 2.0,
    ) -> None:
        super().__init__(path)
        self._fps = fps
        self._size_wh = size_wh
        self._class_names = tuple(class_names)
        self._trails = Trails(round(fps * trail_seconds))

    def write(self, frame: Frame, tracks: Tracks) -> None:
        """Draw and append one frame.

        Args:
            frame: uint8 BGR ``[H, W, 3]`` of the writer's size; not changed.
            tracks: Tracks of this frame in its pixels.
        """
        self._trails.add(tracks)
        self._video.write(draw_tracks(frame, tracks, self._class_names, self._trails))

    def _open(self, path: Path) -> None:
        with silenced_stderr():
            fourcc = cv2.VideoWriter.fourcc(*FOURCC)
            self._video = cv2.VideoWriter(str(path), fourcc, self._fps, self._size_wh)
        if not self._video.isOpened():
            raise UserError(
                f"OpenCV cannot write the video {self.path} (VP8 in WebM): use --no-overlay, or "
                "install opencv-python-headless, which brings the encoder"
            )

    def _finish(self) -> None:
        self._video.release()
