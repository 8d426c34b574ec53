"""TrackEval as the judge of our figures, and sequences to judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.metrics import SequenceData, sequence_from_frames
from benchmarks.scoring.trackeval_peer import under_our_names

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def trackeval_module() -> Any:
    """Import TrackEval or skip. It needs SciPy beside NumPy and matplotlib."""
    pytest.importorskip("scipy")
    return pytest.importorskip("trackeval")


def oracle_scores(data: SequenceData) -> dict[str, Any]:
    """Score a sequence with TrackEval, under our names."""
    results = _oracle_results(data)
    return under_our_names(*(results[name] for name in ("CLEAR", "Identity", "HOTA")))


def oracle_combined(parts: Sequence[SequenceData]) -> dict[str, Any]:
    """Score several sequences together with TrackEval, under our names."""
    per_part = {str(number): _oracle_results(part) for number, part in enumerate(parts)}
    return under_our_names(
        *(
            metric.combine_sequences({key: results[name] for key, results in per_part.items()})
            for name, metric in oracle_metrics().items()
        )
    )


def oracle_metrics() -> dict[str, Any]:
    """Return TrackEval's metrics in the order in which ``under_our_names`` takes their figures."""
    metrics = trackeval_module().metrics
    quiet = {"PRINT_CONFIG": False}
    return {
        "CLEAR": metrics.CLEAR(quiet),
        "Identity": metrics.Identity(quiet),
        "HOTA": metrics.HOTA(),
    }


def _oracle_results(data: SequenceData) -> dict[str, dict[str, Any]]:
    arguments = {
        "num_timesteps": len(data),
        "num_gt_dets": data.gt_box_count,
        "num_tracker_dets": data.tracker_box_count,
        "num_gt_ids": data.gt_id_count,
        "num_tracker_ids": data.tracker_id_count,
        "gt_ids": list(data.gt_ids),
        "tracker_ids": list(data.tracker_ids),
        "similarity_scores": list(data.similarities),
    }
    return {name: metric.eval_sequence(arguments) for name, metric in oracle_metrics().items()}


def assert_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Compare every figure TrackEval gives."""
    for key, expected in theirs.items():
        assert ours[key] == pytest.approx(expected, rel=0, abs=1e-9), key


def random_sequence(seed: int, frames: int, objects: int, tracks: int) -> SequenceData:
    """Make a sequence in which objects and tracks come and go and overlap at random."""
    random = np.random.default_rng(seed)
    gt_ids, tracker_ids, similarities = [], [], []
    partner = random.integers(0, max(1, tracks), max(1, objects))
    for _ in range(frames):
        gt = np.flatnonzero(random.random(objects) < random.random())
        tracker = np.flatnonzero(random.random(tracks) < random.random())
        random.shuffle(gt)
        random.shuffle(tracker)
        similarity = random.random((len(gt), len(tracker)))
        similarity[random.random(similarity.shape) < 0.4] = 0.0
        similarity[partner[gt][:, None] == tracker[None, :]] **= 0.25
        gt_ids.append(gt + 3)
        tracker_ids.append(tracker * 7)
        similarities.append(similarity)
    return sequence_from_frames(gt_ids, tracker_ids, similarities)
