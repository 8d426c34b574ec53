"""Rivals as the command line names them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.association.entries import find_entry
from benchmarks.contenders.base import Recipe
from benchmarks.contenders.detector import SCORE_THRESHOLD, DetectorWithTracker
from runtime.errors import UserError
from runtime.files import existing_file

# Element types of ONNX that hold weights, and the precision they are of.
PRECISIONS = {1: "fp32", 10: "fp16", 16: "fp16", 2: "int8", 3: "int8"}

FileName = str | os.PathLike[str]


def rivals(
    detector: FileName | None = None,
    trackers: Sequence[str] = ("bytetrack",),
    embedder: FileName | None = None,
    score_threshold: float = SCORE_THRESHOLD,
) -> list[Recipe]:
    """Return what exported models are to be compared with.

    Args:
        detector: ONNX file of a detector.
        trackers: Trackers that follow what it finds; see
            ``benchmarks.association.entries.find_entry``.
        embedder: ONNX file of a re-identification model. Besides the trackers, this project's then
            follows with its embeddings.
        score_threshold: See ``DetectorWithTracker``.

    Returns:
        A recipe for the detector with each tracker, named after both.

    Raises:
        UserError: A file is missing, a tracker is unknown, not installed or named twice, or there
            is an embedder and no detector.
    """
    if detector is None:
        if embedder is not None:
            raise UserError("--embedder goes with --detector: give both")
        return []
    file = existing_file(detector, "detector")
    pairs: list[tuple[str, Path | None]] = [(name, None) for name in trackers]
    if embedder is not None:
        looks = existing_file(embedder, "embedder")
        # Those that need embeddings have no use for a run without.
        pairs = [(name, looks if find_entry(name).embeddings else None) for name in trackers]
        pairs.append(("kd-mot", looks))
    found: list[Recipe] = []
    for tracker, file_of_embedder in pairs:
        find_entry(tracker)
        files = [file, *([file_of_embedder] if file_of_embedder else [])]
        facts = [weights(path) for path in files]
        name = "+".join((file.stem, tracker.replace(":", "-"), *(path.stem for path in files[1:])))
        if name in [recipe.name for recipe in found]:
            raise UserError(f"--tracker {tracker} is given twice: leave one out")
        found.append(
            DetectorWithTracker(
                name,
                "rival",
                file,
                tracker,
                file_of_embedder,
                score_threshold,
                parameters=sum(count for count, _ in facts),
                precision=facts[0][1],
            )
        )
    return found


def weights(path: Path) -> tuple[int, str]:
    """Count the learned parameters of an ONNX file.

    Returns:
        Their number, 0 where ``onnx`` is not installed to count them, and the precision of most.

    Raises:
        UserError: It is no ONNX file.
    """
    try:
        import onnx
    except ImportError:
        return 0, "fp32"
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as error:  # protocol buffers have an exception of their own
        raise UserError(f"{path} is no ONNX file: give the detector or embedder as ONNX") from error
    counts: dict[str, int] = {}
    for tensor in graph.initializer:
        precision = PRECISIONS.get(tensor.data_type)
        if precision is not None:
            size = 1
            for side in tensor.dims:
                size *= side
            counts[precision] = counts.get(precision, 0) + size
    most = max(counts, key=lambda name: counts[name], default="fp32")
    return sum(counts.values()), most
