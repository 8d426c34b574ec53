"""How alike two boxes are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


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
    # Corners first and sizes from the corners, in this order: the last bit decides at a threshold.
    first_end = first[:, :2] + first[:, 2:]
    second_end = second[:, :2] + second[:, 2:]
    top_left = np.maximum(first[:, None, :2], second[None, :, :2])
    bottom_right = np.minimum(first_end[:, None], second_end[None, :])
    overlap_wh = np.maximum(bottom_right - top_left, 0.0)
    intersection = overlap_wh[..., 0] * overlap_wh[..., 1]
    first_wh = first_end - first[:, :2]
    second_wh = second_end - second[:, :2]
    first_area = first_wh[:, 0] * first_wh[:, 1]
    second_area = second_wh[:, 0] * second_wh[:, 1]
    union = first_area[:, None] + second_area[None, :] - intersection
    smallest = np.finfo(np.float64).eps
    valid = (first_area[:, None] > smallest) & (second_area[None, :] > smallest)
    valid &= union > smallest
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=valid)
