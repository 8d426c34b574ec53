"""An off-the-shelf detector with a tracker from a package: what one would take instead."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.association.entries import Entry, find_entry
from benchmarks.association.peers import LOWEST_SCORE, Settings
from benchmarks.contenders.base import Contender, Description, Frame, Recipe, Step
from runtime.errors import UserError
from runtime.types import Detections, FloatArray

# ByteTrack's (arXiv 2110.06864): from this score on a detection takes part in all stages, and 0.1
# above it starts a track.
SCORE_THRESHOLD = 0.6
ABOVE_STARTS = 0.1


@dataclass(frozen=True)
class DetectorWithTracker(Recipe):
    """An ONNX detector and a tracker of a package that is installed.

    Attributes:
        detector: ONNX file of the detector.
        tracker: See ``benchmarks.association.entries.find_entry``.
        embedder: ONNX file of a re-identification model, for trackers that look at embeddings.
        score_threshold: Detections scoring higher take part in all stages of the tracker.
        options: Fields of ``train.teachers.config.DetectorConfig``, for a detector that is no
            YOLOX as it is published.
        parameters: Number of learned parameters of the files, for tables.
        precision: That of the detector's weights, for tables.

    Raises:
        UserError: The threshold is not between 0 and 1.
    """

    detector: Path
    tracker: str = "bytetrack"
    embedder: Path | None = None
    score_threshold: float = SCORE_THRESHOLD
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    parameters: int = 0
    precision: str = "fp32"

    def __post_init__(self) -> None:
        if not 0 < self.score_threshold < 1:
            raise UserError(
                f"score threshold {self.score_threshold:g} is not between 0 and 1: give for "
                f"example {SCORE_THRESHOLD}"
            )

    def find_tracker(self) -> Entry:
        """Return the tracker.

        Raises:
            UserError: It is unknown or not installed, or does not go together with the embedder.
        """
        entry = find_entry(self.tracker, self.embedder is not None)
        if entry.embeddings and self.embedder is None:
            raise UserError(f"tracker {self.tracker} looks at embeddings: give --embedder as well")
        if self.embedder is not None and not entry.embeddings:
            raise UserError(
                f"tracker {self.tracker} does not look at embeddings: leave the embedder out, or "
                "take kd-mot"
            )
        return entry

    def open(self, backend: str = "auto", threads: int | None = None) -> TimedPair:
        """Load it; see ``Recipe``."""
        return TimedPair(self, backend, threads)


class TimedPair(Contender):
    """A detector and a tracker, stage by stage. Embeddings count as part of the network.

    Args:
        recipe: What to open.
        backend: As for ``runtime.load``.
        threads: CPU threads; ONNX Runtime's choice when None.

    Raises:
        UserError: A file or package cannot be used, or tracker and embedder do not go together.
    """

    def __init__(self, recipe: DetectorWithTracker, backend: str, threads: int | None) -> None:
        # Only what a detector needs is loaded: no torch, which would count as the rival's memory.
        from pydantic import ValidationError

        from train.settings import in_words
        from train.teachers.config import DetectorConfig, EmbedderConfig
        from train.teachers.onnx import OnnxDetector, OnnxEmbedder
        from train.teachers.onnx.fingerprint import outside_files

        self._entry = recipe.find_tracker()
        low = min(LOWEST_SCORE, recipe.score_threshold)
        try:
            config = DetectorConfig.model_validate(
                {"score_threshold": low, **recipe.options, "path": recipe.detector}
            )
        except ValidationError as error:
            raise UserError(f"detector of {recipe.name}: {in_words(error)}") from error
        self._detector = OnnxDetector(config, threads, backend)
        self._embedder = None
        if recipe.embedder is not None:
            self._embedder = OnnxEmbedder(EmbedderConfig(path=recipe.embedder), threads, backend)
        self._threshold = recipe.score_threshold
        networks = [recipe.detector, *([recipe.embedder] if recipe.embedder else [])]
        files = [part for file in networks for part in (file, *outside_files(file))]
        self.description = Description(
            model=recipe.name,
            file=recipe.detector.name,
            bytes=sum(file.stat().st_size for file in files),
            arch=" + ".join(file.stem for file in networks),
            parameters=recipe.parameters,
            precision=recipe.precision,
            size_wh=self._detector.size_wh,
            provider=self._detector.provider,
            tracker=self._entry.name,
        )
        self.begin(30.0)

    def begin(self, fps: float) -> None:
        """Start a sequence; see ``Contender``.

        Raises:
            UserError: The tracker's package lacks one of its own dependencies.
        """
        settings = Settings(fps, self._threshold, min(self._threshold + ABOVE_STARTS, 1.0))
        try:
            self._tracker = self._entry.make(settings)
        except ImportError as error:
            raise UserError(
                f"tracker {self._entry.name} needs {error.name}, which is not installed: "
                f"pip install {self._entry.package}"
            ) from error

    def step(self, frame: Frame) -> Step:
        """Track the next frame; see ``Contender``."""
        clock = time.perf_counter_ns
        start = clock()
        values, geometry = self._detector.prepare(frame)
        prepared = clock()
        outputs = self._detector.infer(values)
        inferred = clock()
        boxes, scores, classes = self._detector.read(outputs, geometry)
        decoded = clock()
        embeddings = self._embed(frame, boxes, scores)
        embedded = clock()
        # What a tracker wants to be given, and gives, is part of using it.
        peer = self._tracker
        detections = peer.prepare(Detections(boxes, scores, embeddings, classes))
        tracks = peer.read(peer.update(detections))
        end = clock()
        network = inferred - prepared + embedded - decoded
        return Step(tracks, (prepared - start, network, decoded - inferred, end - embedded))

    def _embed(self, frame: Frame, boxes: FloatArray, scores: FloatArray) -> FloatArray | None:
        """Describe those that trackers tell apart by it: low scores are matched by overlap."""
        if self._embedder is None:
            return None
        embeddings = np.zeros((len(boxes), self._embedder.embedding_dim), np.float32)
        high = scores > self._threshold
        embeddings[high] = self._embedder(frame, boxes[high])
        return embeddings
