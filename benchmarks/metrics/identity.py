"""The identity figures.

Source: Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera
Tracking", ECCV Workshops 2016.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.metrics.assignment import assign_max
from benchmarks.metrics.sequence import SequenceData
from benchmarks.metrics.similarity import positive

THRESHOLD = 0.5


@dataclass(frozen=True)
class IdentityScores:
    """Counts under the best one-to-one pairing of whole trajectories.

    Attributes:
        idtp: Boxes that match under the pairing.
        idfp: The tracker's other boxes.
        idfn: The other ground-truth boxes.
    """

    idtp: int
    idfp: int
    idfn: int

    @property
    def idf1(self) -> float:
        """2 IDTP / (2 IDTP + IDFP + IDFN), 0 without any boxes."""
        return self.idtp / max(1.0, self.idtp + 0.5 * self.idfp + 0.5 * self.idfn)

    @property
    def idp(self) -> float:
        """IDTP / tracker boxes."""
        return self.idtp / max(1, self.idtp + self.idfp)

    @property
    def idr(self) -> float:
        """IDTP / ground-truth boxes."""
        return self.idtp / max(1, self.idtp + self.idfn)


def identity_scores(data: SequenceData, threshold: float = THRESHOLD) -> IdentityScores:
    """Pair trajectories so that the most boxes agree, and count.

    The paper minimises IDFP + IDFN over pairings in which a trajectory may stay alone. Pairing two
    trajectories takes twice their agreeing boxes off that sum and never adds to it, so the optimum
    is the assignment with the most agreeing boxes.

    Args:
        data: The sequence.
        threshold: Similarity from which two boxes agree.

    Returns:
        The counts.
    """
    agreeing = np.zeros((data.gt_id_count, data.tracker_id_count))
    for gt_ids, tracker_ids, similarity in zip(
        data.gt_ids, data.tracker_ids, data.similarities, strict=True
    ):
        rows, columns = positive(similarity >= threshold)
        agreeing[gt_ids[rows], tracker_ids[columns]] += 1
    idtp = int(agreeing[assign_max(agreeing)].sum())
    return IdentityScores(
        idtp=idtp, idfp=data.tracker_box_count - idtp, idfn=data.gt_box_count - idtp
    )
