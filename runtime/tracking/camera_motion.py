"""How the camera moved from one frame to the next, by sparse optical flow.

Corners (Shi and Tomasi, CVPR 1994) of the still background are followed with the pyramidal method
of Lucas and Kanade (Bouguet, 2000), forth and back, and a similarity (shift, rotation, scale) is
fitted to them by RANSAC. Trackers for moving cameras, such as BoT-SORT (Aharon et al., 2022), do
the same.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from runtime.opencv import cv2

Frame = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.float64]

WORKING_SIDE = 320  # pixels of the longer side that flow is computed on
CORNERS = 200
LEAST_CORNERS = 12
# A corner that does not come back to where it started was not followed.
RETURN_TOLERANCE = 1.0  # pixels
LEAST_INLIERS = 0.4  # share; below it the fit is of something else than the background


class CameraMotion:
    """Follows the background from frame to frame.

    Examples:
        >>> frame = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
        >>> frame = cv2.resize(frame, (320, 240), interpolation=cv2.INTER_CUBIC)
        >>> motion = CameraMotion()
        >>> _ = motion.update(frame, np.zeros((0, 4)))
        >>> matrix = motion.update(np.roll(frame, 5, axis=1), np.zeros((0, 4)))
        >>> bool(np.abs(matrix - [[1, 0, 5], [0, 1, 0]]).max() < 0.1)
        True
    """

    def __init__(self) -> None:
        self._previous: Frame | None = None
        self._corners: npt.NDArray[np.float32] | None = None

    def update(self, frame: Frame, boxes_xyxy: npt.NDArray[np.float64]) -> Matrix:
        """Take in the next frame.

        Args:
            frame: uint8 BGR ``[H, W, 3]``.
            boxes_xyxy: ``[N, 4]`` in its pixels, where objects hide the background.

        Returns:
            ``[2, 3]``, maps points of the frame before, x y in pixels, to where the same points of
            the background are now. The identity where that cannot be told: in the first frame,
            after a change of size, and in a picture without texture.
        """
        scale = min(1.0, WORKING_SIDE / max(frame.shape[:2]))
        grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        if scale < 1:
            grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        previous, corners = self._previous, self._corners
        self._previous = np.asarray(grey, np.uint8)
        self._corners = _find_corners(self._previous, boxes_xyxy * scale)
        if previous is None or corners is None or previous.shape != grey.shape:
            return np.eye(2, 3)
        matrix = _fit(*_follow(previous, self._previous, corners))
        matrix[:, 2] /= scale
        return matrix


def _find_corners(
    grey: Frame, boxes_xyxy: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32] | None:
    """Return ``[P, 1, 2]`` corners outside the boxes, or None."""
    background = np.full(grey.shape, 255, np.uint8)
    limits = np.array([grey.shape[1], grey.shape[0]] * 2)
    for left, top, right, bottom in np.clip(boxes_xyxy, 0, limits).astype(int).tolist():
        background[top : bottom + 1, left : right + 1] = 0
    corners = cv2.goodFeaturesToTrack(grey, CORNERS, 0.01, 5, mask=background)
    return None if corners is None else np.asarray(corners, np.float32)


def _follow(
    previous: Frame, current: Frame, corners: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return where the corners were and are, ``[P, 2]`` each, those that were surely followed."""
    moved, found, _ = cv2.calcOpticalFlowPyrLK(previous, current, corners, None)  # type: ignore[call-overload]
    back, returned, _ = cv2.calcOpticalFlowPyrLK(current, previous, moved, None)  # type: ignore[call-overload]
    off = np.abs(back - corners).reshape(-1, 2).max(axis=1)
    sure = (found.ravel() > 0) & (returned.ravel() > 0) & (off < RETURN_TOLERANCE)
    return corners.reshape(-1, 2)[sure], moved.reshape(-1, 2)[sure]


def _fit(before: npt.NDArray[np.float32], now: npt.NDArray[np.float32]) -> Matrix:
    """Fit a similarity ``[2, 3]``, or return the identity where the points do not bear one out."""
    if len(before) < LEAST_CORNERS:
        return np.eye(2, 3)
    matrix, inliers = cv2.estimateAffinePartial2D(before, now, method=cv2.RANSAC)
    if matrix is None or np.count_nonzero(inliers) < LEAST_INLIERS * len(before):
        return np.eye(2, 3)
    return np.asarray(matrix, np.float64)
