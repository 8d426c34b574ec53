"""The empty scene of a static camera: the median of frames spread over its footage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError
from runtime.opencv import cv2

Frame = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float32]

MOST_FRAMES = 60
FEWEST_FRAMES = 5
LIMIT_BYTES = 512 << 20
# The sharpest share of the pixels tells whether the camera moves: in plain places nothing would
# change. One differs if by more than a shift by some pixels and noise explain.
SHARPEST = 0.2
SHIFT, NOISE = 3.0, 8.0
# More of them differ in a typical frame: the camera moves. Of static ones on the street it is 0.03,
# of one that pans 0.3.
MOST_CHANGED = 0.12
ROWS_AT_ONCE = 32
# Boxes are grown by this share of their sides: shadows and loose boxes are no sign of movement.
MARGIN = 0.3
EVERY = 4  # of the pixels along each axis, for what is estimated over a whole picture


class FrameSample:
    """Frames spread evenly over footage of unknown length, in bounded memory.

    Args:
        most: How many to keep at most. Whenever there are so many, every second one goes.
    """

    def __init__(self, most: int = MOST_FRAMES) -> None:
        self._most = most
        self._step = 1
        self.frames: dict[int, Frame] = {}

    def add(self, number: int, frame: Frame) -> None:
        """Offer the frame of a number, counted from 1."""
        most = max(FEWEST_FRAMES, min(self._most, LIMIT_BYTES // frame.nbytes))
        if (number - 1) % self._step:
            return
        self.frames[number] = frame
        while len(self.frames) > most:
            self._step *= 2
            kept = [number for number in self.frames if (number - 1) % self._step == 0]
            self.frames = {number: self.frames[number] for number in kept}


@dataclass
class Background:
    """A scene without people.

    Attributes:
        image: ``[H, W, 3]`` uint8 BGR.
        changed: Share of the sharp edges of a typical frame, outside of boxes, that are not in it.
    """

    image: Frame
    changed: float

    def under_light_of(self, frame: Frame, boxes_xyxy: Boxes) -> npt.NDArray[np.float32]:
        """Return the scene under the light and exposure of a frame, ``[H, W, 3]`` float32.

        Args:
            frame: ``[H, W, 3]`` uint8 BGR.
            boxes_xyxy: ``[K, 4]`` of what is not scene in it.
        """
        outside = ~inside_boxes(boxes_xyxy, self.image.shape[:2])[::EVERY, ::EVERY]
        now, then = (part[::EVERY, ::EVERY][outside] + 1.0 for part in (frame, self.image))
        gains = np.median(now / then, axis=0) if len(now) else np.ones(3)
        return np.asarray(self.image * gains.astype(np.float32), np.float32)


def learn_background(sample: FrameSample, crowd: Mapping[int, Boxes], name: str) -> Background:
    """Take the median of every pixel.

    Args:
        sample: Frames of the footage.
        crowd: Of each frame's number ``[K, 4]`` the boxes of people.
        name: Of the footage, for messages.

    Raises:
        UserError: There are too few frames, they differ in size, or the camera moves.
    """
    frames = list(sample.frames.values())
    if len(frames) < FEWEST_FRAMES:
        raise UserError(f"{name} has {len(frames)} frames: give at least {FEWEST_FRAMES}")
    if len({frame.shape for frame in frames}) > 1:
        raise UserError(f"{name} changes its size: give footage of one size")
    image = np.empty_like(frames[0])
    for top in range(0, len(image), ROWS_AT_ONCE):
        rows = slice(top, top + ROWS_AT_ONCE)
        stack = np.stack([frame[rows] for frame in frames], axis=-1)
        stack.partition(len(frames) // 2, axis=-1)
        image[rows] = stack[..., len(frames) // 2]
    background = Background(image, 0.0)
    background.changed = float(
        np.median(
            [
                _changed(frame, background, crowd.get(number, np.zeros((0, 4), np.float32)))
                for number, frame in sample.frames.items()
            ]
        )
    )
    if background.changed > MOST_CHANGED:
        raise UserError(
            f"{name} is no footage of a static camera: away from people "
            f"{100 * background.changed:.0f} % of the edges in a typical frame are not in the "
            f"scene, at most {100 * MOST_CHANGED:.0f} % may: leave it out"
        )
    return background


def _changed(frame: Frame, background: Background, boxes_xyxy: Boxes) -> float:
    """Return which share of a frame's sharp edges outside of boxes are not in the scene."""
    outside = ~inside_boxes(boxes_xyxy, frame.shape)
    if not outside.any():
        return 0.0
    grey = cv2.GaussianBlur(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY).astype(np.float32), (0, 0), 1)
    # Sobel's kernel adds up 8 times the slope.
    slope = np.hypot(*(cv2.Sobel(grey, cv2.CV_32F, 1 - y, y, scale=1 / 8) for y in (0, 1)))
    difference = np.abs(frame - background.under_light_of(frame, boxes_xyxy)).max(axis=-1)
    sharp = outside & (slope > np.quantile(slope[outside], 1 - SHARPEST))
    return float((difference[sharp] > SHIFT * slope[sharp] + NOISE).mean()) if sharp.any() else 0.0


def inside_boxes(boxes_xyxy: Boxes, size_hw: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Return ``[H, W]``, true inside of boxes ``[K, 4]`` grown by a margin."""
    inside = np.zeros(size_hw[:2], bool)
    for left, top, right, bottom in boxes_xyxy.tolist():
        x, y = MARGIN * (right - left), MARGIN * (bottom - top)
        inside[
            max(0, int(top - y)) : max(0, int(bottom + y) + 1),
            max(0, int(left - x)) : max(0, int(right + x) + 1),
        ] = True
    return inside
