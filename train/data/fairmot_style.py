"""Augmentation of style ``fairmot``: letterbox, colour, affine warp and flip, mosaic and mixup.

FairMOT takes this chain over from JDE (Wang et al., arXiv 1909.12605). Two things differ from the
published code on purpose: colours are jittered after the picture was shrunk, which is much cheaper
and changes the order of two roundings only, and an object whose centre leaves the picture is
dropped, as its centre is what the network is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from runtime.preprocess import BORDER_GREY, letterbox_geometry
from train.data.config import FairMOTAugmentConfig
from train.data.sample import Sample, joined

Rng = np.random.Generator
Image = npt.NDArray[np.uint8]

LEAST_AREA_LEFT = 0.1
GREATEST_ELONGATION = 10.0
# The mosaic's centre stays this share of a side away from the border.
MOSAIC_MARGIN = 0.25
# Beta(32, 32) keeps both pictures of a mixup well visible: 95 % of its draws are in 0.38 .. 0.62.
MIXUP_BETA = 32.0


def letterboxed(
    samples: Sequence[Sample], size_wh: tuple[int, int], config: FairMOTAugmentConfig, rng: Rng
) -> Sample:
    """Make one training picture of one sample, or a mosaic of four.

    Args:
        samples: 1 or 4 of them.
        size_wh: Size of the result in pixels.
        config: Strengths.
        rng: Source of randomness.

    Returns:
        A sample of size ``size_wh``. Objects whose centre left it are dropped; the others keep
        their full extent.
    """
    parts = [_fit(sample, size_wh, config, rng) for sample in samples]
    sample = parts[0] if len(parts) == 1 else mosaic(parts, size_wh, rng)
    warped = _warp(sample, size_wh, config, rng)
    if rng.random() < config.flip:
        warped.image = np.asarray(cv2.flip(warped.image, 1), np.uint8)
        warped.boxes_xyxy[:, [0, 2]] = size_wh[0] - warped.boxes_xyxy[:, [2, 0]]
    return warped


def mosaic(samples: Sequence[Sample], size_wh: tuple[int, int], rng: Rng) -> Sample:
    """Put four letterboxed pictures around a random centre (YOLOv4, arXiv 2004.10934).

    Each shows the quarter of it that reaches from the centre outwards, at its own scale: objects
    keep their size. Objects whose centre is not in the quarter shown are dropped.

    Args:
        samples: Four of size ``size_wh``: top left, top right, bottom left, bottom right.
        size_wh: Width and height in pixels.
        rng: Source of randomness.
    """
    width, height = size_wh
    centre_x = round(width * rng.uniform(MOSAIC_MARGIN, 1 - MOSAIC_MARGIN))
    centre_y = round(height * rng.uniform(MOSAIC_MARGIN, 1 - MOSAIC_MARGIN))
    canvas = np.empty((height, width, 3), np.uint8)
    parts = []
    for index, sample in enumerate(samples):
        x0, x1 = ((0, centre_x), (centre_x, width))[index % 2]
        y0, y1 = ((0, centre_y), (centre_y, height))[index // 2]
        # What is cut out is drawn at random too, or corners alone would ever be seen.
        left = int(rng.integers(width - (x1 - x0) + 1))
        top = int(rng.integers(height - (y1 - y0) + 1))
        canvas[y0:y1, x0:x1] = sample.image[top : top + y1 - y0, left : left + x1 - x0]
        moved = sample.boxes_xyxy + np.array([x0 - left, y0 - top] * 2, np.float32)
        inside = _centres_within(moved, (x0, y0, x1, y1))
        parts.append(replace(sample, boxes_xyxy=moved).select(inside))
    return joined(canvas, parts)


def mixup(first: Sample, second: Sample, rng: Rng) -> Sample:
    """Blend two pictures of one size and keep the objects of both (arXiv 1710.09412)."""
    share = float(rng.beta(MIXUP_BETA, MIXUP_BETA))
    image = cv2.addWeighted(first.image, share, second.image, 1 - share, 0)
    return joined(np.asarray(image, np.uint8), (first, second))


def jitter_hsv(image: Image, strength: float, rng: Rng) -> Image:
    """Scale saturation and brightness by up to ``1 - strength .. 1 + strength`` each."""
    if not strength:
        return image
    saturation, brightness = 1 + rng.uniform(-1, 1, 2) * strength
    levels = np.arange(256, dtype=np.float32)
    table = np.stack([levels, levels * saturation, levels * brightness], axis=1)
    table = np.clip(table, 0, 255).astype(np.uint8)[None]
    hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_BGR2HSV), table)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR), np.uint8)


def affine_matrix(
    size_wh: tuple[int, int],
    degrees: float,
    scale: float,
    shift_xy: tuple[float, float],
    shear_xy: tuple[float, float],
) -> npt.NDArray[np.float64]:
    """Return the ``[2, 3]`` matrix that turns and scales about the middle, shifts, then shears.

    Args:
        size_wh: Width and height in pixels.
        degrees: Rotation, against the clock as seen on the picture.
        scale: Scale.
        shift_xy: Shift in pixels.
        shear_xy: Angles in degrees by which ``x`` follows ``y`` and ``y`` follows ``x``.
    """
    turned = cv2.getRotationMatrix2D((size_wh[0] / 2, size_wh[1] / 2), degrees, scale)
    turned[:, 2] += np.array(shift_xy)
    along_x, along_y = (math.tan(math.radians(angle)) for angle in shear_xy)
    return np.asarray(np.array([[1, along_x], [along_y, 1]]) @ turned, np.float64)


def warp_boxes(
    boxes_xyxy: npt.NDArray[np.float32], matrix: npt.NDArray[np.float64], degrees: float
) -> npt.NDArray[np.float32]:
    """Return the boxes ``[M, 4]`` around the warped corners.

    A box around a turned box is larger than what it holds, so FairMOT shrinks it about its centre
    by the root of the larger of sine and cosine of the angle.
    """
    corners = boxes_xyxy[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    points = corners @ matrix[:, :2].T + matrix[:, 2]
    low, high = points.min(axis=1), points.max(axis=1)
    angle = math.radians(degrees)
    reduction = math.sqrt(max(abs(math.sin(angle)), abs(math.cos(angle))))
    centres, halves = (low + high) / 2, (high - low) / 2 * reduction
    return np.concatenate([centres - halves, centres + halves], axis=1).astype(np.float32)


def _fit(
    sample: Sample, size_wh: tuple[int, int], config: FairMOTAugmentConfig, rng: Rng
) -> Sample:
    """Letterbox a sample as the runtime does, its colours jittered but not those of the border."""
    height, width = sample.image.shape[:2]
    geometry = letterbox_geometry((max(1, round(width * sample.pixel_aspect)), height), size_wh)
    shrinks = geometry.resized_wh[0] < width or geometry.resized_wh[1] < height
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(sample.image, geometry.resized_wh, interpolation=interpolation)
    image = np.full((size_wh[1], size_wh[0], 3), BORDER_GREY, np.uint8)
    left, top = geometry.left, geometry.top
    right, bottom = left + geometry.resized_wh[0], top + geometry.resized_wh[1]
    image[top:bottom, left:right] = jitter_hsv(np.asarray(resized, np.uint8), config.hsv, rng)
    scale_xy = np.array(geometry.resized_wh) / (width, height)
    boxes = sample.boxes_xyxy * np.tile(scale_xy, 2) + np.array([left, top] * 2)
    return replace(sample, image=image, boxes_xyxy=boxes.astype(np.float32), pixel_aspect=1.0)


def _warp(
    sample: Sample, size_wh: tuple[int, int], config: FairMOTAugmentConfig, rng: Rng
) -> Sample:
    """Turn, scale, shift and shear a sample at random; drop objects that are lost by it."""
    width, height = size_wh
    degrees = float(rng.uniform(-config.degrees, config.degrees))
    scale = float(rng.uniform(*config.scale))
    # JDE and FairMOT take the height for the shift along x and the width for that along y; kept,
    # since their published figures were trained with it.
    shift_x, shift_y = rng.uniform(-1, 1, 2) * config.translate * np.array([height, width])
    shear_x, shear_y = rng.uniform(-1, 1, 2) * config.shear
    matrix = affine_matrix(
        size_wh, degrees, scale, (float(shift_x), float(shift_y)), (float(shear_x), float(shear_y))
    )
    image = cv2.warpAffine(
        sample.image,
        matrix,
        size_wh,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(BORDER_GREY, BORDER_GREY, BORDER_GREY),
    )
    boxes = warp_boxes(sample.boxes_xyxy, matrix, degrees)
    kept = _centres_within(boxes, (0, 0, width, height))
    kept &= _worth_keeping(sample.boxes_xyxy, boxes, config.min_box)
    return replace(sample, image=np.asarray(image, np.uint8), boxes_xyxy=boxes).select(kept)


def _worth_keeping(
    before_xyxy: npt.NDArray[np.float32], after_xyxy: npt.NDArray[np.float32], min_box: float
) -> npt.NDArray[np.bool_]:
    """Tell which boxes are neither too small, nor shrunk to a tenth, nor needles; ``[M]``."""
    sizes = after_xyxy[:, 2:] - after_xyxy[:, :2]
    area_before = (before_xyxy[:, 2:] - before_xyxy[:, :2]).prod(axis=1)
    large = (sizes > min_box).all(axis=1) & (sizes.prod(axis=1) > LEAST_AREA_LEFT * area_before)
    return np.asarray(large & (sizes.max(axis=1) < GREATEST_ELONGATION * sizes.min(axis=1)))


def _centres_within(
    boxes_xyxy: npt.NDArray[np.float32], area_xyxy: tuple[int, int, int, int]
) -> npt.NDArray[np.bool_]:
    centres = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2
    inside = (centres >= np.array(area_xyxy[:2])) & (centres < np.array(area_xyxy[2:]))
    return np.asarray(inside.all(axis=1))
