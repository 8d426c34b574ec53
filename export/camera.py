"""Letterboxing inside the graph, for devices that do it better than their host.

The graph computes what OpenCV's ``resize`` computes on the host, in the same order and with the
same roundings, so that a model sees the same pixels wherever they were letterboxed.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runtime.preprocess import (
    BORDER_GREY,
    LetterboxGeometry,
    letterbox_geometry,
    resize_steps,
)

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

ROWS, COLUMNS = 1, 2  # axes of [N, h, w, 3]
# What an averaged area covers less of a pixel than this, OpenCV leaves out.
NARROWEST_RIM = 1e-3
# OpenCV's linear weights are whole multiples of 1 / 2048. Sums along the columns lose their last
# four bits, products along the rows all below a quarter of a level.
LINEAR_STEPS = 2048
DROPPED = 16
QUARTERS = 4
# Float32 holds whole numbers of up to 24 bits, products along the rows have 26: weights are split
# into multiples of this and what is left.
FINE_STEPS = 64


class CameraLetterbox(nn.Module):
    """Does to a batch of frames what ``runtime.preprocess.letterbox`` does to each.

    Maps uint8 ``[N, h, w, 3]`` to float32 ``[N, H, W, 3]``, whole numbers in 0..255. Only the first
    operator, a cast, sees bytes: TensorRT takes them nowhere else. All others need float32, since
    half precision has too few digits for sums of levels.

    Args:
        frame_size_wh: Width and height of the frames in pixels.
        input_size_wh: Width and height of the network's input in pixels.

    Attributes:
        geometry: Where a frame lies in the input.

    Examples:
        >>> letterbox = CameraLetterbox((192, 96), (96, 64))
        >>> inputs = letterbox(torch.zeros(2, 96, 192, 3, dtype=torch.uint8))
        >>> inputs.shape, inputs[0, 7:9, 0, 0].tolist()
        (torch.Size([2, 64, 96, 3]), [127.0, 0.0])
    """

    def __init__(self, frame_size_wh: tuple[int, int], input_size_wh: tuple[int, int]) -> None:
        super().__init__()
        self.geometry = letterbox_geometry(frame_size_wh, input_size_wh)
        self.resize = resizing(self.geometry)
        left, top = self.geometry.left, self.geometry.top
        right = input_size_wh[0] - left - self.geometry.resized_wh[0]
        bottom = input_size_wh[1] - top - self.geometry.resized_wh[1]
        self.border = (0, 0, left, right, top, bottom)

    def forward(self, frames: Tensor) -> Tensor:
        """Letterbox frames, see the class."""
        resized: Tensor = self.resize(frames.float())
        return F.pad(resized, self.border, value=BORDER_GREY) if any(self.border) else resized


class CameraBoxes(nn.Module):
    """Boxes from pixels of the input to those of the frame, see ``LetterboxGeometry.to_frame``.

    Args:
        geometry: Where the frame lies in the input.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, geometry: LetterboxGeometry) -> None:
        super().__init__()
        corners = (geometry.left, geometry.top) * 2
        self.register_buffer("offset", torch.tensor(corners, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(geometry.scale_xy * 2, dtype=torch.float32))

    def forward(self, boxes: Tensor) -> Tensor:
        """Map xyxy ``[N, K, 4]`` to the same shape."""
        return (boxes - self.offset) / self.scale


def resizing(geometry: LetterboxGeometry) -> nn.Module:
    """Return what resizes frames, float ``[N, h, w, 3]``, as the host would."""
    steps = []
    size_wh = geometry.frame_size_wh
    for next_wh, kind in resize_steps(size_wh, geometry.resized_wh):
        steps.append((AreaResize if kind == "area" else LinearResize)(size_wh, next_wh))
        size_wh = next_wh
    return nn.Sequential(*steps)


class AreaResize(nn.Module):
    """Shrinks by averaging over the area that a new pixel covers, as ``cv2.INTER_AREA`` does.

    Args:
        frame_size_wh: Width and height of the frames in pixels.
        size_wh: Those to shrink them to.
    """

    def __init__(self, frame_size_wh: tuple[int, int], size_wh: tuple[int, int]) -> None:
        super().__init__()
        scale_x, scale_y = (old / new for old, new in zip(frame_size_wh, size_wh, strict=True))
        whole = scale_x.is_integer() and scale_y.is_integer()
        # Whole pixels are added up and divided in the end, which is exact up to there.
        self.factor = 1 / (scale_x * scale_y) if whole else None
        # OpenCV has a way of its own for squares of four pixels, which rounds halves up; all others
        # round them to the even neighbour.
        self.halves_up = scale_x == scale_y == 2
        # Columns before rows, as OpenCV: the same intermediate sums give the same roundings. Taking
        # the rows first was no faster.
        self.columns, self.rows = (
            WeightedSum(axis, places, covered if whole else covered / (old / new))
            for axis, old, new in zip((COLUMNS, ROWS), frame_size_wh, size_wh, strict=True)
            for places, covered in [covered_pixels(old, new)]
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Map float ``[N, h, w, 3]`` to ``[N, H, W, 3]``, whole numbers."""
        sums: Tensor = self.rows(self.columns(frames))
        if self.factor is not None:
            sums = sums * self.factor
        return (sums + 0.5).floor() if self.halves_up else sums.round()


class LinearResize(nn.Module):
    """Interpolates linearly in whole numbers, as ``cv2.INTER_LINEAR`` does to bytes.

    Args:
        frame_size_wh: Width and height of the frames in pixels.
        size_wh: Those to bring them to.
    """

    def __init__(self, frame_size_wh: tuple[int, int], size_wh: tuple[int, int]) -> None:
        super().__init__()
        (width, height), (new_width, new_height) = frame_size_wh, size_wh
        self.columns = WeightedSum(COLUMNS, *linear_weights(width, new_width))
        places, weights = linear_weights(height, new_height)
        self.upper = LinearRow(places[0], weights[0])
        self.lower = LinearRow(places[1], weights[1])

    def forward(self, frames: Tensor) -> Tensor:
        """Map float ``[N, h, w, 3]`` to ``[N, H, W, 3]``, whole numbers."""
        sums = (self.columns(frames) * (1 / DROPPED)).floor()
        quarters = self.upper(sums) + self.lower(sums)
        return ((quarters + QUARTERS / 2) * (1 / QUARTERS)).floor()


class LinearRow(nn.Module):
    """What one old row gives to each new one, in whole quarters of a level.

    Args:
        places: ``[n]``, the old rows.
        weights: ``[n]``, whole numbers in 0..2048.
    """

    places: Tensor
    coarse: Tensor
    fine: Tensor

    def __init__(self, places: IntArray, weights: FloatArray) -> None:
        super().__init__()
        self.shift = LINEAR_STEPS**2 // (DROPPED * QUARTERS * FINE_STEPS)
        coarse, fine = np.divmod(weights, FINE_STEPS)
        self.register_buffer("places", torch.from_numpy(places.copy()))
        self.register_buffer("coarse", _along(ROWS, coarse / self.shift))
        self.register_buffer("fine", _along(ROWS, fine / FINE_STEPS))

    def forward(self, sums: Tensor) -> Tensor:
        """Map the columns' sums ``[N, h, W, 3]`` to quarters of a level ``[N, H, W, 3]``."""
        taken = sums.index_select(ROWS, self.places)
        fine = (taken * self.fine).floor()
        return (taken * self.coarse + fine * (1 / self.shift)).floor()


class WeightedSum(nn.Module):
    """Makes each new row, or column, out of a few old ones.

    Gathering by constant indices touches what is needed and nothing else. A matrix product with a
    matrix of mostly zeros computes the same with several hundred times the multiplications, in a
    precision that TF32 would spoil: for 1920x1080 to 1088x608 it took twice the time on two cores.

    Args:
        axis: ``ROWS`` or ``COLUMNS``.
        places: ``[taps, n]``, the old ones that each of n new ones is made of.
        weights: ``[taps, n]``.
    """

    def __init__(self, axis: int, places: IntArray, weights: FloatArray) -> None:
        super().__init__()
        self.taps = nn.ModuleList(Tap(axis, *tap) for tap in zip(places, weights, strict=True))

    def forward(self, frames: Tensor) -> Tensor:
        """Map float ``[N, h, w, 3]`` to another number of rows or columns."""
        first, *others = (tap(frames) for tap in self.taps)
        for other in others:
            first = first + other
        return first


class Tap(nn.Module):
    """One old row, or column, for each new one, times its weight.

    Args:
        axis: ``ROWS`` or ``COLUMNS``.
        places: ``[n]``.
        weights: ``[n]``.
    """

    places: Tensor
    weights: Tensor | None

    def __init__(self, axis: int, places: IntArray, weights: FloatArray) -> None:
        super().__init__()
        self.axis = axis
        self.register_buffer("places", torch.from_numpy(places.copy()))
        self.register_buffer("weights", None if (weights == 1).all() else _along(axis, weights))

    def forward(self, frames: Tensor) -> Tensor:
        """Map float ``[N, h, w, 3]`` to another number of rows or columns."""
        taken = frames.index_select(self.axis, self.places)
        return taken if self.weights is None else taken * self.weights


def covered_pixels(old: int, new: int) -> tuple[IntArray, FloatArray]:
    """Say which of ``old`` pixels each of fewer ``new`` ones covers, and how much of each.

    Returns:
        Indices and shares in 0..1, ``[taps, new]`` both; an index that is not needed has the share
        0.

    Examples:
        >>> places, covered = covered_pixels(3, 2)
        >>> places.T.tolist(), covered.T.tolist()
        ([[0, 1], [1, 2]], [[1.0, 0.5], [0.5, 1.0]])
    """
    start = np.arange(new) * (old / new)
    end = np.minimum(start + old / new, old)
    first = np.floor(start + NARROWEST_RIM).astype(np.int64)
    places = first + np.arange(math.ceil(old / new) + 1)[:, None]
    covered = np.minimum(end, places + 1) - np.maximum(start, places)
    covered[covered <= NARROWEST_RIM] = 0
    # A whole pixel is one whatever the rounding of its sides.
    covered[covered >= 1 - 1e-9] = 1
    needed = covered.any(axis=1)
    return np.minimum(places, old - 1)[needed], covered[needed]


def linear_weights(old: int, new: int) -> tuple[IntArray, FloatArray]:
    """Say between which two of ``old`` pixels each of ``new`` ones lies.

    Returns:
        Indices and weights in whole multiples of 1 / 2048, ``[2, new]`` both.

    Examples:
        >>> places, weights = linear_weights(2, 4)
        >>> places.T.tolist()
        [[0, 0], [0, 1], [0, 1], [1, 1]]
        >>> weights.T.tolist()
        [[512.0, 1536.0], [1536.0, 512.0], [512.0, 1536.0], [1536.0, 512.0]]
    """
    centre = ((np.arange(new) + 0.5) * (old / new) - 0.5).astype(np.float32)
    before = np.floor(centre)
    after_share = centre - before
    weights = np.rint(np.stack([1 - after_share, after_share]) * np.float32(LINEAR_STEPS))
    places = before.astype(np.int64) + np.arange(2)[:, None]
    return places.clip(0, old - 1), weights.astype(np.float64)


def _along(axis: int, weights: FloatArray) -> Tensor:
    """Lay weights out to multiply ``[N, h, w, 3]`` by, as float32.

    Those of columns are spelled out per channel, so that the product runs along whole rows.
    """
    if axis == ROWS:
        return torch.from_numpy(weights.astype(np.float32)).view(-1, 1, 1)
    return torch.from_numpy(np.repeat(weights, 3).astype(np.float32)).view(-1, 3)
