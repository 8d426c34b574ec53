"""Augmentations: collage, affine warp, flip and colour jitter, in one pass over the pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from train.data.config import AugmentConfig
from train.data.sample import Sample, joined

GREY = 127
Rng = np.random.Generator


def compose(
    samples: Sequence[Sample],
    size_wh: tuple[int, int],
    config: AugmentConfig,
    rng: Rng,
    paste: Callable[[Sample], Sample] | None = None,
) -> Sample:
    """Make one training picture of one or several samples.

    The canvas is divided into as many equal cells as there are samples (side by side, or a grid),
    each filled by its sample under a random scale, aspect, shift and flip; people are pasted in and
    colour jitter follows.
    Several photographs on one canvas are the mosaic of YOLOv4 (arXiv 2004.10934) without its single
    cutting point.

    Args:
        samples: 1, 2, 4 or 6 of them.
        size_wh: Canvas size in pixels.
        config: Strengths.
        rng: Source of randomness.
        paste: Pastes people into the warped picture.

    Returns:
        A sample of size ``size_wh``. Objects whose centre left their cell are dropped; the others
        keep their full extent.
    """
    columns, rows = grid_for(len(samples), size_wh)
    width, height = size_wh
    canvas = np.full((height, width, 3), GREY, np.uint8)
    parts = []
    for index, sample in enumerate(samples):
        column, row = index % columns, index // columns
        left, top = column * width // columns, row * height // rows
        right, bottom = (column + 1) * width // columns, (row + 1) * height // rows
        warped = _warp(sample, (right - left, bottom - top), config, rng)
        canvas[top:bottom, left:right] = warped.image
        warped.boxes_xyxy += np.array([left, top, left, top], np.float32)
        parts.append(warped)
    sample = joined(canvas, parts)
    if paste is not None:
        sample = paste(sample)
    sample.image = jitter_colour(sample.image, config, rng)
    return sample


def grid_for(count: int, size_wh: tuple[int, int]) -> tuple[int, int]:
    """Return columns and rows of a collage of ``count`` pictures.

    Examples:
        >>> grid_for(2, (416, 320)), grid_for(6, (320, 416))
        ((2, 1), (2, 3))
    """
    wide = {1: (1, 1), 2: (2, 1), 4: (2, 2), 6: (3, 2)}[count]
    return wide if size_wh[0] >= size_wh[1] else (wide[1], wide[0])


def _warp(sample: Sample, cell_wh: tuple[int, int], config: AugmentConfig, rng: Rng) -> Sample:
    """Fill a cell with a sample, then scale, stretch, shift and flip it at random."""
    height, width = sample.image.shape[:2]
    cell_width, cell_height = cell_wh
    # At scale 1 the picture covers the cell: pixels spent on grey teach nothing.
    cover = max(cell_width / (width * sample.pixel_aspect), cell_height / height)
    scale = cover * float(np.exp(rng.uniform(*np.log(config.scale))))
    stretch = float(np.exp(rng.uniform(-1, 1) * np.log(config.aspect)))
    scale_x, scale_y = scale * np.sqrt(stretch) * sample.pixel_aspect, scale / np.sqrt(stretch)
    # `translate` is the share of the slack, or of the overhang, that the shift may use up.
    slack_x, slack_y = cell_width - width * scale_x, cell_height - height * scale_y
    left = slack_x * (0.5 + rng.uniform(-0.5, 0.5) * config.translate)
    top = slack_y * (0.5 + rng.uniform(-0.5, 0.5) * config.translate)
    if rng.random() < config.flip:
        matrix = np.array([[-scale_x, 0, left + width * scale_x], [0, scale_y, top]])
    else:
        matrix = np.array([[scale_x, 0, left], [0, scale_y, top]])
    image = sample.image
    # A bilinear warp that shrinks by more than two aliases; halving first costs little.
    if min(scale_x, scale_y) < 0.5:
        image = np.asarray(
            cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA), np.uint8
        )
        matrix = matrix @ np.diag([width / (width // 2), height / (height // 2), 1])
    warped = cv2.warpAffine(
        image,
        matrix,
        cell_wh,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(GREY, GREY, GREY),
    )
    flipped = matrix[0, 0] < 0
    boxes = sample.boxes_xyxy * np.array([scale_x, scale_y, scale_x, scale_y], np.float32)
    if flipped:
        boxes[:, [0, 2]] = width * scale_x - boxes[:, [2, 0]]
    boxes += np.array([left, top, left, top], np.float32)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    sizes = boxes[:, 2:] - boxes[:, :2]
    inside = ((centres >= 0) & (centres < np.array(cell_wh))).all(axis=1)
    inside &= (sizes >= config.min_box).all(axis=1)
    moved = replace(
        sample,
        image=np.asarray(warped, np.uint8),
        boxes_xyxy=boxes.astype(np.float32),
        pixel_aspect=1.0,
    )
    return moved.select(np.asarray(inside))


def jitter_colour(
    image: npt.NDArray[np.uint8], config: AugmentConfig, rng: Rng
) -> npt.NDArray[np.uint8]:
    """Change saturation, brightness, contrast, channel balance and sharpness at random.

    Everything that works per pixel is one 3x3 colour matrix and one lookup, so it costs one pass.

    Args:
        image: ``[H, W, 3]`` uint8 BGR.
        config: Strengths; 0 switches a part off.
        rng: Source of randomness.
    """
    if config.colour:
        strength = config.colour
        saturation = 1 + rng.uniform(-1, 1) * strength
        contrast = 1 + rng.uniform(-1, 1) * strength
        gains = 1 + rng.uniform(-1, 1, 3) * strength / 4
        luma = np.array([0.114, 0.587, 0.299])
        matrix = saturation * np.eye(3) + (1 - saturation) * np.tile(luma, (3, 1))
        matrix = contrast * np.diag(gains) @ matrix
        offset = 128 * (1 - contrast) + rng.uniform(-1, 1) * strength * 64
        image = np.asarray(
            cv2.transform(image, np.column_stack([matrix, np.full(3, offset)])), np.uint8
        )
    if rng.random() < config.blur:
        image = np.asarray(cv2.GaussianBlur(image, (3, 3), rng.uniform(0.4, 1.2)), np.uint8)
    if rng.random() < config.grey:
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        image = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)
    return image
