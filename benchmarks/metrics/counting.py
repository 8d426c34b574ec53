"""Which rows count: the MOTChallenge rules for ground truth and for what a tracker found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from benchmarks.metrics.assignment import assign_candidates
from benchmarks.metrics.sequence import SequenceData, sequence_from_boxes
from benchmarks.metrics.similarity import iou_ltwh, positive, share_inside_ltwh

PEDESTRIAN = 1
# MOT16 and MOT17: person on vehicle, static person, distractor, reflection. A tracker is neither
# rewarded nor punished for finding one.
DISTRACTORS = (2, 7, 8, 12)
NON_MOT_VEHICLE = 6


@dataclass(frozen=True)
class Rules:
    """Which rows count; the default is MOT15's, MOT16's and MOT17's.

    Attributes:
        label: Class of the ground truth that counts.
        distractors: Classes that a tracker may find or not: a box that the best assignment at IoU
            0.5 gives to one leaves the evaluation.
        regions: Classes whose boxes are regions to ignore: a box without a match, more than half of
            which lies in one, leaves the evaluation. The MOTChallenge has none.
    """

    label: int = PEDESTRIAN
    distractors: tuple[int, ...] = DISTRACTORS
    regions: tuple[int, ...] = ()


MOT17 = Rules()
MOT20 = Rules(distractors=(*DISTRACTORS, NON_MOT_VEHICLE))


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


def counting_rows(truth: TruthRows, rules: Rules = MOT17) -> npt.NDArray[np.bool_]:
    """Tell which rows of ground truth count: ``[N]`` bool, the rules' class, the mark not 0."""
    return (truth.marks.astype(np.int64) != 0) & (truth.classes == rules.label)


def distractor_matches(
    truth: TruthRows, found: Rows, rules: Rules = MOT17
) -> npt.NDArray[np.bool_]:
    """Tell which boxes found are a distractor's, as TrackEval does for MOT16, MOT17 and MOT20.

    Args:
        truth: All rows of the ground truth, those that do not count included.
        found: The tracker's rows.
        rules: Name the distractors.

    Returns:
        ``[len(found.ids)]`` bool: what the best assignment at IoU 0.5 gives to a distractor.
    """
    distractors = np.isin(truth.classes, rules.distractors)
    matches = np.zeros(len(found.frames), bool)
    for frame in np.unique(truth.frames[distractors]):
        gt_rows, rows = _matches(truth, found, rules, frame)
        matches[rows[distractors[gt_rows]]] = True
    return matches


def boxes_in_regions(truth: TruthRows, found: Rows, rules: Rules) -> npt.NDArray[np.bool_]:
    """Tell which boxes found lie in a region to ignore, as TrackEval does for KITTI and BDD100K.

    Args:
        truth: All rows of the ground truth.
        found: The tracker's rows.
        rules: Name the regions.

    Returns:
        ``[len(found.ids)]`` bool: no match at IoU 0.5, and more than half in one region.
    """
    regions = np.isin(truth.classes, rules.regions)
    inside = np.zeros(len(found.frames), bool)
    for frame in np.unique(truth.frames[regions]):
        gt_rows, rows = _rows_of(truth, frame), _rows_of(found, frame)
        places = truth.boxes_ltwh[gt_rows[regions[gt_rows]]]
        shares = share_inside_ltwh(found.boxes_ltwh[rows], places)
        within = (shares > 0.5 + np.finfo(np.float64).eps).any(axis=1)
        _, matched = _matches(truth, found, rules, frame)
        inside[rows[within & ~np.isin(rows, matched)]] = True
    return inside


def sequence_from_rows(
    truth: TruthRows, found: Rows, length: int, rules: Rules = MOT17
) -> SequenceData:
    """Keep the rows that count and compare their boxes by IoU.

    Args:
        truth: Ground truth, frames 1 to ``length``.
        found: The tracker's rows, frames 1 to ``length``.
        length: Number of frames of the sequence.
        rules: Which rows count.

    Raises:
        ValueError: A frame number lies outside, or an identity occurs twice in a frame.
    """
    counts = counting_rows(truth, rules)
    kept = ~(distractor_matches(truth, found, rules) | boxes_in_regions(truth, found, rules))
    return sequence_from_boxes(
        truth.frames[counts],
        truth.ids[counts],
        truth.boxes_ltwh[counts],
        found.frames[kept],
        found.ids[kept],
        found.boxes_ltwh[kept],
        length,
    )


def _matches(
    truth: TruthRows, found: Rows, rules: Rules, frame: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Match one frame at IoU 0.5; return the rows of ground truth and those found, ``[M]`` each."""
    gt_rows, rows = _rows_of(truth, frame), _rows_of(found, frame)
    gt_rows = gt_rows[~np.isin(truth.classes[gt_rows], rules.regions)]
    similarity = iou_ltwh(truth.boxes_ltwh[gt_rows], found.boxes_ltwh[rows])
    left, right = positive(similarity >= 0.5 - np.finfo(np.float64).eps)
    chosen = assign_candidates(left, right, similarity[left, right])
    return gt_rows[left[chosen]], rows[right[chosen]]


def _rows_of(rows: Rows, frame: int) -> npt.NDArray[np.intp]:
    """Return the indices of one frame's rows; the rows are sorted by frame."""
    return np.arange(*np.searchsorted(rows.frames, [frame, frame + 1]))
