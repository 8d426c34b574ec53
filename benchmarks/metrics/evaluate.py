"""All figures of one sequence at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.metrics.clear import ClearScores, clear_scores
from benchmarks.metrics.hota import HotaScores, hota_scores
from benchmarks.metrics.identity import IdentityScores, identity_scores
from benchmarks.metrics.sequence import SequenceData


@dataclass(frozen=True)
class Scores:
    """The figures of one sequence.

    Attributes:
        clear: MOTA and its kin.
        identity: IDF1 and its kin.
        hota: HOTA and its kin, per threshold.
        frames: Length of the sequence.
        gt_id_count: Number of objects.
        tracker_id_count: Number of tracks.
    """

    clear: ClearScores
    identity: IdentityScores
    hota: HotaScores
    frames: int
    gt_id_count: int
    tracker_id_count: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers under the field's usual names.

        Ratios are fractions, not percent. ``HOTA``, ``DetA``, ``AssA`` and ``LocA`` are means over
        the thresholds ``alphas``; the lists per threshold stand under ``HOTA_alpha`` and so on.
        ``ids`` counts objects, ``tracker_ids`` tracks.
        """
        clear, identity, hota = self.clear, self.identity, self.hota
        return {
            "MOTA": clear.mota,
            "IDF1": identity.idf1,
            "HOTA": float(hota.hota.mean()),
            "DetA": float(hota.deta.mean()),
            "AssA": float(hota.assa.mean()),
            "LocA": float(hota.loca.mean()),
            "MOTP": clear.motp,
            "IDP": identity.idp,
            "IDR": identity.idr,
            "recall": clear.recall,
            "precision": clear.precision,
            "IDSW": clear.idsw,
            "FP": clear.fp,
            "FN": clear.fn,
            "TP": clear.tp,
            "MT": clear.mt,
            "PT": clear.pt,
            "ML": clear.ml,
            "Frag": clear.frag,
            "frames": self.frames,
            "ids": self.gt_id_count,
            "tracker_ids": self.tracker_id_count,
            "alphas": hota.alphas.round(2).tolist(),
            "HOTA_alpha": hota.hota.tolist(),
            "DetA_alpha": hota.deta.tolist(),
            "AssA_alpha": hota.assa.tolist(),
            "LocA_alpha": hota.loca.tolist(),
        }


def evaluate(data: SequenceData) -> Scores:
    """Score one sequence.

    Args:
        data: Made by ``sequence_from_boxes`` or ``sequence_from_frames``.

    Returns:
        All figures.

    Examples:
        >>> import numpy as np
        >>> from benchmarks.metrics.sequence import sequence_from_frames
        >>> data = sequence_from_frames([[1], [1]], [[5], [6]], [[[0.9]], [[0.9]]])
        >>> scores = evaluate(data).to_dict()
        >>> scores["MOTA"], scores["IDF1"], scores["IDSW"]
        (0.5, 0.5, 1)
    """
    return Scores(
        clear=clear_scores(data),
        identity=identity_scores(data),
        hota=hota_scores(data),
        frames=len(data),
        gt_id_count=data.gt_id_count,
        tracker_id_count=data.tracker_id_count,
    )
