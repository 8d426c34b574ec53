"""TrackEval as the judge of our figures (https://github.com/JonathonLuiten/TrackEval)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# Its names of the figures, by ours.
CLEAR = {"recall": "CLR_Re", "precision": "CLR_Pr", "FP": "CLR_FP", "FN": "CLR_FN", "TP": "CLR_TP"}
CLEAR |= {name: name for name in ("MOTA", "MOTP", "IDSW", "MT", "PT", "ML", "Frag")}
IDENTITY = ("IDF1", "IDP", "IDR")
HOTA = ("HOTA", "DetA", "AssA", "LocA")


def trackeval_scorers(folder: Path, sequence: str) -> list[Callable[[], dict[str, Any]]]:
    """Return what scores a sequence with TrackEval.

    Args:
        folder: ``gt/SEQUENCE/gt/gt.txt`` with its ``seqinfo.ini``, and the results in
            ``trackers/ours/data/SEQUENCE.txt``.
        sequence: Its name.

    Returns:
        Functions from nothing to the figures: the first reads the files, the second takes what was
        read of them. Empty where TrackEval is not installed.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it tells what else it could import
            import trackeval
    except ImportError:
        return []
    config = {"GT_FOLDER": str(folder / "gt"), "TRACKERS_FOLDER": str(folder / "trackers")}
    choices = {"BENCHMARK": "MOT15", "SKIP_SPLIT_FOL": True, "SEQ_INFO": {sequence: None}}
    quiet = {"PRINT_CONFIG": False}
    dataset = trackeval.datasets.MotChallenge2DBox({**config, **choices, **quiet})
    of = trackeval.metrics
    every = (of.CLEAR({**quiet}), of.Identity({**quiet}), of.HOTA())

    def read() -> dict[str, Any]:
        raw = dataset.get_raw_seq_data("ours", sequence)
        return dict(dataset.get_preprocessed_seq_data(raw, "pedestrian"))

    def score(data: dict[str, Any]) -> dict[str, Any]:
        return under_our_names(*(metric.eval_sequence(data) for metric in every))

    data = read()
    return [lambda: score(read()), lambda: score(data)]


def under_our_names(
    clear: dict[str, Any], identity: dict[str, Any], hota: dict[str, Any]
) -> dict[str, Any]:
    """Bring TrackEval's figures under the names of ``benchmarks.metrics.Scores.to_dict``."""
    scores = {ours: float(clear[theirs]) for ours, theirs in CLEAR.items()}
    scores |= {name: float(identity[name]) for name in IDENTITY}
    means = {name: float(np.mean(hota[name])) for name in HOTA}
    return {
        **scores,
        **means,
        **{f"{name}_alpha": np.asarray(hota[name]).tolist() for name in HOTA},
    }


def largest_difference(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """Return the largest absolute difference of the figures that TrackEval gives."""
    return max(float(np.abs(np.subtract(ours[name], theirs[name])).max()) for name in theirs)
