"""Which rows count: the MOTChallenge rules for ground truth and for what a tracker found."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from benchmarks.metrics.assignment import assign_max
from benchmarks.metrics.sequence import SequenceData, sequence_from_boxes
from benchmarks.metrics.similarity import iou_ltwh

PEDESTRIAN = 1
# MOT16 and MOT17: person on vehicle, static person, distractor, reflection. A tracker is neither
# rewarded nor punished for finding one.
DISTRACTORS = (2, 7, 8, 12)


class Rows(Protocol):
    """Boxes of one sequence, sorted by frame.

    Attributes:
        frames: ``[N]`` frame numbers, counted from 1.
        ids: ``[N]`` identities.
        boxes_ltwh: ``[N, 4]`` left, top, width, height in pixels.
    """

    @property
    def frames(self) -> npt.NDArray[np.int64]: ...  # noqa: D102
    @property
    def ids(self) -> npt.NDArray[np.int64]: ...  # noqa: D102
    @property
    def boxes_ltwh(self) -> npt.NDArray[np.float64]: ...  # noqa: D102


class TruthRows(Rows, Protocol):
    """Rows of ground truth.

    Attributes:
        marks: ``[N]``: 0 for a row that does not count.
        classes: ``[N]`` classes as MOT16 numbers them.
    """

    @property
    def marks(self) -> npt.NDArray[Any]: ...  # noqa: D102
    @property
    def classes(self) -> npt.NDArray[np.int64]: ...  # noqa: D102


def counting_rows(truth: TruthRows) -> npt.NDArray[np.bool_]:
    """Tell which rows of ground truth count: ``[N]`` bool, pedestrians whose mark is not 0."""
    return (truth.marks != 0) & (truth.classes == PEDESTRIAN)


def distractor_matches(truth: TruthRows, found: Rows) -> npt.NDArray[np.bool_]:
    """Tell which boxes found are a distractor's, as TrackEval does for MOT16 and MOT17.

    Args:
        truth: All rows of the ground truth, those that do not count included.
        found: The tracker's rows.

    Returns:
        ``[len(found.ids)]`` bool: what the best assignment at IoU 0.5 gives to a distractor.
    """
    distractors = np.isin(truth.classes, DISTRACTORS)
    matches = np.zeros(len(found.frames), bool)
    for frame in np.unique(truth.frames[distractors]):
        gt_rows, rows = _rows_of(truth, frame), _rows_of(found, frame)
        similarity = iou_ltwh(truth.boxes_ltwh[gt_rows], found.boxes_ltwh[rows])
        similarity[similarity < 0.5 - np.finfo(np.float64).eps] = 0.0
        matched_gt, matched = assign_max(similarity)
        hits = (similarity[matched_gt, matched] > 0) & distractors[gt_rows[matched_gt]]
        matches[rows[matched[hits]]] = True
    return matches


def sequence_from_rows(truth: TruthRows, found: Rows, length: int) -> SequenceData:
    """Keep the rows that count and compare their boxes by IoU.

    Args:
        truth: Ground truth, frames 1 to ``length``.
        found: The tracker's rows, frames 1 to ``length``.
        length: Number of frames of the sequence.

    Raises:
        ValueError: A frame number lies outside, or an identity occurs twice in a frame.
    """
    counts = counting_rows(truth)
    kept = ~distractor_matches(truth, found)
    return sequence_from_boxes(
        truth.frames[counts],
        truth.ids[counts],
        truth.boxes_ltwh[counts],
        found.frames[kept],
        found.ids[kept],
        found.boxes_ltwh[kept],
        length,
    )


def _rows_of(rows: Rows, frame: int) -> npt.NDArray[np.intp]:
    """Return the indices of one frame's rows; the rows are sorted by frame."""
    return np.arange(*np.searchsorted(rows.frames, [frame, frame + 1]))
