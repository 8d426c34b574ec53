"""Distances between tracks and detections, and the assignment that minimises them.

Matrices have one row per track and one column per detection; ``inf`` forbids a pair.
"""

from __future__ import annotations

import lap
import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]


def embedding_distance(
    tracks: npt.NDArray[np.float32], detections: npt.NDArray[np.float32]
) -> Float64:
    """Return the cosine distance of embeddings.

    Args:
        tracks: ``[N, D]`` of unit length.
        detections: ``[M, D]`` of unit length.

    Returns:
        ``[N, M]`` in 0..2.
    """
    return np.maximum(1 - (tracks @ detections.T).astype(np.float64), 0)


def iou_distance(tracks_xyxy: npt.ArrayLike, detections_xyxy: npt.ArrayLike) -> Float64:
    """Return 1 - IoU of boxes.

    Args:
        tracks_xyxy: ``[N, 4]`` in pixels.
        detections_xyxy: ``[M, 4]`` in pixels.

    Returns:
        ``[N, M]`` in 0..1; 1 for boxes without area.

    Examples:
        >>> iou_distance([[0, 0, 2, 2]], [[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]]).round(3)
        array([[0.   , 0.667, 1.   ]])
    """
    a = np.asarray(tracks_xyxy, np.float64).reshape(-1, 4)
    b = np.asarray(detections_xyxy, np.float64).reshape(-1, 4)
    corner = np.maximum(a[:, None, :2], b[None, :, :2])
    overlap = np.maximum(np.minimum(a[:, None, 2:], b[None, :, 2:]) - corner, 0)
    intersection = overlap[..., 0] * overlap[..., 1]
    union = _areas(a)[:, None] + _areas(b)[None] - intersection
    return 1 - np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def fuse_motion(
    distances: Float64, gating_distances: Float64, weight: float, gate: float
) -> Float64:
    """Add the motion distance to an appearance distance and forbid implausible pairs.

    Args:
        distances: ``[N, M]`` appearance distances.
        gating_distances: ``[N, M]`` squared Mahalanobis distances.
        weight: Share of the motion distance; FairMOT and JDE use 0.02.
        gate: Largest squared Mahalanobis distance that is allowed.

    Returns:
        ``[N, M]``; source: Wang et al., "Towards Real-Time Multi-Object Tracking", ECCV 2020.
    """
    fused = (1 - weight) * distances + weight * gating_distances
    fused[gating_distances > gate] = np.inf
    return fused


def forbid_other_classes(
    distances: Float64, track_classes: npt.NDArray[np.int64], classes: npt.NDArray[np.int64]
) -> Float64:
    """Set pairs of different classes to ``inf``, in place.

    Args:
        distances: ``[N, M]``.
        track_classes: ``[N]``.
        classes: ``[M]``.

    Returns:
        ``distances``.
    """
    distances[track_classes[:, None] != classes[None]] = np.inf
    return distances


def assign(distances: Float64, limit: float) -> tuple[Rows, Rows]:
    """Pair rows and columns at the lowest total cost.

    A pair left open costs ``limit``, so a pair further apart than that is never formed.

    Args:
        distances: ``[N, M]``; ``inf`` and ``nan`` forbid a pair.
        limit: Largest distance of a pair.

    Returns:
        Row and column numbers of the pairs, rows ascending.

    Examples:
        >>> assign(np.array([[0.1, 0.2], [0.0, 0.9]]), limit=0.5)
        (array([0, 1]), array([1, 0]))
    """
    allowed = distances <= limit
    if not allowed.any():
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    # The solver wants finite costs; any value above the limit means the same to it.
    costs = np.ascontiguousarray(np.where(allowed, distances, 2 * limit + 1), np.float64)
    _, columns, _ = lap.lapjv(costs, extend_cost=True, cost_limit=limit)
    rows = np.flatnonzero(columns >= 0)
    paired = columns[rows].astype(np.intp)
    formed = allowed[rows, paired]
    return rows[formed], paired[formed]


def _areas(boxes_xyxy: Float64) -> Float64:
    return np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0).prod(axis=1)
