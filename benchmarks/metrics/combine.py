"""The figures of several sequences together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from benchmarks.metrics.clear import ClearScores
from benchmarks.metrics.evaluate import Scores
from benchmarks.metrics.hota import HotaScores
from benchmarks.metrics.identity import IdentityScores

Counts = TypeVar("Counts", ClearScores, IdentityScores)


def combine(scores: Sequence[Scores]) -> Scores:
    """Score several sequences as one, as TrackEval's row ``COMBINED`` does.

    Counts are summed and the ratios taken of the sums, so that a sequence weighs as much as it has
    boxes. HOTA's association and localisation are averaged over all matched boxes. MOTA without any
    ground truth is 0, as for one sequence, where TrackEval subtracts the number of boxes.

    Args:
        scores: Figures of each sequence, at least one.

    Raises:
        ValueError: There is none.

    Examples:
        >>> from benchmarks.metrics.evaluate import evaluate
        >>> from benchmarks.metrics.sequence import sequence_from_frames
        >>> found = evaluate(sequence_from_frames([[1]], [[5]], [[[0.9]]]))
        >>> missed = evaluate(sequence_from_frames([[1, 2, 3]], [[]], [[]]))
        >>> combine([found, missed]).clear.recall
        0.25
    """
    if not scores:
        raise ValueError("no scores to combine")
    return Scores(
        clear=_sum([one.clear for one in scores]),
        identity=_sum([one.identity for one in scores]),
        hota=_combine_hota([one.hota for one in scores]),
        frames=sum(one.frames for one in scores),
        gt_id_count=sum(one.gt_id_count for one in scores),
        tracker_id_count=sum(one.tracker_id_count for one in scores),
    )


def combine_classes(scores: Sequence[Scores]) -> Scores:
    """Score the classes of the same frames as one, as TrackEval's ``cls_comb_det_av`` does.

    A class weighs as much as it has boxes.

    Args:
        scores: Figures of each class, at least one.

    Raises:
        ValueError: There is none.
    """
    return dataclasses.replace(combine(scores), frames=scores[0].frames)


def average_classes(scores: Sequence[Scores]) -> dict[str, Any]:
    """Average over the classes of the same frames, as TrackEval's ``cls_comb_cls_av`` does.

    Every class weighs the same, also one without boxes. Counts are summed.

    Args:
        scores: Figures of each class, at least one.

    Returns:
        The figures as ``Scores.to_dict`` names them.

    Raises:
        ValueError: There is none.
    """
    figures = combine_classes(scores).to_dict()
    each = [one.to_dict() for one in scores]
    for name, value in figures.items():
        if isinstance(value, float):
            figures[name] = float(np.mean([one[name] for one in each]))
        elif isinstance(value, list):
            figures[name] = np.mean([one[name] for one in each], axis=0).tolist()
    return figures


def _sum(counts: Sequence[Counts]) -> Counts:
    """Add up every field."""
    names = [field.name for field in dataclasses.fields(counts[0])]
    return type(counts[0])(**{name: sum(getattr(one, name) for one in counts) for name in names})


def _combine_hota(scores: Sequence[HotaScores]) -> HotaScores:
    """Sum the counts per threshold and average what is a mean over matched boxes."""
    tp = np.sum([one.tp for one in scores], axis=0)
    fn = np.sum([one.fn for one in scores], axis=0)
    fp = np.sum([one.fp for one in scores], axis=0)
    matched = np.maximum(1, tp)
    assa = np.sum([one.assa * one.tp for one in scores], axis=0) / matched
    loca = np.sum([one.loca * one.tp for one in scores], axis=0) / matched
    deta = tp / np.maximum(1, tp + fn + fp)
    return HotaScores(
        alphas=scores[0].alphas,
        tp=tp,
        fn=fn,
        fp=fp,
        hota=np.sqrt(deta * assa),
        deta=deta,
        assa=assa,
        loca=np.where(tp > 0, loca, 1.0),
    )
