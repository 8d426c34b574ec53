"""The CLEAR figures.

Source: Bernardin and Stiefelhagen, "Evaluating Multiple Object Tracking Performance: The CLEAR MOT
Metrics", EURASIP Journal on Image and Video Processing 2008; MT, PT, ML and Frag after Li, Huang
and Nevatia, CVPR 2009.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.metrics.assignment import assign_candidates
from benchmarks.metrics.sequence import FloatArray, IntArray, SequenceData
from benchmarks.metrics.similarity import positive

THRESHOLD = 0.5
_EPS = float(np.finfo(np.float64).eps)
# Keeping a pair of the frame before outweighs any sum of similarities a frame can have.
_CONTINUITY = 1000.0


@dataclass(frozen=True)
class ClearScores:
    """Counts of one sequence and the ratios that follow from them.

    Attributes:
        tp: Matched boxes.
        fp: Tracker boxes without a match.
        fn: Ground-truth boxes without a match.
        idsw: Identity switches: a match by another track than at the object's last match.
        mt: Objects tracked in more than 80 % of their frames.
        pt: Objects tracked in 20 % to 80 % of their frames.
        ml: The other objects.
        frag: Interruptions of objects' matches.
        similarity_sum: Sum of the matched boxes' similarities.
    """

    tp: int
    fp: int
    fn: int
    idsw: int
    mt: int
    pt: int
    ml: int
    frag: int
    similarity_sum: float

    @property
    def mota(self) -> float:
        """(TP - FP - IDSW) / ground-truth boxes, at most 1; 0 without ground truth."""
        if self.tp + self.fn == 0:
            return 0.0
        return (self.tp - self.fp - self.idsw) / (self.tp + self.fn)

    @property
    def motp(self) -> float:
        """Mean similarity of the matched boxes, 0 without any."""
        return self.similarity_sum / max(1, self.tp)

    @property
    def recall(self) -> float:
        """TP / ground-truth boxes."""
        return self.tp / max(1, self.tp + self.fn)

    @property
    def precision(self) -> float:
        """TP / tracker boxes."""
        return self.tp / max(1, self.tp + self.fp)


@dataclass(frozen=True)
class FrameMatches:
    """The matches of one frame.

    Attributes:
        frame: Index of the frame, from 0.
        gt_ids: ``[M]`` matched objects.
        tracker_ids: ``[M]`` their tracks.
        similarities: ``[M]``.
        switched: ``[M]`` whether the object's last match was another track.
    """

    frame: int
    gt_ids: IntArray
    tracker_ids: IntArray
    similarities: FloatArray
    switched: npt.NDArray[np.bool_]


def clear_matches(data: SequenceData, threshold: float = THRESHOLD) -> Iterator[FrameMatches]:
    """Match frame by frame, keeping last frame's pairs where possible.

    Args:
        data: The sequence.
        threshold: Similarity from which two boxes may match.

    Yields:
        The matches of each frame that has boxes on both sides.
    """
    # The track of each object at its last match, and in the last frame that had boxes on both
    # sides; -1 for none. The first serves to count switches, the second to keep pairs.
    last_track: IntArray = np.full(data.gt_id_count, -1, np.int64)
    current_track: IntArray = np.full(data.gt_id_count, -1, np.int64)
    for frame, (gt_ids, tracker_ids, similarity) in enumerate(
        zip(data.gt_ids, data.tracker_ids, data.similarities, strict=True)
    ):
        if len(gt_ids) == 0 or len(tracker_ids) == 0:
            continue
        rows, columns = _match(similarity, current_track[gt_ids], tracker_ids, threshold)
        objects, tracks = gt_ids[rows], tracker_ids[columns]
        before = last_track[objects]
        last_track[objects] = tracks
        current_track[:] = -1
        current_track[objects] = tracks
        switched = (before >= 0) & (before != tracks)
        yield FrameMatches(frame, objects, tracks, similarity[rows, columns], switched)


def clear_scores(data: SequenceData, threshold: float = THRESHOLD) -> ClearScores:
    """Match the sequence and count.

    Args:
        data: The sequence.
        threshold: Similarity from which two boxes may match.

    Returns:
        The counts.
    """
    objects = data.gt_id_count
    gt_ids = np.concatenate(data.gt_ids) if len(data) else np.zeros(0, np.int64)
    present = np.bincount(gt_ids, minlength=objects)
    matched = np.zeros(objects, np.int64)
    starts = np.zeros(objects, np.int64)
    tracked = np.zeros(objects, bool)
    tp = idsw = 0
    similarity_sum = 0.0
    for matches in clear_matches(data, threshold):
        before = tracked
        tracked = np.zeros(objects, bool)
        tracked[matches.gt_ids] = True
        starts += tracked & ~before
        matched += tracked
        tp += len(matches.gt_ids)
        idsw += int(np.count_nonzero(matches.switched))
        similarity_sum += float(matches.similarities.sum())
    ratio = matched / np.maximum(1, present)
    mostly_tracked = int(np.count_nonzero(ratio > 0.8))
    partly_tracked = int(np.count_nonzero(ratio >= 0.2)) - mostly_tracked
    return ClearScores(
        tp=tp,
        fp=data.tracker_box_count - tp,
        fn=data.gt_box_count - tp,
        idsw=idsw,
        mt=mostly_tracked,
        pt=partly_tracked,
        ml=objects - mostly_tracked - partly_tracked,
        frag=int(np.maximum(starts - 1, 0).sum()),
        similarity_sum=similarity_sum,
    )


def _match(
    similarity: FloatArray, current_tracks: IntArray, tracker_ids: IntArray, threshold: float
) -> tuple[IntArray, IntArray]:
    """Pair boxes of one frame: most kept pairs first, then the largest sum of similarities."""
    rows, columns = positive(similarity >= threshold - _EPS)
    kept = tracker_ids[columns] == current_tracks[rows]
    scores = _CONTINUITY * kept + similarity[rows, columns]
    real = scores > _EPS
    rows, columns = rows[real], columns[real]
    chosen = assign_candidates(rows, columns, scores[real])
    return rows[chosen], columns[chosen]
