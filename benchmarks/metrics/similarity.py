"""How alike two boxes are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
_SMALLEST = float(np.finfo(np.float64).eps)


def iou_ltwh(first_ltwh: FloatArray, second_ltwh: FloatArray) -> FloatArray:
    """Return the intersection over union of every pair of boxes.

    Args:
        first_ltwh: ``[N, 4]`` left, top, width, height in pixels.
        second_ltwh: ``[M, 4]`` likewise.

    Returns:
        ``[N, M]`` in 0..1; 0 wherever a box has no area.

    Examples:
        >>> boxes = np.array([[0.0, 0.0, 10.0, 10.0], [5.0, 0.0, 10.0, 10.0], [0, 0, 0, 10]])
        >>> iou_ltwh(boxes, boxes).round(3).tolist()
        [[1.0, 0.333, 0.0], [0.333, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    first = np.asarray(first_ltwh, np.float64).reshape(-1, 4)
    second = np.asarray(second_ltwh, np.float64).reshape(-1, 4)
    first_area, second_area = _areas(first), _areas(second)
    intersection = _intersection(first, second)
    intersection[first_area <= _SMALLEST] = 0.0
    intersection[:, second_area <= _SMALLEST] = 0.0
    # Few boxes touch: only these need the division.
    rows, columns = positive(intersection)
    shared = intersection[rows, columns]
    union = first_area[rows] + second_area[columns] - shared
    intersection[rows, columns] = shared / union
    return intersection


def share_inside_ltwh(boxes_ltwh: FloatArray, regions_ltwh: FloatArray) -> FloatArray:
    """Return which share of each box lies in each region.

    Args:
        boxes_ltwh: ``[N, 4]`` left, top, width, height in pixels.
        regions_ltwh: ``[M, 4]`` likewise.

    Returns:
        ``[N, M]`` in 0..1; 0 for a box without area.

    Examples:
        >>> share_inside_ltwh(np.array([[0.0, 0, 10, 10]]), np.array([[5.0, 0, 90, 90]]))
        array([[0.5]])
    """
    boxes = np.asarray(boxes_ltwh, np.float64).reshape(-1, 4)
    shared = _intersection(boxes, np.asarray(regions_ltwh, np.float64).reshape(-1, 4))
    area = _areas(boxes)[:, None]
    return np.divide(shared, area, out=np.zeros_like(shared), where=area > _SMALLEST)


def positive(
    values: npt.NDArray[np.float64] | npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return rows and columns of the values above 0 in ``[N, M]``, in order.

    As ``np.nonzero`` does, which is slow on matrices of floats.
    """
    return np.divmod(np.flatnonzero(values.reshape(-1) > 0), max(1, values.shape[1]))


def _areas(boxes: FloatArray) -> FloatArray:
    # Sizes from the corners: the last bit decides at a threshold.
    wh = boxes[:, :2] + boxes[:, 2:] - boxes[:, :2]
    return wh[:, 0] * wh[:, 1]


def _intersection(first: FloatArray, second: FloatArray) -> FloatArray:
    first_end = first[:, :2] + first[:, 2:]
    second_end = second[:, :2] + second[:, 2:]
    intersection = _overlap(first[:, 0], first_end[:, 0], second[:, 0], second_end[:, 0])
    intersection *= _overlap(first[:, 1], first_end[:, 1], second[:, 1], second_end[:, 1])
    return intersection


def _overlap(
    start: FloatArray, end: FloatArray, other_start: FloatArray, other_end: FloatArray
) -> FloatArray:
    """Return what every two intervals have in common, ``[N, M]``."""
    common = np.minimum(end[:, None], other_end[None, :])
    common -= np.maximum(start[:, None], other_start[None, :])
    return np.maximum(common, 0.0, out=common)
