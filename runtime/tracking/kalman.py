"""A batched Kalman filter for boxes that move at constant velocity.

State: centre x, centre y, aspect ratio a (width / height), height h, and their changes per frame.
Model and noise are those of SORT (Bewley et al., ICIP 2016), DeepSORT (Wojke et al., ICIP 2017) and
FairMOT: standard deviations of 1/20 of the height for positions and 1/160 for velocities.

In this model a coordinate only ever interacts with its own velocity: the transition couples
nothing else, and all noise is diagonal. The 8 x 8 covariance is therefore four independent 2 x 2
blocks, and the filter keeps just these. The result is the same to rounding, the innovation
covariance is diagonal, and nothing needs to be inverted.

Arrays: ``means`` ``[N, 8]`` float64; ``covariances`` ``[N, 3, 4]`` float64, for each coordinate the
variance of position, the covariance of position and velocity, and the variance of velocity. Boxes
are measured as ``boxes_xyah`` ``[N, 4]``: x, y, h in pixels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

POSITION_WEIGHT = 1 / 20
VELOCITY_WEIGHT = 1 / 160
# The aspect ratio has fixed standard deviations; it has no pixels to scale with.
ASPECT_STD = 1e-2
ASPECT_VELOCITY_STD = 1e-5
ASPECT_MEASUREMENT_STD = 1e-1
ASPECT = 2


def xyxy_to_xyah(boxes_xyxy: npt.ArrayLike) -> Float64:
    """Convert ``[N, 4]`` corners in pixels to centre, aspect ratio and height.

    Examples:
        >>> xyxy_to_xyah([[10, 20, 30, 60]]).tolist()
        [[20.0, 40.0, 0.5, 40.0]]
    """
    boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
    result = np.empty_like(boxes)
    size = boxes[:, 2:] - boxes[:, :2]
    result[:, :2] = boxes[:, :2] + size / 2
    result[:, 2] = size[:, 0] / size[:, 1]
    result[:, 3] = size[:, 1]
    return result


def xyah_to_xyxy(boxes_xyah: Float64) -> Float64:
    """Convert ``[N, >=4]`` states or measurements to corners ``[N, 4]`` in pixels."""
    half = boxes_xyah[:, 3:4] / 2 * np.ones(2)
    half[:, 0] *= boxes_xyah[:, 2]
    return np.concatenate([boxes_xyah[:, :2] - half, boxes_xyah[:, :2] + half], axis=1)


def initiate(boxes_xyah: Float64) -> tuple[Float64, Float64]:
    """Start tracks at rest.

    Args:
        boxes_xyah: ``[N, 4]`` first measurements.

    Returns:
        Means ``[N, 8]`` and covariances ``[N, 3, 4]``.
    """
    means = np.concatenate([boxes_xyah, np.zeros_like(boxes_xyah)], axis=1)
    covariances = np.zeros((len(boxes_xyah), 3, 4))
    heights = boxes_xyah[:, 3]
    covariances[:, 0] = _variances(heights, 2 * POSITION_WEIGHT, ASPECT_STD)
    covariances[:, 2] = _variances(heights, 10 * VELOCITY_WEIGHT, ASPECT_VELOCITY_STD)
    return means, covariances


def predict(means: Float64, covariances: Float64, time: float = 1.0) -> tuple[Float64, Float64]:
    """Move every track ahead.

    Args:
        means: ``[N, 8]``.
        covariances: ``[N, 3, 4]``.
        time: How far, in units of time. In one unit a velocity is added to its coordinate, and the
            noise is that of one frame in the papers.

    Returns:
        New arrays of the same shapes.
    """
    heights = means[:, 3]
    moved = means.copy()
    moved[:, :4] += time * means[:, 4:]
    position, mixed, velocity = covariances[:, 0], covariances[:, 1], covariances[:, 2]
    spread = np.empty_like(covariances)
    gained = time * velocity
    spread[:, 0] = position + time * (2 * mixed + gained)
    spread[:, 0] += time * _variances(heights, POSITION_WEIGHT, ASPECT_STD)
    spread[:, 1] = mixed + gained
    spread[:, 2] = velocity + time * _variances(heights, VELOCITY_WEIGHT, ASPECT_VELOCITY_STD)
    return moved, spread


def warp(means: Float64, covariances: Float64, matrix: Float64) -> tuple[Float64, Float64]:
    """Move every track with the picture, as the camera moves.

    Centres and their velocities are turned and scaled, heights and theirs are scaled. The noise of
    x and y is the same in this model, so it stays what it is under a rotation.

    Args:
        means: ``[N, 8]``.
        covariances: ``[N, 3, 4]``.
        matrix: ``[2, 3]``, a similarity: maps x y of the frame before to x y of this one.

    Returns:
        New arrays of the same shapes.
    """
    turn, shift = matrix[:, :2], matrix[:, 2]
    scale = np.sqrt(np.abs(np.linalg.det(turn)))
    warped = means.copy()
    warped[:, :2] = means[:, :2] @ turn.T + shift
    warped[:, 4:6] = means[:, 4:6] @ turn.T
    warped[:, [3, 7]] *= scale
    stretch = np.full(4, scale**2)
    stretch[ASPECT] = 1
    return warped, covariances * stretch


def project(means: Float64, covariances: Float64) -> tuple[Float64, Float64]:
    """Return what would be measured and how far it would scatter.

    Args:
        means: ``[N, 8]``.
        covariances: ``[N, 3, 4]``.

    Returns:
        Expected measurements ``[N, 4]`` and their variances ``[N, 4]``, measurement noise included;
        the four are uncorrelated.
    """
    noise = _variances(means[:, 3], POSITION_WEIGHT, ASPECT_MEASUREMENT_STD)
    return means[:, :4], covariances[:, 0] + noise


def update(means: Float64, covariances: Float64, boxes_xyah: Float64) -> tuple[Float64, Float64]:
    """Correct every track by its measurement.

    Args:
        means: ``[N, 8]``.
        covariances: ``[N, 3, 4]``.
        boxes_xyah: ``[N, 4]``, row by row.

    Returns:
        New arrays of the same shapes as the first two.
    """
    expected, variances = project(means, covariances)
    innovations = boxes_xyah - expected
    gains = covariances[:, :2] / variances[:, None]
    corrected = means.copy()
    corrected[:, :4] += gains[:, 0] * innovations
    corrected[:, 4:] += gains[:, 1] * innovations
    shrunk = covariances.copy()
    shrunk[:, :2] -= gains[:, :1] * covariances[:, :2]
    shrunk[:, 2] -= gains[:, 1] * covariances[:, 1]
    return corrected, shrunk


def squared_distance(expected: Float64, variances: Float64, boxes_xyah: Float64) -> Float64:
    """Measure how implausible measurements are.

    Args:
        expected: ``[P, 4]``, of ``project``.
        variances: ``[P, 4]``, of ``project``.
        boxes_xyah: ``[P, 4]``, row by row.

    Returns:
        ``[P]`` squared Mahalanobis distances; chi-square with 4 degrees of freedom where track and
        measurement belong together.
    """
    return (np.square(boxes_xyah - expected) / variances).sum(axis=1)


def _variances(heights: Float64, weight: float, aspect_std: float) -> Float64:
    result = np.empty((len(heights), 4))
    result[:] = np.square(weight * heights)[:, None]
    result[:, ASPECT] = aspect_std**2
    return result
