"""Higher Order Tracking Accuracy.

Source: Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking",
International Journal of Computer Vision 2021.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.metrics.assignment import assign_candidates
from benchmarks.metrics.sequence import FloatArray, IntArray, SequenceData
from benchmarks.metrics.similarity import positive

_EPS = float(np.finfo(np.float64).eps)


def localisation_thresholds() -> FloatArray:
    """Return the 19 thresholds alpha, 0.05 to 0.95.

    Examples:
        >>> len(localisation_thresholds()), localisation_thresholds()[[0, -1]].round(9).tolist()
        (19, [0.05, 0.95])
    """
    # Written as in TrackEval, so that the thresholds agree with it to the last bit.
    return np.arange(0.05, 0.99, 0.05)


@dataclass(frozen=True)
class HotaScores:
    """Figures per threshold; the headline figures are their means.

    Attributes:
        alphas: ``[19]`` localisation thresholds.
        tp: ``[19]`` matched boxes.
        fn: ``[19]`` ground-truth boxes without a match.
        fp: ``[19]`` tracker boxes without a match.
        hota: ``[19]`` geometric mean of ``deta`` and ``assa``.
        deta: ``[19]`` detection accuracy, TP / (TP + FN + FP).
        assa: ``[19]`` association accuracy, averaged over the matched boxes.
        loca: ``[19]`` mean similarity of the matched boxes, 1 without any.
    """

    alphas: FloatArray
    tp: IntArray
    fn: IntArray
    fp: IntArray
    hota: FloatArray
    deta: FloatArray
    assa: FloatArray
    loca: FloatArray


def hota_scores(data: SequenceData) -> HotaScores:
    """Match frame by frame towards the best overall association, and score every threshold.

    Args:
        data: The sequence.

    Returns:
        The figures per threshold.
    """
    alphas = localisation_thresholds()
    gt_count = _count(data.gt_ids, data.gt_id_count)
    tracker_count = _count(data.tracker_ids, data.tracker_id_count)
    pairs, similarities = _match_all(data, _alignment(data, gt_count, tracker_count))
    # How many of the thresholds each match reaches.
    reached = np.searchsorted(alphas - _EPS, similarities, side="right")
    # Only pairs of identities that were ever matched: far fewer than there could be.
    known, pair_index = np.unique(pairs, return_inverse=True)
    gt_id, tracker_id = np.divmod(known, max(1, data.tracker_id_count))
    either = gt_count[gt_id] + tracker_count[tracker_id]
    matches = _at_least(reached, len(alphas), pair_index, len(known))
    tp = matches.sum(axis=0)
    jaccard = matches / np.maximum(1, either[:, None] - matches)
    assa = (matches * jaccard).sum(axis=0) / np.maximum(1, tp)
    deta = tp / np.maximum(1, data.gt_box_count + data.tracker_box_count - tp)
    sums = np.bincount(reached, weights=similarities, minlength=len(alphas) + 1)
    similarity_sum = sums[:0:-1].cumsum()[::-1]
    return HotaScores(
        alphas=alphas,
        tp=tp,
        fn=data.gt_box_count - tp,
        fp=data.tracker_box_count - tp,
        hota=np.sqrt(deta * assa),
        deta=deta,
        assa=assa,
        loca=np.where(tp > 0, similarity_sum / np.maximum(1, tp), 1.0),
    )


def _count(ids: tuple[IntArray, ...], count: int) -> IntArray:
    """Return in how many frames each identity occurs, ``[count]``."""
    joined = np.concatenate(ids) if ids else np.zeros(0, np.int64)
    return np.bincount(joined, minlength=count).astype(np.int64)


def _at_least(
    reached: IntArray, levels: int, pair_index: IntArray, pairs: int
) -> npt.NDArray[np.int64]:
    """Count the matches of each pair that reach each level, ``[pairs, levels]``."""
    counts = np.bincount(pair_index * (levels + 1) + reached, minlength=pairs * (levels + 1))
    counts = counts.reshape(pairs, levels + 1)[:, :0:-1]
    return counts.cumsum(axis=1)[:, ::-1]


def _alignment(data: SequenceData, gt_count: IntArray, tracker_count: IntArray) -> FloatArray:
    """Return the soft Jaccard index of every two trajectories, ``[gt ids, tracker ids]``."""
    overlap = np.zeros((data.gt_id_count, data.tracker_id_count))
    for gt_ids, tracker_ids, similarity in zip(
        data.gt_ids, data.tracker_ids, data.similarities, strict=True
    ):
        # Few boxes of a frame touch.
        rows, columns = positive(similarity)
        alike = similarity[rows, columns]
        either = similarity.sum(0)[columns] + similarity.sum(1)[rows] - alike
        share = np.divide(alike, either, out=np.zeros_like(either), where=either > _EPS)
        overlap[gt_ids[rows], tracker_ids[columns]] += share
    return overlap / (gt_count[:, None] + tracker_count[None, :] - overlap)


def _match_all(data: SequenceData, alignment: FloatArray) -> tuple[IntArray, FloatArray]:
    """Match every frame once, for all thresholds.

    Returns:
        Per match in all frames the pair of identities as ``gt id * tracker ids + tracker id`` and
        the similarity, both ``[matches]``.
    """
    pairs, similarities = [np.zeros(0, np.int64)], [np.zeros(0)]
    for gt_ids, tracker_ids, similarity in zip(
        data.gt_ids, data.tracker_ids, data.similarities, strict=True
    ):
        rows, columns = positive(similarity)
        alike = similarity[rows, columns]
        gt, tracker = gt_ids[rows], tracker_ids[columns]
        chosen = assign_candidates(rows, columns, alignment[gt, tracker] * alike)
        pairs.append(gt[chosen] * data.tracker_id_count + tracker[chosen])
        similarities.append(alike[chosen])
    return np.concatenate(pairs), np.concatenate(similarities)
