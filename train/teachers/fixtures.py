"""Things fixed to a camera's scene that a teacher takes for objects: posts, statues, posters.

A detector gives such a thing much the same middling score in every frame, and a student would learn
it as one more object that never leaves. In the film of a camera that stands still they give
themselves away: they are there in most frames, in the same place, and the detector is never sure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.metrics import iou_ltwh
from runtime.types import FloatArray

# Boxes of one thing in different frames overlap by so much; those of passers-by rarely do.
SAME_IOU = 0.6
MOST_FRAMES = 0.5
# In fewer frames, somebody who waits for a while looks like a post.
LEAST_FRAMES = 40


def find_fixtures(
    frames: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]], sure_score: float
) -> FloatArray:
    """Find what stays in its place throughout, without the teacher ever being sure of it.

    Args:
        frames: Of frames spread over a film of one camera, what a detector sees in each:
            ``boxes_xyxy [M, 4]`` in pixels and ``scores [M]``.
        sure_score: Things of this mean score or above are objects, wherever they stay.

    Returns:
        ``[F, 4]`` float32, the mean boxes of things that were seen in half of the frames or more;
        none where there are fewer than 40 frames.

    Examples:
        >>> post = ([[10, 10, 20, 50]], [0.5])
        >>> find_fixtures([post] * 40, 0.6).tolist()
        [[10.0, 10.0, 20.0, 50.0]]
        >>> len(find_fixtures([post] * 40, 0.4)), len(find_fixtures([post] * 10, 0.6))
        (0, 0)
    """
    if len(frames) < LEAST_FRAMES:
        return np.zeros((0, 4), np.float32)
    sums = np.zeros((0, 5))  # of each thing, its boxes and scores added up
    seen = np.zeros(0, np.int64)
    for boxes_xyxy, scores in frames:
        boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
        found = np.column_stack([boxes, np.asarray(scores, np.float64).reshape(-1)])
        overlap = _iou(boxes, sums[:, :4] / seen[:, None])
        new = np.ones(len(found), bool)
        taken = np.zeros(len(sums), bool)
        for row in range(len(found)) if len(sums) else ():
            thing = int(np.where(taken, 0.0, overlap[row]).argmax())
            if not taken[thing] and overlap[row, thing] >= SAME_IOU:
                sums[thing] += found[row]
                seen[thing] += 1
                taken[thing], new[row] = True, False
        sums = np.concatenate([sums, found[new]])
        seen = np.concatenate([seen, np.ones(int(new.sum()), np.int64)])
    means = sums / seen[:, None]
    kept = (seen >= MOST_FRAMES * len(frames)) & (means[:, 4] < sure_score)
    return means[kept, :4].astype(np.float32)


def is_object(
    boxes_xyxy: npt.ArrayLike,
    scores: npt.ArrayLike,
    fixtures_xyxy: npt.ArrayLike,
    sure_score: float,
) -> npt.NDArray[np.bool_]:
    """Tell objects from fixtures among detections of one frame.

    Somebody who stands before a fixture is told from it by the score.

    Args:
        boxes_xyxy: ``[M, 4]`` in pixels.
        scores: ``[M]``.
        fixtures_xyxy: ``[F, 4]`` in the same pixels.
        sure_score: From this score on a detection is an object in any place.

    Returns:
        ``[M]``, False for fixtures.

    Examples:
        >>> boxes = [[10, 10, 20, 50], [10, 11, 20, 50], [40, 10, 50, 50]]
        >>> is_object(boxes, [0.9, 0.5, 0.5], [[10, 10, 20, 50]], 0.6).tolist()
        [True, False, True]
    """
    boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
    fixtures = np.asarray(fixtures_xyxy, np.float64).reshape(-1, 4)
    sure = np.asarray(scores, np.float64).reshape(-1) >= sure_score
    if not len(fixtures):
        return np.ones(len(boxes), bool)
    return sure | (_iou(boxes, fixtures).max(axis=1, initial=0.0) < SAME_IOU)


def _iou(
    first_xyxy: npt.NDArray[np.float64], second_xyxy: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    first, second = (
        np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        for boxes in (first_xyxy, second_xyxy)
    )
    return np.asarray(iou_ltwh(first, second), np.float64)
