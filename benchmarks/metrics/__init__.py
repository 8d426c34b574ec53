"""CLEAR, identity and HOTA figures of a sequence or several, in NumPy and ``lap`` alone.

The figures equal TrackEval's (https://github.com/JonathonLuiten/TrackEval), down to its choices for
empty sequences; the tests hold them against each other. Where two assignments score exactly the
same, e.g. for two identical boxes on one object, the figures that depend on identity may differ,
since the definitions leave the choice open.

This package imports nothing of the project, so that training may use it as well.
"""

from __future__ import annotations

from benchmarks.metrics.clear import ClearScores, FrameMatches, clear_matches, clear_scores
from benchmarks.metrics.combine import average_classes, combine, combine_classes
from benchmarks.metrics.counting import (
    MOT17,
    MOT20,
    Rules,
    boxes_in_regions,
    counting_rows,
    distractor_matches,
    sequence_from_rows,
)
from benchmarks.metrics.evaluate import Scores, evaluate
from benchmarks.metrics.hota import HotaScores, hota_scores
from benchmarks.metrics.identity import IdentityScores, identity_scores
from benchmarks.metrics.sequence import SequenceData, sequence_from_boxes, sequence_from_frames
from benchmarks.metrics.similarity import iou_ltwh

__all__ = [
    "MOT17",
    "MOT20",
    "ClearScores",
    "FrameMatches",
    "HotaScores",
    "IdentityScores",
    "Rules",
    "Scores",
    "SequenceData",
    "average_classes",
    "boxes_in_regions",
    "clear_matches",
    "clear_scores",
    "combine",
    "combine_classes",
    "counting_rows",
    "distractor_matches",
    "evaluate",
    "hota_scores",
    "identity_scores",
    "iou_ltwh",
    "sequence_from_boxes",
    "sequence_from_frames",
    "sequence_from_rows",
]
