"""Rivals as the command line names them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.association.entries import find_entry
from benchmarks.contenders.base import Recipe
from benchmarks.contenders.detector import SCORE_THRESHOLD, DetectorWithTracker
from benchmarks.contenders.original import OriginalFairMOT
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
    original: FileName | None = None,
    original_weights: FileName | None = None,
    allow_untrained: bool = False,
) -> list[Recipe]:
    """Return what exported models are to be compared with.

    Args:
        detector: ONNX file of a detector that puts out what a YOLOX does; of any other a YAML file
            with the fields of ``train.teachers.config.DetectorConfig``.
        trackers: Trackers that follow what it finds; see
            ``benchmarks.association.entries.find_entry``.
        embedder: ONNX file of a re-identification model, for trackers that cannot do without.
            Besides, this project's then follows with embeddings.
        score_threshold: See ``DetectorWithTracker``.
        original: A clone of FairMOT.
        original_weights: A checkpoint of its ``dla_34``.
        allow_untrained: Whether the original may run without.

    Returns:
        A recipe for the detector with each tracker, named after both, and ``original``.

    Raises:
        UserError: A file is missing, a tracker is unknown, not installed or named twice, or an
            option lacks the one that it goes with.

    Examples:
        >>> rivals(embedder="person.onnx")
        Traceback (most recent call last):
        ...
        runtime.errors.UserError: --embedder goes with --detector: give both
    """
    found: list[Recipe] = []
    if detector is not None:
        found += _pairs(detector, trackers, embedder, score_threshold)
    elif embedder is not None:
        raise UserError("--embedder goes with --detector: give both")
    if original is not None:
        checkpoint = None
        if original_weights is not None:
            checkpoint = existing_file(original_weights, "weights of the original")
        found.append(
            OriginalFairMOT(
                "original",
                "rival",
                Path(original),
                checkpoint,
                allow_untrained=allow_untrained,
            )
        )
    elif original_weights is not None:
        raise UserError("--original-weights goes with --original: give both")
    return found


def _pairs(
    detector: FileName, trackers: Sequence[str], embedder: FileName | None, score_threshold: float
) -> list[DetectorWithTracker]:
    file, options = existing_file(detector, "detector"), {}
    if file.suffix in (".yaml", ".yml"):
        from train.settings import read_yaml

        options = read_yaml(file, "detector")
        if not isinstance(options.get("path"), str):
            raise UserError(f"detector {file} has no path: name the ONNX file in it")
        file = existing_file(options.pop("path"), "detector")
    looks = None if embedder is None else existing_file(embedder, "embedder")
    named = [(name, looks if find_entry(name).embeddings else None) for name in trackers]
    if looks is not None:
        named.append(("kd-mot", looks))
    found: list[DetectorWithTracker] = []
    for tracker, companion in named:
        files = [file] if companion is None else [file, companion]
        facts = [weights(path) for path in files]
        name = "+".join((file.stem, tracker.replace(":", "-"), *(path.stem for path in files[1:])))
        if name in [pair.name for pair in found]:
            raise UserError(f"--tracker {tracker} is given twice: leave one out")
        pair = DetectorWithTracker(
            name,
            "rival",
            file,
            tracker,
            companion,
            score_threshold,
            options,
            parameters=sum(count for count, _ in facts),
            precision=facts[0][1],
        )
        pair.find_tracker()
        found.append(pair)
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
